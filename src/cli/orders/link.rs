//! `isolog link`: links, with the words of Cluster Linking's command line.
//!
//! It never asks a source: the service does, where a link is to be validated.

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::LIST_LINKS;
use super::Output;
use super::Question;
use super::Remote;
use super::Service;
use super::configs;
use super::field;
use super::flag;
use super::items;
use super::output::Column;
use super::output::Rows;
use super::text;
use crate::cli::say;

const LINKS: &[Column] = &[
    ("Name", "link_name"),
    ("Source Cluster", "source_cluster_id"),
    ("Destination Cluster", "destination_cluster_id"),
    ("Remote Cluster", "remote_cluster_id"),
    ("State", "state"),
    ("Error", "error"),
    ("Error Message", "error_message"),
];
const CREATED: &[Column] = &[("Name", "link_name"), ("Created", "created")];
const RESTED: &[Column] = &[("Name", "link_name"), ("Paused", "paused"), ("Dry Run", "dry_run")];
const LINK: &[Column] = &[
    ("Name", "link_name"),
    ("Link Id", "link_id"),
    ("Source Cluster", "source_cluster_id"),
    ("Destination Cluster", "destination_cluster_id"),
    ("Remote Cluster", "remote_cluster_id"),
    ("State", "state"),
    ("Error", "error"),
    ("Error Message", "error_message"),
    ("Mirror Topics", "topic_names"),
    ("Topics Let Go", "topics_let_go"),
    ("Groups Forgotten", "groups_forgotten"),
    ("Mirror Partitions", "category_counts"),
];
const CONFIGS: &[Column] = &[
    ("Config Name", "config_name"),
    ("Config Value", "config_value"),
    ("Read-Only", "read_only"),
    ("Sensitive", "sensitive"),
    ("Source", "source"),
    ("Synonyms", "synonyms"),
];
const TASKS: &[Column] = &[("Task Name", "task_name"), ("State", "state"), ("Errors", "errors")];

/// What `isolog link` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a link from a source to the destination of a running isolog
    Create(Box<Create>),
    /// Show all links
    List {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        output: Output,
    },
    /// Show one link
    Describe {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        output: Output,
    },
    /// Show or change the configs of a link
    Configuration {
        #[command(subcommand)]
        command: Configuration,
    },
    /// Change configs of a link; the same as `configuration update`
    Update(Update),
    /// Copy nothing of a link until it is resumed
    Pause(Rest),
    /// Let a link go on
    Resume(Rest),
    /// Delete a link
    Delete {
        #[command(flatten)]
        one: One,
        /// Although it has mirror topics: they are let go of, and stay as ordinary topics
        #[arg(long)]
        force: bool,
        /// Say only what would come of it
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the tasks of a link
    Task {
        #[command(subcommand)]
        command: Task,
    },
}

#[derive(Subcommand)]
enum Configuration {
    /// Show the configs of a link
    List {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        output: Output,
    },
    /// Change configs of a link
    Update(Update),
}

#[derive(Subcommand)]
enum Task {
    /// Show the tasks of a link, and what they could not do
    List {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(clap::Args)]
struct One {
    /// The link
    #[arg(value_name = "LINK")]
    link: String,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args)]
struct Rest {
    #[command(flatten)]
    one: One,
    /// Say only what would come of it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Update {
    #[command(flatten)]
    one: One,
    /// A file of properties, or NAME=VALUE pairs separated by commas
    #[arg(long, value_name = "FILE|PAIRS", visible_alias = "config-file")]
    config: Vec<String>,
    /// Names of configs that get their default back, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    reset: Vec<String>,
    /// Say only what would come of it
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
struct Create {
    #[command(flatten)]
    one: One,
    /// The source cluster's id, compared with the one that answers
    #[arg(long, value_name = "ID", visible_alias = "source-cluster-id")]
    source_cluster: Option<String>,
    /// Addresses of the source: bootstrap.servers
    #[arg(long, value_name = "HOST:PORT,...")]
    source_bootstrap_server: Option<String>,
    /// The other cluster's id, of a link with link.mode=BIDIRECTIONAL
    #[arg(long, value_name = "ID", conflicts_with = "source_cluster")]
    remote_cluster: Option<String>,
    /// Addresses of the other cluster, of a link with link.mode=BIDIRECTIONAL
    #[arg(long, value_name = "HOST:PORT,...", conflicts_with = "source_bootstrap_server")]
    remote_bootstrap_server: Option<String>,
    #[command(flatten)]
    key: configs::ApiKey,
    #[command(flatten)]
    own: configs::Own,
    /// A file of properties, or NAME=VALUE pairs separated by commas
    #[arg(long, value_name = "FILE|PAIRS", visible_alias = "config-file")]
    config: Vec<String>,
    /// Say only what would come of it
    #[arg(long)]
    dry_run: bool,
    /// Do not reach the source first
    #[arg(long)]
    no_validate: bool,
    #[command(flatten)]
    output: Output,
}

/// Obeys one command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    super::run(async {
        match &arguments.command {
            Command::Create(create) => create.run().await,
            Command::List { service, output } => list(&service.reached()?, output).await,
            Command::Describe { one, output } => describe(one, output).await,
            Command::Configuration { command: Configuration::List { one, output } } => {
                list_configs(one, output).await
            }
            Command::Configuration { command: Configuration::Update(update) }
            | Command::Update(update) => update.run().await,
            Command::Pause(one) => pause(one, true).await,
            Command::Resume(one) => pause(one, false).await,
            Command::Delete { one, force, dry_run } => delete(one, *force, *dry_run).await,
            Command::Task { command: Task::List { one, output } } => tasks(one, output).await,
        }
    })
}

impl Create {
    async fn run(&self) -> Result<(), Failure> {
        let mut given = configs::read(&self.config)?;
        let bootstrap = self.source_bootstrap_server.as_ref();
        if let Some(bootstrap) = bootstrap.or(self.remote_bootstrap_server.as_ref()) {
            given.insert("bootstrap.servers".to_owned(), bootstrap.clone());
        }
        self.key.add_to(&mut given)?;
        let remote = self.one.service.reached()?;
        self.own.check(&remote).await?;
        let mut body = json!({"configs": configs::data(&given)});
        for (field, id) in [
            ("source_cluster_id", &self.source_cluster),
            ("remote_cluster_id", &self.remote_cluster),
        ] {
            if let Some(id) = id {
                body[field] = json!(id);
            }
        }
        let name = &self.one.link;
        let mut query = vec![("link_name", name.clone())];
        query.extend(flag("validate_only", self.dry_run));
        query.push(("validate_link", (!self.no_validate).to_string()));
        let next = "isolog link list, or isolog link create --help";
        let question = Question { method: "POST", path: &["links"], query, body: Some(body), next };
        remote.ask(question).await?;
        let text = match self.dry_run {
            true => format!("Link '{name}' could be created; nothing was done.\n"),
            false => {
                format!("Created link '{name}'.\nNext: isolog mirror create TOPIC --link {name}\n")
            }
        };
        let mut made = Rows::new(CREATED);
        made.push(vec![json!(name), json!(!self.dry_run)]);
        say(&made.draw_one_or(self.output.format, &text))
    }
}

impl Update {
    async fn run(&self) -> Result<(), Failure> {
        let set = configs::read(&self.config)?;
        let mut data = configs::data(&set);
        data.extend(self.reset.iter().map(|name| json!({"name": name, "operation": "DELETE"})));
        if data.is_empty() {
            let text = "give what is to change by --config, or by --reset";
            return Err(Failure::Failed(text.to_owned()));
        }
        let name = &self.one.link;
        let next = format!("isolog link configuration list {name}");
        let question = Question {
            method: "PUT",
            path: &["links", name, "configs:alter"],
            query: flag("validate_only", self.dry_run),
            body: Some(json!({"data": data})),
            next: &next,
        };
        self.one.service.reached()?.ask(question).await?;
        say(&match self.dry_run {
            true => format!("Link '{name}' could be changed so; nothing was done.\n"),
            false => format!("Changed link '{name}'.\n"),
        })
    }
}

impl One {
    /// Reads something of the link.
    async fn get(
        &self,
        below: &[&str],
        query: &[(&'static str, String)],
    ) -> Result<Value, Failure> {
        let mut path = vec!["links", &self.link];
        path.extend(below);
        let query = query.to_vec();
        let question = Question { method: "GET", path: &path, query, body: None, next: LIST_LINKS };
        self.service.reached()?.ask(question).await
    }
}

async fn list(remote: &Remote, output: &Output) -> Result<(), Failure> {
    let question = Question {
        method: "GET",
        path: &["links"],
        query: Vec::new(),
        body: None,
        next: LIST_LINKS,
    };
    let mut rows = Rows::new(LINKS);
    for link in items(&remote.ask(question).await?) {
        rows.push(shown(&link, LINKS));
    }
    say(&rows.draw(output.format))
}

/// The fields of a link under these columns.
fn shown(link: &Value, columns: &[Column]) -> Vec<Value> {
    let of = |(_, name): &Column| match *name {
        "state" => field(link, "link_state"),
        "error" => field(link, "link_error"),
        "error_message" => field(link, "link_error_message"),
        "category_counts" => {
            let counts = field(link, "category_counts");
            let counts = counts.as_array().into_iter().flatten();
            let words =
                counts.map(|one| format!("{} {}", text(one, "count"), text(one, "state_category")));
            json!(words.collect::<Vec<_>>())
        }
        name => field(link, name),
    };
    columns.iter().map(of).collect()
}

async fn describe(one: &One, output: &Output) -> Result<(), Failure> {
    let link = one.get(&[], &[]).await?;
    let mut rows = Rows::new(LINK);
    rows.push(shown(&link, LINK));
    say(&rows.draw_one(output.format))
}

async fn list_configs(one: &One, output: &Output) -> Result<(), Failure> {
    let mut rows = Rows::new(CONFIGS);
    for config in items(&one.get(&["configs"], &[]).await?) {
        let fields = ["name", "value", "is_read_only", "is_sensitive", "source", "synonyms"];
        rows.push(fields.iter().map(|name| field(&config, name)).collect());
    }
    say(&rows.draw(output.format))
}

async fn tasks(one: &One, output: &Output) -> Result<(), Failure> {
    let link = one.get(&[], &flag("include_tasks", true)).await?;
    let mut rows = Rows::new(TASKS);
    for task in field(&link, "tasks").as_array().into_iter().flatten() {
        let errors = field(task, "errors");
        let errors = errors.as_array().into_iter().flatten();
        let errors = errors
            .map(|one| format!("{}: {}", text(one, "error_code"), text(one, "error_message")));
        let errors = json!(errors.collect::<Vec<_>>());
        rows.push(vec![field(task, "task_name"), field(task, "state"), errors]);
    }
    say(&rows.draw(output.format))
}

async fn pause(rest: &Rest, is_paused: bool) -> Result<(), Failure> {
    let name = &rest.one.link;
    let one = json!({"name": "cluster.link.paused", "value": is_paused.to_string()});
    let question = Question {
        method: "PUT",
        path: &["links", name, "configs:alter"],
        query: flag("validate_only", rest.dry_run),
        body: Some(json!({"data": [one]})),
        next: LIST_LINKS,
    };
    rest.one.service.reached()?.ask(question).await?;
    let word = if is_paused { "paused" } else { "resumed" };
    let text = match (rest.dry_run, is_paused) {
        (true, _) => format!("Link '{name}' could be {word}; nothing was done.\n"),
        (false, true) => format!("Paused link '{name}'.\n"),
        (false, false) => format!("Resumed link '{name}'.\n"),
    };
    let mut done = Rows::new(RESTED);
    done.push(vec![json!(name), json!(is_paused), json!(rest.dry_run)]);
    say(&done.draw_one_or(rest.output.format, &text))
}

async fn delete(one: &One, force: bool, dry_run: bool) -> Result<(), Failure> {
    let name = &one.link;
    let mut query = flag("force", force);
    query.extend(flag("validate_only", dry_run));
    let next = format!("isolog mirror list --link {name}");
    let question =
        Question { method: "DELETE", path: &["links", name], query, body: None, next: &next };
    one.service.reached()?.ask(question).await?;
    say(&match dry_run {
        true => format!("Link '{name}' could be deleted; nothing was done.\n"),
        // its row goes when its mirror topics have been let go of
        false => format!("Link '{name}' goes as soon as its mirror topics are let go of.\n"),
    })
}
