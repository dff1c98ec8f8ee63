//! A URL, taken apart.
//!
//! It never resolves a name, and never repeats a URL: there may be a password in it.

use hyper::Uri;

/// Where somebody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it begins with https.
    pub is_https: bool,
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands behind them, with the query.
    pub path: String,
}

impl Url {
    /// Reads a URL. What goes there may be secret, so http is for loopback only.
    pub fn parse(url: &str) -> Result<Url, &'static str> {
        let parsed = Url::parse_open(url)?;
        let is_local = parsed.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match parsed.is_https || is_local || parsed.host == "localhost" {
            true => Ok(parsed),
            false => Err("must begin with https:// (http:// is for loopback only)"),
        }
    }

    /// Reads a URL to which nothing secret goes.
    pub fn parse_open(url: &str) -> Result<Url, &'static str> {
        // what stands behind it goes nowhere; in a password it would cut the host off
        if url.contains('#') {
            return Err("must have no fragment: write # as %23");
        }
        let uri: Uri = url.parse().map_err(|_| "must be a URL such as https://idp/token")?;
        let named = uri.host().filter(|host| !matches!(*host, "" | "[]"));
        let named = named.ok_or("must name a host: https://idp/token")?;
        let host = named.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// or http://"),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not hold a user or password");
        }
        // a port that is no number of one would be passed over
        let behind = uri.authority().and_then(|all| all.as_str().strip_prefix(named));
        let is_default = matches!(behind, Some("" | ":"));
        let port = match uri.port_u16().filter(|port| *port != 0) {
            Some(port) => port,
            None if is_default => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            None => return Err("must have a port of 1 to 65535"),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Url { is_https, host, port, path })
    }

    /// `host:port`, as the Host header has it.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("https://[::1]:8443/token?x=1").unwrap();
        assert_eq!((url.is_https, &*url.host, url.port), (true, "::1", 8443));
        assert_eq!((&*url.path, &*url.authority()), ("/token?x=1", "[::1]:8443"));
        assert!(!Url::parse_open("http://sr:8081").unwrap().is_https);
        let url = Url::parse("https://idp.example").unwrap();
        assert_eq!((&*url.path, &*url.authority()), ("/", "idp.example:443"));
        assert!(!Url::parse("http://127.0.0.1:80/t").unwrap().is_https);
        for port in ["0", "99999", "x"] {
            assert!(Url::parse(&format!("https://idp:{port}/t")).is_err(), "{port}");
        }
        assert_eq!(Url::parse("https://idp:/t").unwrap().port, 443);
        for bad in [
            "https://:443/t",
            "https://://20/t",
            "https://[]?=1!",
            "http://idp/t",
            "ftp://idp",
            "idp",
            "",
            "https://u:hunter2@idp/",
            "https://idp:12#hunter2@idp/",
            "http://127.0.0.1/t#",
            "/token",
        ] {
            let said = Url::parse(bad).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
