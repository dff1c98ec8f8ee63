//! `isolog schema exporter`: what copies schemas in a running isolog.
//!
//! It never asks a registry: the service shows what the exporter's last turn came to.

use clap::Args;
use clap::Subcommand;
use serde_json::Value;

use super::Failure;
use super::Output;
use super::Remote;
use super::Service;
use super::escaped;
use super::output::Column;
use super::output::Rows;
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
    ("Error Trace", "trace"),
];
const CONFIG: &[Column] = &[("Config", "name"), ("Value", "value")];
const NEXT: &str = "isolog schema exporter list shows those that there are";

/// What `isolog schema exporter` can be told.
#[derive(Subcommand)]
pub enum Command {
    /// Show the names of all exporters
    List {
        #[command(flatten)]
        asked: Asked,
    },
    /// Show what an exporter copies, and where to
    Describe {
        #[command(flatten)]
        named: Named,
    },
    /// Show how far an exporter is, and what is wrong
    #[command(visible_alias = "get-status")]
    Status {
        #[command(flatten)]
        named: Named,
    },
    /// Show how the destination's registry is asked, secrets hidden
    #[command(visible_aliases = ["get-config", "configuration"])]
    Config {
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

impl Named {
    fn path(&self, rest: &str) -> String {
        let name = self.exporter.as_ref().or(self.name.as_ref());
        format!("/exporters/{}{rest}", escaped(name.map_or("", |name| name)))
    }
}

/// Does what it was told.
pub fn run(command: &Command) -> Result<(), Failure> {
    let (asked, path) = match command {
        Command::List { asked } => (asked, "/exporters".to_owned()),
        Command::Describe { named } => (&named.asked, named.path("")),
        Command::Status { named } => (&named.asked, named.path("/status")),
        Command::Config { named } => (&named.asked, named.path("/config")),
    };
    let remote = asked.service.reached()?;
    let answer = super::run(ask(&remote, &path))?;
    let format = asked.output.format;
    say(&match command {
        Command::List { .. } => {
            let mut rows = Rows::new(NAMES);
            answer.as_array().into_iter().flatten().for_each(|name| rows.push(vec![name.clone()]));
            rows.draw(format)
        }
        Command::Describe { .. } => one(ONE, &answer).draw_one(format),
        Command::Status { .. } => one(STATUS, &answer).draw_one(format),
        Command::Config { .. } => {
            let mut rows = Rows::new(CONFIG);
            for (name, value) in answer.as_object().into_iter().flatten() {
                rows.push(vec![Value::from(name.as_str()), value.clone()]);
            }
            rows.draw(format)
        }
    })
}

async fn ask(remote: &Remote, path: &str) -> Result<Value, Failure> {
    let answer = remote.send("GET", path, None).await?;
    remote.read(&answer, NEXT)
}

fn one(columns: &'static [Column], answer: &Value) -> Rows {
    let mut rows = Rows::new(columns);
    let field = |(_, name): &Column| answer.get(*name).cloned().unwrap_or(Value::Null);
    rows.push(columns.iter().map(field).collect());
    rows
}
