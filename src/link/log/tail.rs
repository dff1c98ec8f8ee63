//! The reading end: one task that follows the journal and looks now and then at what it is.
//!
//! It never gives up while the journal may come back, and never goes on with one that is another,
//! that lost what was read, or whose rows may be deleted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::keyed::batch::LogBatch;
use crate::cluster::keyed::follow::FollowError;
use crate::cluster::keyed::follow::Follower;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::link::log::FromLog;
use crate::link::log::Lost;
use crate::link::log::Shared;
use crate::link::log::fault;
use crate::link::log::open;
use crate::link::log::open::Opened;
use crate::link::log::open::Standing;
use crate::link::log::parse;
use crate::sync::folded;

/// For how long a broker may wait for the next row, in ms; a row that comes is there at once. No
/// longer than that, since brokers close connections on which they wait (connections.max.idle.ms).
const WAIT_MS_MAX: i32 = 1_000;
/// How often the topic's id and configs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The pause after a look that found something wrong.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How many looks in a row must find it wrong before the journal counts as lost: a broker that has
/// just started may not know it yet.
const LOOKS_MIN: u32 = 3;
/// The pause after a failed fetch.
const TRY_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause.
const TRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many fetches in a row must fail before it is told: a leader that moves is no trouble.
const FAILURES_MIN: u32 = 4;
/// For how long none may have worked, however few were tried: a broker that answers nothing is
/// waited for until the request's deadline.
const UNREAD_MAX: Duration = Duration::from_secs(20);

/// Why the task ends.
enum End {
    /// The journal is lost.
    Lost(Lost),
    /// Nobody listens any more.
    Unheard,
}

/// The task.
pub(super) struct Tail {
    follower: Follower,
    shared: Arc<Shared>,
    events: mpsc::Sender<FromLog>,
    is_look: bool,
    start: Offset,
    /// The end to be read before `Level` is told.
    level: Option<Offset>,
    looked_at: Instant,
    /// So many looks in a row have found it wrong.
    wrongs: u32,
    /// So many fetches in a row have failed.
    failures: u32,
    /// When the last one worked.
    read_at: Instant,
    /// What the last fetches and the last look found.
    unread: Option<Fault>,
    unwell: Option<Fault>,
    /// Which of them was told last.
    told: Option<Fault>,
}

impl Tail {
    pub fn new(opened: Opened, shared: Arc<Shared>, events: mpsc::Sender<FromLog>) -> Tail {
        Tail {
            follower: Follower::new(opened.only, opened.topic, opened.start),
            shared,
            events,
            is_look: opened.is_look,
            start: opened.start,
            level: Some(opened.end),
            looked_at: Instant::now(),
            wrongs: 0,
            failures: 0,
            read_at: Instant::now(),
            unread: None,
            unwell: opened.trouble,
            told: None,
        }
    }

    pub async fn run(mut self) {
        let End::Lost(lost) = self.follow().await else { return };
        // who waits for a write to come back waits no longer
        self.shared.read.send_replace(Offset::new(i64::MAX).expect("it is not negative"));
        // nobody is left to be told where the channel is closed
        let _heard = self.events.send(FromLog::Lost(lost)).await;
    }

    async fn follow(&mut self) -> End {
        if let Err(end) = self.begin().await {
            return end;
        }
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    async fn begin(&mut self) -> Result<(), End> {
        self.tell_trouble().await?;
        if self.start > Offset::ZERO {
            self.pass(LogBatch::hole(Offset::ZERO, self.start)).await?;
        }
        self.tell_level().await
    }

    async fn turn(&mut self) -> Result<(), End> {
        let every = if self.wrongs > 0 { LOOK_AGAIN } else { LOOK_EVERY };
        if self.looked_at.elapsed() >= every {
            self.look().await?;
        }
        match self.follower.next(self.wait_ms()).await {
            Ok(batches) => {
                self.failures = 0;
                self.read_at = Instant::now();
                self.unread = None;
                self.tell_trouble().await?;
                for batch in batches {
                    self.pass(batch).await?;
                }
                self.tell_level().await
            }
            Err(error) => self.fail(error).await,
        }
    }

    /// The broker must answer before the request's deadline.
    fn wait_ms(&self) -> i32 {
        let timeout = self.shared.only.cluster().options().request_timeout / 2;
        i32::try_from(timeout.as_millis()).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX)
    }

    async fn pass(&mut self, batch: LogBatch) -> Result<(), End> {
        let next = batch.next;
        if let Some(chain) = parse::chain(self.shared.topic, &batch) {
            *self.shared.chain() = Some(chain);
        }
        self.tell(FromLog::Batch(folded::tail_batch(batch))).await?;
        self.shared.read.send_replace(next);
        Ok(())
    }

    async fn tell(&mut self, event: FromLog) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Unheard)
    }

    async fn tell_level(&mut self) -> Result<(), End> {
        match self.level.take_if(|level| *level <= self.follower.at()) {
            Some(_) => self.tell(FromLog::Level).await,
            None => Ok(()),
        }
    }

    async fn tell_trouble(&mut self) -> Result<(), End> {
        let trouble = self.unread.clone().or(self.unwell.clone());
        if trouble == self.told {
            return Ok(());
        }
        self.told.clone_from(&trouble);
        self.tell(trouble.map_or(FromLog::Well, FromLog::Trouble)).await
    }

    /// Looks at what the topic is.
    async fn look(&mut self) -> Result<(), End> {
        self.looked_at = Instant::now();
        // who cannot be asked is told of by the fetches
        let Ok(standing) = open::standing(&self.shared.only, self.is_look).await else {
            return Ok(());
        };
        let lost = match standing {
            Standing::There(id, health, trouble) if id == self.shared.topic => {
                self.shared.health.send_replace(health);
                self.wrongs = 0;
                self.unwell = trouble;
                return self.tell_trouble().await;
            }
            Standing::Hidden(fault) => {
                self.unwell = Some(fault);
                return self.tell_trouble().await;
            }
            Standing::There(..) => fault::anew(),
            Standing::Wrong(fault) => fault::changed(&fault),
            Standing::Nothing => fault::gone(),
        };
        self.wrongs += 1;
        if self.wrongs < LOOKS_MIN { Ok(()) } else { Err(End::Lost(lost)) }
    }

    async fn fail(&mut self, error: FollowError) -> Result<(), End> {
        match error {
            FollowError::Below { end, read } => return Err(End::Lost(fault::below(end, read))),
            FollowError::Trimmed { start, read } => {
                return Err(End::Lost(fault::trimmed(start, read)));
            }
            _ => {}
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MIN || self.read_at.elapsed() >= UNREAD_MAX {
            self.unread = Some(fault::unread(&error));
            self.tell_trouble().await?;
        }
        let pause = TRY_PAUSE.saturating_mul(1 << self.failures.min(8)) / 2;
        sleep(pause.min(TRY_PAUSE_MAX)).await;
        if is_unknown_topic(&error) && self.looked_at.elapsed() >= LOOK_AGAIN {
            return self.look().await;
        }
        // whether it worked shows at the next fetch; where nobody answers that is not waited for
        let look = tokio::time::timeout(TRY_PAUSE_MAX, self.shared.only.look());
        let _known: Result<Result<(), ClusterError>, _> = look.await;
        Ok(())
    }
}

/// Whether the leader knows no topic of that name and id.
fn is_unknown_topic(error: &FollowError) -> bool {
    // UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID
    matches!(error, FollowError::Refused(KafkaCode(3 | 100 | 103)))
}
