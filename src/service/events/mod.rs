//! What has happened since this isolog started: the last events, each with a number, for those who
//! follow them.
//!
//! It never keeps more than [`KEPT_MAX`] or [`KEPT_BYTES_MAX`], and never tells less than happened
//! without saying so: who asks for what is gone, or comes with a cursor of another start, is told
//! `lost` first.

pub mod announce;
pub mod changes;
mod route;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::link::driver;
use crate::link::registry::Registry;
use crate::service::view::Sight;

use self::changes::Told;

pub(super) use self::route::router;

/// How many events are kept; the oldest goes for a new one.
pub const KEPT_MAX: usize = 10_000;
/// How many bytes of text they hold together; orders may name many topics.
pub const KEPT_BYTES_MAX: usize = 16 << 20;
/// How many events one answer has at most; who asks again gets the next ones.
pub const ANSWERED_MAX: usize = 1_000;
/// For how long an answer waits for an event at most.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// What an event takes beside its longer texts, in bytes, at most about.
const EVENT_BYTES: usize = 512;
/// The most letters of an event's reason.
const REASON_LETTERS_MAX: usize = 1_000;
/// What changes is looked at so often at most.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// So often it is looked whether clusters answer: no row of the journal says that.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
/// The cursor of who wants to know only of what is yet to come.
const NOW: &str = "now";

/// What an event is about.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This isolog has the work of its destination, or has it no more.
    #[default]
    Instance,
    /// A link's state.
    Link,
    /// A mirror topic's state.
    Mirror,
    /// A partition that a rule stopped.
    Partition,
    /// A task of a link.
    Task,
    /// An order, and what came of it.
    Order,
    /// Events that are not told: why, and what to do.
    Lost,
}

/// Something that happened. A field that says nothing of this kind is `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who asks with it as `after` gets what came behind this event.
    pub cursor: String,
    /// One more than that of the event before; it begins anew with each start of isolog.
    pub seq: u64,
    /// When it was seen, in ms since 1970.
    pub time_ms: i64,
    /// What it is about.
    pub kind: Kind,
    /// The link.
    pub link: Option<String>,
    /// The mirror topic.
    pub topic: Option<String>,
    /// What it was before; `null` where it was not there, or nothing was known of it.
    pub from: Option<String>,
    /// What it is now; `null` where it is gone.
    pub to: Option<String>,
    /// The reason in one word of docs/STATES.md; may be empty.
    pub code: String,
    /// The same for people; may be empty.
    pub reason: String,
    /// The mirror topic's topic at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_topic: Option<String>,
    /// The partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Since when a mirror topic is so, in ms since 1970: long ago, where isolog has just started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// The order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Ordered>,
}

/// An order, as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Who gave it.
    pub who: String,
    /// The name of its operation, such as `UpdateKafkaMirrorTopicsPromote`.
    pub name: String,
    /// What its path names.
    pub subject: String,
    /// The mirror topics that it names, or that its pattern found.
    pub topics: Vec<String>,
    /// The pattern.
    pub pattern: String,
    /// What else its body names: consumer groups, or configs, without their values.
    #[serde(default)]
    pub names: Vec<String>,
    /// Nothing was to be done.
    pub dry: bool,
    /// The status of its answer.
    pub status: u16,
    /// For how many of these topics it was refused.
    pub refused: u64,
}

/// What one answer tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// What is `after` of the next question, also where there was no event.
    pub cursor: String,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// A cursor of nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCursor;

/// The events that are kept; copies are of the same ones.
#[derive(Clone, Debug)]
pub struct Events {
    /// Another one with each start.
    boot: Arc<str>,
    kept: Arc<Mutex<Kept>>,
    /// The number of the last one.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    last: u64,
}

impl Kept {
    fn push(&mut self, event: Event) {
        self.bytes += event.bytes();
        self.events.push_back(Arc::new(event));
        while self.events.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }
}

impl Event {
    fn bytes(&self) -> usize {
        let order = self.order.as_ref().map_or(0, |order| {
            let topics: usize = order.topics.iter().map(|topic| topic.len() + 24).sum();
            order.subject.len() + order.pattern.len() + topics
        });
        EVENT_BYTES + self.reason.len() + order
    }
}

impl Default for Events {
    fn default() -> Events {
        // without random bytes two starts in one ms would look like one
        Events::of(driver::new_id().unwrap_or_else(|| now_ms().to_string()))
    }
}

impl Events {
    fn of(boot: String) -> Events {
        Events { boot: boot.into(), kept: Arc::default(), newest: watch::channel(0).0 }
    }

    /// One more has happened.
    pub fn tell(&self, event: Event) {
        let mut kept = self.lock();
        kept.last += 1;
        let reason = match event.reason.char_indices().nth(REASON_LETTERS_MAX) {
            Some((at, _)) => format!("{}…", &event.reason[..at]),
            None => event.reason,
        };
        let cursor = self.cursor(kept.last);
        let event = Event { cursor, seq: kept.last, time_ms: now_ms(), reason, ..event };
        kept.push(event);
        // while the lock is held, so that the number never goes back
        self.newest.send_replace(kept.last);
    }

    fn cursor(&self, seq: u64) -> String {
        format!("{}.{seq}", self.boot)
    }

    /// What came behind `after`, of one link or of all; without `after` all that is kept.
    pub fn page(&self, after: Option<&str>, link: Option<&str>) -> Result<Page, NoCursor> {
        let kept = self.lock();
        let (seq, is_ours) = match after {
            None => (0, true),
            Some(NOW) => (kept.last, true),
            Some(after) => {
                let (boot, seq) = after.rsplit_once('.').ok_or(NoCursor)?;
                let seq: u64 = seq.parse().map_err(|_| NoCursor)?;
                if *boot == *self.boot { (seq, true) } else { (0, false) }
            }
        };
        if seq > kept.last {
            return Err(NoCursor);
        }
        let oldest = kept.last + 1 - kept.events.len() as u64;
        let restarted = (!is_ours).then(|| self.restarted(oldest));
        let overflown = (seq + 1 < oldest).then(|| self.overflown(seq, oldest));
        let skipped = usize::try_from((seq + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        let mut page = Page { cursor: self.cursor(kept.last), events: Vec::new() };
        page.events.extend(restarted.into_iter().chain(overflown));
        for event in kept.events.iter().skip(skipped) {
            if page.events.len() >= ANSWERED_MAX {
                page.cursor = self.cursor(event.seq - 1);
                break;
            }
            if link.is_none_or(|link| event.link.as_deref() == Some(link)) {
                page.events.push(Event::clone(event));
            }
        }
        Ok(page)
    }

    /// The same; where there is nothing yet, it is waited for.
    async fn wait(
        &self,
        after: Option<&str>,
        link: Option<&str>,
        wait: Duration,
    ) -> Result<Page, NoCursor> {
        let mut newest = self.newest.subscribe();
        let mut page = self.page(after, link)?;
        let end = tokio::time::Instant::now() + wait;
        while page.events.is_empty() {
            let changed = tokio::time::timeout_at(end, newest.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                break;
            }
            page = self.page(Some(&page.cursor), link)?;
        }
        Ok(page)
    }

    fn restarted(&self, oldest: u64) -> Event {
        let reason = "isolog was started again, or another instance of its group answers now: what \
                      happened until then is not told. The first events say how everything is now";
        self.lost(oldest, "RESTARTED", reason.to_owned())
    }

    fn overflown(&self, seq: u64, oldest: u64) -> Event {
        let reason = format!(
            "{} events are not told: {KEPT_MAX} are kept at most, and the oldest go. Look at the \
             mirror topics themselves (isolog mirror list), and ask more often",
            oldest - 1 - seq
        );
        self.lost(oldest, "TOO_MANY", reason)
    }

    /// Stands before the oldest event that is kept, and has a cursor of which that comes next.
    fn lost(&self, oldest: u64, code: &str, reason: String) -> Event {
        Event {
            cursor: self.cursor(oldest - 1),
            seq: oldest - 1,
            time_ms: now_ms(),
            kind: Kind::Lost,
            code: code.to_owned(),
            reason,
            ..Event::default()
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what changes in what is seen, until `stop`, or until nobody sees anything any more.
pub(super) async fn follow(
    mut registry: Registry,
    sight: Arc<dyn Sight>,
    events: Events,
    stop: CancellationToken,
) {
    let mut told = Told::default();
    loop {
        let news = changes::changes(&mut told, &registry.seen(), &sight.away());
        news.into_iter().for_each(|one| events.tell(one));
        tokio::select! {
            () = stop.cancelled() => return,
            is_seen = registry.changed() => if !is_seen { return },
            () = tokio::time::sleep(AWAY_PAUSE) => continue,
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(link: &str) -> Event {
        Event { kind: Kind::Link, link: Some(link.into()), ..Event::default() }
    }

    fn seqs(page: &Page) -> Vec<u64> {
        page.events.iter().map(|one| one.seq).collect()
    }

    #[test]
    fn a_cursor_leads_to_what_came_behind_it() {
        let events = Events::of("b".into());
        assert_eq!(events.page(None, None), Ok(Page { cursor: "b.0".into(), events: vec![] }));
        ["west", "east", "west"].map(of).into_iter().for_each(|one| events.tell(one));
        assert_eq!(seqs(&events.page(None, None).unwrap()), [1, 2, 3]);
        let page = events.page(Some("b.1"), Some("west")).unwrap();
        assert_eq!((seqs(&page), page.cursor.as_str()), (vec![3], "b.3"));
        // what is not of the link is passed over, and not asked for again
        let page = events.page(Some("b.1"), Some("south")).unwrap();
        assert_eq!((seqs(&page), page.cursor.as_str()), (vec![], "b.3"));
        assert_eq!(events.page(Some("now"), None).unwrap().cursor, "b.3");
        for wrong in ["", "b", "b.x", "b.4", "b.-1"] {
            assert_eq!(events.page(Some(wrong), None), Err(NoCursor), "{wrong}");
        }
    }

    #[test]
    fn what_is_gone_is_told_as_lost() {
        let events = Events::of("b".into());
        (0..KEPT_MAX + 5).for_each(|_| events.tell(of("dr")));
        let page = events.page(Some("b.2"), None).unwrap();
        let lost = &page.events[0];
        assert_eq!(
            (lost.kind, lost.code.as_str(), lost.cursor.as_str()),
            (Kind::Lost, "TOO_MANY", "b.5")
        );
        assert!(lost.reason.starts_with("3 events are not told"), "{}", lost.reason);
        assert_eq!(page.events[1].seq, 6);
        assert_eq!((page.events.len(), page.cursor.as_str()), (ANSWERED_MAX, "b.1004"));
        // who goes on from there, or from the event itself, misses nothing
        assert_eq!(events.page(Some("b.1004"), None).unwrap().events[0].seq, 1005);
        assert_eq!(events.page(Some("b.5"), None).unwrap().events[0].seq, 6);
        // who never asked is told as well
        assert_eq!(events.page(None, None).unwrap().events[0].code, "TOO_MANY");
        let codes: Vec<String> = events.page(Some("old.9"), None).unwrap().events[..2]
            .iter()
            .map(|one| one.code.clone())
            .collect();
        assert_eq!(codes, ["RESTARTED", "TOO_MANY"]);
    }

    #[test]
    fn orders_of_many_topics_are_bounded_by_their_bytes() {
        let events = Events::of("b".into());
        let topics = vec!["x".repeat(249); 50];
        let many = || Event {
            kind: Kind::Order,
            order: Some(Ordered { topics: topics.clone(), ..Ordered::default() }),
            ..Event::default()
        };
        let room = KEPT_BYTES_MAX / many().bytes();
        (0..=room).for_each(|_| events.tell(many()));
        let kept = events.lock();
        assert!(room < KEPT_MAX && kept.events.len() == room, "{} of {room}", kept.events.len());
        assert_eq!(kept.bytes, room * many().bytes());
    }

    #[test]
    fn another_start_is_told_and_all_of_it_follows() {
        let events = Events::of("new".into());
        let page = events.page(Some("old.17"), None).unwrap();
        assert_eq!((page.events.len(), page.cursor.as_str()), (1, "new.0"));
        events.tell(of("dr"));
        let page = events.page(Some("old.17"), None).unwrap();
        let codes: Vec<(Kind, &str)> =
            page.events.iter().map(|one| (one.kind, one.code.as_str())).collect();
        assert_eq!(codes, [(Kind::Lost, "RESTARTED"), (Kind::Link, "")]);
        assert_eq!(page.cursor, "new.1");
    }

    #[test]
    fn a_long_reason_is_cut() {
        let events = Events::of("b".into());
        events.tell(Event { reason: "ä".repeat(REASON_LETTERS_MAX + 1), ..Event::default() });
        let page = events.page(None, None).unwrap();
        assert_eq!(page.events[0].reason.chars().count(), REASON_LETTERS_MAX + 1);
        assert!(page.events[0].reason.ends_with('…'));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_the_next_one_of_his_link() {
        let events = Events::of("b".into());
        let began = tokio::time::Instant::now();
        let page = events.wait(None, None, Duration::from_secs(3)).await.unwrap();
        assert_eq!((page.events.len(), began.elapsed().as_secs()), (0, 3));
        let asked = tokio::spawn({
            let events = events.clone();
            async move { events.wait(Some("b.0"), Some("dr"), WAIT_MAX).await }
        });
        for link in ["west", "dr"] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            events.tell(of(link));
        }
        let page = asked.await.unwrap().unwrap();
        assert_eq!((seqs(&page), page.cursor.as_str()), (vec![2], "b.2"));
    }
}
