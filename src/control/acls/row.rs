//! The ledger: what a link has to do with each binding at the destination, as rows of the journal
//! under `acl/LINK/BINDING`.
//!
//! It never holds a binding of somebody else's: only what is in the ledger is ever deleted.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use serde::Serialize;

use crate::control::acls::Binding;
use crate::control::acls::Operation;
use crate::control::acls::PatternType;
use crate::control::acls::Permission;
use crate::control::acls::ResourceType;
use crate::control::row::VERSION;

/// Why a binding is in the ledger.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The source has it, and it is applied as it is.
    Copied,
    /// The source has it, and it is *not* applied: it would let others change a mirror topic, or
    /// take isolog's own rights. It is remembered for a failover without the source.
    Withheld,
    /// isolog's own rights, where a binding on a resource would take what everybody had.
    Own,
    /// A DENY that keeps others from changing a mirror topic.
    Guard,
    /// What stands in the place of a withheld one: part of it.
    Instead,
}

impl Kind {
    /// Whether it stands, or is to stand, at the destination.
    pub fn is_applied(self) -> bool {
        self != Kind::Withheld
    }

    /// Whether the source has it.
    pub fn is_of_source(self) -> bool {
        matches!(self, Kind::Copied | Kind::Withheld)
    }
}

/// All rows of one link.
pub type Ledger = BTreeMap<Binding, Kind>;

/// A row's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRow {
    /// Which binding.
    pub binding: Binding,
    /// Why it is here.
    pub kind: Kind,
}

#[derive(Serialize, Deserialize)]
struct AclText {
    v: u32,
    kind: Kind,
    resource: String,
    pattern: String,
    name: String,
    principal: String,
    host: String,
    operation: String,
    permission: String,
}

impl AclRow {
    /// As the journal has it.
    pub(in crate::control) fn to_json(&self) -> String {
        let Binding { resource, pattern, operation, permission, .. } = &self.binding;
        let text = AclText {
            v: VERSION,
            kind: self.kind,
            resource: resource.word().to_owned(),
            pattern: pattern.word().to_owned(),
            name: self.binding.name.clone(),
            principal: self.binding.principal.clone(),
            host: self.binding.host.clone(),
            operation: operation.word().to_owned(),
            permission: permission.word().to_owned(),
        };
        serde_json::to_string(&text).expect("texts and numbers can be written")
    }

    /// Reads what `to_json` writes, under the rest of its key.
    pub(in crate::control) fn parse(key: &str, text: &str) -> Result<AclRow, String> {
        let text: AclText = serde_json::from_str(text).map_err(|error| {
            format!("it is no such JSON at line {}, column {}", error.line(), error.column())
        })?;
        let binding = Binding {
            resource: ResourceType::of_word(&text.resource).ok_or("its resource is unknown")?,
            pattern: PatternType::of_word(&text.pattern).ok_or("its pattern is unknown")?,
            name: text.name,
            principal: text.principal,
            host: text.host,
            operation: Operation::of_word(&text.operation).ok_or("its operation is unknown")?,
            permission: Permission::of_word(&text.permission).ok_or("its permission is unknown")?,
        };
        if key_text(&binding) != key {
            return Err("its key is that of another binding".to_owned());
        }
        Ok(AclRow { binding, kind: text.kind })
    }
}

/// The last part of a row's key: all of a binding, without a slash.
pub fn key_text(binding: &Binding) -> String {
    let Binding { resource, pattern, operation, permission, .. } = binding;
    let (principal, host) = (plain(&binding.principal), plain(&binding.host));
    format!(
        "{}:{}:{}:{principal}:{host}:{}:{}",
        resource.word(),
        pattern.word(),
        plain(&binding.name),
        operation.word(),
        permission.word()
    )
}

/// Letters that part a key are written as in URLs.
fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        match letter {
            '/' | ':' | '%' => {
                let _always_room = write!(out, "%{:02X}", u32::from(letter));
            }
            _ => out.push(letter),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            resource: ResourceType::Group,
            pattern: PatternType::Prefixed,
            name: "a/b:c%d".into(),
            principal: "User:CN=x,O=y/z".into(),
            host: "::1".into(),
            operation: Operation::DescribeConfigs,
            permission: Permission::Deny,
        }
    }

    #[test]
    fn rows_read_back_what_they_write() {
        for kind in [Kind::Copied, Kind::Withheld, Kind::Own, Kind::Guard, Kind::Instead] {
            let row = AclRow { binding: binding(), kind };
            let key = key_text(&row.binding);
            assert_eq!(AclRow::parse(&key, &row.to_json()), Ok(row));
            assert!(!key.contains('/'), "{key}");
        }
    }

    #[test]
    fn a_row_under_another_key_is_not_believed() {
        let json = AclRow { binding: binding(), kind: Kind::Own }.to_json();
        assert!(AclRow::parse("GROUP:x", &json).is_err());
        let later = json.replace("DESCRIBE_CONFIGS", "FLY");
        assert_eq!(
            AclRow::parse(&key_text(&binding()), &later),
            Err("its operation is unknown".to_owned())
        );
    }

    #[test]
    fn no_two_bindings_share_a_key() {
        let one = Binding { name: "a:b".into(), principal: "c".into(), ..binding() };
        let two = Binding { name: "a".into(), principal: "b:c".into(), ..binding() };
        assert_ne!(key_text(&one), key_text(&two));
        let three = Binding { name: "a%3Ab".into(), ..one.clone() };
        assert_ne!(key_text(&one), key_text(&three));
    }
}
