//! `${env:NAME}`, `${file:PATH:KEY}` and `${directory:PATH:NAME}` in values, as Kafka's config
//! providers have them.
//!
//! It never shows what a reference led to, nor a `${` that is none: it may be part of a password.
//!
//! | written | Kafka's class | what it is |
//! | --- | --- | --- |
//! | `${env:NAME}` | `EnvVarConfigProvider` | a variable of the environment |
//! | `${file:PATH:KEY}` | `FileConfigProvider` | a property of a `.properties` file |
//! | `${directory:PATH:NAME}` | `DirectoryConfigProvider` | a file without its last line break |
//! | `${literal:TEXT}` | – | the text itself, so that `${literal:$}{` is `${` |
//!
//! A `${…}` without a colon stays as it is: Kafka's `ConfigTransformer` takes none for a reference.

use std::path::Path;
use std::path::PathBuf;

use crate::config::properties;
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
    /// Whether there was a `${` that is no reference, and stays as it is.
    pub odd: bool,
    /// Files that were read.
    pub files: Vec<PathBuf>,
}

/// The providers that there are.
const KNOWN: &str = "${env:NAME}, ${file:PATH:KEY} and ${directory:PATH:NAME}";

/// Puts what references lead to in their places; paths are relative to `dir`.
pub fn resolve(raw: &Raw, dir: &Path) -> Result<Resolved, String> {
    let mut desk = Desk { dir, files: Vec::new(), used: false, odd: false };
    let raw = match raw {
        Raw::Text(text) => Raw::Text(desk.text(text)?),
        Raw::List(items) => {
            Raw::List(items.iter().map(|item| desk.text(item)).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    };
    let Desk { files, used, odd, .. } = desk;
    Ok(Resolved { raw, used, odd, files })
}

struct Desk<'a> {
    dir: &'a Path,
    files: Vec<PathBuf>,
    used: bool,
    odd: bool,
}

impl Desk<'_> {
    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut left = text;
        for _ in 0..REFERENCES_MAX {
            let Some((before, rest)) = left.split_once("${") else {
                return Ok(out + left);
            };
            out.push_str(before);
            match rest.split_once('}').map(|(reference, after)| (reference.split_once(':'), after))
            {
                Some((Some((provider, what)), after)) => {
                    out.push_str(&self.value(provider, what)?);
                    self.used = true;
                    left = after;
                }
                Some((None, _))
                    if PROVIDERS.iter().any(|one| rest.starts_with(&format!("{one}}}"))) =>
                {
                    return Err(format!("holds a reference without a colon; there are {KNOWN}"));
                }
                _ => {
                    out.push_str("${");
                    self.odd = true;
                    left = rest;
                }
            }
        }
        Err(format!("holds more than {REFERENCES_MAX} references"))
    }

    fn value(&mut self, provider: &str, rest: &str) -> Result<String, String> {
        match provider {
            "literal" => Ok(rest.to_owned()),
            "env" => std::env::var(rest)
                .map_err(|_| format!("refers to ${{env:{rest}}}, which is not set (or no text)")),
            "file" => {
                let (path, key) = rest.rsplit_once(':').ok_or("must be ${file:PATH:KEY}")?;
                let path = self.dir.join(path);
                let found = property(&path, key);
                self.files.push(path);
                found
            }
            "directory" | "dir" => {
                let (path, name) = rest.rsplit_once(':').ok_or("must be ${directory:PATH:NAME}")?;
                if name.contains('/') || name == ".." {
                    return Err(
                        "the name in ${directory:PATH:NAME} must be that of a file in it".into()
                    );
                }
                let path = self.dir.join(path).join(name);
                let text = read_secret(&path).map_err(|error| error.to_string());
                self.files.push(path);
                Ok(text?.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => Err(format!(
                "holds a ${{ with a colon that is no reference; there are {KNOWN}. Write \
                 ${{literal:$}}{{ where the letters ${{ themselves are meant"
            )),
        }
    }
}

const PROVIDERS: &[&str] = &["env", "file", "directory", "dir", "literal"];

fn property(path: &Path, key: &str) -> Result<String, String> {
    let text = read_secret(path).map_err(|error| error.to_string())?;
    let mut map = properties::of_text(&text).map_err(|broken| broken.words(path))?;
    map.remove(key).ok_or_else(|| format!("{} has no property {key}", path.display()))
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
        std::fs::write(dir.join("p"), "user=alice\npassword=a\\u0020b\nletter=\u{e9}\n").unwrap();
        std::fs::write(dir.join("whole"), "hunter2\n").unwrap();
        let check = |text: &str, right: &str| {
            assert_eq!(resolved(text, &dir).as_deref(), Ok(right), "{text}");
        };
        check("plain $x {y}", "plain $x {y}");
        check("a${b}c$d{e}${", "a${b}c$d{e}${");
        check("a${literal:$}{b:c}${literal:}", "a${b:c}");
        check("<${file:p:user}|${file:p:password}>", "<alice|a b>");
        check(&format!("${{file:{}/p:user}}", dir.display()), "alice");
        check("${directory:.:whole}", "hunter2");
        check("${env:PATH}", &std::env::var("PATH").unwrap());
        // UTF-8 there, as Kafka's FileConfigProvider has it, and Latin-1 in a client file
        check("${file:p:letter}", "\u{e9}");
        let read = resolve(&Raw::Text("${file:p:user}".into()), &dir).unwrap();
        assert_eq!((read.used, read.odd, read.files), (true, false, vec![dir.join("p")]));
        let read = resolve(&Raw::Text("${b}".into()), &dir).unwrap();
        assert_eq!((read.used, read.odd), (false, true));
        for (text, part) in [
            ("${file:p:none}", "no property none"),
            ("${file:none:x}", "cannot read"),
            ("${file:p}", "must be"),
            ("${directory:/:../x}", "name"),
            ("${env:ISOLOG_IS_NOT_SET}", "not set"),
            ("${vault:x}", "Write ${literal:$}{ where"),
            ("${env}", "without a colon"),
            (&"${env:PATH}".repeat(33), "more than 32"),
        ] {
            let said = resolved(text, &dir).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn other_values_stay_as_they_are() {
        let raw = Raw::Int(5);
        let same = Resolved { raw: raw.clone(), used: false, odd: false, files: Vec::new() };
        assert_eq!(resolve(&raw, Path::new(".")), Ok(same));
    }
}
