//! `${env:NAME}`, `${file:PATH:KEY}` and `${directory:PATH:NAME}` in values, as Kafka's config
//! providers have them.
//!
//! It never shows what a reference led to.
//!
//! | written | Kafka's class | what it is |
//! | --- | --- | --- |
//! | `${env:NAME}` | `EnvVarConfigProvider` | a variable of the environment |
//! | `${file:PATH:KEY}` | `FileConfigProvider` | a property of a `.properties` file |
//! | `${directory:PATH:NAME}` | `DirectoryConfigProvider` | a file without its last line break |

use std::path::Path;
use std::path::PathBuf;

use crate::config::value::Raw;
use crate::secure::read_secret;

/// The most references of one value.
const REFERENCES_MAX: usize = 32;

/// A value without references, and the files they led to.
#[derive(Debug, PartialEq)]
pub struct Resolved {
    /// The value.
    pub raw: Raw,
    /// Whether there was a reference at all.
    pub used: bool,
    /// Files that were read.
    pub files: Vec<PathBuf>,
}

/// Puts what references lead to in their places; paths are relative to `dir`.
pub fn resolve(raw: &Raw, dir: &Path) -> Result<Resolved, String> {
    let mut files = Vec::new();
    let mut used = false;
    let mut one = |text: &String| {
        let resolved = text_of(text, dir, &mut files)?;
        used |= resolved != *text || text.contains("${");
        Ok::<String, String>(resolved)
    };
    let raw = match raw {
        Raw::Text(text) => Raw::Text(one(text)?),
        Raw::List(items) => Raw::List(items.iter().map(one).collect::<Result<_, _>>()?),
        other => other.clone(),
    };
    Ok(Resolved { raw, used, files })
}

fn text_of(text: &str, dir: &Path, files: &mut Vec<PathBuf>) -> Result<String, String> {
    let mut out = String::new();
    let mut left = text;
    for _ in 0..REFERENCES_MAX {
        let Some((before, rest)) = left.split_once("${") else {
            return Ok(out + left);
        };
        let (reference, after) = rest.split_once('}').ok_or("a ${ has no }")?;
        out.push_str(before);
        out.push_str(&value(reference, dir, files)?);
        left = after;
    }
    Err(format!("holds more than {REFERENCES_MAX} references"))
}

fn value(reference: &str, dir: &Path, files: &mut Vec<PathBuf>) -> Result<String, String> {
    let (provider, rest) = reference.split_once(':').unwrap_or((reference, ""));
    let known = "${env:NAME}, ${file:PATH:KEY} and ${directory:PATH:NAME}";
    match provider {
        "env" => {
            let value = std::env::var(rest);
            value.map_err(|_| format!("refers to ${{env:{rest}}}, which is not set (or no text)"))
        }
        "file" => {
            let (path, key) = rest.rsplit_once(':').ok_or("must be ${file:PATH:KEY}")?;
            let path = dir.join(path);
            let found = property(&path, key);
            files.push(path);
            found
        }
        "directory" | "dir" => {
            let (path, name) = rest.rsplit_once(':').ok_or("must be ${directory:PATH:NAME}")?;
            if name.contains('/') || name == ".." {
                return Err(
                    "the name in ${directory:PATH:NAME} must be that of a file in it".into()
                );
            }
            let path = dir.join(path).join(name);
            let text = read_secret(&path).map_err(|error| error.to_string());
            files.push(path);
            Ok(text?.trim_end_matches(['\r', '\n']).to_owned())
        }
        _ => Err(format!("holds a ${{ that is no reference; there are {known}")),
    }
}

fn property(path: &Path, key: &str) -> Result<String, String> {
    let text = read_secret(path).map_err(|error| error.to_string())?;
    let place = path.display();
    let read = java_properties::read(text.as_bytes());
    let map = read.map_err(|_| format!("{place} is not a .properties file"))?;
    map.get(key).cloned().ok_or_else(|| format!("{place} has no property {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, dir: &Path) -> Result<String, String> {
        match resolve(&Raw::Text(text.into()), dir)?.raw {
            Raw::Text(text) => Ok(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn references_lead_to_values() {
        let dir = std::env::temp_dir().join(format!("isolog-references-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("p"), "user=alice\npassword=a\\u0020b\n").unwrap();
        std::fs::write(dir.join("whole"), "hunter2\n").unwrap();
        let check = |text: &str, right: &str| {
            assert_eq!(resolved(text, &dir).as_deref(), Ok(right), "{text}");
        };
        check("plain $x {y}", "plain $x {y}");
        check("<${file:p:user}|${file:p:password}>", "<alice|a b>");
        check(&format!("${{file:{}/p:user}}", dir.display()), "alice");
        check("${directory:.:whole}", "hunter2");
        check("${env:CARGO_PKG_NAME}", "isolog");
        let read = resolve(&Raw::Text("${file:p:user}".into()), &dir).unwrap();
        assert_eq!((read.used, read.files), (true, vec![dir.join("p")]));
        for (text, part) in [
            ("${file:p:none}", "no property none"),
            ("${file:none:x}", "cannot read"),
            ("${file:p}", "must be"),
            ("${directory:/:../x}", "name"),
            ("${env:ISOLOG_IS_NOT_SET}", "not set"),
            ("${vault:x}", "no reference"),
            ("${env:X", "no }"),
            (&"${env:CARGO_PKG_NAME}".repeat(33), "more than 32"),
        ] {
            let said = resolved(text, &dir).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn other_values_stay_as_they_are() {
        let raw = Raw::Int(5);
        let same = Resolved { raw: raw.clone(), used: false, files: Vec::new() };
        assert_eq!(resolve(&raw, Path::new(".")), Ok(same));
    }
}
