//! The lanes of one manager, and which partitions each has yet to be told of.
//!
//! It never keeps what a lane is to be told: that stands in the partition's entry, so that what
//! waits for a lane is bounded by how many partitions there are.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::pending;
use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::mpsc;
use tokio::task;

use crate::flow::lane::LaneKey;
use crate::flow::lane::ToLane;
use crate::ids::TopicPartition;

/// How many orders a lane may have before it.
const ORDERS_MAX: usize = 64;

/// The manager's end of a lane.
struct Handle {
    task: task::Id,
    orders: mpsc::Sender<ToLane>,
    /// Of whom there is something to tell.
    due: BTreeSet<TopicPartition>,
}

/// All that are open.
#[derive(Default)]
pub(super) struct Lanes {
    open: BTreeMap<LaneKey, Handle>,
}

impl Lanes {
    /// Has the lane told of a partition; `open` opens it where there is none.
    pub fn enter(
        &mut self,
        key: LaneKey,
        tp: &TopicPartition,
        open: impl FnOnce(mpsc::Receiver<ToLane>) -> task::Id,
    ) {
        let handle = self.open.entry(key).or_insert_with(|| {
            let (orders, taken) = mpsc::channel(ORDERS_MAX);
            Handle { task: open(taken), orders, due: BTreeSet::new() }
        });
        handle.due.insert(tp.clone());
    }

    /// There is something to tell of a partition that is in the lane; where that has ended, the
    /// partition is on its way back.
    pub fn mark(&mut self, key: LaneKey, tp: &TopicPartition) {
        if let Some(handle) = self.open.get_mut(&key) {
            handle.due.insert(tp.clone());
        }
    }

    /// Tells each lane as much as it has room for; `order` says what, and to which task.
    pub fn flush(&mut self, mut order: impl FnMut(&TopicPartition, task::Id) -> Option<ToLane>) {
        for Handle { task, orders, due } in self.open.values_mut() {
            while !due.is_empty() {
                let Ok(room) = orders.try_reserve() else { break };
                let Some(tp) = due.pop_first() else { break };
                if let Some(order) = order(&tp, *task) {
                    room.send(order);
                }
            }
        }
    }

    /// Forgets lanes that have ended; gives those of whom they were not told.
    pub fn take_ended(&mut self) -> Vec<(LaneKey, TopicPartition)> {
        let mut untold = Vec::new();
        self.open.retain(|key, handle| {
            let has_ended = handle.orders.is_closed();
            if has_ended {
                let due = std::mem::take(&mut handle.due);
                untold.extend(due.into_iter().map(|tp| (*key, tp)));
            }
            !has_ended
        });
        untold
    }

    /// Waits until a lane that has something to be told can be told, or has ended. Cancel-safe.
    pub async fn room(&self) {
        let waiting = self.open.values().filter(|handle| !handle.due.is_empty());
        let mut rooms: Vec<_> =
            waiting.map(|handle| Box::pin(async { drop(handle.orders.reserve().await) })).collect();
        if rooms.is_empty() {
            return pending().await;
        }
        poll_fn(|cx| match rooms.iter_mut().any(|room| room.as_mut().poll(cx).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await
    }

    /// No more orders: each lane answers what is in flight and ends.
    pub fn close(&mut self) {
        self.open.clear();
    }
}
