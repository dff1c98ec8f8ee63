//! Which running isolog is asked, and as whom: what the command line says of it.
//!
//! It never connects, and never prints a token.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Failure;
use crate::config;
use crate::http::url::Url;
use crate::secure::ClientOptions;
use crate::secure::ClientTls;
use crate::secure::KeyPlace;
use crate::secure::KeyStore;
use crate::secure::Place;
use crate::secure::Secret;
use crate::secure::TrustStore;
use crate::secure::read_secret;
use crate::service::Access;

use super::Spoken;
use super::Way;

/// Where a service listens unless told otherwise; the default of `listen`.
pub const ADDRESS_DEFAULT: &str = "127.0.0.1:8472";
/// The most bytes of a file with a token.
const TOKEN_BYTES_MAX: usize = 4096;

/// `host:port` of a service, and whether its URL asks for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`.
    pub at: String,
    /// The URL begins with `https`.
    pub is_https: bool,
}

/// Reads `http://HOST:PORT` or `https://HOST:PORT`.
pub fn parse_url(text: &str) -> Result<Address, String> {
    let must = || "must be http://HOST:PORT or https://HOST:PORT".to_owned();
    let url = Url::parse_open(text).map_err(|_| must())?;
    let is_bare = url.path == "/" && !text.contains('?');
    is_bare.then(|| Address { at: url.authority(), is_https: url.is_https }).ok_or_else(must)
}

/// As whom a service is asked, beside what its config file says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Credentials {
    /// A file with the token of the service; the variable ISOLOG_TOKEN may hold it instead
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file or key store with the authorities that are trusted for a --url with https
    /// [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca_location: Option<PathBuf>,
    /// A PEM file with the certificate, and those above it, by which a --url with https knows who
    /// asks
    #[arg(long, value_name = "FILE", requires = "key_location")]
    certificate_location: Option<PathBuf>,
    /// A PEM file with its key, which is not encrypted
    #[arg(long, value_name = "FILE", requires = "certificate_location")]
    key_location: Option<PathBuf>,
}

impl Credentials {
    /// Whose address it is, and how it is asked: at `url`, else where the config file says that it
    /// listens. A token that is given by itself stands before the config's.
    pub(in crate::cli) fn reach(
        &self,
        url: Option<&Address>,
        config: Option<&Path>,
    ) -> Result<(String, Way), Failure> {
        let (mut at, access) = match config {
            Some(path) => of_config(path)?,
            None => (ADDRESS_DEFAULT.to_owned(), Access::default()),
        };
        // who gives both means the same isolog by another address: its token goes along, and its
        // certificate, since only that is believed
        let mut way = Way::from(access);
        if let Some(url) = url {
            at.clone_from(&url.at);
        }
        let is_https = url.is_some_and(|url| url.is_https);
        if is_https && matches!(way.spoken, Spoken::Plain) {
            way.spoken = Spoken::Known(self.tls()?);
        } else if self.has_stores() {
            let text = "--ca-location, --certificate-location and --key-location are for a --url \
                        with https, and without the service's config file: that holds the \
                        certificate which is believed";
            return Err(Failure::Failed(text.to_owned()));
        }
        if let Some(token) = self.token()? {
            way.token = Some(token);
        }
        Ok((at, way))
    }

    fn has_stores(&self) -> bool {
        self.ca_location.is_some() || self.certificate_location.is_some()
    }

    fn tls(&self) -> Result<Arc<ClientTls>, Failure> {
        let trust = self.ca_location.clone();
        let trust = trust.map(|file| TrustStore { place: Place::File(file), password: None });
        let identity = match (&self.certificate_location, &self.key_location) {
            (Some(chain), Some(key)) => {
                let place = KeyPlace::Inline { key: pem(key)?, chain: pem(chain)? };
                Some(KeyStore { place, password: None, key_password: None })
            }
            _ => None,
        };
        let made = ClientTls::new(ClientOptions { trust, identity, ..ClientOptions::default() });
        made.map(Arc::new).map_err(|error| {
            let flag = match error.property {
                property if property.starts_with("ssl.truststore") => "--ca-location",
                _ => "--certificate-location, --key-location",
            };
            Failure::Failed(format!("{flag}: {error}"))
        })
    }

    fn token(&self) -> Result<Option<Secret>, Failure> {
        let text = match &self.token_file {
            Some(path) => std::fs::read_to_string(path).map_err(|cause| {
                Failure::Failed(format!("cannot read the token in {}: {cause}", path.display()))
            })?,
            None => match std::env::var("ISOLOG_TOKEN") {
                Ok(token) if !token.is_empty() => token,
                _ => return Ok(None),
            },
        };
        let token = text.trim();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            let text = format!("a token has 1 to {TOKEN_BYTES_MAX} bytes");
            return Err(Failure::Failed(text));
        }
        Ok(Some(Secret::new(token.to_owned())))
    }
}

fn pem(path: &Path) -> Result<Secret, Failure> {
    let read = read_secret(path).map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(Secret::new(read.to_string()))
}

/// Where the isolog of a config file listens, and who is let in there.
fn of_config(path: &Path) -> Result<(String, Access), Failure> {
    let config = config::load(path).map_err(Failure::Misused)?;
    let listen = config.service.listen;
    let mut address = listen.address();
    // who listens everywhere is asked on this machine
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok((address.to_string(), listen.access().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_and_a_port() {
        let right = Address { at: "127.0.0.1:8472".into(), is_https: false };
        assert_eq!(parse_url("http://127.0.0.1:8472"), Ok(right.clone()));
        assert_eq!(parse_url("http://127.0.0.1:8472/"), Ok(right));
        let right = Address { at: "a:443".into(), is_https: true };
        assert_eq!(parse_url("https://a"), Ok(right));
        let right = Address { at: "[::1]:1".into(), is_https: true };
        assert_eq!(parse_url("https://[::1]:1"), Ok(right));
        for bad in ["ftp://a:1", "a:1", "http://a:0", "http://a:x", "http://a:1/x", "http://:1"] {
            let must = "must be http://HOST:PORT or https://HOST:PORT";
            assert_eq!(parse_url(bad), Err(must.into()), "{bad}");
        }
    }

    #[test]
    fn stores_are_for_https_alone() {
        let file = Some(PathBuf::from("no-such-file"));
        let of = |url: &str, credentials: &Credentials| {
            let url = parse_url(url).unwrap();
            match credentials.reach(Some(&url), None) {
                Ok((_, way)) => format!("{:?}", matches!(way.spoken, Spoken::Known(_))),
                Err(Failure::Failed(text)) => text,
                Err(_) => "?".to_owned(),
            }
        };
        let trusting = Credentials { ca_location: file, ..Credentials::default() };
        assert!(of("http://a:1", &trusting).contains("for a --url with https"));
        let told = of("https://a:1", &trusting);
        assert!(told.starts_with("--ca-location: ") && told.contains("no-such-file"), "{told}");
        assert_eq!(of("http://a:1", &Credentials::default()), "false");
    }
}
