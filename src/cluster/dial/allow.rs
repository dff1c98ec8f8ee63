//! Which addresses a cluster may send us to.
//!
//! It never resolves a name: an address is looked at once it was connected to, before a byte is
//! sent.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `broker.addresses.allowed`; empty for every address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Rule>);

/// One rule of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A host as the cluster tells it, in lower case.
    Name(String),
    /// `*.example.com`: every host below it.
    Below(String),
    /// `10.0.0.0/8`: every address that begins with those bits.
    Range(IpAddr, u8),
}

/// Text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name, nor *.domain, nor an address range such as 10.0.0.0/8")]
pub struct NoRule(String);

impl FromStr for Rule {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<Rule, NoRule> {
        let wrong = || NoRule(text.to_owned());
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let bits: u8 = bits.parse().map_err(|_| wrong())?;
            return if bits <= width(address) {
                Ok(Rule::Range(address, bits))
            } else {
                Err(wrong())
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Rule::Range(address, width(address)));
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.is_empty() || !name.bytes().all(legal) {
            return Err(wrong());
        }
        let name = name.to_ascii_lowercase();
        Ok(if below { Rule::Below(name) } else { Rule::Name(name) })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Name(name) => f.write_str(name),
            Rule::Below(name) => write!(f, "*.{name}"),
            Rule::Range(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

impl Allowed {
    /// These and nothing else.
    pub fn new(rules: Vec<Rule>) -> Allowed {
        Allowed(rules)
    }

    /// Whether nothing more has to be known of a host than its name. `None`: its address decides.
    pub fn by_name(&self, host: &str) -> Option<bool> {
        if self.0.is_empty() {
            return Some(true);
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let fits = |rule: &Rule| match rule {
            Rule::Name(name) => *name == host,
            Rule::Below(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            Rule::Range(..) => false,
        };
        if self.0.iter().any(fits) {
            return Some(true);
        }
        let ranges = self.0.iter().any(|rule| matches!(rule, Rule::Range(..)));
        (!ranges).then_some(false)
    }

    /// Whether an address lies in one of the ranges.
    pub fn by_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|rule| match rule {
            Rule::Range(range, bits) => begins(address, *range, *bits),
            _ => false,
        })
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn begins(address: IpAddr, range: IpAddr, bits: u8) -> bool {
    let (left, right) = match (address, range) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            (u128::from(left.to_bits()) << 96, u128::from(right.to_bits()) << 96)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits(), right.to_bits()),
        _ => return false,
    };
    let shift = 128 - u32::from(bits);
    shift == 128 || (left ^ right) >> shift == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &[&str]) -> Allowed {
        Allowed::new(rules.iter().map(|rule| rule.parse().unwrap()).collect())
    }

    #[test]
    fn names_and_ranges_decide() {
        assert_eq!(allowed(&[]).by_name("anything"), Some(true));
        let list = allowed(&["kafka-1", "*.prod.example", "10.1.0.0/16", "::1"]);
        let check = |host: &str, right| assert_eq!(list.by_name(host), right, "{host}");
        check("Kafka-1", Some(true));
        check("b2.prod.example.", Some(true));
        check("prod.example", None);
        check("evilprod.example", None);
        assert_eq!(allowed(&["kafka-1"]).by_name("10.1.0.1"), Some(false));
        let check = |address: &str, right| {
            assert_eq!(list.by_address(address.parse().unwrap()), right, "{address}");
        };
        check("10.1.255.9", true);
        check("::ffff:10.1.2.3", true);
        check("10.2.0.1", false);
        check("::1", true);
        check("::2", false);
        assert!(allowed(&["0.0.0.0/0"]).by_address("9.9.9.9".parse().unwrap()));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for bad in ["", "*.", "a b", "10.0.0.0/33", "10.0.0/8", "x/8", "*", "*x"] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
        for good in ["10.0.0.0/8", "*.a.b", "a-1", "fd00::/8"] {
            assert_eq!(good.parse::<Rule>().unwrap().to_string(), good);
        }
    }
}
