//! Who may ask, and what each of them may order.
//!
//! It never says which part of a login was wrong, and never keeps what was sent.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::header;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::http::advertised::Advertised;
use crate::http::server::Client;
use crate::secure::Secret;

/// What somebody may do; each holds those before it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look at everything.
    Read,
    /// Pause, resume, promote and fail over.
    Operate,
    /// Create, change and delete.
    Administer,
}

impl Right {
    /// The word of the config and of refusals.
    pub fn word(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Operate => "operate",
            Right::Administer => "administer",
        }
    }
}

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As audit lines name them.
    pub name: String,
    /// What they may do.
    pub right: Right,
}

/// Why somebody is not let in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The Host header names another machine than the one that listens.
    Host,
    /// A web page of somewhere else asks.
    Origin,
    /// The token is missing or wrong.
    Token,
}

impl Denied {
    /// What to do.
    pub fn text(self) -> &'static str {
        match self {
            Denied::Host => "the Host header must name loopback, or the host of advertised.url",
            Denied::Origin => "web pages of other places may not ask here",
            Denied::Token => {
                "send the token: Authorization: Bearer TOKEN, or Basic with it as the password"
            }
        }
    }
}

/// Who is let in.
#[derive(Debug)]
pub struct Guard {
    /// What clients must send who may give every order.
    pub token: Option<Secret>,
    /// What those send who may do less.
    pub tokens: Vec<(Right, Secret)>,
    /// The port is on loopback: requests must name it so.
    pub is_local: bool,
    /// By which name others reach it all the same.
    pub advertised: Option<Advertised>,
    /// TLS let in only clients with a certificate: its subject is who they are.
    pub clients_are_known: bool,
}

/// What a browser says about the page that asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Guard {
    /// A web page that had its own name point at loopback must not ask this port, nor one of
    /// another place, nor anybody without the token, where there is one.
    pub fn admit(&self, headers: &HeaderMap, client: Option<&Client>) -> Result<Principal, Denied> {
        let head = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = head(header::HOST);
        let is_ours =
            |host: &str| is_local(host) || self.advertised.as_ref().is_some_and(|one| one.is(host));
        if self.is_local && !host.is_none_or(is_ours) {
            return Err(Denied::Host);
        }
        let is_foreign = |origin: &str| origin.split_once("://").map(|(_, at)| at) != host;
        if head(header::ORIGIN).is_some_and(is_foreign)
            || head(FETCH_SITE).is_some_and(|site| site == "cross-site")
        {
            return Err(Denied::Origin);
        }
        if self.token.is_none() && self.tokens.is_empty() {
            let name = match client.filter(|_| self.clients_are_known) {
                Some(Client(subject)) => subject.to_string(),
                None if self.clients_are_known => "client certificate".to_owned(),
                None => "loopback".to_owned(),
            };
            return Ok(Principal { name, right: Right::Administer });
        }
        let sent = head(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let (scheme, sent) = sent.ok_or(Denied::Token)?;
        let whole = self.token.iter().map(|token| (Right::Administer, "token", token));
        let less = self.tokens.iter().map(|(right, token)| {
            let name = if *right == Right::Operate { "operate.token" } else { "read.token" };
            (*right, name, token)
        });
        let mut known = whole.chain(less);
        let found = known.find(|(_, _, token)| is_sent(token, scheme, sent.trim()));
        let (right, name, _) = found.ok_or(Denied::Token)?;
        Ok(Principal { name: name.to_owned(), right })
    }
}

/// Whether a client sent the token. The scheme's letters may be of any case (RFC 9110, 11.1); the
/// published SDKs send Basic, and whose the token is does not rest on the name they give.
fn is_sent(token: &Secret, scheme: &str, sent: &str) -> bool {
    if scheme.eq_ignore_ascii_case("bearer") {
        return token.is(sent.as_bytes());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(pair) = STANDARD.decode(sent).map(Zeroizing::new) else { return false };
    let colon = pair.iter().position(|byte| *byte == b':');
    colon.and_then(|at| pair.get(at + 1..)).is_some_and(|password| token.is(password))
}

/// Whether a Host header names loopback.
fn is_local(host: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if port(digits) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: Option<&str>) -> Guard {
        let token = token.map(|token| Secret::new(token.to_owned()));
        let tokens = Vec::new();
        Guard { token, tokens, is_local: true, advertised: None, clients_are_known: false }
    }

    fn admitted(guard: &Guard, heads: &[(&str, &str)]) -> Result<String, Denied> {
        let mut headers = HeaderMap::new();
        for (name, value) in heads {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        guard.admit(&headers, None).map(|principal| principal.name)
    }

    #[test]
    fn only_names_of_loopback_are_local() {
        for good in ["localhost", "LocalHost:1", "127.0.0.1:8472", "[::1]:8472", "127.9.9.9"] {
            assert!(is_local(good), "{good}");
        }
        for bad in ["", "evil.example", "evil.example:8472", "10.0.0.1", "localhost.evil:1"] {
            assert!(!is_local(bad), "{bad}");
        }
    }

    #[test]
    fn the_advertised_host_is_taken_and_no_other_one() {
        let host = |guard: &Guard, host: &str| admitted(guard, &[("host", host)]);
        let advertised = Advertised::parse("https://isolog.example");
        let behind = Guard { advertised, ..guard(None) };
        assert!(host(&behind, "isolog.example").is_ok() && host(&behind, "127.0.0.1:1").is_ok());
        assert_eq!(host(&behind, "evil.example"), Err(Denied::Host));
        assert_eq!(host(&guard(None), "isolog.example"), Err(Denied::Host));
    }

    #[test]
    fn the_token_is_taken_as_bearer_and_as_basic() {
        let guard = guard(Some("0123456789abcdef"));
        let with = |value: &str| admitted(&guard, &[("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), Ok("token".to_owned()));
        assert_eq!(with("bEARER  0123456789abcdef "), Ok("token".to_owned()));
        let basic = |pair: &str| with(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(basic("anybody:0123456789abcdef"), Ok("token".to_owned()));
        assert_eq!(basic(":0123456789abcdef"), Ok("token".to_owned()));
        for bad in ["anybody:", "0123456789abcdef", "0123456789abcdef:x", "a:0123456789abcde", ""] {
            assert_eq!(basic(bad), Err(Denied::Token), "{bad}");
        }
        for bad in ["", "Bearer", "Bearer x", "Basic %%%", "Digest 0123456789abcdef"] {
            assert_eq!(with(bad), Err(Denied::Token), "{bad}");
        }
        assert_eq!(admitted(&guard, &[]), Err(Denied::Token));
    }

    #[test]
    fn who_comes_with_a_certificate_is_named_by_its_subject() {
        let client = Client("CN=ops,O=Example".into());
        let known = Guard { clients_are_known: true, ..guard(None) };
        let name = |guard: &Guard, client| guard.admit(&HeaderMap::new(), client).unwrap().name;
        assert_eq!(name(&known, Some(&client)), "CN=ops,O=Example");
        assert_eq!(name(&known, None), "client certificate");
        assert_eq!(name(&guard(None), Some(&client)), "loopback");
    }

    #[test]
    fn a_lesser_token_has_its_own_right() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let tokens = vec![(Right::Read, secret("reads")), (Right::Operate, secret("operates"))];
        let right = |guard: &Guard, token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            guard.admit(&headers, None).map(|principal| principal.right)
        };
        let all = Guard { tokens, ..guard(Some("administers")) };
        assert_eq!(right(&all, "reads"), Ok(Right::Read));
        assert_eq!(right(&all, "operates"), Ok(Right::Operate));
        assert_eq!(right(&all, "administers"), Ok(Right::Administer));
        assert_eq!(right(&all, "dances"), Err(Denied::Token));
        // with a lesser token alone nobody is let in without one
        let one = Guard { token: None, ..all };
        assert_eq!(right(&one, "administers"), Err(Denied::Token));
        assert_eq!(one.admit(&HeaderMap::new(), None), Err(Denied::Token));
    }

    /// Without a token the port trusts its machine: a page in a browser there is not trusted.
    #[test]
    fn pages_of_other_places_may_not_ask() {
        let guard = guard(None);
        let local = ("host", "localhost:8472");
        assert_eq!(admitted(&guard, &[local]), Ok("loopback".to_owned()));
        let own = ("origin", "http://localhost:8472");
        assert_eq!(admitted(&guard, &[local, own]), Ok("loopback".to_owned()));
        for origin in ["http://evil.example", "null", "http://localhost:1", ""] {
            let told = admitted(&guard, &[local, ("origin", origin)]);
            assert_eq!(told, Err(Denied::Origin), "{origin}");
        }
        let told = admitted(&guard, &[local, ("sec-fetch-site", "cross-site")]);
        assert_eq!(told, Err(Denied::Origin));
        assert_eq!(admitted(&guard, &[("host", "evil.example")]), Err(Denied::Host));
    }
}
