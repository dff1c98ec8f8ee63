//! `isolog schema exporter`: what copies schemas in a running isolog, shown and ordered.
//!
//! It never asks a registry: the service does, and shows what the exporter's last turn came to.

use clap::Args;
use clap::Subcommand;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::Output;
use super::Remote;
use super::Service;
use super::configs;
use super::escaped;
use super::output::Column;
use super::output::Rows;
use super::plain;
use crate::cli::complain;
use crate::cli::say;

const NAMES: &[Column] = &[("Exporter", "exporter")];
const ONE: &[Column] = &[
    ("Name", "name"),
    ("Context Type", "contextType"),
    ("Context", "context"),
    ("Subjects", "subjects"),
    ("Subject Format", "subjectRenameFormat"),
    ("Config", "config"),
];
const STATUS: &[Column] = &[
    ("Name", "name"),
    ("Exporter State", "state"),
    ("Exporter Offset", "offset"),
    ("Exporter Timestamp", "ts"),
    ("Missing Changes", "missingChanges"),
    ("Lag (ms)", "lagMs"),
    ("Error Trace", "trace"),
];
const CONFIG: &[Column] = &[("Config", "name"), ("Value", "value")];
const NEXT: &str = "isolog schema exporter list shows those that there are";

/// What `isolog schema exporter` can be told.
#[derive(Subcommand)]
pub enum Command {
    /// Show the names of all exporters
    #[command(long_flag = "list")]
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what an exporter copies, and where to
    #[command(long_flag = "describe")]
    Describe {
        #[command(flatten)]
        named: Named,
    },
    /// Show how far an exporter is, and what is wrong
    #[command(visible_alias = "get-status", long_flag = "get-status")]
    Status {
        #[command(flatten)]
        named: Named,
    },
    /// Show how the registries are asked, secrets hidden
    #[command(visible_aliases = ["get-config", "configuration"], long_flag = "get-config")]
    Config {
        #[command(flatten)]
        named: Named,
    },
    /// Create an exporter, which begins at once
    ///
    /// Its secrets are sealed by the isolog that is asked, which needs secrets.key.file in
    /// [service] for that.
    #[command(long_flag = "create")]
    Create {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        wish: Wish,
    },
    /// Have an exporter copy something else, or elsewhere; what is not given stays
    #[command(long_flag = "update")]
    Update {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        wish: Wish,
    },
    /// Have an exporter do nothing until it is resumed
    #[command(long_flag = "pause")]
    Pause {
        #[command(flatten)]
        named: Named,
    },
    /// Have a paused exporter go on
    #[command(long_flag = "resume")]
    Resume {
        #[command(flatten)]
        named: Named,
    },
    /// Have a paused exporter begin anew: its offset is 0, and it compares all
    #[command(long_flag = "reset")]
    Reset {
        #[command(flatten)]
        named: Named,
    },
    /// Forget a paused exporter; what it copied stays
    #[command(long_flag = "delete")]
    Delete {
        #[command(flatten)]
        named: Named,
    },
}

/// Who is asked, and how the answer is printed.
#[derive(Args)]
pub struct Asked {
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

/// The same of one exporter.
#[derive(Args)]
pub struct Named {
    /// The exporter's name
    #[arg(value_name = "NAME", required_unless_present = "name")]
    exporter: Option<String>,
    /// The same
    #[arg(long, value_name = "NAME", conflicts_with = "exporter")]
    name: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

/// What an exporter is to do.
#[derive(Args)]
pub struct Wish {
    /// Subjects: names, prefix*, :.context:prefix*; * is the default context, :*: all [default: *]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    subjects: Vec<String>,
    /// What the subjects are called at the destination [default: ${subject}]
    #[arg(long, value_name = "FORMAT")]
    subject_format: Option<String>,
    /// Where they go: auto (a context of the exporter's), custom, none or default [default: auto]
    #[arg(long, value_name = "TYPE")]
    context_type: Option<String>,
    /// The context of --context-type custom, such as .eu
    #[arg(long, value_name = "NAME")]
    context_name: Option<String>,
    /// Properties of the destination's registry: a file, or NAME=VALUE pairs with commas; those
    /// of the source's begin with source.
    #[arg(long, value_name = "FILE|k=v,...", visible_alias = "config")]
    config_file: Vec<String>,
    /// Properties of the source's registry: a file, or NAME=VALUE pairs; without them the one of
    /// exporter.source.properties.file in [service] is meant
    #[arg(long, value_name = "FILE|k=v,...")]
    source_config: Vec<String>,
    /// The URL of the source's registry
    #[arg(long = "schema.registry.url", value_name = "URL", visible_alias = "source-url")]
    source_url: Option<String>,
}

impl Wish {
    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        let texts = [
            ("subjectRenameFormat", &self.subject_format),
            ("contextType", &self.context_type),
            ("context", &self.context_name),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                body.insert(field.to_owned(), json!(text));
            }
        }
        if !self.subjects.is_empty() {
            body.insert("subjects".to_owned(), json!(self.subjects));
        }
        let mut config = configs::read(&self.config_file)?;
        for (name, value) in configs::read(&self.source_config)? {
            config.insert(format!("source.{name}"), value);
        }
        if let Some(url) = &self.source_url {
            config.insert("source.schema.registry.url".to_owned(), url.clone());
        }
        if !config.is_empty() {
            body.insert("config".to_owned(), json!(config));
        }
        Ok(body)
    }
}

impl Named {
    fn called(&self) -> &str {
        self.exporter.as_ref().or(self.name.as_ref()).map_or("", |name| name)
    }

    fn path(&self, rest: &str) -> String {
        format!("/exporters/{}{rest}", escaped(self.called()))
    }

    /// Has it put there, and tells what was done.
    fn put(&self, rest: &str, body: Option<Value>, done: &str) -> Result<(), Failure> {
        self.order(("PUT", &self.path(rest)), body, done)
    }

    fn order(
        &self,
        (method, path): (&'static str, &str),
        body: Option<Value>,
        done: &str,
    ) -> Result<(), Failure> {
        let remote = self.asked.service.reached()?;
        let answer = super::run(ask(&remote, (method, path), body.as_ref()))?;
        if let Some(warning) = answer.get("warning").and_then(Value::as_str) {
            complain(&format!("warning: {}", plain(warning)));
        }
        let name = self.called();
        let mut rows = Rows::new(NAMES);
        rows.push(vec![json!(name)]);
        say(&rows.draw_one_or(self.asked.output.format, &format!("{done} exporter '{name}'.\n")))
    }

    fn create(&self, wish: &Wish) -> Result<(), Failure> {
        let mut body = wish.body()?;
        body.insert("name".to_owned(), json!(self.called()));
        self.order(("POST", "/exporters"), Some(Value::Object(body)), "Created")
    }

    fn update(&self, wish: &Wish) -> Result<(), Failure> {
        let body = wish.body()?;
        if body.is_empty() {
            let text = "give what is to change: --subjects, --subject-format, --context-type, \
                        --context-name, --config-file";
            return Err(Failure::Failed(text.to_owned()));
        }
        self.put("", Some(Value::Object(body)), "Updated")
    }
}

/// Does what it was told.
pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List { asked } => list(asked),
        Command::Describe { named } => shown(named, "", ONE),
        Command::Status { named } => shown(named, "/status", STATUS),
        Command::Config { named } => config(named),
        Command::Create { named, wish } => named.create(wish),
        Command::Update { named, wish } => named.update(wish),
        Command::Pause { named } => named.put("/pause", None, "Paused"),
        Command::Resume { named } => named.put("/resume", None, "Resumed"),
        Command::Reset { named } => named.put("/reset", None, "Reset"),
        Command::Delete { named } => named.order(("DELETE", &named.path("")), None, "Deleted"),
    }
}

fn list(asked: &Asked) -> Result<(), Failure> {
    let remote = asked.service.reached()?;
    let answer = super::run(ask(&remote, ("GET", "/exporters"), None))?;
    let mut rows = Rows::new(NAMES);
    answer.as_array().into_iter().flatten().for_each(|name| rows.push(vec![name.clone()]));
    say(&rows.draw(asked.output.format))
}

fn shown(named: &Named, rest: &str, columns: &'static [Column]) -> Result<(), Failure> {
    let remote = named.asked.service.reached()?;
    let answer = super::run(ask(&remote, ("GET", &named.path(rest)), None))?;
    say(&one(columns, &answer).draw_one(named.asked.output.format))
}

fn config(named: &Named) -> Result<(), Failure> {
    let remote = named.asked.service.reached()?;
    let answer = super::run(ask(&remote, ("GET", &named.path("/config")), None))?;
    let mut rows = Rows::new(CONFIG);
    for (name, value) in answer.as_object().into_iter().flatten() {
        rows.push(vec![Value::from(name.as_str()), value.clone()]);
    }
    say(&rows.draw(named.asked.output.format))
}

async fn ask(
    remote: &Remote,
    (method, path): (&str, &str),
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let answer = remote.send(method, path, body).await?;
    remote.read(&answer, NEXT)
}

fn one(columns: &'static [Column], answer: &Value) -> Rows {
    let mut rows = Rows::new(columns);
    rows.push(columns.iter().map(|(_, name)| super::field(answer, name)).collect());
    rows
}
