//! One value: as written, and as its kind reads it.
//!
//! It never knows which property it reads for; the text of a refusal says what would be right.

use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::cluster::dial::allow::Rule as AddressRule;
use crate::control::acls::AclFilter;
use crate::control::acls::Operation;
use crate::control::acls::PatternType;
use crate::control::acls::Permission;
use crate::control::acls::ResourceType;
use crate::control::acls::filter::AclLine as Line;
use crate::control::acls::filter::PatternFilter;
use crate::control::filter::Expression;
use crate::control::filter::Pattern;
use crate::control::filter::Rule;
use crate::control::filter::Verdict;
use crate::control::rename::Rename;
use crate::control::start::StartSpec;
use crate::control::task::groups;
use crate::ids::GroupName;
use crate::secure::Secret;

use super::property::Kind;

/// The most characters of a value that a problem repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// Text; everything in a `.properties` file and over REST is.
    Text(String),
    /// A whole number.
    Int(i64),
    /// `true` or `false`.
    Bool(bool),
    /// An array of texts.
    List(Vec<String>),
    /// Something no property takes, in words.
    Odd(&'static str),
}

impl Raw {
    /// The value as text, numbers and words too, as a `.properties` file would have it.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Raw::Text(text) => Some(trimmed(text).to_owned()),
            Raw::Int(number) => Some(number.to_string()),
            Raw::Bool(yes) => Some(yes.to_string()),
            Raw::List(_) | Raw::Odd(_) => None,
        }
    }

    /// The items of a list, or of a text that separates them by commas.
    fn items(&self) -> Option<Vec<String>> {
        let owned = |item: &str| trimmed(item).to_owned();
        match self {
            Raw::List(items) => Some(items.iter().map(|item| owned(item)).collect()),
            Raw::Text(text) if trimmed(text).is_empty() => Some(Vec::new()),
            Raw::Text(text) => Some(text.split(',').map(owned).collect()),
            _ => None,
        }
    }
}

/// As `String.trim` of Java, which Kafka's `ConfigDef` does to every value; a no-break space at the
/// end of a password stays.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|letter| letter <= ' ')
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match self {
            Raw::Text(text) => format!("{text:?}"),
            Raw::Int(number) => number.to_string(),
            Raw::Bool(yes) => yes.to_string(),
            Raw::List(items) => format!("{items:?}"),
            Raw::Odd(words) => (*words).to_owned(),
        };
        match whole.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => write!(f, "{}...", &whole[..end]),
            None => f.write_str(&whole),
        }
    }
}

/// A value as its kind reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, where nothing is allowed.
    Absent,
    /// Text, a word in lower case, or a path.
    Text(String),
    /// A number in the unit of its kind.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Hosts and ports.
    Hosts(Vec<(String, u16)>),
    /// Rules of a topic filter.
    Rules(Vec<Rule>),
    /// Rules of a filter of groups.
    Groups(Vec<groups::Rule>),
    /// Lines of an ACL filter.
    Acls(AclFilter),
    /// Words.
    Words(Vec<String>),
    /// Text that is never shown.
    Secret(Secret),
    /// Rules about addresses of brokers.
    Addresses(Vec<AddressRule>),
    /// An address to listen on.
    Listen(SocketAddr),
}

impl Value {
    /// Reads `raw` as `kind`; the error says what would be right.
    pub fn read(kind: Kind, raw: &Raw) -> Result<Value, String> {
        let must = || format!("must be {kind}");
        match kind {
            Kind::Text(most) => text(raw, most).ok_or_else(must),
            Kind::Count(least, most) | Kind::Millis(least, most) | Kind::Bytes(least, most) => {
                whole(raw, least, most).ok_or_else(must)
            }
            Kind::Bool => match word(raw).as_deref() {
                Some("true") => Ok(Value::Bool(true)),
                Some("false") => Ok(Value::Bool(false)),
                _ => Err(must()),
            },
            Kind::Word(words) => one_of(raw, words).ok_or_else(must),
            Kind::WordOrLater(words, later) => match one_of(raw, later) {
                Some(_) => Err(format!("comes with a later release; this one takes {kind} only")),
                None => one_of(raw, words).ok_or_else(must),
            },
            Kind::WordBut(words, refused) => match refused_word(raw, refused) {
                Some((word, why)) => Err(format!("cannot be {word}: {why}")),
                None => one_of(raw, words).ok_or_else(must),
            },
            Kind::Prefix(most) => prefix(raw, most).ok_or_else(must),
            Kind::TopicFormat => {
                let text = raw.text().filter(|text| Rename::parse(text).is_some());
                text.map(Value::Text).ok_or_else(must)
            }
            Kind::Hosts => hosts(raw),
            Kind::Topics => topics(raw),
            Kind::Expression(most) => expression(raw, most),
            Kind::TopicFilters => filters(raw),
            Kind::GroupFilters => group_filters(raw),
            Kind::AclFilters => acls(raw),
            Kind::Start => raw
                .text()
                .filter(|text| StartSpec::parse(text).is_some())
                .map(Value::Text)
                .ok_or_else(must),
            Kind::Listen => listen(raw),
            Kind::Words(known) => words(raw, known).ok_or_else(must),
            Kind::WordsButOld(known, old) => words_but(raw, known, old).ok_or_else(must),
            Kind::Secret(most) => match raw.text() {
                Some(text) if text.len() <= most => Ok(Value::Secret(Secret::new(text))),
                _ => Err(must()),
            },
            Kind::Addresses => addresses(raw),
            Kind::Path | Kind::File => match raw {
                Raw::Text(path) if !trimmed(path).is_empty() => {
                    Ok(Value::Text(trimmed(path).to_owned()))
                }
                _ => Err(must()),
            },
        }
    }
}

/// What was left out of a value that is taken, if anything was.
pub fn left_out(kind: Kind, raw: &Raw) -> Option<String> {
    let Kind::WordsButOld(_, old) = kind else { return None };
    let items = raw.items()?.into_iter().filter(|item| is_one_of(item, old));
    let items: Vec<String> = items.collect();
    (!items.is_empty()).then(|| {
        let which = items.join(", ");
        format!("leaves out {which}: isolog speaks no version before TLSv1.2")
    })
}

fn is_one_of(item: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(item))
}

fn text(raw: &Raw, most: usize) -> Option<Value> {
    let text = raw.text()?;
    let fits = text.len() <= most && !text.chars().any(char::is_control);
    fits.then_some(Value::Text(text))
}

fn word(raw: &Raw) -> Option<String> {
    raw.text().map(|text| text.to_ascii_lowercase())
}

fn whole(raw: &Raw, least: i64, most: i64) -> Option<Value> {
    let number: i64 = raw.text()?.parse().ok()?;
    (least..=most).contains(&number).then_some(Value::Int(number))
}

/// The word in the spelling of the table.
fn one_of(raw: &Raw, words: &[&str]) -> Option<Value> {
    let said = word(raw)?;
    let same = words.iter().find(|word| word.eq_ignore_ascii_case(&said));
    same.map(|word| Value::Text((*word).to_owned()))
}

fn refused_word(
    raw: &Raw,
    refused: &[(&'static str, &'static str)],
) -> Option<(&'static str, &'static str)> {
    let said = word(raw)?;
    refused.iter().find(|(word, _)| word.eq_ignore_ascii_case(&said)).copied()
}

/// How topics' names may begin: what is one itself, but for names of points alone.
fn prefix(raw: &Raw, most: usize) -> Option<Value> {
    let text = raw.text()?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(legal);
    fits.then_some(Value::Text(text))
}

fn words(raw: &Raw, known: &[&str]) -> Option<Value> {
    let items = raw.items()?;
    let spelt = |item: &String| match known.iter().find(|word| word.eq_ignore_ascii_case(item)) {
        Some(word) => Some((*word).to_owned()),
        None => known.is_empty().then(|| item.clone()),
    };
    let all: Option<Vec<String>> = items.iter().map(spelt).collect();
    all.filter(|all| all.iter().all(|word| !word.is_empty())).map(Value::Words)
}

/// The known words, without the old ones; there must be another one, or none at all.
fn words_but(raw: &Raw, known: &[&str], old: &[&str]) -> Option<Value> {
    let mut items = raw.items()?;
    let said = items.len();
    items.retain(|item| !is_one_of(item, old));
    if items.is_empty() && said > 0 {
        return None;
    }
    words(&Raw::List(items), known)
}

fn addresses(raw: &Raw) -> Result<Value, String> {
    let items = raw.items().ok_or_else(|| format!("must be {}", Kind::Addresses))?;
    let rules: Result<Vec<AddressRule>, _> = items.iter().map(|item| item.parse()).collect();
    rules.map(Value::Addresses).map_err(|error| error.to_string())
}

fn hosts(raw: &Raw) -> Result<Value, String> {
    let items = raw.items().filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| format!("must be {}", Kind::Hosts))?;
    let all: Result<Vec<_>, String> = items.iter().map(|item| host(item)).collect();
    all.map(Value::Hosts)
}

/// `host:port` or `[v6]:port`; Java takes an IPv6 address without brackets too, with the port
/// behind its last colon. A listener's scheme is a common mistake and said so.
fn host(item: &str) -> Result<(String, u16), String> {
    if item.is_empty() {
        let text = "a comma has no host:port beside it: leave the comma out (Kafka's clients of \
                    3.9 passed over it, those of 4.3 refuse it)";
        return Err(text.into());
    }
    if item.contains("://") {
        return Err(format!("{item:?} must be host:port, without a scheme"));
    }
    let bad = |what: &str| format!("{item:?} must be host:port; {what}");
    let (host, port) = item.rsplit_once(':').ok_or_else(|| bad("the port is missing"))?;
    let number: Option<u16> = port.parse().ok().filter(|port| *port != 0);
    let port = number.ok_or_else(|| bad("the port is a number, 1 to 65535"))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(|_| v6.to_owned()),
        None if host.contains(':') => {
            host.parse::<std::net::Ipv6Addr>().ok().map(|_| host.to_ascii_lowercase())
        }
        None => is_host(host).then(|| host.to_ascii_lowercase()),
    };
    host.map(|host| (host, port)).ok_or_else(|| bad("that is no host name or address"))
}

/// DNS names as resolvers take them, at most 253 bytes; underscores occur in container networks.
fn is_host(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(legal)
}

fn topics(raw: &Raw) -> Result<Value, String> {
    let items = raw.items().ok_or_else(|| format!("must be {}", Kind::Topics))?;
    let (mut rules, mut wrong) = (Vec::new(), Vec::new());
    for item in &items {
        match Pattern::parse(item) {
            Ok(pattern) => rules.push(Rule::include(pattern)),
            Err(text) => wrong.push(text),
        }
    }
    if wrong.is_empty() { Ok(Value::Rules(rules)) } else { Err(wrong.join("; ")) }
}

/// Nothing for an empty one: it would match nothing.
fn expression(raw: &Raw, most: usize) -> Result<Value, String> {
    let must = || format!("must be {}", Kind::Expression(most));
    let text = raw.text().filter(|text| text.len() <= most).ok_or_else(must)?;
    if text.is_empty() {
        return Ok(Value::Rules(Vec::new()));
    }
    let pattern = Pattern::Expression(Expression::parse(&text)?);
    Ok(Value::Rules(vec![Rule::include(pattern)]))
}

fn listen(raw: &Raw) -> Result<Value, String> {
    let text = raw.text().unwrap_or_default().replace("localhost:", "127.0.0.1:");
    let must = || format!("must be {}", Kind::Listen);
    let address: SocketAddr = text.parse().map_err(|_| must())?;
    Ok(Value::Listen(address))
}

/// `{"topicFilters":[…]}` of Cluster Linking.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filters {
    topic_filters: Vec<FilterLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FilterLine {
    name: String,
    pattern_type: String,
    filter_type: String,
}

/// `{"groupFilters":[…]}` of Cluster Linking.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupFilters {
    group_filters: Vec<FilterLine>,
}

/// `{"aclFilters":[…]}` of Cluster Linking.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AclFilters {
    acl_filters: Vec<AclLine>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AclLine {
    resource_filter: ResourceLine,
    access_filter: AccessLine,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceLine {
    resource_type: String,
    pattern_type: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccessLine {
    operation: String,
    permission_type: String,
    principal: Option<String>,
    host: Option<String>,
}

fn filters(raw: &Raw) -> Result<Value, String> {
    let filters: Filters = json(raw, Kind::TopicFilters)?;
    let rules: Result<Vec<Rule>, String> = filters.topic_filters.iter().map(filter_rule).collect();
    rules.map(Value::Rules)
}

fn group_filters(raw: &Raw) -> Result<Value, String> {
    let filters: GroupFilters = json(raw, Kind::GroupFilters)?;
    let rules: Result<Vec<_>, String> = filters.group_filters.iter().map(group_rule).collect();
    rules.map(Value::Groups)
}

fn group_rule(line: &FilterLine) -> Result<groups::Rule, String> {
    let name = line.name.as_str();
    let pattern = match pattern_type(line)? {
        _ if name.is_empty() => {
            return Err("the name of a group is missing: \"*\" is every group".into());
        }
        PatternType::Literal if name == "*" => groups::Pattern::Prefix(String::new()),
        PatternType::Literal => groups::Pattern::Literal(GroupName::new(name)),
        PatternType::Prefixed => groups::Pattern::Prefix(name.to_owned()),
    };
    Ok(groups::Rule { pattern, verdict: verdict(line)? })
}

/// A line without any field that narrows it is everything; none at all is nothing.
fn acls(raw: &Raw) -> Result<Value, String> {
    let filters: AclFilters = json(raw, Kind::AclFilters)?;
    let lines: Result<Vec<Line>, String> = filters.acl_filters.into_iter().map(acl_line).collect();
    lines.map(|lines| Value::Acls(AclFilter(lines)))
}

fn acl_line(line: AclLine) -> Result<Line, String> {
    let AclLine { resource_filter: what, access_filter: who } = line;
    let words = |all: &[&'static str]| format!("ANY or {}", all.join(" or "));
    let resources: Vec<_> = ResourceType::ALL.iter().map(|one| one.word()).collect();
    let operations: Vec<_> = Operation::ALL.iter().map(|one| one.word()).collect();
    let pattern = match what.pattern_type.to_ascii_uppercase().as_str() {
        "ANY" => PatternFilter::Any,
        "MATCH" => PatternFilter::Match,
        "LITERAL" => PatternFilter::Is(PatternType::Literal),
        "PREFIX" | "PREFIXED" => PatternFilter::Is(PatternType::Prefixed),
        _ => return Err(must("patternType", &what.pattern_type, PATTERNS)),
    };
    let resource = any(&what.resource_type, ResourceType::of_word)
        .map_err(|()| must("resourceType", &what.resource_type, &words(&resources)))?;
    let operation = any(&who.operation, Operation::of_word)
        .map_err(|()| must("operation", &who.operation, &words(&operations)))?;
    let permission = any(&who.permission_type, Permission::of_word)
        .map_err(|()| must("permissionType", &who.permission_type, "ANY or ALLOW or DENY"))?;
    let (name, principal, host) = (what.name, who.principal, who.host);
    Ok(Line { resource, pattern, name, operation, permission, principal, host })
}

const PATTERNS: &str = "ANY or MATCH or LITERAL or PREFIXED";

fn must(field: &str, said: &str, words: &str) -> String {
    format!("{field} {said:?} must be {words}")
}

/// `None` for "any".
fn any<T>(word: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ()> {
    match word.eq_ignore_ascii_case("any") {
        true => Ok(None),
        false => read(word).map(Some).ok_or(()),
    }
}

fn json<T: serde::de::DeserializeOwned>(raw: &Raw, kind: Kind) -> Result<T, String> {
    let must = || format!("must be {kind}");
    let text = raw.text().ok_or_else(must)?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", must()))
}

fn filter_rule(line: &FilterLine) -> Result<Rule, String> {
    let pattern = match pattern_type(line)? {
        PatternType::Literal if line.name == "*" => Pattern::prefix("")?,
        PatternType::Literal => Pattern::literal(&line.name)?,
        PatternType::Prefixed => Pattern::prefix(&line.name)?,
    };
    Ok(Rule { pattern, verdict: verdict(line)? })
}

/// Guides print `PREFIX`, the real word is `PREFIXED`.
fn pattern_type(line: &FilterLine) -> Result<PatternType, String> {
    match line.pattern_type.to_ascii_uppercase().as_str() {
        "LITERAL" => Ok(PatternType::Literal),
        "PREFIX" | "PREFIXED" => Ok(PatternType::Prefixed),
        other => Err(format!("patternType {other:?} must be LITERAL or PREFIXED")),
    }
}

fn verdict(line: &FilterLine) -> Result<Verdict, String> {
    match line.filter_type.to_ascii_uppercase().as_str() {
        "INCLUDE" => Ok(Verdict::Include),
        "EXCLUDE" => Ok(Verdict::Exclude),
        other => Err(format!("filterType {other:?} must be INCLUDE or EXCLUDE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, text: &str) -> Result<Value, String> {
        Value::read(kind, &Raw::Text(text.into()))
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let kind = Kind::Millis(1, 10);
        for (good, number) in [("1", 1), (" 10 ", 10)] {
            assert_eq!(read(kind, good), Ok(Value::Int(number)));
        }
        for bad in ["0", "11", "soon", "", "1.5", "99999999999999999999"] {
            let said = read(kind, bad).unwrap_err();
            assert_eq!(said, "must be a whole number of ms, 1 to 10", "{bad}");
        }
        assert_eq!(Value::read(kind, &Raw::Int(7)), Ok(Value::Int(7)));
        assert!(Value::read(kind, &Raw::Odd("a date")).is_err());
    }

    #[test]
    fn hosts_are_taken_in_every_spelling_of_kafka() {
        let check = |text: &str, right: &[(&str, u16)]| {
            let right = right.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
            assert_eq!(read(Kind::Hosts, text), Ok(Value::Hosts(right)), "{text}");
        };
        check("A:1, b.c:9092", &[("a", 1), ("b.c", 9092)]);
        check("[::1]:65535", &[("::1", 65535)]);
        check("2001:DB8::5:9092,::1:9", &[("2001:db8::5", 9092), ("::1", 9)]);
        for bad in ["", "a", "a:", "a:0", "a:65536", ":1", "a b:1", "a:1,", "[x]:1", "a:b:1"] {
            assert!(read(Kind::Hosts, bad).is_err(), "{bad:?}");
        }
        for comma in ["a:1,", ",a:1", "a:1,,b:2", "a:1, ,b:2"] {
            let said = read(Kind::Hosts, comma).unwrap_err();
            assert!(said.contains("leave the comma out"), "{said}");
        }
        let said = read(Kind::Hosts, "PLAINTEXT://a:1").unwrap_err();
        assert_eq!(said, "\"PLAINTEXT://a:1\" must be host:port, without a scheme");
    }

    #[test]
    fn filters_of_cluster_linking_are_taken_as_they_are() {
        let json = r#"{"topicFilters":[
            {"name":"orders","patternType":"PREFIXED","filterType":"INCLUDE"},
            {"name":"pay","patternType":"prefix","filterType":"include"},
            {"name":"*","patternType":"LITERAL","filterType":"INCLUDE"},
            {"name":"orders.tmp","patternType":"Literal","filterType":"EXCLUDE"}]}"#;
        let include = |text: &str| Rule::include(Pattern::parse(text).unwrap());
        let exclude = Rule { verdict: Verdict::Exclude, ..include("orders.tmp") };
        let right = vec![include("orders*"), include("pay*"), include("*"), exclude];
        assert_eq!(read(Kind::TopicFilters, json), Ok(Value::Rules(right)));
        let check = |json: &str, part: &str| {
            let said = read(Kind::TopicFilters, json).unwrap_err();
            assert!(said.contains(part), "{said}");
        };
        check("{", "must be Cluster Linking's JSON");
        check(r#"{"topicFilter":[]}"#, "unknown field `topicFilter`");
        check(
            r#"{"topicFilters":[{"name":"a","patternType":"REGEX","filterType":"INCLUDE"}]}"#,
            "patternType \"REGEX\" must be LITERAL or PREFIXED",
        );
        check(
            r#"{"topicFilters":[{"name":"a b","patternType":"LITERAL","filterType":"INCLUDE"}]}"#,
            "\"a b\" is no topic name",
        );
    }

    #[test]
    fn filters_of_groups_and_acls_are_taken_as_cluster_linking_has_them() {
        let check = |kind: Kind, json: &str, wrong: Option<&str>| match (read(kind, json), wrong) {
            (Ok(Value::Groups(rules)), None) => assert_eq!(rules.len(), 1),
            (Ok(Value::Acls(filter)), None) => assert_eq!(filter.0.len(), 1),
            (Ok(value), None) => assert_eq!(value, Value::Text(json.into())),
            (Err(said), Some(part)) => assert!(said.contains(part), "{said}"),
            (read, wrong) => panic!("{json}: {read:?}, not {wrong:?}"),
        };
        let group = |name: &str, pattern: &str| {
            format!(
                r#"{{"groupFilters":[{{"name":"{name}","patternType":"{pattern}",
                "filterType":"INCLUDE"}}]}}"#
            )
        };
        check(Kind::GroupFilters, &group("*", "LITERAL"), None);
        check(Kind::GroupFilters, &group("orders", "PREFIX"), None);
        check(Kind::GroupFilters, &group("", "LITERAL"), Some("the name of a group is missing"));
        check(Kind::GroupFilters, &group("a", "REGEX"), Some("must be LITERAL or PREFIXED"));
        check(Kind::GroupFilters, "[]", Some("must be Cluster Linking's JSON"));
        let rule = |pattern| groups::Rule { pattern, verdict: Verdict::Include };
        let every = rule(groups::Pattern::Prefix(String::new()));
        assert_eq!(
            read(Kind::GroupFilters, &group("*", "LITERAL")),
            Ok(Value::Groups(vec![every]))
        );
        let star = rule(groups::Pattern::Prefix("*".into()));
        assert_eq!(
            read(Kind::GroupFilters, &group("*", "PREFIXED")),
            Ok(Value::Groups(vec![star]))
        );
        let one = rule(groups::Pattern::Literal(GroupName::new("a b/ä")));
        assert_eq!(
            read(Kind::GroupFilters, &group("a b/ä", "literal")),
            Ok(Value::Groups(vec![one]))
        );
        let acl = |resource: &str, operation: &str| {
            format!(
                r#"{{"aclFilters":[{{"resourceFilter":{{"resourceType":"{resource}",
                "patternType":"any"}},"accessFilter":{{"operation":"{operation}",
                "permissionType":"any","principal":"User:a"}}}}]}}"#
            )
        };
        check(Kind::AclFilters, &acl("any", "any"), None);
        check(Kind::AclFilters, &acl("Transactional-Id", "describe_configs"), None);
        check(
            Kind::AclFilters,
            &acl("table", "any"),
            Some("resourceType \"table\" must be ANY or"),
        );
        check(Kind::AclFilters, &acl("topic", "look"), Some("operation \"look\" must be"));
        check(Kind::AclFilters, r#"{"aclFilters":[{}]}"#, Some("missing field `resourceFilter`"));
        let Ok(Value::Acls(filter)) = read(Kind::AclFilters, &acl("topic", "write")) else {
            panic!("no filter")
        };
        let [line] = filter.0.try_into().unwrap();
        assert_eq!(line.resource, Some(ResourceType::Topic));
        assert_eq!(line.operation, Some(Operation::Write));
        assert_eq!((line.permission, line.pattern), (None, PatternFilter::Any));
        assert_eq!((line.principal.as_deref(), line.host), (Some("User:a"), None));
    }

    #[test]
    fn a_word_that_is_refused_says_why_and_a_prefix_is_short() {
        let modes = Kind::WordBut(&["A", "B"], &[("C", "there is no C")]);
        assert_eq!(read(modes, "b"), Ok(Value::Text("B".into())));
        assert_eq!(read(modes, "c"), Err("cannot be C: there is no C".into()));
        assert_eq!(read(modes, "d"), Err("must be A or B".into()));
        for good in ["eu.", "a", ".", "twelve_12345"] {
            assert_eq!(read(Kind::Prefix(12), good), Ok(Value::Text(good.into())));
        }
        for bad in ["", "thirteen_1234", "a b", "é", "a/"] {
            assert!(read(Kind::Prefix(12), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_and_secrets_are_read() {
        let known = Kind::Words(&["TLSv1.2", "TLSv1.3"]);
        let both = Value::Words(vec!["TLSv1.3".into(), "TLSv1.2".into()]);
        assert_eq!(read(known, "tlsv1.3, TLSv1.2"), Ok(both));
        assert!(read(known, "TLSv1.1").is_err());
        let but_old = Kind::WordsButOld(&["TLSv1.2", "TLSv1.3"], &["TLSv1", "TLSv1.1"]);
        let new = Value::Words(vec!["TLSv1.2".into()]);
        assert_eq!(read(but_old, "TLSv1.2,TLSv1.1,tlsv1"), Ok(new));
        assert!(read(but_old, "TLSv1.1").is_err() && read(but_old, "TLSv1.2,TLSv9").is_err());
        assert_eq!(read(but_old, ""), Ok(Value::Words(Vec::new())));
        let raw = Raw::Text("TLSv1.2,TLSv1.1,tlsv1".into());
        assert!(left_out(but_old, &raw).unwrap().starts_with("leaves out TLSv1.1, tlsv1:"));
        assert_eq!(read(Kind::File, " a b.pem \t"), Ok(Value::Text("a b.pem".into())));
        let kept = read(Kind::Secret(9), " a\u{a0}\n").unwrap();
        assert_eq!(kept, Value::Secret(Secret::new("a\u{a0}".into())));
        assert!(read(Kind::Words(&[]), "any,,thing").is_err());
        let secret = read(Kind::Secret(9), "a\nb").unwrap();
        assert_eq!(secret, Value::Secret(Secret::new("a\nb".into())));
        assert!(read(Kind::Secret(2), "hunter2").is_err());
        assert!(read(Kind::Addresses, "10.0.0.0/8,*.a.b").is_ok());
        assert!(read(Kind::Addresses, "10.0.0.0/99").is_err());
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        for good in ["127.0.0.1:8472", "[::1]:0", "localhost:1", "0.0.0.0:8472"] {
            assert!(matches!(read(Kind::Listen, good), Ok(Value::Listen(_))), "{good}");
        }
        assert!(read(Kind::Listen, "8472").is_err());
    }

    #[test]
    fn long_values_are_cut_when_shown() {
        let shown = Raw::Text("é".repeat(500)).to_string();
        assert!(shown.chars().count() <= SHOWN_CHARS_MAX + 3 && shown.ends_with("..."));
        assert_eq!(Raw::Text("a\nb".into()).to_string(), "\"a\\nb\"");
    }
}
