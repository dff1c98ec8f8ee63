//! The properties of a schema registry, by the names that Confluent's clients have for them.
//!
//! It never repeats a value in a problem, and lets no password go in the open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::http::url::Url;
use crate::schemas::client::Auth;
use crate::schemas::client::Options;
use crate::secure::ClientTls;
use crate::secure::Secret;

use super::security::client_options;
use super::trust::Trust;

/// The longest that one question at one URL may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// What stands before a property in files that are for Kafka clients too.
const PREFIX: &str = "schema.registry.";
const URL: &str = "url";
const SOURCE: &str = "basic.auth.credentials.source";
const USER_INFO: &str = "basic.auth.user.info";
const BEARER_SOURCE: &str = "bearer.auth.credentials.source";
const TOKEN: &str = "bearer.auth.token";
const SECRETS: [&str; 6] = [
    USER_INFO,
    TOKEN,
    "ssl.truststore.password",
    "ssl.keystore.password",
    "ssl.keystore.key",
    "ssl.key.password",
];

/// How a registry is asked, by a flat map of names and texts; each problem names its property.
/// `basic.auth.*` and `bearer.auth.*` may stand without their prefix; others without it are for
/// Kafka clients, and passed over.
pub fn registry(
    pairs: &BTreeMap<String, String>,
    trust: &dyn Trust,
) -> Result<Options, Vec<String>> {
    let mut own = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in pairs {
        let Some(inner) = inner(name) else { continue };
        if !is_known(inner) {
            problems.push(format!("{PREFIX}{inner} is no property that isolog knows"));
        }
        match if is_secret(inner) { trust.secret(inner, value) } else { Ok(open(value)) } {
            Ok(value) => drop(own.insert(inner, value)),
            Err(why) => problems.push(format!("{inner} {why}")),
        }
    }
    let read = Reader { own, trust };
    let made = read.options();
    if let (Ok(options), true) = (&made, problems.is_empty()) {
        return Ok(options.clone());
    }
    problems.extend(made.err());
    Err(problems)
}

fn open(value: &str) -> Secret {
    Secret::new(value.to_owned())
}

/// The name of a registry's property without what may stand before it.
pub fn inner(name: &str) -> Option<&str> {
    let is_auth = name.starts_with("basic.auth.") || name.starts_with("bearer.auth.");
    name.strip_prefix(PREFIX).or(is_auth.then_some(name))
}

/// Whether the value of that property, without what may stand before it, is nobody's to see.
pub fn is_secret(inner: &str) -> bool {
    SECRETS.contains(&inner)
}

fn is_known(name: &str) -> bool {
    [URL, SOURCE, USER_INFO, BEARER_SOURCE, TOKEN].contains(&name) || name.starts_with("ssl.")
}

struct Reader<'a> {
    own: BTreeMap<&'a str, Secret>,
    trust: &'a dyn Trust,
}

impl Reader<'_> {
    fn options(&self) -> Result<Options, String> {
        let auth = self.auth()?;
        let urls = self.text(URL).unwrap_or_default();
        let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let parse = |url: &str| match auth {
            Auth::None => Url::parse_open(url),
            // a password goes there
            _ => Url::parse(url),
        };
        let urls: Vec<Url> = urls
            .map(|url| parse(url).map_err(|why| format!("{PREFIX}{URL} {why}")))
            .collect::<Result<_, _>>()?;
        if urls.is_empty() {
            return Err(format!("{PREFIX}{URL} is missing"));
        }
        let tls = urls.iter().any(|url| url.is_https).then(|| self.tls()).transpose()?;
        Ok(Options { urls, auth, tls, deadline: DEADLINE })
    }

    fn auth(&self) -> Result<Auth, String> {
        let basic = match self.text(SOURCE).as_deref() {
            None | Some("USER_INFO") => self.secret(USER_INFO),
            Some(_) => return Err(format!("{SOURCE} must be USER_INFO, with {USER_INFO}")),
        };
        let bearer = match self.text(BEARER_SOURCE).as_deref() {
            None | Some("STATIC_TOKEN") => self.secret(TOKEN),
            Some(_) => return Err(format!("{BEARER_SOURCE} must be STATIC_TOKEN, with {TOKEN}")),
        };
        match (basic, bearer) {
            (Some(_), Some(_)) => Err(format!("{USER_INFO} and {TOKEN}: only one of them")),
            (Some(pair), None) if !pair.expose().contains(':') => {
                Err(format!("{USER_INFO} must be USER:PASSWORD"))
            }
            (Some(pair), None) => Ok(Auth::Basic(pair)),
            (None, Some(token)) => Ok(Auth::Bearer(token)),
            (None, None) if self.own.contains_key(SOURCE) => Err(format!("{USER_INFO} is missing")),
            (None, None) if self.own.contains_key(BEARER_SOURCE) => {
                Err(format!("{TOKEN} is missing"))
            }
            (None, None) => Ok(Auth::None),
        }
    }

    fn tls(&self) -> Result<Arc<ClientTls>, String> {
        let lookup = |name: &str| self.secret(name);
        let wrong = |(name, text)| format!("{PREFIX}{name} {text}");
        let options = client_options(&lookup, self.trust).map_err(wrong)?;
        let made = ClientTls::new(options);
        Ok(Arc::new(made.map_err(|error| format!("{PREFIX}{}: {error}", error.property))?))
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.own.get(name).cloned()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.secret(name).map(|value| value.expose().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::PathBuf;

    use crate::settings::trust::Followed;

    /// As text of a file of this machine is trusted.
    #[derive(Debug)]
    struct OfFile;

    impl Trust for OfFile {
        fn follow(&self, _: &str, _: &str) -> Result<Followed, String> {
            Err("nothing is followed".into())
        }

        fn place(&self, path: &str) -> Result<PathBuf, String> {
            Ok(path.into())
        }

        fn secret(&self, _: &str, text: &str) -> Result<Secret, String> {
            Ok(Secret::new(text.to_owned()))
        }

        fn seal(&self, _: &str, _: &str) -> Result<String, String> {
            Err("nothing is sealed".into())
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Options, Vec<String>> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        registry(&pairs.collect(), &OfFile)
    }

    #[test]
    fn a_registry_is_named_as_confluents_clients_name_it() {
        let options = read(&[
            ("bootstrap.servers", "b:1"),
            ("schema.registry.url", "http://sr:8081, http://sr2:8081/base"),
        ]);
        let options = options.unwrap();
        assert_eq!(options.urls.len(), 2);
        assert!(matches!(options.auth, Auth::None));
    }

    #[test]
    fn mistakes_name_their_property_and_no_value() {
        let url = ("schema.registry.url", "http://sr:8081");
        let basic = ("basic.auth.user.info", "user:hunter2");
        let check = |pairs: &[(&str, &str)], said: &str| {
            let problems = read(pairs).unwrap_err().join("; ");
            assert!(problems.contains(said) && !problems.contains("hunter2"), "{problems}");
        };
        check(&[], "schema.registry.url is missing");
        check(&[url, ("schema.registry.ulr", "x")], "schema.registry.ulr is no property");
        check(&[("schema.registry.url", "http://u:hunter2@sr")], "must not hold a user");
        check(&[url, ("basic.auth.credentials.source", "URL")], "must be USER_INFO");
        check(&[url, ("basic.auth.credentials.source", "USER_INFO")], "user.info is missing");
        check(&[url, ("bearer.auth.credentials.source", "STATIC_TOKEN")], "token is missing");
        check(&[url, ("basic.auth.user.info", "hunter2")], "USER:PASSWORD");
        check(&[url, basic], "must begin with https://");
    }
}
