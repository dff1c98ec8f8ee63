//! Quotas on bytes, as a broker keeps them for each client id (broker-facts B12): who moved more
//! than its share is told for how long the connection will not be read.
//!
//! It never knows users, nor quotas on the time that requests take.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use kafka_protocol::messages::ApiKey;

use crate::broker::takeover::Call;

/// `quota.window.size.seconds`.
const WINDOW_MS: i64 = 1_000;
/// `quota.window.num`; a rate is taken over all of them but the one that is being filled.
const WINDOWS: i64 = 11;

/// What one client moved: when each window began, in milliseconds, and the bytes in it.
type Moved = VecDeque<(i64, i64)>;

/// The quotas of a cluster, and what every client has moved at every broker.
#[derive(Debug, Default)]
pub struct Quotas {
    bytes_per_second: BTreeMap<i16, i64>,
    moved: BTreeMap<(i32, i16, String), Moved>,
}

impl Quotas {
    /// Gives every client id so much of an API at each broker; `None` ends it.
    pub fn set(&mut self, key: ApiKey, bytes_per_second: Option<i64>) {
        let key = key as i16;
        self.moved.retain(|(_, other, _), _| *other != key);
        match bytes_per_second {
            Some(limit) => self.bytes_per_second.insert(key, limit),
            None => self.bytes_per_second.remove(&key),
        };
    }

    /// The most bytes that one fetch may bring (`maxValueInQuotaWindow`).
    pub fn fetch_bytes_max(&self) -> Option<usize> {
        let limit = self.bytes_per_second.get(&(ApiKey::Fetch as i16))?;
        usize::try_from(limit * (WINDOWS - 1) * WINDOW_MS / 1000).ok()
    }

    /// Notes what a request moves; for how many ms its connection is not read behind its answer
    /// (`QuotaUtils.throttleTime`).
    pub fn note(&mut self, call: &Call, bytes: usize, now_ms: i64) -> i32 {
        let Some(limit) = self.bytes_per_second.get(&(call.key as i16)) else { return 0 };
        let moved = self.moved.entry(client(call)).or_default();
        moved.retain(|(began_ms, _)| now_ms - began_ms < WINDOWS * WINDOW_MS);
        match moved.back_mut().filter(|(began_ms, _)| now_ms - *began_ms < WINDOW_MS) {
            Some((_, window)) => *window += bytes as i64,
            None => moved.push_back((now_ms, bytes as i64)),
        }
        let all: i64 = moved.iter().map(|(_, bytes)| bytes).sum();
        // all/since - limit, as a share of the limit, of the time looked at
        (all * 1000 / limit - since_ms(moved, now_ms)).max(0) as i32
    }

    /// Takes the last note back: a throttled fetch brings nothing. Its window stays.
    pub fn take_back(&mut self, call: &Call, bytes: usize) {
        if let Some((_, window)) = self.moved.get_mut(&client(call)).and_then(VecDeque::back_mut) {
            *window -= bytes as i64;
        }
    }
}

/// The time over which a rate is taken; at least ten windows (`Rate.windowSize`).
fn since_ms(moved: &Moved, now_ms: i64) -> i64 {
    let since_ms = moved.front().map_or(0, |(began_ms, _)| now_ms - began_ms);
    since_ms + (WINDOWS - 1 - since_ms / WINDOW_MS).max(0) * WINDOW_MS
}

fn client(call: &Call) -> (i32, i16, String) {
    (call.broker, call.key as i16, call.client_id.clone())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn call(client_id: &str) -> Call {
        Call {
            broker: 1,
            key: ApiKey::Produce,
            version: 9,
            correlation_id: 1,
            client_id: client_id.to_owned(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn who_moves_more_than_its_share_waits_until_the_rate_is_right() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.note(&call("a"), 1 << 30, 0), 0);
        quotas.set(ApiKey::Produce, Some(1_000));
        assert_eq!(quotas.note(&call("a"), 10_000, 5), 0);
        // 12,000 bytes in 10 seconds: right after 12 of them
        assert_eq!(quotas.note(&call("a"), 2_000, 5), 2_000);
        assert_eq!(quotas.note(&call("b"), 10_015, 5), 15);
        // the window that nothing was left in makes the time longer that is looked at
        quotas.take_back(&call("b"), 10_015);
        assert_eq!(quotas.note(&call("b"), 10_015, 20), 0);
        quotas.take_back(&call("a"), 2_000);
        assert_eq!(quotas.note(&call("a"), 0, 10), 0);
        // what is old enough counts no more
        assert_eq!(quotas.note(&call("a"), 10_000, 11_005), 0);
        quotas.set(ApiKey::Produce, None);
        assert_eq!(quotas.note(&call("a"), 1 << 30, 11_006), 0);
    }
}
