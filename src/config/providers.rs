//! `${env:NAME}`, `${file:PATH:KEY}` and `${directory:PATH:NAME}` in values, as Kafka's config
//! providers have them: the config file is trusted with what this machine has.
//!
//! It never shows what a reference led to.
//!
//! | written | Kafka's class | what it is |
//! | --- | --- | --- |
//! | `${env:NAME}` | `EnvVarConfigProvider` | a variable of the environment |
//! | `${file:PATH:KEY}` | `FileConfigProvider` | a property of a `.properties` file |
//! | `${directory:PATH:NAME}` | `DirectoryConfigProvider` | a file without its last line break |
//! | `${literal:TEXT}` | – | the text itself, so that `${literal:$}{` is `${` |

use std::path::Path;
use std::path::PathBuf;

use crate::secure::Secret;
use crate::secure::read_secret;
use crate::settings::trust::Followed;
use crate::settings::trust::Trust;
use crate::settings::trust::no_reference;

use super::properties;

/// The config file, and client files that it names.
#[derive(Clone, Debug)]
pub struct Local {
    /// What paths are relative to.
    pub dir: PathBuf,
}

impl Trust for Local {
    fn follow(&self, provider: &str, what: &str) -> Result<Followed, String> {
        match provider {
            "env" => {
                let text = std::env::var(what).map_err(|_| {
                    format!("refers to ${{env:{what}}}, which is not set (or no text)")
                })?;
                Ok(Followed { text, file: None })
            }
            "file" => {
                let (path, key) = what.rsplit_once(':').ok_or("must be ${file:PATH:KEY}")?;
                let path = self.dir.join(path);
                Ok(Followed { text: property(&path, key)?, file: Some(path) })
            }
            "directory" | "dir" => {
                let (path, name) = what.rsplit_once(':').ok_or("must be ${directory:PATH:NAME}")?;
                if name.contains('/') || name == ".." {
                    return Err(
                        "the name in ${directory:PATH:NAME} must be that of a file in it".into()
                    );
                }
                let path = self.dir.join(path).join(name);
                let text = read_secret(&path).map_err(|error| error.to_string())?;
                let text = text.trim_end_matches(['\r', '\n']).to_owned();
                Ok(Followed { text, file: Some(path) })
            }
            _ => Err(no_reference()),
        }
    }

    fn place(&self, path: &str) -> Result<PathBuf, String> {
        Ok(self.dir.join(path))
    }

    fn secret(&self, _: &str, text: &str) -> Result<Secret, String> {
        Ok(Secret::new(text.to_owned()))
    }

    fn seal(&self, _: &str, secret: &str) -> Result<String, String> {
        Ok(secret.to_owned())
    }
}

fn property(path: &Path, key: &str) -> Result<String, String> {
    let text = read_secret(path).map_err(|error| error.to_string())?;
    let mut map = properties::of_text(&text).map_err(|broken| broken.words(path))?;
    map.remove(key).ok_or_else(|| format!("{} has no property {key}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::trust::resolve;
    use crate::settings::value::Raw;

    fn resolved(text: &str, dir: &Path) -> Result<String, String> {
        match resolve(&Raw::Text(text.into()), &Local { dir: dir.to_owned() })?.raw {
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
        let local = Local { dir: dir.clone() };
        let read = resolve(&Raw::Text("${file:p:user}".into()), &local).unwrap();
        assert_eq!((read.used, read.odd, read.files), (true, false, vec![dir.join("p")]));
        let read = resolve(&Raw::Text("${b}".into()), &local).unwrap();
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
}
