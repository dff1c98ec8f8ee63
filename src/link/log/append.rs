//! The writing end: the rows of one write as one batch, sent until the tail has passed its place.
//!
//! It never says that a write counts: only the tail knows. It never takes a lost answer for a
//! failure, and says that a write was refused only where nothing of it was appended.
//!
//! A batch goes out under the producer id of its chain, with its place in it as the sequence, so
//! that a broker refuses most of what comes late or twice. That saves skipped rows and is all: a
//! broker forgets ids, and compares no content (`broker-facts.md`, A12 and A15).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::cluster::EndKind;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::error::Remedy;
use crate::cluster::keyed::batch::stamped;
use crate::cluster::keyed::only::Appended;
use crate::control::machine::Write;
use crate::control::topic::Fault;
use crate::flow::producer_id;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::link::log::Shared;
use crate::link::log::fault;

/// For how long a write is tried again of which nothing has reached a broker. One that may have
/// been appended is tried until that is known: what it was decided for waits for it anyway.
const UNSENT_MAX: Duration = Duration::from_secs(30);
/// For how long the tail may take to bring what a broker says that it has.
const BROUGHT_MAX: Duration = Duration::from_secs(10);
/// The first pause between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(250);
/// After so many tries in a row it is told what the broker answers.
const TOLD_AFTER: u32 = 3;
/// The longest.
const TRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many chains one write may begin.
const CHAINS_MAX: u32 = 2;
/// The largest write, in bytes of keys, values and headers: what a broker takes in one request.
const WRITE_BYTES_MAX: usize = 100 << 20;
/// What a record's headers and lengths take at most.
const STAMP_BYTES_MAX: usize = 160;

/// The writing end; copies share the connection.
#[derive(Clone)]
pub struct Appender {
    shared: Arc<Shared>,
    line: Arc<Mutex<Option<(BrokerId, Conn)>>>,
}

/// What came of one try.
enum Tried {
    /// The leader has something at the place of the write: the tail brings it.
    IsThere,
    /// The sequence is another one than the leader remembers.
    OutOfOrder,
    /// Nothing was appended, and trying again is no use.
    Refused(Fault),
    /// Nothing was appended by this try.
    Unsent(Fault),
    /// Nobody knows; with the broker's word, where it answered.
    Unknown(Option<Fault>),
}

/// One write on its way.
struct Sending<'a> {
    write: &'a Write,
    bytes: usize,
    began: Instant,
    /// A try of it may have been appended.
    is_doubtful: bool,
    /// So many tries have come to nothing.
    failures: u32,
    chains: u32,
}

impl Appender {
    pub(super) fn new(shared: Arc<Shared>) -> Appender {
        Appender { shared, line: Arc::default() }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Appends the rows of `write`, unless somebody else's lie at its place already. `Ok` when the
    /// tail has passed that place: it has brought the write, or what was faster. The error says why
    /// nothing of it was appended, nor will be. The log must be read on meanwhile. Given up while
    /// it waits, its connection is reset.
    pub async fn append(&self, write: &Write) -> Result<(), Fault> {
        if write.rows.is_empty() {
            return Ok(());
        }
        let row = |(key, value): &(String, Option<String>)| {
            key.len() + value.as_ref().map_or(0, String::len) + STAMP_BYTES_MAX
        };
        let bytes = write.rows.iter().map(row).sum();
        if bytes > WRITE_BYTES_MAX {
            return Err(fault::too_large(bytes, WRITE_BYTES_MAX));
        }
        let (began, is_doubtful) = (Instant::now(), false);
        let mut sending = Sending { write, bytes, began, is_doubtful, failures: 0, chains: 0 };
        let mut done = Ok(());
        while done.is_ok() && !self.has_passed(write) {
            let tried = self.try_append(&sending).await;
            done = self.settle(&mut sending, tried).await;
        }
        self.shared.stuck.send_if_modified(|stuck| stuck.take().is_some());
        done
    }

    /// What the broker answers again and again to a write that may have been appended; `None` when
    /// it is known what became of it.
    pub fn stuck(&self) -> watch::Receiver<Option<Fault>> {
        self.shared.stuck.subscribe()
    }

    fn has_passed(&self, write: &Write) -> bool {
        *self.shared.read.borrow() > write.stamp.at
    }

    async fn settle(&self, sending: &mut Sending<'_>, tried: Tried) -> Result<(), Fault> {
        match tried {
            Tried::IsThere => {
                sending.is_doubtful = true;
                self.await_tail(sending.write, BROUGHT_MAX).await;
            }
            Tried::OutOfOrder => return self.begin_chain(sending).await,
            Tried::Refused(fault) if !sending.is_doubtful => return Err(fault),
            Tried::Refused(fault) => match self.log_end().await {
                // nothing of an earlier try can come any more: its connection was reset
                Ok(end) if end <= sending.write.stamp.at => return Err(fault),
                _ => self.look_again(sending).await,
            },
            Tried::Unsent(fault) => {
                let is_over = sending.began.elapsed() > UNSENT_MAX;
                if is_over && !sending.is_doubtful {
                    return Err(fault);
                }
                self.look_again(sending).await;
            }
            Tried::Unknown(why) => {
                sending.is_doubtful = true;
                if sending.failures >= TOLD_AFTER && why.is_some() {
                    self.shared.stuck.send_if_modified(|stuck| {
                        let is_news = *stuck != why;
                        *stuck = why;
                        is_news
                    });
                }
                self.look_again(sending).await;
            }
        }
        Ok(())
    }

    /// Another writer of the chain was faster, or the leader's memory is not what the log says.
    async fn begin_chain(&self, sending: &mut Sending<'_>) -> Result<(), Fault> {
        let at = sending.write.stamp.at;
        match self.log_end().await {
            Ok(end) if end > at => {
                sending.is_doubtful = true;
                self.await_tail(sending.write, BROUGHT_MAX).await;
            }
            Ok(_) if sending.chains >= CHAINS_MAX => {
                return Err(fault::refused(KafkaCode(45), None, sending.bytes));
            }
            Ok(_) => {
                sending.chains += 1;
                *self.shared.chain() = Some(at);
                tracing::debug!(%at, "a chain of the journal's sequences begins");
            }
            Err(_) => self.look_again(sending).await,
        }
        Ok(())
    }

    /// Waits until the tail has passed the write's place, but no longer than that.
    async fn await_tail(&self, write: &Write, wait_max: Duration) -> bool {
        let mut read = self.shared.read.subscribe();
        let passed = read.wait_for(|read| *read > write.stamp.at);
        timeout(wait_max, passed).await.is_ok()
    }

    async fn look_again(&self, sending: &mut Sending<'_>) {
        sending.failures = sending.failures.saturating_add(1);
        let pause = TRY_PAUSE.saturating_mul(1 << sending.failures.min(8)).min(TRY_PAUSE_MAX);
        if !self.await_tail(sending.write, pause).await {
            // whether it worked shows at the next try
            let _known = self.shared.only.look().await;
        }
    }

    /// Where the leader's log ends, behind everything that has reached it so far.
    async fn log_end(&self) -> Result<Offset, ClusterError> {
        let only = &self.shared.only;
        let (leader, partition) = only.leader().await?;
        // its answer waits for an append in progress; that of ListOffsets does not
        let barrier = std::slice::from_ref(only.tp());
        only.cluster().describe_producers(leader, barrier).await?;
        only.end(leader, partition.epoch, EndKind::LogEnd).await
    }

    async fn try_append(&self, sending: &Sending<'_>) -> Tried {
        let mut line = self.line.lock().await;
        // taken out meanwhile: who gives up waiting drops the connection with the request
        let (leader, mut conn) = match self.connect(line.take()).await {
            Ok(opened) => opened,
            Err(error) => return Tried::Unsent(fault::unreachable(&error)),
        };
        let write = sending.write;
        let (chain, sequence) = self.place(write);
        let writer = producer_id::of_journal(self.shared.topic, chain);
        let (now, headers) = (self.shared.wall.now(), write.stamp.headers());
        let batch = stamped((writer, sequence), now, &write.rows, &headers);
        let batch = batch.expect("append sends nothing for no rows");
        match self.shared.only.append(&mut conn, self.shared.topic, &batch).await {
            Ok(appended) => {
                *line = Some((leader, conn));
                tried(&appended, sending.bytes)
            }
            Err(error) if error.is_unknown() => Tried::Unknown(None),
            Err(error) => Tried::Unsent(fault::unreachable(&error)),
        }
    }

    async fn connect(
        &self,
        idle: Option<(BrokerId, Conn)>,
    ) -> Result<(BrokerId, Conn), ClusterError> {
        let (leader, _) = self.shared.only.leader().await?;
        if let Some((of, mut conn)) = idle
            && of == leader
            && conn.is_alive().await
            && conn.is_trusted()
        {
            return Ok((leader, conn));
        }
        Ok((leader, self.shared.only.cluster().open(leader, Use::Append).await?))
    }

    /// The chain that the write goes on with, and its sequence there; a chain of its own where
    /// there is none, or its sequences would not fit any more.
    fn place(&self, write: &Write) -> (Offset, i32) {
        let at = write.stamp.at;
        let count = i64::try_from(write.rows.len()).unwrap_or(i64::MAX);
        let fits = |start: &Offset| {
            let sequence = at.get() - start.get();
            (0..=i64::from(i32::MAX).saturating_sub(count)).contains(&sequence)
        };
        let start = (*self.shared.chain()).filter(fits).unwrap_or(at);
        (start, i32::try_from(at.get() - start.get()).unwrap_or(0))
    }
}

/// What the leader's answer means.
fn tried(appended: &Appended, bytes: usize) -> Tried {
    let code = appended.code;
    if code.is_none() {
        return Tried::IsThere;
    }
    let fault = fault::refused(code, appended.message.as_deref(), bytes);
    match (code.0, code.remedy()) {
        // OUT_OF_ORDER_SEQUENCE_NUMBER, DUPLICATE_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH,
        // UNKNOWN_PRODUCER_ID
        (45 | 46 | 47 | 59, _) => Tried::OutOfOrder,
        // REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND: the leader has it, its followers
        // not yet; KAFKA_STORAGE_ERROR and UNKNOWN_SERVER_ERROR: perhaps
        (7 | 20 | 56 | -1, _) => Tried::Unknown(Some(fault)),
        // NOT_ENOUGH_REPLICAS is answered before anything is appended
        (19, _) | (_, Remedy::Halt | Remedy::Reauth) => Tried::Refused(fault),
        _ => Tried::Unsent(fault),
    }
}
