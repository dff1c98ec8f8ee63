//! Events as records of a topic at the destination, for those who follow them there.
//!
//! It never leaves one out without saying so while it lives, and may write one twice where an
//! answer was lost: who reads knows it again by its cursor.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::link::announce::Announcer;
use crate::link::announce::Note;
use crate::meters;

use super::Event;
use super::Events;
use super::Kind;
use super::WAIT_MAX;

/// How many bytes of values one batch has at most: half of Kafka's default `max.message.bytes`.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// How many topics of one order are named at most; so one event fits a batch.
const TOPICS_MAX: usize = 1_000;
/// The first pause after events were not written; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Writes every event, until `stop`.
pub(in crate::service) async fn announce(
    announcer: Announcer,
    events: Events,
    stop: CancellationToken,
) {
    stop.run_until_cancelled(forever(&announcer, &events)).await;
}

async fn forever(announcer: &Announcer, events: &Events) {
    let waiting = metrics::gauge!(meters::EVENTS_WAITING.name);
    let mut after: Option<String> = None;
    loop {
        let page = events.wait(after.as_deref(), None, WAIT_MAX).await;
        // its own cursor is one of these events
        let Ok(page) = page else { return };
        let notes: Vec<Note> = page.events.into_iter().map(note).collect();
        let mut left = &notes[..];
        while !left.is_empty() {
            waiting.set(left.len() as f64);
            let (now, later) = left.split_at(fitting(left));
            written(announcer, now).await;
            left = later;
        }
        waiting.set(0);
        after = Some(page.cursor);
    }
}

/// Tries until they are written.
async fn written(announcer: &Announcer, notes: &[Note]) {
    let (mut pause, mut is_told) = (PAUSE_MIN, false);
    while let Err(why) = announcer.write(notes).await {
        if !is_told {
            let topic = announcer.topic();
            let text = "events are not written to events.topic at the destination; tried again";
            tracing::warn!(%topic, "{text}: {why}");
            is_told = true;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    if is_told {
        tracing::info!(topic = %announcer.topic(), "events are written to events.topic again");
    }
}

/// How many of them one batch takes, one at least.
fn fitting(notes: &[Note]) -> usize {
    let mut bytes = 0;
    let fits = |one: &&Note| {
        bytes += one.value.len();
        bytes <= BATCH_BYTES_MAX
    };
    notes.iter().take_while(fits).count().max(1)
}

fn note(mut event: Event) -> Note {
    if let Some(order) = event.order.as_mut().filter(|order| order.topics.len() > TOPICS_MAX) {
        let all = order.topics.len();
        order.topics.truncate(TOPICS_MAX);
        let text = format!("the first {TOPICS_MAX} of {all} topics are named");
        event.reason =
            if event.reason.is_empty() { text } else { format!("{}; {text}", event.reason) };
    }
    let value = serde_json::to_vec(&event).unwrap_or_default();
    Note { key: key(&event), value, timestamp_ms: event.time_ms }
}

/// What an event is about: of those of one key the last one says how it is.
fn key(event: &Event) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (link, topic) = (text(&event.link), text(&event.topic));
    match event.kind {
        Kind::Instance => "instance".to_owned(),
        Kind::Link => format!("link/{link}"),
        Kind::Mirror => format!("mirror/{link}/{topic}"),
        Kind::Partition => {
            format!("partition/{link}/{topic}/{}", event.partition.unwrap_or_default())
        }
        Kind::Task => format!("task/{link}/{}", text(&event.task)),
        Kind::Order => "order".to_owned(),
        Kind::Lost => "lost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::events::Ordered;

    #[test]
    fn a_key_says_what_an_event_is_about() {
        let event = |kind| Event {
            kind,
            link: Some("dr".into()),
            topic: Some("orders".into()),
            partition: Some(3),
            task: Some("AclSync".into()),
            ..Event::default()
        };
        let keys = [Kind::Link, Kind::Mirror, Kind::Partition, Kind::Task, Kind::Instance];
        let keys = keys.map(|kind| key(&event(kind)));
        let want = ["link/dr", "mirror/dr/orders", "partition/dr/orders/3", "task/dr/AclSync"];
        assert_eq!(keys[..4], want);
        assert_eq!(keys[4], "instance");
    }

    #[test]
    fn an_event_of_many_topics_fits_a_batch_and_says_what_it_leaves_out() {
        let topics = (0..20_000).map(|n| format!("{n:0>249}")).collect();
        let order = Ordered { topics, ..Ordered::default() };
        let one = note(Event { kind: Kind::Order, order: Some(order), ..Event::default() });
        assert!(one.value.len() < BATCH_BYTES_MAX, "{}", one.value.len());
        let event: Event = serde_json::from_slice(&one.value).unwrap();
        assert_eq!(event.reason, "the first 1000 of 20000 topics are named");
    }

    #[test]
    fn a_batch_has_what_fits_and_one_at_least() {
        let note = |bytes| Note { key: String::new(), value: vec![0; bytes], timestamp_ms: 0 };
        let half = BATCH_BYTES_MAX / 2;
        assert_eq!(fitting(&[note(half), note(half), note(1)]), 2);
        assert_eq!(fitting(&[note(BATCH_BYTES_MAX + 1), note(1)]), 1);
    }
}
