//! Which links and topics an audit is about: those of the file, and those that were created by
//! order, which the journal at the destination has.
//!
//! It never writes into the journal, and needs none for a link of the file.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::audit::LinkOptions;
use crate::cli::Failure;
use crate::cli::complain;
use crate::cli::plain;
use crate::cli::wait;
use crate::config;
use crate::config::Config;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::service::journal::EditError;
use crate::service::journal::Editor;
use crate::service::journal::Key;
use crate::service::journal::Row;
use crate::service::journal::Stage;

/// What the audits of a link share on the command line.
#[derive(clap::Args)]
pub struct Which {
    /// The config file of the link
    #[arg(long, value_name = "FILE", env = "ISOLOG_CONFIG")]
    pub config: PathBuf,
    /// Only this link [default: every link of the file, and every one that was created by order]
    #[arg(long, value_name = "NAME")]
    pub link: Option<String>,
    /// Only this topic; may be given again
    #[arg(long, value_name = "NAME", value_parser = parse_topic)]
    pub topic: Vec<TopicName>,
    /// Partitions that are read at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = workers())]
    pub workers: u16,
    /// What one fetch asks for, in bytes; memory is about 6 times that for each worker
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = fetch_bytes())]
    pub fetch_bytes: i32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn workers() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=256)
}

/// Brokers cap a fetch at 55 MB of their own accord.
fn fetch_bytes() -> clap::builder::RangedI64ValueParser<i32> {
    clap::value_parser!(i32).range(65_536..=52_428_800)
}

fn parse_topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).ok_or_else(|| "no topic has such a name".to_owned())
}

/// What an audit is about.
#[derive(Debug)]
pub struct Meant {
    /// The links.
    pub links: Vec<LinkOptions>,
    /// There are no others; where one had to be left out it is told on standard error.
    pub is_whole: bool,
}

/// The rows of the journal that count, by key; or why they could not be read.
type Rows = Result<BTreeMap<String, String>, String>;

impl Which {
    /// The links that are meant: where topics are named those that mirror one of them. Each topic
    /// must be one that they mirror, by either name.
    pub fn links_with_topics(&self) -> Result<Meant, Failure> {
        let Meant { links, is_whole } = self.links()?;
        Ok(Meant { links: with_topics(links, &self.topic)?, is_whole })
    }

    /// The links that are meant.
    pub fn links(&self) -> Result<Meant, Failure> {
        let config = config::load(&self.config).map_err(Failure::Misused)?;
        let rows = wait(async |stop| {
            tokio::select! {
                read = Editor::read(&config.links) => Ok(read),
                () = stop.cancelled() => Err(Failure::Failed("it was stopped".to_owned())),
            }
        })?;
        choose(&config, &told(rows), self.link.as_deref())
    }
}

/// The link of that name: one of the file, or one that an order created.
pub async fn named(config: &Config, name: &str) -> Result<LinkOptions, Failure> {
    let rows = told(Editor::read(&config.links).await);
    let link = choose(config, &rows, Some(name))?.links.into_iter().next();
    link.ok_or_else(|| Failure::Failed(format!("there is no link {name}: `isolog link list`")))
}

fn told(read: Result<Editor, EditError>) -> Rows {
    match read {
        Ok(journal) => Ok(journal.rows().clone()),
        Err(EditError::None) => Ok(BTreeMap::new()),
        Err(error) => Err(error.to_string()),
    }
}

fn with_topics(
    mut links: Vec<LinkOptions>,
    topics: &[TopicName],
) -> Result<Vec<LinkOptions>, Failure> {
    let has = |link: &LinkOptions, name: &TopicName| {
        link.takes(name) || link.source_of(name).is_some_and(|source| link.takes(&source))
    };
    let is_mirrored = |name: &&TopicName| links.iter().any(|link| has(link, name));
    if let Some(name) = topics.iter().find(|name| !is_mirrored(name)) {
        let names: Vec<String> = links.iter().map(|link| link.name.to_string()).collect();
        return Err(Failure::Failed(format!(
            "link {} does not mirror topic {name}: mirror.topics does not match it, and no order \
             made it a mirror",
            names.join(", ")
        )));
    }
    if let ([link], true) = (links.as_slice(), topics.is_empty())
        && !has_any(link)
    {
        let text = format!("link {} mirrors nothing yet: `isolog mirror create`", link.name);
        return Err(Failure::Failed(text));
    }
    links.retain(|link| match topics.is_empty() {
        // one that copies ACLs alone has nothing to be compared
        true => has_any(link),
        false => topics.iter().any(|name| has(link, name)),
    });
    Ok(links)
}

fn has_any(link: &LinkOptions) -> bool {
    link.topics.includes_anything() || !link.ordered.is_empty()
}

/// The links of the file, with what orders added to them, then those that orders created.
fn choose(config: &Config, rows: &Rows, only: Option<&str>) -> Result<Meant, Failure> {
    let is_meant = |name: &LinkName| only.is_none_or(|only| *only == *name.0);
    let known = rows.as_ref().map(journal).unwrap_or_default();
    let mut links: Vec<LinkOptions> = config.audits();
    let mut is_whole = rows.is_ok();
    let of_file: BTreeSet<LinkName> = links.iter().map(|link| link.name.clone()).collect();
    links.retain(|link| is_meant(&link.name));
    let by_order = known.configs.iter().filter(|(name, _)| is_meant(name));
    for (name, configs) in by_order.filter(|(name, _)| !of_file.contains(name)) {
        match config.commanded(name, configs) {
            Ok(link) => links.push(link),
            Err(problems) if only.is_some() => {
                complain(&plain(&format!("link {name}, as the journal has it:")));
                return Err(Failure::Misused(problems));
            }
            Err(problems) => {
                is_whole = false;
                let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>();
                complain(&plain(&format!("link {name} is left out: {}", told.join("; "))));
            }
        }
    }
    for link in &mut links {
        link.ordered = known.topics.get(&link.name).cloned().unwrap_or_default();
    }
    match (rows, only) {
        (Err(why), None) => {
            complain(&plain(&format!("what was created by order is not known and left out: {why}")))
        }
        (Err(why), Some(name)) if links.is_empty() => {
            let text = format!("the file has no link {name}, and the journal is not known: {why}");
            return Err(Failure::Failed(text));
        }
        _ => {}
    }
    match (links.is_empty(), only) {
        (true, Some(name)) if known.declared.contains(name) => {
            let text = "is one of a config file, and this one does not have it: give that file";
            Err(Failure::Failed(format!("link {name} {text}")))
        }
        (true, Some(name)) => {
            let text = "neither in the file nor in the journal of its destination";
            Err(Failure::Failed(format!("there is no link {name}, {text}: `isolog link list`")))
        }
        (true, None) => Err(Failure::Failed(
            "there is no link: the config file has no [link.NAME] section, and none was created by \
             order"
                .to_owned(),
        )),
        _ => Ok(Meant { links, is_whole }),
    }
}

/// What the journal says of links.
#[derive(Default)]
struct Known {
    /// The properties of those that orders created.
    configs: BTreeMap<LinkName, BTreeMap<String, String>>,
    /// Those of the file of some isolog.
    declared: BTreeSet<String>,
    /// The sources of the mirror topics of each.
    topics: BTreeMap<LinkName, BTreeSet<TopicName>>,
}

/// A row that cannot be read is told of, and the others count.
fn journal(rows: &BTreeMap<String, String>) -> Known {
    let mut known = Known::default();
    for (text, value) in rows {
        let Some(key) = Key::parse(text) else { continue };
        match Row::parse(&key, value) {
            Ok(Row::Link(row)) if row.is_commanded() && !row.is_leaving => {
                known.configs.insert(key.link().clone(), row.configs);
            }
            Ok(Row::Link(row)) if !row.is_commanded() => {
                known.declared.insert(key.link().to_string());
            }
            Ok(Row::Mirror(row)) if !matches!(row.stage, Stage::Leaving { .. } | Stage::LetGo) => {
                known.topics.entry(key.link().clone()).or_default().insert(row.source_topic);
            }
            Ok(_) => {}
            Err(error) => complain(&plain(&error.to_string())),
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: &str = r#"{"v":1,"source_topic":"orders",
        "source_id":"00000000000000000000000000000001","mirror_id":null,"partitions":1,
        "generation":0,"stage":"mirroring","since_ms":1,"paused":false,"made_by":"order",
        "adopted":null,"starts":{},"owed":{},"configs":{},"replicas":null,"sealed":{},
        "deadline_ms":null}"#;

    fn config(of: &str) -> Config {
        let dir = std::env::temp_dir().join(format!("isolog-which-{of}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("isolog.toml");
        let links = ["west", "east"].map(|name| {
            format!("[link.{name}]\nbootstrap.servers = '{name}:9092'\nmirror.topics = '{name}*'\n")
        });
        let text = format!("[destination]\nbootstrap.servers = 'here:9092'\n{}", links.concat());
        std::fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        config
    }

    fn rows() -> BTreeMap<String, String> {
        let link = r#"{"v":1,"id":"x","mode":"DESTINATION","origin":"commanded","configs":{
            "bootstrap.servers":"far:9092","cluster.link.prefix":"far."},"source_cluster":null,
            "generation":0,"paused":false,"leaving":false}"#;
        let mut wrong = link.replace("far:9092", "");
        wrong.insert(0, ' ');
        let gone = MIRROR.replace("\"mirroring\"", "\"let_go\"").replace("orders", "gone");
        [
            ("link/far", link.to_owned()),
            ("link/wrong", wrong),
            ("mirror/far/far.orders", MIRROR.to_owned()),
            ("mirror/far/far.gone", gone),
            ("mirror/west/orders", MIRROR.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn names(links: &[LinkOptions]) -> Vec<String> {
        links.iter().map(|link| link.name.to_string()).collect()
    }

    #[test]
    fn a_link_that_mirrors_none_of_the_topics_is_not_meant() {
        let config = config("topics");
        let meant = |topics: &[&str]| {
            let topics: Vec<TopicName> = topics.iter().map(|text| name(text)).collect();
            let links = choose(&config, &Ok(rows()), None).unwrap().links;
            let links = with_topics(links, &topics);
            links.map(|links| names(&links)).map_err(|cause| format!("{cause:?}"))
        };
        let texts = |all: &[&str]| Ok(all.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(meant(&[]), texts(&["east", "west", "far"]));
        assert_eq!(meant(&["west-1"]), texts(&["west"]));
        assert_eq!(meant(&["orders"]), texts(&["west", "far"]), "by order");
        assert_eq!(meant(&["far.orders"]), texts(&["far"]), "by the mirror's name");
        for other in ["other", "far.gone", "gone"] {
            let told = meant(&["west-1", other]).unwrap_err();
            assert!(told.contains(&format!("does not mirror topic {other}")), "{told}");
        }
    }

    #[test]
    fn links_of_the_journal_are_meant_as_well() {
        let config = config("journal");
        let of =
            |rows: &Rows, only| choose(&config, rows, only).map_err(|cause| format!("{cause:?}"));
        let far = of(&Ok(rows()), Some("far")).unwrap().links.remove(0);
        assert_eq!(far.mirror_of(&name("orders")), name("far.orders"));
        assert_eq!(far.source_of(&name("far.orders")), Some(name("orders")));
        assert_eq!(far.source_of(&name("orders")), None);
        assert!(far.takes(&name("orders")) && !far.takes(&name("gone")));
        assert!(of(&Ok(rows()), Some("wrong")).unwrap_err().contains("bootstrap.servers"));
        assert!(of(&Ok(rows()), Some("none")).unwrap_err().contains("there is no link none"));
        let unread: Rows = Err("nobody answers".to_owned());
        let file = of(&unread, None).unwrap();
        assert_eq!(
            (names(&file.links), file.is_whole),
            (vec!["east".into(), "west".into()], false)
        );
        assert_eq!(names(&of(&unread, Some("west")).unwrap().links), ["west"]);
        assert!(!of(&Ok(rows()), None).unwrap().is_whole, "one is left out");
        assert!(of(&Ok(BTreeMap::new()), None).unwrap().is_whole);
        let told = of(&unread, Some("far")).unwrap_err();
        assert!(told.contains("no link far") && told.contains("nobody answers"), "{told}");
    }
}
