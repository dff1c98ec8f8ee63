//! `isolog link`, `mirror`, `drill`, `group` and `events`: orders to a running isolog, and
//! questions.
//!
//! It never asks a broker and decides nothing: the service does.

mod clearing;
mod configs;
mod course;
mod diff;
mod drill;
mod events;
mod exporter;
mod group;
mod link;
mod mirror;
mod output;
mod stop;
mod tail;

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use crate::http::client::Answer;

use super::Failure;
use super::ask;
use super::ask::Address;
use super::ask::Credentials;
use super::ask::Way;
use super::ask::parse_url;
use super::plain;

pub use self::drill::Arguments as DrillArguments;
pub use self::drill::run as drill;
pub use self::events::Arguments as EventsArguments;
pub use self::events::run as events;
pub use self::exporter::Command as ExporterCommand;
pub use self::exporter::run as exporter;
pub use self::group::Arguments as GroupArguments;
pub use self::group::run as group;
pub use self::link::Arguments as LinkArguments;
pub use self::link::run as link;
pub use self::mirror::Arguments as MirrorArguments;
pub use self::mirror::run as mirror;

/// What stays as it is in a segment of a path (RFC 3986, 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What is tried where a link is not there.
const LIST_LINKS: &str = "isolog link list";
/// The status of what is refused since too much is going on; nothing of it was done.
const BUSY: u16 = 429;
/// How often something is asked that is answered so, and the first pause between, which doubles:
/// about 6 s together.
const BUSY_TRIES_MAX: u32 = 6;
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// Which isolog is asked, and as whom.
#[derive(clap::Args)]
struct Service {
    /// Where the running isolog listens; goes before the address of --service-config, whose token
    /// is sent all the same [default: http://127.0.0.1:8472]
    #[arg(long, value_name = "URL", env = "ISOLOG_URL", value_parser = parse_url)]
    url: Option<Address>,
    /// The config file of the running isolog: its `listen` is asked, with its token
    #[arg(long, value_name = "FILE", env = "ISOLOG_CONFIG")]
    service_config: Option<PathBuf>,
    #[command(flatten)]
    credentials: Credentials,
}

/// How answers are printed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table
    Human,
    /// One array of objects, or one object
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(clap::Args)]
struct Output {
    /// How the answer is printed
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "human")]
    format: Format,
}

impl Service {
    /// Who is asked.
    fn reached(&self) -> Result<Remote, Failure> {
        let config = self.service_config.as_deref();
        let (address, way) = self.credentials.reach(self.url.as_ref(), config)?;
        Ok(Remote { address, way })
    }
}

/// A running isolog.
struct Remote {
    address: String,
    way: Way,
}

/// What is asked of it, below `/kafka/v3/clusters/{id}`.
struct Question<'a> {
    method: &'static str,
    /// Segments of the path, not escaped; a verb stands behind the last one with its colon.
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// What is tried next where it is refused.
    next: &'a str,
}

/// Runs one question after the other on a runtime of its own.
fn run<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let failed = |cause: std::io::Error| Failure::Failed(format!("cannot start: {cause}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(work)
}

impl Remote {
    /// The destination's id, which every path begins with.
    async fn cluster(&self) -> Result<String, Failure> {
        let answer = self.send("GET", "/kafka/v3/clusters", None).await?;
        let value = self.read(&answer, "look whether it is isolog that listens there")?;
        let id = value.pointer("/data/0/cluster_id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| self.odd())
    }

    /// Asks, and gives the answer's body; null where it has none.
    async fn ask(&self, question: Question<'_>) -> Result<Value, Failure> {
        let answer = self.put(&question).await?;
        self.read(&answer, question.next)
    }

    /// Asks, and gives whatever is answered.
    async fn put(&self, question: &Question<'_>) -> Result<Answer, Failure> {
        let mut path = format!("/kafka/v3/clusters/{}", escaped(&self.cluster().await?));
        for segment in question.path {
            path.push_str(&match segment.split_once(':') {
                Some((noun, verb)) => format!("/{}:{}", escaped(noun), escaped(verb)),
                None => format!("/{}", escaped(segment)),
            });
        }
        if !question.query.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&question.query);
            path = format!("{path}?{}", query.finish());
        }
        self.send(question.method, &path, question.body.as_ref()).await
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let body = body.map(Value::to_string);
        let mut pause = BUSY_PAUSE;
        for tried in 1.. {
            let sent = ask::send(&self.address, method, path, body.clone(), &self.way).await;
            let answer = sent.map_err(Failure::Away)?;
            // nothing of such an order was done
            if answer.status.as_u16() != BUSY || tried >= BUSY_TRIES_MAX {
                return Ok(answer);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(self.odd())
    }

    fn read(&self, answer: &Answer, next: &str) -> Result<Value, Failure> {
        if answer.status.is_success() {
            if answer.body.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&answer.body).map_err(|_| self.odd());
        }
        let told: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let text = told.as_ref().and_then(|told| told.get("message")).and_then(Value::as_str);
        let text = plain(text.unwrap_or("it gives no reason"));
        let next = match answer.status.as_u16() {
            401 => "give the token by --token-file or ISOLOG_TOKEN",
            403 => "give a token that may do this by --token-file or ISOLOG_TOKEN",
            503 if text.contains("until a person has seen to it") => {
                "do what is said there: it does not pass by itself"
            }
            503 if text.contains("this isolog stands by") => {
                "ask the instance that has the work (--url), or wait until this one has it"
            }
            429 | 503 => "wait a moment, then try again",
            504 => "look with isolog link list and isolog mirror list whether it was done",
            404 if text.contains("no such path") || text.contains("there are /metrics") => {
                "the isolog there takes no orders: start one of this version"
            }
            404 if text.starts_with("Cluster link") => LIST_LINKS,
            _ => next,
        };
        let (status, address) = (answer.status.as_u16(), &self.address);
        let told = format!("{text} ({status} of {address})\nNext: {next}");
        Err(match status {
            429 | 503 | 504 => Failure::Away(told),
            _ => Failure::Failed(told),
        })
    }

    fn odd(&self) -> Failure {
        Failure::Failed(format!("{} does not answer as isolog does", self.address))
    }
}

fn escaped(segment: &str) -> String {
    utf8_percent_encode(segment, PLAIN).to_string()
}

/// A flag of a query, where it is set.
fn flag(name: &'static str, is_set: bool) -> Vec<(&'static str, String)> {
    if is_set { vec![(name, "true".to_owned())] } else { Vec::new() }
}

fn all_obeyed(others: usize, next: &str) -> Result<(), Failure> {
    match others {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} of them not obeyed\nNext: {next}"))),
    }
}

/// A field of an answer; null where it is not there.
fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or(Value::Null)
}

/// A field of an answer as text; empty where it is null.
fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The items of an array; none where it is none.
fn items_of(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The items of a list.
fn items(list: &Value) -> Vec<Value> {
    list.get("data").and_then(Value::as_array).cloned().unwrap_or_default()
}
