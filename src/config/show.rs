//! The effective settings, as `isolog config` prints them: secrets masked, loadable again.
//!
//! It never shows the value of a property that the table calls sensitive.

use std::fmt::Write;

use serde::Serialize;

use crate::control::filter::Pattern;
use crate::control::filter::Rule;
use crate::control::filter::Verdict;
use crate::settings::check::Checked;
use crate::settings::check::Origin;
use crate::settings::check::Setting;
use crate::settings::value::Raw;
use crate::settings::value::Value;

/// What stands for a secret.
pub const MASK: &str = "***";

/// One effective setting, as JSON has it.
#[derive(Serialize)]
pub struct Row {
    /// `destination`, `link.dr`; empty for the top of the file.
    section: String,
    /// The property.
    name: &'static str,
    /// Its value, or the mask.
    value: serde_json::Value,
    /// `default`, `properties` or `config`.
    origin: &'static str,
    /// Whether the value is masked.
    sensitive: bool,
}

/// All effective settings as TOML, each with a note where it is the default.
pub fn toml(sections: &[Checked]) -> String {
    let mut out = String::new();
    for section in sections {
        if let Some(name) = section.place() {
            writeln!(out, "\n[{name}]").expect("a String takes any text");
        }
        for setting in section.settings().filter(|setting| is_shown(setting)) {
            let note = match setting.origin {
                Origin::Default => "  # default",
                Origin::Properties => "  # from properties.file",
                Origin::Config => "",
            };
            let (name, value) = (setting.property.name, as_toml(&shown(setting)));
            writeln!(out, "{name} = {value}{note}").expect("a String takes any text");
        }
    }
    out
}

/// All effective settings as rows.
pub fn rows(sections: &[Checked]) -> Vec<Row> {
    let of = |section: &Checked| -> Vec<Row> {
        section.settings().filter(|setting| is_shown(setting)).map(|s| row(section, s)).collect()
    };
    sections.iter().flat_map(of).collect()
}

fn row(section: &Checked, setting: &Setting) -> Row {
    let origin = match setting.origin {
        Origin::Default => "default",
        Origin::Properties => "properties",
        Origin::Config => "config",
    };
    Row {
        section: section.name.clone(),
        name: setting.property.name,
        value: shown(setting),
        origin,
        sensitive: setting.property.sensitive,
    }
}

/// What was neither said nor has a default is not there.
fn is_shown(setting: &Setting) -> bool {
    setting.value != Value::Absent
}

fn shown(setting: &Setting) -> serde_json::Value {
    if setting.property.sensitive {
        return MASK.into();
    }
    match &setting.reference {
        Some(Raw::List(items)) => return items.clone().into(),
        Some(Raw::Text(text)) => return text.clone().into(),
        _ => {}
    }
    match &setting.value {
        Value::Absent => serde_json::Value::Null,
        Value::Text(text) => text.clone().into(),
        Value::Int(number) => (*number).into(),
        Value::Bool(yes) => (*yes).into(),
        Value::Hosts(hosts) => hosts.iter().map(address).collect::<Vec<_>>().join(",").into(),
        Value::Rules(rules) if setting.property.name == "mirror.topics" => {
            rules.iter().map(pattern).collect::<Vec<_>>().into()
        }
        Value::Rules(rules) => filters(rules).to_string().into(),
        Value::Words(words) => words.join(",").into(),
        Value::Secret(_) => MASK.into(),
        Value::Addresses(rules) => {
            rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(",").into()
        }
        Value::Listen(address) => address.to_string().into(),
    }
}

fn address((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn pattern(rule: &Rule) -> String {
    match &rule.pattern {
        Pattern::Literal(name) => name.to_string(),
        Pattern::Prefix(start) => format!("{start}*"),
    }
}

fn filters(rules: &[Rule]) -> serde_json::Value {
    let line = |rule: &Rule| {
        let (name, pattern) = match &rule.pattern {
            Pattern::Literal(name) => (name.as_str(), "LITERAL"),
            Pattern::Prefix(start) if start.is_empty() => ("*", "LITERAL"),
            Pattern::Prefix(start) => (start.as_str(), "PREFIXED"),
        };
        let verdict = match rule.verdict {
            Verdict::Include => "INCLUDE",
            Verdict::Exclude => "EXCLUDE",
        };
        serde_json::json!({ "name": name, "patternType": pattern, "filterType": verdict })
    };
    serde_json::json!({ "topicFilters": rules.iter().map(line).collect::<Vec<_>>() })
}

fn as_toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => toml::Value::String(text.clone()).to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::property::Default;
    use crate::settings::property::Effect;
    use crate::settings::property::Kind;
    use crate::settings::property::Property;

    #[test]
    fn secrets_are_masked() {
        static SECRET: Property = Property {
            name: "sasl.jaas.config",
            scopes: &[],
            kind: Kind::Text(100),
            default: Default::None,
            effect: Effect::Reconnect,
            sensitive: true,
            doc: "",
        };
        let value = Value::Text("hunter2".into());
        let (origin, reference) = (Origin::Config, Some(Raw::Text("${env:X}".into())));
        let setting = Setting { property: &SECRET, value, origin, reference };
        assert_eq!(shown(&setting), MASK);
    }

    #[test]
    fn an_ipv6_address_gets_its_brackets_back() {
        assert_eq!(address(&("::1".into(), 9092)), "[::1]:9092");
        assert_eq!(address(&("a".into(), 1)), "a:1");
    }
}
