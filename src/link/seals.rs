//! Partitions of a link that are to be sealed: whose turn it is, and what came of it.
//!
//! It never waits for the source: a failover is there for when that is gone. It never seals what a
//! partition manager still holds.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::control::facts::Flowed;
use crate::control::facts::TopicSpec;
use crate::control::row::Sealed;
use crate::control::topic::Fault;
use crate::flow::Wall;
use crate::flow::producer_id;
use crate::flow::seal;
use crate::flow::seal::Ask;
use crate::flow::seal::GROUP_MAX;
use crate::flow::seal::Known;
use crate::flow::seal::Trouble;
use crate::ids::BrokerId;
use crate::ids::ClusterId;
use crate::ids::Incarnation;
use crate::ids::LeaderEpoch;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Takes;
use crate::sync::configs;
use crate::sync::stage;
use crate::sync::trim;

/// The first pause before one that could not be sealed is tried again.
const TRY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const TRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many answers wait at most.
const ANSWERS_MAX: usize = 64;
/// How many topics one question is about.
const TOPICS_MAX: usize = 500;
/// How many partitions one round takes.
const ROUND_MAX: usize = 2_000;
/// For how long a planned stop waits for the source's end behind the seal.
const SOURCE_WAIT_MAX: Duration = Duration::from_secs(3);
/// What a broker says of a topic that is gone.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Topic and partition at the destination.
pub(super) type Place = (TopicName, PartitionId);

/// What came of one try.
#[derive(Clone, Debug)]
pub(super) enum Tried {
    /// It is sealed.
    Sealed(Sealed),
    /// Nobody leads it at the destination.
    Leaderless,
    /// It is tried again.
    Failed(Fault),
}

/// The answers of one try.
pub(super) type Answer = Vec<(Place, Incarnation, Tried)>;

/// One that is to be sealed.
struct Waiting {
    incarnation: Incarnation,
    spec: TopicSpec,
    known: Option<Known>,
    /// The round that it is in; else when it is due.
    round: Option<task::Id>,
    due: Instant,
    tries: u32,
    /// What was told last.
    told: Option<Flowed>,
    /// Nobody wants it any more: it is let go when its round has answered.
    is_dropped: bool,
}

/// Whose partitions they are, and where.
pub(super) struct Among<'a> {
    pub link: &'a LinkName,
    pub destination: &'a Arc<Cluster>,
    /// `None` while the source has not been reached.
    pub source: Option<Arc<Cluster>>,
    /// `None` where it never was.
    pub source_id: Option<ClusterId>,
    pub wall: Wall,
}

/// All of a link.
pub(super) struct Seals {
    all: BTreeMap<Place, Waiting>,
    rounds: JoinSet<()>,
    answers: mpsc::Sender<Answer>,
    answered: mpsc::Receiver<Answer>,
}

/// What comes next.
pub(super) enum Next {
    /// One try has answered.
    Answer(Answer),
    /// A round has ended.
    Ended(task::Id),
    /// Some are due.
    Due,
}

impl Seals {
    pub fn new() -> Seals {
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        Seals { all: BTreeMap::new(), rounds: JoinSet::new(), answers, answered }
    }

    /// Whether that one is to be sealed, or is on its way.
    pub fn has(&self, place: &Place) -> bool {
        self.all.contains_key(place)
    }

    /// Takes one that nobody holds any more; `known` is what was confirmed of it.
    pub fn add(&mut self, place: Place, spec: &TopicSpec, known: Option<Known>) {
        let waiting = Waiting {
            incarnation: spec.incarnation,
            spec: TopicSpec { partitions: BTreeMap::new(), ..spec.clone() },
            known,
            round: None,
            due: Instant::now(),
            tries: 0,
            told: None,
            is_dropped: false,
        };
        self.all.insert(place, waiting);
    }

    /// The spec of a topic is another one, for the same partitions.
    pub fn change(&mut self, topic: &TopicName, spec: &TopicSpec) {
        for ((of, _), waiting) in &mut self.all {
            if of == topic && waiting.incarnation == spec.incarnation {
                waiting.spec = TopicSpec { partitions: BTreeMap::new(), ..spec.clone() };
                waiting.due = Instant::now();
            }
        }
    }

    /// One is wanted no more; `true` where it is let go at once.
    pub fn drop_one(&mut self, place: &Place) -> bool {
        match self.all.get_mut(place) {
            Some(waiting) if waiting.round.is_some() => {
                waiting.is_dropped = true;
                false
            }
            Some(_) => self.all.remove(place).is_some(),
            None => false,
        }
    }

    /// Cancel-safe.
    pub async fn next(&mut self) -> Next {
        let idle = self.all.values().filter(|waiting| waiting.round.is_none());
        let due = idle.map(|waiting| waiting.due).min();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(answer) = self.answered.recv() => Next::Answer(answer),
            Some(ended) = self.rounds.join_next_with_id() => Next::Ended(match ended {
                Ok((id, ())) => id,
                Err(error) => {
                    tracing::error!(%error, "a round of seals ended in a panic");
                    error.id()
                }
            }),
            () = timer => Next::Due,
        }
    }

    /// Those of a round that has ended without an answer are tried again.
    pub fn end(&mut self, id: task::Id) {
        for waiting in self.all.values_mut().filter(|one| one.round == Some(id)) {
            waiting.round = None;
            waiting.rest();
        }
    }

    /// Has all sealed that are due.
    pub fn begin(&mut self, among: &Among<'_>) {
        let now = Instant::now();
        if !self.all.values().any(|one| one.round.is_none() && one.due <= now) {
            return;
        }
        let Some(source_id) = &among.source_id else {
            // nothing was ever mirrored by a link whose source was never reached
            self.all.values_mut().for_each(Waiting::rest);
            return;
        };
        let destination = among.destination.id();
        let mut jobs = Vec::new();
        let mut begun = Vec::new();
        for (place, waiting) in self.all.iter_mut() {
            let is_due = waiting.round.is_none() && waiting.due <= now;
            if jobs.len() >= ROUND_MAX || !is_due {
                continue;
            }
            let spec = &waiting.spec;
            let number = spec.generation;
            let writer = producer_id::of_generation(source_id, &destination, among.link, number);
            jobs.push(Job {
                place: place.clone(),
                incarnation: waiting.incarnation,
                topic: spec.mirror_id,
                writer: writer.id,
                known: waiting.known,
                owed: spec.owed.clone(),
                source: spec.is_planned.then(|| spec.source.0.clone()),
            });
            begun.push(place.clone());
        }
        if jobs.is_empty() {
            return;
        }
        let round = Round {
            destination: among.destination.clone(),
            source: among.source.clone(),
            wall: among.wall,
            answers: self.answers.clone(),
        };
        let id = self.rounds.spawn(round.run(jobs)).id();
        for place in begun {
            if let Some(waiting) = self.all.get_mut(&place) {
                waiting.round = Some(id);
            }
        }
    }

    /// Takes in what came of a try; what is to be told of it.
    pub fn take_in(&mut self, answer: Answer) -> Vec<(Place, Incarnation, Flowed)> {
        let mut news = Vec::new();
        for (place, incarnation, tried) in answer {
            let waiting = self.all.get_mut(&place);
            let Some(waiting) = waiting.filter(|one| one.incarnation == incarnation) else {
                continue;
            };
            waiting.round = None;
            waiting.rest();
            let is_dropped = waiting.is_dropped;
            let what = match tried {
                Tried::Sealed(sealed) => Flowed::IsSealed(sealed),
                _ if is_dropped => Flowed::Released,
                Tried::Leaderless => Flowed::Leaderless,
                Tried::Failed(fault) => Flowed::Halted(fault),
            };
            if matches!(what, Flowed::IsSealed(_) | Flowed::Released) {
                self.all.remove(&place);
            } else if waiting.told.replace(what.clone()).as_ref() == Some(&what) {
                continue;
            }
            news.push((place, incarnation, what));
        }
        news
    }
}

impl Waiting {
    /// It is due after a pause, longer each time.
    fn rest(&mut self) {
        let pause = TRY_PAUSE_MIN.saturating_mul(1 << self.tries.min(10)).min(TRY_PAUSE_MAX);
        self.tries = self.tries.saturating_add(1);
        self.due = Instant::now() + pause;
    }
}

/// One to be sealed now.
struct Job {
    place: Place,
    incarnation: Incarnation,
    topic: TopicId,
    writer: crate::ids::ProducerId,
    known: Option<Known>,
    owed: crate::control::row::Changes,
    /// What the source calls the topic, where it is asked once more.
    source: Option<TopicName>,
}

impl Job {
    fn tp(&self) -> TopicPartition {
        TopicPartition { topic: self.place.0.clone(), partition: self.place.1 }
    }

    fn at_source(&self) -> Option<TopicPartition> {
        let topic = self.source.clone()?;
        Some(TopicPartition { topic, partition: self.place.1 })
    }

    fn answer(&self, tried: Tried) -> (Place, Incarnation, Tried) {
        (self.place.clone(), self.incarnation, tried)
    }
}

/// A round: all that were due at one moment.
#[derive(Clone)]
struct Round {
    destination: Arc<Cluster>,
    source: Option<Arc<Cluster>>,
    wall: Wall,
    answers: mpsc::Sender<Answer>,
}

impl Round {
    async fn run(self, jobs: Vec<Job>) {
        let topics: BTreeSet<TopicName> = jobs.iter().map(|job| job.place.0.clone()).collect();
        let topics: Vec<TopicName> = topics.into_iter().collect();
        let taken = self.taken(&topics).await;
        let is_led = |job: &Job| self.led(job).is_ok();
        if !jobs.iter().all(is_led)
            && let Err(error) = self.destination.refresh(Wanted::Topics(&topics)).await
        {
            tracing::info!(%error, "who leads mirror topics is not known");
        }
        let (mut groups, mut answer) = (BTreeMap::<BrokerId, Vec<_>>::new(), Answer::new());
        for job in jobs {
            let mut takes = taken.get(&job.place.0).cloned().unwrap_or_default();
            if !job.owed.is_empty() {
                takes.is_compacted = Some(stage::will_compact(&job.owed));
            }
            match self.led(&job) {
                Ok((leader, epoch)) => {
                    let ask = Ask {
                        tp: job.tp(),
                        topic: job.topic,
                        writer: job.writer,
                        takes,
                        known: job.known,
                    };
                    groups.entry(leader).or_default().push((job, (ask, epoch)));
                }
                Err(tried) => answer.push(job.answer(tried)),
            }
        }
        let _gone = self.answers.send(answer).await;
        let mut tasks = JoinSet::new();
        for (leader, mut group) in groups {
            while !group.is_empty() {
                let some = group.split_off(group.len().saturating_sub(GROUP_MAX));
                tasks.spawn(self.clone().seal(leader, some));
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// What the topics take now; of those that do not tell it nothing is known.
    async fn taken(&self, topics: &[TopicName]) -> BTreeMap<TopicName, Takes> {
        let keys = configs::keys_at_destination();
        let mut taken = BTreeMap::new();
        for some in topics.chunks(TOPICS_MAX) {
            match self.destination.describe_topic_configs(some, Some(&keys)).await {
                Ok(answers) => taken.extend(
                    answers
                        .into_iter()
                        .filter_map(|(name, answer)| Some((name, configs::takes(&answer.ok()?)))),
                ),
                Err(error) => tracing::info!(%error, "configs of mirror topics are not read"),
            }
        }
        taken
    }

    /// Who leads it at the destination, or why nobody does.
    fn led(&self, job: &Job) -> Result<(BrokerId, LeaderEpoch), Tried> {
        let (name, was) = (&job.place.0, job.topic);
        let failed =
            |code: &str, text: String| Err(Tried::Failed(Fault { code: code.to_owned(), text }));
        match self.destination.topic(name) {
            topic
                if topic
                    .as_ref()
                    .is_none_or(|topic| topic.error.0 == UNKNOWN_TOPIC_OR_PARTITION) =>
            {
                let text = format!(
                    "mirror topic {name} is gone at the destination, and is not there to be \
                     sealed: let go of the mirror (`isolog mirror delete {name}`)"
                );
                return failed("DESTINATION_TOPIC_DELETED", text);
            }
            Some(topic) if topic.id != was && topic.id != TopicId::NIL && was != TopicId::NIL => {
                let text = format!(
                    "mirror topic {name} was deleted and created anew: it had id {was} and has {}",
                    topic.id
                );
                return failed("DESTINATION_TOPIC_ID_CHANGED", text);
            }
            _ => {}
        }
        let partition = self.destination.partition(&job.tp());
        let led = partition.and_then(|one| Some((one.leader?, one.epoch)));
        led.ok_or(Tried::Leaderless)
    }

    async fn seal(self, leader: BrokerId, group: Vec<(Job, (Ask, LeaderEpoch))>) {
        let (jobs, asks): (Vec<Job>, Vec<_>) = group.into_iter().unzip();
        let mut sealed = seal::seal(&self.destination, self.wall, leader, asks).await;
        let ends = self.source_ends(&jobs).await;
        let (mut answer, mut is_stale) = (Answer::new(), false);
        for job in jobs {
            let tried = match sealed.remove(&job.tp()) {
                Some(Ok(seal)) => Tried::Sealed(Sealed {
                    end: seal.end,
                    source_next: seal.source_next,
                    source_end: job.at_source().and_then(|tp| ends.get(&tp).copied()),
                }),
                Some(Err(trouble)) => {
                    is_stale |= !matches!(&trouble, Trouble::Code(code) if code.0 == 19);
                    failed(&job, &trouble)
                }
                None => continue,
            };
            answer.push(job.answer(tried));
        }
        if is_stale {
            let names: Vec<TopicName> = answer.iter().map(|(place, ..)| place.0.clone()).collect();
            let _known_later = self.destination.refresh(Wanted::Topics(&names)).await;
        }
        let _gone = self.answers.send(answer).await;
    }

    /// Where the source's logs end now, of those that answer in time.
    async fn source_ends(&self, jobs: &[Job]) -> BTreeMap<TopicPartition, Offset> {
        let asked: Vec<TopicPartition> = jobs.iter().filter_map(Job::at_source).collect();
        let Some(source) = self.source.as_ref().filter(|_| !asked.is_empty()) else {
            return BTreeMap::new();
        };
        let asked: Vec<&TopicPartition> = asked.iter().collect();
        let ends = timeout(SOURCE_WAIT_MAX, trim::list(source, &asked, EndKind::LogEnd)).await;
        ends.unwrap_or_default()
    }
}

fn failed(job: &Job, trouble: &Trouble) -> Tried {
    let (topic, partition) = (&job.place.0, job.place.1.0);
    let text = format!("partition {topic}-{partition} is not sealed yet: {}", trouble.text());
    Tried::Failed(Fault { code: trouble.label().to_owned(), text })
}
