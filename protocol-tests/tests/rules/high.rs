//! Rules H2 and H4 of broker-facts: hidden fillers at offsets from 2^31 on.
//!
//! It never writes two billion offsets: a log that is empty is moved up (`Lab::topics_from`).

use std::time::Duration;

use bytes::Bytes;
use protocol_tests::broker::Build;
use protocol_tests::broker::Version;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::raw::Raw;

use crate::cleaned::COMPACTED;
use crate::cleaned::close_segment;
use crate::cleaned::keyed;
use crate::cleaned::spans;
use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::txn::headers;

const PID: i64 = 4_611_686_018_427_387_908;
const BASE: i64 = (1 << 31) - 3;
/// A cleaner that has the next log already cleaned has met this one, too.
const CLEANER_TURNS: Duration = Duration::from_secs(3);

fn fillers(lab: &Lab, at: i64, count: usize, value: Option<&'static str>) -> Bytes {
    let key = Some(Bytes::new());
    let mut build = Build::fillers(lab.now_ms() - 100_000, count, key);
    for record in &mut build.records {
        record.value = value.map(|value| Bytes::from_static(value.as_bytes()));
    }
    build.producer(PID, 0, (at & 0x7fff_ffff) as i32).bytes()
}

/// Appends each batch where it is to stand.
async fn append_each(
    lab: &Lab,
    raw: &mut Raw,
    topic: &Topic,
    batches: impl IntoIterator<Item = (i64, Bytes)>,
) {
    for (at, batch) in batches {
        let answer = lab.produce(raw, topic, batch).await;
        assert_eq!((answer.error, answer.base), (OK, at));
    }
}

/// H2: under the delete policy they lie at any offset as anywhere: the batch is stored as it came,
/// a repeat is recognised, data stands behind it, times lead to data, and a restart changes
/// nothing.
pub async fn h02_fillers_at_any_offset_of_a_delete_topic(lab: &Lab) {
    let [topic] = &lab.topics_from(BASE, &[&[]]).await[..] else { panic!() };
    let mut raw = lab.connect().await;
    let now = lab.now_ms();
    let data = |at: i64, time: i64| {
        let sequence = (at & 0x7fff_ffff) as i32;
        Build::plain(time, "d", 2).producer(PID, 0, sequence).bytes()
    };
    let run = fillers(lab, BASE + 2, 1000, None);
    let behind = BASE + 1002;
    let batches = [
        (BASE, data(BASE, now - 200_000)),
        (BASE + 2, run.clone()),
        (behind, data(behind, now - 50_000)),
    ];
    append_each(lab, &mut raw, topic, batches).await;
    for _ in 0..2 {
        assert_eq!(lab.end(&mut raw, topic).await, behind + 2);
        for from in [BASE + 2, BASE + 700] {
            let stored = lab.stored(&mut raw, topic, from).await;
            let whole = run.len();
            assert_eq!(stored[HEADER_BYTES..whole], run[HEADER_BYTES..]);
            assert_eq!(
                spans(&headers(&stored)),
                [(BASE + 2, behind, 1000), (behind, behind + 2, 2)]
            );
        }
        assert_eq!(lab.list(&mut raw, topic, -1, -1, now - 60_000).await.1, behind);
        let again = lab.produce(&mut raw, topic, data(behind, now - 50_000)).await;
        assert_eq!((again.error, again.base), (OK, behind));
        lab.restart().await;
        raw = lab.connect().await;
        lab.leads(topic).await;
    }
}

/// H3, H4: the cleaner takes a filler at 2^31 - 2, and keeps the one at 2^31 - 1 for good: its
/// record has the offset -1, which is what the cleaner's map answers for an unknown key.
pub async fn h04_the_last_place_of_hidden_fillers(lab: &Lab) {
    let [taken, kept] = &lab.topics_from(BASE, &[COMPACTED, COMPACTED]).await[..] else { panic!() };
    let mut raw = lab.connect().await;
    for (topic, keys) in [(taken, &["a"][..]), (kept, &["a", "b"])] {
        let at = BASE + keys.len() as i64;
        let data = |at: i64| keyed(lab, keys).producer(PID, 0, (at & 0x7fff_ffff) as i32).bytes();
        let batches =
            [(BASE, data(BASE)), (at, fillers(lab, at, 1, Some(""))), (at + 1, data(at + 1))];
        append_each(lab, &mut raw, topic, batches).await;
        close_segment(lab, &mut raw, topic).await;
    }
    let is_done = |read: &[Header]| read[0].base_offset > BASE;
    let read = wait(lab, &mut raw, taken, BASE, is_done).await;
    assert_eq!(spans(&read)[0], (BASE + 2, BASE + 3, 1), "the filler went");
    let read = wait(lab, &mut raw, kept, BASE, is_done).await;
    let stays = [(BASE + 2, BASE + 3, 1), (BASE + 3, BASE + 5, 2)];
    assert_eq!(spans(&read)[..2], stays, "the filler stays");
}

/// H4: on a compacted topic fillers without a value end the cleaning of the partition (from 3.1
/// on, where tombstones get a horizon), and with a value they are never removed.
pub async fn h04_the_cleaner_and_fillers_above_two_to_the_31(lab: &Lab) {
    let base = BASE + 3;
    let [dead, kept] = &lab.topics_from(base, &[COMPACTED, COMPACTED]).await[..] else { panic!() };
    let mut raw = lab.connect().await;
    for (topic, value) in [(dead, None), (kept, Some("f"))] {
        let data = |at: i64, keys: &[&str]| {
            keyed(lab, keys).producer(PID, 0, (at & 0x7fff_ffff) as i32).bytes()
        };
        let batches = [
            (base, data(base, &["a", "b"])),
            (base + 2, fillers(lab, base + 2, 5, value)),
            (base + 7, data(base + 7, &["a", "b"])),
        ];
        append_each(lab, &mut raw, topic, batches).await;
        close_segment(lab, &mut raw, topic).await;
    }
    let is_done = |read: &[Header]| read[0].base_offset > base;
    let read = wait(lab, &mut raw, kept, base, is_done).await;
    assert_eq!(spans(&read)[0], (base + 2, base + 7, 5), "all of them stay");
    tokio::time::sleep(CLEANER_TURNS).await;
    lab.clean(dead, i64::MAX);
    let read = headers(&lab.stored(&mut raw, dead, base).await);
    let is_cleaned = lab.version == Version::V2_8;
    assert_eq!(read[0].base_offset > base, is_cleaned, "{:?}", spans(&read));
}

async fn wait(
    lab: &Lab,
    raw: &mut Raw,
    topic: &Topic,
    from: i64,
    is_done: impl Fn(&[Header]) -> bool,
) -> Vec<Header> {
    for _ in 0..120 {
        lab.clean(topic, i64::MAX);
        let read = headers(&lab.stored(raw, topic, from).await);
        if is_done(&read) {
            return read;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("never cleaned");
}
