//! `acl.filters` of Cluster Linking: which bindings of the source a link copies.
//!
//! It never excludes: what no line takes is left out.

use std::collections::BTreeSet;

use crate::control::acls::Binding;
use crate::control::acls::Operation;
use crate::control::acls::PatternType;
use crate::control::acls::Permission;
use crate::control::acls::ResourceType;

/// How a line says which patterns it means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PatternFilter {
    /// Both kinds.
    Any,
    /// Those that speak of a resource of the line's name.
    Match,
    /// That kind alone.
    Is(PatternType),
}

/// One line; `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclLine {
    /// `resourceType`.
    pub resource: Option<ResourceType>,
    /// `patternType`.
    pub pattern: PatternFilter,
    /// `name`.
    pub name: Option<String>,
    /// `operation`: that one itself, nothing implied.
    pub operation: Option<Operation>,
    /// `permissionType`.
    pub permission: Option<Permission>,
    /// `principal`.
    pub principal: Option<String>,
    /// `host`.
    pub host: Option<String>,
}

impl AclLine {
    /// As Kafka's `AclBindingFilter` matches.
    fn takes(&self, binding: &Binding) -> bool {
        let is = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == text)
        };
        let named = match self.pattern {
            PatternFilter::Any => is(&self.name, &binding.name),
            PatternFilter::Is(kind) => binding.pattern == kind && is(&self.name, &binding.name),
            PatternFilter::Match => self.name.as_ref().is_none_or(|name| binding.covers(name)),
        };
        named
            && self.resource.is_none_or(|one| one == binding.resource)
            && self.operation.is_none_or(|one| one == binding.operation)
            && self.permission.is_none_or(|one| one == binding.permission)
            && is(&self.principal, &binding.principal)
            && is(&self.host, &binding.host)
    }
}

/// All lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclFilter(pub Vec<AclLine>);

impl AclFilter {
    /// Whether a binding is copied.
    pub fn takes(&self, binding: &Binding) -> bool {
        self.0.iter().any(|line| line.takes(binding))
    }

    /// Those of them that are copied.
    pub fn select(&self, all: &BTreeSet<Binding>) -> BTreeSet<Binding> {
        all.iter().filter(|binding| self.takes(binding)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> AclLine {
        AclLine {
            resource: None,
            pattern: PatternFilter::Any,
            name: None,
            operation: None,
            permission: None,
            principal: None,
            host: None,
        }
    }

    fn binding(pattern: PatternType, name: &str) -> Binding {
        Binding {
            resource: ResourceType::Topic,
            pattern,
            name: name.into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::All,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn each_field_of_a_line_narrows_it() {
        use PatternType::*;
        let one = binding(Literal, "a");
        let check = |line: AclLine, takes: bool| {
            assert_eq!(AclFilter(vec![line.clone()]).takes(&one), takes, "{line:?}");
        };
        check(line(), true);
        check(AclLine { resource: Some(ResourceType::Topic), ..line() }, true);
        check(AclLine { resource: Some(ResourceType::Group), ..line() }, false);
        check(AclLine { operation: Some(Operation::Read), ..line() }, false);
        check(AclLine { permission: Some(Permission::Deny), ..line() }, false);
        check(AclLine { principal: Some("User:b".into()), ..line() }, false);
        check(AclLine { host: Some("10.0.0.1".into()), ..line() }, false);
        check(AclLine { name: Some("b".into()), ..line() }, false);
        check(AclLine { pattern: PatternFilter::Is(Prefixed), ..line() }, false);
        assert!(!AclFilter::default().takes(&one), "no line, nothing");
    }

    #[test]
    fn match_takes_every_pattern_that_speaks_of_the_name() {
        use PatternType::*;
        let of = AclLine { pattern: PatternFilter::Match, name: Some("orders".into()), ..line() };
        let takes = |pattern, name| AclFilter(vec![of.clone()]).takes(&binding(pattern, name));
        assert!(takes(Literal, "orders") && takes(Literal, "*") && takes(Prefixed, "ord"));
        assert!(!takes(Literal, "order") && !takes(Prefixed, "pay"));
    }
}
