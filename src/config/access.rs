//! The section `[service]` becomes who may come to the service port, and what seals secrets.
//!
//! It never repeats a value of a secret in a problem.

use std::path::PathBuf;

use crate::secure::ClientAuth;
use crate::secure::Sealer;
use crate::secure::Secret;
use crate::secure::ServerOptions;
use crate::secure::ServerTls;
use crate::service::Access;
use crate::service::auth::Right;
use crate::settings::check::Checked;
use crate::settings::problem::Problem;
use crate::settings::security::Wrong;
use crate::settings::security::any;
use crate::settings::security::key_store;
use crate::settings::security::trust_store;
use crate::settings::trust::Trust;

/// The shortest token of the service port.
const TOKEN_BYTES_MIN: usize = 16;

/// Who may come to the service port.
pub fn service(section: &Checked, trust: &dyn Trust) -> Result<Access, Problem> {
    let made = access(section, trust);
    made.map_err(|(key, text)| Problem::at(section.place(), Some(key), text))
}

/// What seals secrets, where there is a key for it.
pub fn sealer(section: &Checked, trust: &dyn Trust) -> Result<Option<Sealer>, Problem> {
    const KEY: &str = "secrets.key.file";
    let Some(path) = section.text(KEY) else { return Ok(None) };
    let read = |path: PathBuf| Sealer::read(&path).map_err(|error| error.to_string());
    let made = trust.place(path).and_then(read);
    made.map(Some).map_err(|text| Problem::at(section.place(), Some(KEY), text))
}

fn access(section: &Checked, trust: &dyn Trust) -> Result<Access, Wrong> {
    let lookup = |name: &str| any(section, name);
    let identity = key_store(&lookup, trust)?;
    let trusted = trust_store(&lookup, trust)?;
    let required = section.text("ssl.client.auth") == Some("required");
    let clients = match (required, trusted) {
        (true, Some(trusted)) => ClientAuth::Required(trusted),
        (true, None) => {
            return Err(("ssl.client.auth", "needs ssl.truststore.location".into()));
        }
        (false, _) => ClientAuth::None,
    };
    let tls = match identity {
        Some(identity) => {
            let made = ServerTls::new(&ServerOptions { identity, clients });
            Some(made.map_err(|error| (error.property, error.to_string()))?)
        }
        None if required => {
            return Err(("ssl.client.auth", "needs ssl.keystore.location".into()));
        }
        None => None,
    };
    let token = token(section, "token")?;
    let mut tokens: Vec<(Right, Secret)> = Vec::new();
    for (right, name) in [(Right::Read, "read.token"), (Right::Operate, "operate.token")] {
        let Some(lesser) = self::token(section, name)? else { continue };
        let mut known = tokens.iter().map(|(_, known)| known).chain(&token);
        if known.any(|known| *known == lesser) {
            return Err((name, "must be another one than the other tokens".to_owned()));
        }
        tokens.push((right, lesser));
    }
    Ok(Access { tls, token, tokens, clients_are_known: required })
}

fn token(section: &Checked, name: &'static str) -> Result<Option<Secret>, Wrong> {
    let token = any(section, name);
    if token.as_ref().is_some_and(|token| token.expose().len() < TOKEN_BYTES_MIN) {
        return Err((name, format!("must have at least {TOKEN_BYTES_MIN} bytes")));
    }
    Ok(token)
}
