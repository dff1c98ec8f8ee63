//! `isolog drill`: the loss of a source rehearsed on one's own clusters, with a topic that is made
//! up for it.
//!
//! It never orders anything about another topic, takes no cluster down, and leaves nothing behind
//! that it could remove.

use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::json;

use super::Address;
use super::Credentials;
use super::Failure;
use super::Format;
use super::Output;
use super::Question;
use super::Remote;
use super::Service;
use super::clearing::ALL_WAIT_MAX;
use super::clearing::Clearing;
use super::clearing::Left;
use super::course::Course;
use super::course::Told;
use super::output::Column;
use super::output::Rows;
use super::parse_url;
use super::plain;
use crate::audit::LinkOptions;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::verify::named;
use crate::cli::wait_within;
use crate::config;
use crate::drill::Canary;
use crate::drill::PARTITIONS_MAX;
use crate::drill::RECORDS_MAX;
use crate::drill::hands::Hands;
use crate::ids::Side;

const FIGURES: &[Column] = &[
    ("Link Name", "link_name"),
    ("Source Topic Name", "source_topic_name"),
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Partitions", "partitions"),
    ("Records Acknowledged At The Source", "records_acknowledged"),
    ("RPO: Records Not In The Copy", "rpo_records"),
    ("RPO: The First Of Them Before The Order (ms)", "rpo_ms"),
    ("RTO: Order To STOPPED (ms)", "stopped_ms"),
    ("RTO: Order To The First Acknowledged Write (ms)", "first_write_ms"),
    ("RTO: Order To The Last Partition's (ms)", "last_write_ms"),
    ("RTO: Order To The First Read Of It (ms)", "first_read_ms"),
    ("Records Compared At The Destination", "records_compared"),
    ("Differences", "differences"),
    ("Left Behind", "left_behind"),
];
const PLAN: &[Column] = &[("Step", "step"), ("What", "what")];

/// What `isolog drill` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// The link whose way is tried
    #[arg(long, value_name = "LINK")]
    link: String,
    /// The config file of the running isolog: it says where that listens and where the destination
    /// is, and opens the links' secrets
    #[arg(long, value_name = "FILE", env = "ISOLOG_CONFIG")]
    config: PathBuf,
    /// Where the running isolog listens, if not where the file says
    #[arg(long, value_name = "URL", env = "ISOLOG_URL", value_parser = parse_url)]
    url: Option<Address>,
    #[command(flatten)]
    credentials: Credentials,
    /// Partitions of the canary
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = partitions())]
    partitions: u16,
    /// Records that are written at the source, over all partitions: half of them before it is
    /// mirrored, the others until the failover is ordered
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = records())]
    records: u32,
    /// For so long the later half of them is written
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = seconds())]
    seconds: u64,
    /// Replicas of the canary on both sides; else the source's default, and what the link says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// Wait so long at most for ACTIVE and level, and for STOPPED; exit code 6
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds())]
    timeout: u64,
    /// Say only what would be done, and which rights it needs
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

fn partitions() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::from(PARTITIONS_MAX))
}

fn records() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(2..=i64::from(RECORDS_MAX))
}

/// A second to an hour.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=3_600)
}

/// Plays one drill.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config).map_err(Failure::Misused)?;
    let remote = arguments.service().reached()?;
    wait_within(ALL_WAIT_MAX, async |stop| {
        let ready = async {
            let link = named(&config, &arguments.link).await?;
            known(&remote, &arguments.link).await?;
            let canary = arguments.canary(&link)?;
            let hands = Hands::reach(&link, canary).await;
            let hands = hands.map_err(|error| Failure::Failed(plain(&error.to_string())))?;
            let (here, there) = (remote.cluster().await?, hands.destination_id());
            if here != there {
                return Err(Failure::Failed(format!(
                    "the isolog that is asked writes to cluster {here}, and the config file's \
                     destination is {there}: give its own file, or another --url"
                )));
            }
            Ok::<_, Failure>((link, hands))
        };
        let (link, hands) = tokio::select! {
            ready = ready => ready?,
            () = stop.cancelled() => {
                let text = "it was stopped before anything was made";
                return Err(Failure::Failed(text.to_owned()));
            }
        };
        let clearing = Clearing { hands: &hands, remote: &remote, link: &link };
        if arguments.dry_run {
            return arguments.plan(&clearing).await;
        }
        complain(&format!("after a kill remove by hand:\n  {}", clearing.commands().join("\n  ")));
        let course = arguments.course(&clearing);
        let played = tokio::select! {
            played = course.play() => played,
            () = stop.cancelled() => Err(Failure::Failed("it was stopped".to_owned())),
        };
        complain("removing what was made");
        let left = clearing.clear(played.is_err()).await;
        arguments.end(&clearing, played, &left)
    })
}

/// A name that is mistyped, or a service of another destination, is told before anything is made.
async fn known(remote: &Remote, link: &str) -> Result<(), Failure> {
    let (path, next) = (&["links", link], "isolog link list");
    let question = Question { method: "GET", path, query: Vec::new(), body: None, next };
    remote.ask(question).await.map(drop)
}

impl Arguments {
    fn service(&self) -> Service {
        Service {
            url: self.url.clone(),
            service_config: Some(self.config.clone()),
            credentials: self.credentials.clone(),
        }
    }

    fn canary(&self, link: &LinkOptions) -> Result<Canary, Failure> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let canary = Canary::of(link, since_1970.as_millis(), self.partitions);
        canary.ok_or_else(|| {
            let property = link.rename.property();
            Failure::Failed(format!("{property} leaves a canary no topic name: shorten it"))
        })
    }

    /// How many records each partition gets; at least one before it is mirrored, and one after.
    fn records_each(&self) -> u64 {
        u64::from((self.records / u32::from(self.partitions)).max(2))
    }

    fn course<'a>(&self, on: &Clearing<'a>) -> Course<'a> {
        Course {
            hands: on.hands,
            remote: on.remote,
            link: on.link,
            records: self.records_each(),
            seconds: self.seconds,
            replicas: self.replication_factor,
            timeout: Duration::from_secs(self.timeout),
        }
    }

    /// Shows what it came to, and says how it ended.
    fn end(
        &self,
        on: &Clearing<'_>,
        played: Result<Told, Failure>,
        left: &[Left],
    ) -> Result<(), Failure> {
        for one in left {
            complain(&format!("left behind: {}\nNext: {}", plain(&one.what), one.command));
        }
        if left.is_empty() {
            complain("nothing is left behind");
        }
        let told = played?;
        say(&self.figures(on, &told, left).draw_one(self.output.format))?;
        match (told.differences.is_empty(), left.is_empty()) {
            (false, _) => Err(Failure::No),
            (true, true) => Ok(()),
            (true, false) => {
                Err(Failure::Failed("not everything that was made is removed".to_owned()))
            }
        }
    }

    fn figures(&self, on: &Clearing<'_>, told: &Told, left: &[Left]) -> Rows {
        let ms =
            |duration: Duration| json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let [first, last] = told.written;
        let mut rows = Rows::new(FIGURES);
        rows.push(vec![
            json!(on.link.name.to_string()),
            json!(on.hands.canary.source.as_str()),
            json!(on.hands.canary.mirror.as_str()),
            json!(self.partitions),
            json!(told.acknowledged),
            json!(told.lost.records),
            ms(told.lost.before),
            ms(told.stopped),
            ms(first),
            ms(last),
            ms(told.read),
            json!(told.compared),
            json!(told.differences),
            json!(left.iter().map(|one| plain(&one.what)).collect::<Vec<_>>()),
        ]);
        rows
    }

    /// What would be done, and what it needs.
    async fn plan(&self, on: &Clearing<'_>) -> Result<(), Failure> {
        let (hands, link) = (on.hands, &on.link.name);
        let (source, mirror) = (&hands.canary.source, &hands.canary.mirror);
        let (partitions, records) = (self.partitions, self.records_each());
        let tried = hands.try_make(self.replication_factor).await;
        let would = match &tried {
            Ok(()) => "the source would take it".to_owned(),
            Err(error) => plain(&error.to_string()),
        };
        let steps = [
            ("create", format!("topic {source} at the source, {partitions} partitions: {would}")),
            (
                "write",
                format!(
                    "{records} records into each partition, half of them before it is mirrored"
                ),
            ),
            ("mirror", format!("as {mirror} by link {link}; wait until it is ACTIVE and level")),
            ("fail over", format!("mirror topic {mirror} alone; wait until it is STOPPED")),
            ("write and read", format!("a record in each partition of {mirror}")),
            ("compare", format!("all records of {mirror} with what the source acknowledged")),
            ("remove", on.commands().join("; ")),
            ("needs at the source", hands.grant(on.link, Side::Source)),
            ("needs at the destination", hands.grant(on.link, Side::Destination)),
        ];
        let mut rows = Rows::new(PLAN);
        for (step, what) in steps {
            rows.push(vec![json!(step), json!(what)]);
        }
        say(&rows.draw(self.output.format))?;
        if self.output.format == Format::Human {
            say("Nothing was done.\n")?;
        }
        tried.map_err(|_| Failure::Failed("the source would not take the canary".to_owned()))
    }
}
