//! The effective settings, as `isolog config` prints them: secrets masked, loadable again.
//!
//! It never shows the value of a property that the table calls sensitive.

use std::fmt::Write;

use serde::Serialize;

use crate::settings::check::Checked;
use crate::settings::check::Origin;
use crate::settings::check::Setting;
use crate::settings::describe::shown;
use crate::settings::value::Value;

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

fn as_toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => toml::Value::String(text.clone()).to_string(),
        other => other.to_string(),
    }
}
