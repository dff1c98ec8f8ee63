//! How far a text is trusted: what its references may lead to, and which files it may name.
//!
//! It never shows what a reference led to, nor a `${` that is none: it may be part of a password.
//!
//! The config file is trusted (`config::providers`). What comes over REST, or out of the journal,
//! is not: it could have a file of this machine sent to a cluster of somebody's choice.
//!
//! A `${…}` without a colon stays as it is: Kafka's `ConfigTransformer` takes none for a reference.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::secure::Sealer;
use crate::secure::Secret;
use crate::secure::is_sealed;

use super::value::Raw;

/// The most references of one value.
const REFERENCES_MAX: usize = 32;
/// The providers that there are.
pub const KNOWN: &str = "${env:NAME}, ${file:PATH:KEY} and ${directory:PATH:NAME}";
const PROVIDERS: &[&str] = &["env", "file", "directory", "dir", "literal"];

/// What a reference leads to.
pub struct Followed {
    /// Its value.
    pub text: String,
    /// The file that it was read from.
    pub file: Option<PathBuf>,
}

/// Who a text comes from decides what it may read of this machine. Errors are texts that stand
/// behind the name of a property.
pub trait Trust: fmt::Debug + Send + Sync {
    /// Follows `${provider:what}`; `${literal:…}` is not asked for.
    fn follow(&self, provider: &str, what: &str) -> Result<Followed, String>;

    /// Where a path of the text leads, if what stands there may be read.
    fn place(&self, path: &str) -> Result<PathBuf, String>;

    /// The secret of that property that a text stands for, if it may stand there.
    fn secret(&self, property: &str, text: &str) -> Result<Secret, String>;

    /// The text for a secret of that property as it may be kept.
    fn seal(&self, property: &str, secret: &str) -> Result<String, String>;
}

/// Nothing of this machine is read; secrets are taken where they can be sealed.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// `secrets.key.file`.
    pub sealer: Option<Arc<Sealer>>,
}

impl Trust for Remote {
    fn follow(&self, provider: &str, _: &str) -> Result<Followed, String> {
        if !PROVIDERS.contains(&provider) {
            return Err(no_reference());
        }
        let text = "holds a reference, and only values of the config file may lead to what this \
                    machine has (write ${literal:$}{ where the letters ${ themselves are meant)";
        Err(text.into())
    }

    fn place(&self, _: &str) -> Result<PathBuf, String> {
        let text = "names a file of this machine, which only the config file may: give what stands \
                    in it (ssl.truststore.certificates, ssl.keystore.key and \
                    ssl.keystore.certificate.chain, a client's id and secret)";
        Err(text.into())
    }

    fn secret(&self, property: &str, text: &str) -> Result<Secret, String> {
        let sealer = self.sealer.as_ref().ok_or_else(|| match is_sealed(text) {
            true => "is sealed: name the file of its key in [service], as secrets.key.file",
            false => UNSEALED,
        })?;
        if !is_sealed(text) {
            return Ok(Secret::new(text.to_owned()));
        }
        let other = "was sealed with another key than that of secrets.key.file: set it anew";
        sealer.open(property, text).ok_or_else(|| other.to_owned())
    }

    fn seal(&self, property: &str, secret: &str) -> Result<String, String> {
        let sealer = self.sealer.as_ref().ok_or(UNSEALED)?;
        sealer.seal(property, secret).map_err(|error| error.to_string())
    }
}

/// What to say of a secret that would be kept as it is.
const UNSEALED: &str = "is a secret, and would stand readable in the journal: have it sealed \
                        (secrets.key.file in [service]), or declare what needs it in the config \
                        file, as [link.NAME] or [schemas.NAME]";

/// What to say of a provider that nobody knows.
pub fn no_reference() -> String {
    format!(
        "holds a ${{ with a colon that is no reference; there are {KNOWN}. Write ${{literal:$}}{{ \
         where the letters ${{ themselves are meant"
    )
}

/// A value without references, and the files they led to.
#[derive(Debug, PartialEq)]
pub struct Resolved {
    /// The value.
    pub raw: Raw,
    /// Whether there was a reference at all.
    pub used: bool,
    /// Whether one of them led somewhere else: not only `${literal:…}`.
    pub led: bool,
    /// Whether there was a `${` that is no reference, and stays as it is.
    pub odd: bool,
    /// Files that were read.
    pub files: Vec<PathBuf>,
}

/// Puts what references lead to in their places.
pub fn resolve(raw: &Raw, trust: &dyn Trust) -> Result<Resolved, String> {
    let mut desk = Desk { trust, files: Vec::new(), used: false, led: false, odd: false };
    let raw = match raw {
        Raw::Text(text) => Raw::Text(desk.text(text)?),
        Raw::List(items) => {
            Raw::List(items.iter().map(|item| desk.text(item)).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    };
    let Desk { files, used, led, odd, .. } = desk;
    Ok(Resolved { raw, used, led, odd, files })
}

struct Desk<'a> {
    trust: &'a dyn Trust,
    files: Vec<PathBuf>,
    used: bool,
    led: bool,
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

    fn value(&mut self, provider: &str, what: &str) -> Result<String, String> {
        if provider == "literal" {
            return Ok(what.to_owned());
        }
        let followed = self.trust.follow(provider, what)?;
        self.led = true;
        self.files.extend(followed.file);
        Ok(followed.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Raw, String> {
        resolve(&Raw::Text(text.into()), &Remote::default()).map(|resolved| resolved.raw)
    }

    #[test]
    fn a_text_from_elsewhere_reads_nothing_of_this_machine() {
        for text in ["${env:PATH}", "${file:/etc/passwd:root}", "a${directory:/etc:passwd}b"] {
            let said = told(text).unwrap_err();
            assert!(said.starts_with("holds a reference, and only values of the config"), "{said}");
            assert!(!said.contains("PATH") && !said.contains("etc"), "{said}");
        }
        assert!(told("${vault:x}").unwrap_err().contains("no reference; there are ${env:NAME}"));
        assert!(told("${env}").unwrap_err().contains("without a colon"));
        for (text, right) in [("pa${b}c$d", "pa${b}c$d"), ("${literal:$}{env:PATH}", "${env:PATH}")]
        {
            assert_eq!(told(text), Ok(Raw::Text(right.into())));
        }
        assert!(Remote::default().place("/etc/passwd").is_err());
    }

    #[test]
    fn other_values_stay_as_they_are() {
        let raw = Raw::Int(5);
        let same =
            Resolved { raw: raw.clone(), used: false, led: false, odd: false, files: Vec::new() };
        assert_eq!(resolve(&raw, &Remote::default()), Ok(same));
    }
}
