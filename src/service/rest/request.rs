//! A request taken apart: path, query and body, each checked before anything is asked of it.
//!
//! It never repeats a value of a body: it may be a secret.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header;
use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use tokio::time::Instant;

use super::error::Kind;
use super::error::Problem;
use super::table::Params;
use super::table::Route;

/// The longest body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// For how long a body may come.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
/// So much of a body that is too long is read and thrown away, so that who sends it hears why.
const DRAIN_BYTES_MAX: usize = 256 << 20;
/// For how long.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(30);
/// The most letters of a field's name that are told.
const FIELD_LETTERS_MAX: usize = 120;

/// The segments of a path, each decoded: an escaped slash does not split.
pub fn segments(path: &str) -> Result<Vec<String>, Problem> {
    let decoded = path.trim_start_matches('/').split('/').map(|segment| {
        let text = percent_decode_str(segment).decode_utf8();
        let text = text.map_err(|_| Problem::malformed("The path is not UTF-8."))?;
        match text.chars().any(char::is_control) {
            true => Err(Problem::malformed("The path holds a control character.")),
            false => Ok(text.into_owned()),
        }
    });
    decoded.collect()
}

/// What was asked, checked against its route.
#[derive(Debug)]
pub struct Asked {
    /// What stands in the path.
    pub params: Params,
    /// The words of the query.
    query: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// Checks the words of a query.
    pub fn new(route: &Route, params: Params, query: Option<&str>) -> Result<Asked, Problem> {
        let mut words: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(word) = route.query.iter().find(|word| word.name == name) else {
                return Err(unknown_word(route, &name));
            };
            if words.iter().any(|(known, _)| *known == word.name) {
                return Err(Problem::malformed(format!("The query has {} twice.", word.name)));
            }
            if word.is_flag && value != "true" && value != "false" {
                let text = format!("{} of the query must be true or false.", word.name);
                return Err(Problem::malformed(text));
            }
            words.push((word.name, value.into_owned()));
        }
        let is_given = |name: &str| words.iter().any(|(given, _)| *given == name);
        match route.query.iter().find(|word| word.is_required && !is_given(word.name)) {
            Some(word) => {
                let text = format!("The query must have {}: {}", word.name, word.doc);
                Err(Problem::malformed(text))
            }
            None => Ok(Asked { params, query: words, body: Bytes::new() }),
        }
    }

    /// What stands in the braces of that name.
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// A word of the query.
    pub fn word(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A flag of the query; `otherwise` where it is not given.
    pub fn flag(&self, name: &str, otherwise: bool) -> bool {
        self.word(name).map_or(otherwise, |value| value == "true")
    }

    /// The body as what it must be; an empty one is an empty object.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        object(if self.body.is_empty() { b"{}" } else { &self.body })
    }
}

/// A body as the object that it must be.
pub fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut read = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut read).map_err(wrong_field)?;
    read.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn unknown_word(route: &Route, name: &str) -> Problem {
    let words: Vec<&str> = route.query.iter().map(|word| word.name).collect();
    let taken = if words.is_empty() { "no words".to_owned() } else { words.join(", ") };
    Problem::malformed(format!("The query takes {taken}; it has {}.", shown(name)))
}

/// A name that was sent, bounded and without what a terminal would obey.
pub fn shown(name: &str) -> String {
    let letters: String =
        name.chars().filter(|letter| !letter.is_control()).take(FIELD_LETTERS_MAX).collect();
    let dots = if name.chars().count() > FIELD_LETTERS_MAX { "…" } else { "" };
    format!("'{letters}{dots}'")
}

fn not_json(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    Problem::malformed(format!("The body is not valid JSON (line {line}, column {column})."))
}

/// Which field is wrong, and what it must be; never what it is.
fn wrong_field(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let inner = error.into_inner();
    if !inner.is_data() {
        return not_json(&inner);
    }
    let text = inner.to_string();
    // where the parser was stands last
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let place = match path.as_str() {
        "." => "The body".to_owned(),
        path => format!("Field {} of the body", shown(path)),
    };
    let what = match text.rsplit_once(", expected ") {
        Some((told, expected)) if told.starts_with("unknown field") => {
            let name = told.split('`').nth(1).unwrap_or_default();
            return Problem::malformed(format!(
                "The body has a field {} that is not known; known are {}.",
                shown(name),
                expected.trim_start_matches("one of ").replace('`', "")
            ));
        }
        Some((_, expected)) => format!("must be {}", plainly(expected)),
        None if text.starts_with("missing field") || text.starts_with("duplicate field") => {
            format!("has a {}", text.replace('`', "'"))
        }
        None => "cannot be read".to_owned(),
    };
    Problem::malformed(format!("{place} {what}."))
}

/// What serde expects, for who knows no Rust.
fn plainly(expected: &str) -> String {
    match expected {
        "i16" => format!("a whole number up to {}", i16::MAX),
        "a sequence" => "an array".to_owned(),
        expected => expected.replace('`', ""),
    }
}

/// Whether the headers say that the body is JSON.
pub fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let text = "The body must be JSON: send Content-Type: application/json.";
    Err(Problem::new(Kind::MediaType, text))
}

/// Reads a body of at most [`BODY_BYTES_MAX`] within [`BODY_WAIT_MAX`].
pub async fn read(mut body: Body) -> Result<Bytes, Problem> {
    let (mut all, mut seen) = (BytesMut::new(), 0_usize);
    let (late, later) = (Instant::now() + BODY_WAIT_MAX, Instant::now() + DRAIN_WAIT_MAX);
    loop {
        let is_short = seen <= BODY_BYTES_MAX;
        let frame = tokio::time::timeout_at(if is_short { late } else { later }, body.frame());
        let data = match frame.await {
            Ok(Some(frame)) => {
                let frame = frame.map_err(|_| Problem::malformed("The body was cut off."))?;
                frame.into_data().unwrap_or_default()
            }
            Ok(None) if is_short => return Ok(all.freeze()),
            Err(_) if is_short => {
                let text = format!("The body did not come within {} s.", BODY_WAIT_MAX.as_secs());
                return Err(Problem::new(Kind::Late, text));
            }
            Ok(None) | Err(_) => return Err(too_long()),
        };
        seen = seen.saturating_add(data.len());
        if seen <= BODY_BYTES_MAX {
            all.extend_from_slice(&data);
        } else if seen > DRAIN_BYTES_MAX {
            return Err(too_long());
        }
    }
}

/// The body has more than [`BODY_BYTES_MAX`].
pub fn too_long() -> Problem {
    Problem::new(Kind::TooLong, format!("The body is longer than {BODY_BYTES_MAX} bytes."))
}

/// What must be an object: serde takes an array of its fields in order for one as well.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

/// A config that is sent with a new link or mirror topic; null leaves the default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigData {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: Option<String>,
}

/// A new link.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateLink {
    /// The source's id, where it is to be compared.
    #[serde(default)]
    pub source_cluster_id: Option<String>,
    /// Of links that the source begins.
    #[serde(default)]
    pub destination_cluster_id: Option<String>,
    /// Of links that go both ways.
    #[serde(default)]
    pub remote_cluster_id: Option<String>,
    /// The id of the other half of a link that goes both ways.
    #[serde(default)]
    pub cluster_link_id: Option<String>,
    /// Its properties.
    #[serde(default)]
    pub configs: Option<Vec<Object<ConfigData>>>,
}

/// A value of a config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutConfig {
    /// The value.
    pub value: String,
}

/// A change of a config.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterEntry {
    /// Its name.
    pub name: String,
    /// Its value, where it is set.
    #[serde(default)]
    pub value: Option<String>,
    /// `SET` or `DELETE`.
    #[serde(default)]
    pub operation: Option<Operation>,
}

/// What is done to a config.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum Operation {
    /// It gets a value.
    #[serde(rename = "SET")]
    Set,
    /// It gets its default back.
    #[serde(rename = "DELETE")]
    Delete,
}

/// Changes of configs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterConfigs {
    /// All of them.
    pub data: Vec<Object<AlterEntry>>,
}

/// A new mirror topic.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateMirror {
    /// The topic at the source.
    pub source_topic_name: String,
    /// Its name here.
    #[serde(default)]
    pub mirror_topic_name: Option<String>,
    /// `replication.factor`.
    #[serde(default)]
    pub replication_factor: Option<i16>,
    /// Configs of the new topic.
    #[serde(default)]
    pub configs: Option<Vec<Object<ConfigData>>>,
}

/// Which consumer groups, by their names at the source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterGroups {
    /// As the brokers know them.
    pub consumer_group_ids: Vec<String>,
}

/// Which mirror topics.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterMirrors {
    /// By name.
    #[serde(default)]
    pub mirror_topic_names: Option<Vec<String>>,
    /// All whose whole name fits.
    #[serde(default)]
    pub mirror_topic_name_pattern: Option<String>,
}
