//! The URL by which others reach a server, where that is not how it sees itself.
//!
//! It never resolves a name.

use super::url::Url;

/// A scheme and an authority, as they were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// `https://HOST[:PORT]`, without a slash behind it.
    pub base: String,
    /// `HOST[:PORT]`, as a Host header has it.
    host: String,
}

impl Advertised {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Advertised> {
        let base = text.strip_suffix('/').unwrap_or(text);
        let url = Url::parse_open(base).ok().filter(|url| url.path == "/")?;
        let (_, host) = base.split_once("://")?;
        let is_bare = host == url.authority() || format!("{host}:{}", url.port) == url.authority();
        is_bare.then(|| Advertised { base: base.to_owned(), host: host.to_owned() })
    }

    /// Whether a Host header names it.
    pub fn is(&self, host: &str) -> bool {
        self.host.eq_ignore_ascii_case(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_and_a_host_and_nothing_behind_them() {
        let good = Advertised::parse("https://isolog.example:8443/").unwrap();
        assert_eq!(good.base, "https://isolog.example:8443");
        assert!(good.is("ISOLOG.example:8443") && !good.is("isolog.example"));
        for good in ["http://a", "https://a", "http://[::1]:1", "http://[::1]"] {
            assert!(Advertised::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a:1",
            "ftp://a",
            "https://",
            "https://a/x",
            "https://a?x",
            "https://a//",
            "https://u@a",
            "https://u:p@a",
            "https://a:b",
            "https://a b",
            "//a",
            "https://a#x",
        ] {
            assert_eq!(Advertised::parse(bad), None, "{bad}");
        }
    }
}
