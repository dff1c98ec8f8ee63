//! Checked properties become what makes connections safe: stores are opened, logins put together.
//!
//! It never repeats a value of a secret in a problem, and opens no file that its text may not name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Security;
use crate::cluster::dial::allow::Allowed;
use crate::cluster::sasl::Login;
use crate::cluster::sasl::Means;
use crate::cluster::sasl::endpoint::Endpoint;
use crate::cluster::sasl::oauth::Refresh;
use crate::cluster::sasl::oauth::Source;
use crate::cluster::sasl::oauth::Tokens;
use crate::cluster::sasl::scram::Account;
use crate::cluster::sasl::scram::Hash;
use crate::http::url::Url;
use crate::ids::Side;
use crate::secure::ClientOptions;
use crate::secure::ClientTls;
use crate::secure::KeyPlace;
use crate::secure::KeyStore;
use crate::secure::Names;
use crate::secure::Place;
use crate::secure::RevocationLists;
use crate::secure::Secret;
use crate::secure::TrustStore;
use crate::secure::jaas::Jaas;

use super::check::Checked;
use super::problem::Problem;
use super::trust::Trust;
use super::value::Value;

/// `sasl.login.refresh.window.factor` as Kafka has it by default: 0.8 of a token's life.
const REFRESH_AFTER_THOUSANDTHS: u32 = 800;
/// A pause of nothing, which Kafka takes, would be no pause.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// A property and what is wrong with it.
pub type Wrong = (&'static str, String);

/// Where `ssl.*` values come from: a section, or a JAAS line.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<Secret>;

/// How the properties say that a cluster's connections are made safe; nothing is told twice of one
/// that is wrong already.
pub fn cluster(
    section: &Checked,
    side: Side,
    trust: &dyn Trust,
) -> Result<Security, Option<Problem>> {
    let desk = Desk { section, side, trust };
    desk.security().map_err(|(key, text)| {
        (!section.is_wrong(key)).then(|| Problem::at(section.place(), Some(key), text))
    })
}

/// A value of any kind of text.
pub fn any(section: &Checked, name: &str) -> Option<Secret> {
    match section.value(name)? {
        Value::Text(text) => Some(Secret::new(text.clone())),
        Value::Words(words) => Some(Secret::new(words.join(","))),
        Value::Secret(secret) => Some(secret.clone()),
        _ => None,
    }
}

struct Desk<'a> {
    section: &'a Checked,
    side: Side,
    trust: &'a dyn Trust,
}

impl Desk<'_> {
    fn security(&self) -> Result<Security, Wrong> {
        let protocol = self.text("security.protocol").unwrap_or_default();
        let allowed = match self.section.value("broker.addresses.allowed") {
            Some(Value::Addresses(rules)) => Allowed::new(rules.clone()),
            _ => Allowed::default(),
        };
        let tls = match protocol.as_str() {
            "SSL" | "SASL_SSL" => Some(self.tls(&|name| self.any(name))?),
            _ => None,
        };
        let login = match protocol.as_str() {
            "SASL_PLAINTEXT" | "SASL_SSL" => Some(Arc::new(Login::new(self.means()?))),
            _ => None,
        };
        Ok(Security { tls, login, allowed })
    }

    fn tls(&self, lookup: Lookup<'_>) -> Result<Arc<ClientTls>, Wrong> {
        let made = ClientTls::new(client_options(lookup, self.trust)?);
        Ok(Arc::new(made.map_err(|error| (error.property, error.to_string()))?))
    }

    fn means(&self) -> Result<Means, Wrong> {
        let missing = "is missing, which is Kerberos (GSSAPI) to Kafka's clients; that comes with \
                       a later release: write PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
        let mechanism = self.text("sasl.mechanism").ok_or(("sasl.mechanism", missing.into()))?;
        let jaas = match self.any("sasl.jaas.config") {
            None => None,
            Some(line) => {
                let parsed = Jaas::parse(line.expose());
                Some(parsed.map_err(|why| ("sasl.jaas.config", format!("is no login: {why}")))?)
            }
        };
        match mechanism.as_str() {
            "PLAIN" => {
                let (user, password, _) = account(jaas, "PlainLoginModule")?;
                Ok(Means::Plain { user, password })
            }
            "OAUTHBEARER" => self.oauth(jaas.as_ref()),
            scram => {
                let hash = if scram == "SCRAM-SHA-512" { Hash::Sha512 } else { Hash::Sha256 };
                let (user, password, is_token) = account(jaas, "ScramLoginModule")?;
                Ok(Means::Scram(Arc::new(Account::new(hash, user, password, is_token))))
            }
        }
    }

    fn oauth(&self, jaas: Option<&Jaas>) -> Result<Means, Wrong> {
        let handler = self.text("sasl.login.callback.handler.class").unwrap_or_default();
        if !handler.is_empty() && !handler.ends_with(".OAuthBearerLoginCallbackHandler") {
            let text = "isolog runs no Java class; it fetches tokens itself from \
                        sasl.oauthbearer.token.endpoint.url";
            return Err(("sasl.login.callback.handler.class", text.into()));
        }
        if let Some(jaas) = jaas {
            module_is(jaas, "OAuthBearerLoginModule")?;
        }
        let refresh = Refresh {
            after_thousandths: REFRESH_AFTER_THOUSANDTHS,
            pause: self.millis("sasl.login.retry.backoff.ms").max(PAUSE_MIN),
            pause_max: self.millis("sasl.login.retry.backoff.max.ms"),
        };
        let extensions = extensions(jaas)?;
        let source = self.token_source(jaas)?;
        Ok(Means::OAuth(Arc::new(Tokens::new(source, refresh, extensions))))
    }

    fn token_source(&self, jaas: Option<&Jaas>) -> Result<Source, Wrong> {
        const URL: &str = "sasl.oauthbearer.token.endpoint.url";
        let missing = "is missing: https://… of a token endpoint, or file:///… of a token";
        let url = self.text(URL).ok_or((URL, missing.into()))?;
        if let Some(path) = url.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Source::File(self.trust.place(path).map_err(|text| (URL, text))?));
        }
        let url = Url::parse(&url).map_err(|why| (URL, why.to_owned()))?;
        let option = |name: &str| jaas.and_then(|jaas| jaas.get(name)).cloned();
        let said = |key: &'static str, name: &str| {
            let value = self.any(key).or_else(|| option(name));
            value.ok_or((key, format!("is missing, and sasl.jaas.config has no {name}")))
        };
        let client = said("sasl.oauthbearer.client.credentials.client.id", "clientId")?;
        let secret = said("sasl.oauthbearer.client.credentials.client.secret", "clientSecret")?;
        let scope = said("sasl.oauthbearer.scope", "scope").ok();
        let tls = match url.is_https {
            true => {
                let made = self.tls(&option);
                Some(made.map_err(|(key, text)| {
                    ("sasl.jaas.config", format!("its {key} for the token endpoint: {text}"))
                })?)
            }
            false => None,
        };
        Ok(Source::Endpoint(Box::new(Endpoint {
            side: self.side,
            url,
            tls,
            client: client.expose().to_owned(),
            secret,
            scope: scope.map_or(String::new(), |scope| scope.expose().to_owned()),
            connect_timeout: self.millis("sasl.login.connect.timeout.ms"),
            read_timeout: self.millis("sasl.login.read.timeout.ms"),
        })))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.section.text(name).map(str::to_owned)
    }

    fn any(&self, name: &str) -> Option<Secret> {
        any(self.section, name)
    }

    fn millis(&self, name: &str) -> Duration {
        self.section.millis(name).unwrap_or_default()
    }
}

fn module_is(jaas: &Jaas, module: &str) -> Result<(), Wrong> {
    match jaas.module == module {
        true => Ok(()),
        false => Err(("sasl.jaas.config", format!("sasl.mechanism needs {module} there"))),
    }
}

fn account(jaas: Option<Jaas>, module: &str) -> Result<(String, Secret, bool), Wrong> {
    const KEY: &str = "sasl.jaas.config";
    let jaas = jaas.ok_or((KEY, format!("is missing: {module} with username and password")))?;
    module_is(&jaas, module)?;
    let get = |name: &str| jaas.get(name).cloned().ok_or((KEY, format!("has no {name}")));
    let (user, password) = (get("username")?, get("password")?);
    if user.expose().is_empty() || [&user, &password].iter().any(|one| one.expose().contains('\0'))
    {
        return Err((KEY, "its username is empty, or a value holds a zero byte".into()));
    }
    let is_yes = |value: &Secret| value.expose().eq_ignore_ascii_case("true");
    let is_token = jaas.get("tokenauth").is_some_and(is_yes);
    Ok((user.expose().to_owned(), password, is_token))
}

/// `extension_NAME="value"` (KIP-342): names of letters, values without control characters.
fn extensions(jaas: Option<&Jaas>) -> Result<Vec<(String, String)>, Wrong> {
    let mut all = Vec::new();
    for (option, value) in jaas.iter().flat_map(|jaas| &jaas.options) {
        let Some(name) = option.strip_prefix("extension_") else { continue };
        let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        let plain = value.expose().bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'));
        if !legal || !plain || name == "auth" {
            return Err(("sasl.jaas.config", "an extension_NAME has a wrong name or value".into()));
        }
        all.push((name.to_owned(), value.expose().to_owned()));
    }
    Ok(all)
}

/// The `ssl.*` properties of whoever is dialled.
pub fn client_options(lookup: Lookup<'_>, trust: &dyn Trust) -> Result<ClientOptions, Wrong> {
    let word = |name: &str| lookup(name).map(|value| value.expose().to_owned());
    let list = |name: &str| -> Vec<String> {
        let text = word(name).unwrap_or_default();
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    };
    let enabled = list("ssl.enabled.protocols");
    let has = |version: &str| enabled.is_empty() || enabled.iter().any(|one| one == version);
    let tls13 = has("TLSv1.3") && word("ssl.protocol").as_deref() != Some("TLSv1.2");
    let names = match word("ssl.endpoint.identification.algorithm").as_deref() {
        Some("") => Names::Ignored,
        _ => Names::Checked,
    };
    Ok(ClientOptions {
        trust: trust_store(lookup, trust)?,
        revoked: path(lookup, "ssl.crl.location", trust)?.map(|file| RevocationLists { file }),
        identity: key_store(lookup, trust)?,
        names,
        tls12: has("TLSv1.2"),
        tls13,
        cipher_suites: list("ssl.cipher.suites"),
    })
}

/// The certificates that are trusted, if any are said.
pub fn trust_store(lookup: Lookup<'_>, trust: &dyn Trust) -> Result<Option<TrustStore>, Wrong> {
    let file = path(lookup, "ssl.truststore.location", trust)?;
    let place = match (file, lookup("ssl.truststore.certificates")) {
        (Some(_), Some(_)) => {
            let text = "cannot be set beside ssl.truststore.location";
            return Err(("ssl.truststore.certificates", text.into()));
        }
        (Some(path), None) => Place::File(path),
        (None, Some(text)) => Place::Inline(text),
        (None, None) => return Ok(None),
    };
    Ok(Some(TrustStore { place, password: lookup("ssl.truststore.password") }))
}

/// Our own key, if one is said.
pub fn key_store(lookup: Lookup<'_>, trust: &dyn Trust) -> Result<Option<KeyStore>, Wrong> {
    let inline = (lookup("ssl.keystore.key"), lookup("ssl.keystore.certificate.chain"));
    let place = match (path(lookup, "ssl.keystore.location", trust)?, inline) {
        (Some(path), (None, None)) => KeyPlace::File(path),
        (None, (Some(key), Some(chain))) => KeyPlace::Inline { key, chain },
        (None, (None, None)) => return Ok(None),
        (Some(_), _) => {
            let text = "cannot be set beside ssl.keystore.location";
            return Err(("ssl.keystore.key", text.into()));
        }
        (None, _) => {
            let text = "ssl.keystore.key and ssl.keystore.certificate.chain need each other";
            return Err(("ssl.keystore.key", text.into()));
        }
    };
    let password = lookup("ssl.keystore.password");
    Ok(Some(KeyStore { place, password, key_password: lookup("ssl.key.password") }))
}

fn path(
    lookup: Lookup<'_>,
    key: &'static str,
    trust: &dyn Trust,
) -> Result<Option<PathBuf>, Wrong> {
    let Some(path) = lookup(key) else { return Ok(None) };
    trust.place(path.expose()).map(Some).map_err(|text| (key, text))
}
