//! What `--config` says: a file of properties, or pairs on the command line.
//!
//! It never shows a value: it may be a password.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::config;

use super::Failure;

/// Reads `--config FILE|k=v,…`: the path of a file that is there, as a Java client reads it, or
/// pairs.
pub fn read(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for text in given {
        let path = Path::new(text);
        let is_pair = begins_a_pair(text);
        let some = match (path.is_file(), is_pair) {
            (true, _) => config::properties_of(path).map_err(Failure::Failed)?,
            (false, true) => pairs(text),
            (false, false) => {
                let text = "--config takes a file that is there, or NAME=VALUE pairs separated \
                            by commas";
                return Err(Failure::Failed(text.to_owned()));
            }
        };
        all.extend(some);
    }
    Ok(all)
}

/// As the body of a request has them.
pub fn data(configs: &BTreeMap<String, String>) -> Vec<Value> {
    configs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

/// A piece without a name of its own belongs to the value before it: addresses and JSON have commas
/// too.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut all: Vec<String> = Vec::new();
    for piece in text.split(',') {
        match all.last_mut() {
            Some(last) if !begins_a_pair(piece) => {
                last.push(',');
                last.push_str(piece);
            }
            _ => all.push(piece.to_owned()),
        }
    }
    let split = all.iter().filter_map(|pair| pair.split_once('='));
    split.map(|(name, value)| (name.trim().to_owned(), value.to_owned())).collect()
}

/// Whether a text begins with the name of a property and an equals sign.
fn begins_a_pair(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else { return false };
    let name = name.trim();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, &str)]) {
        let want = want.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(pairs(text), want, "{text}");
    }

    #[test]
    fn pairs_keep_the_commas_of_their_values() {
        check("a.b=1,c=2", &[("a.b", "1"), ("c", "2")]);
        check("bootstrap.servers=x:1,y:2,c=", &[("bootstrap.servers", "x:1,y:2"), ("c", "")]);
        let json = r#"{"topicFilters":[{"name":"*","patternType":"LITERAL"}]}"#;
        check(&format!("f={json},d=e=f"), &[("f", json), ("d", "e=f")]);
        let jaas = r#"x.Plain required username="u,=v" password="p";"#;
        check(&format!("sasl.jaas.config={jaas}"), &[("sasl.jaas.config", jaas)]);
    }

    #[test]
    fn what_is_neither_a_file_nor_pairs_is_refused_without_being_shown() {
        let told = read(&["hunter2".to_owned()]).unwrap_err();
        let Failure::Failed(told) = told else { panic!("{told:?}") };
        assert!(told.contains("NAME=VALUE") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_file_is_read_as_a_java_client_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.properties");
        std::fs::write(&path, "# a comment\nbootstrap.servers : a:1,\\\n  b:2\n").unwrap();
        let given = [path.display().to_string(), "c=d".to_owned()];
        let read = read(&given).unwrap();
        assert_eq!(read["bootstrap.servers"], "a:1,b:2");
        assert_eq!(read["c"], "d");
    }
}
