//! The cluster as tests hold it: start, kill, freeze, move leaders.
//!
//! It never answers requests: `serve` and `api` do.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tokio::sync::watch;
use uuid::Uuid;

use crate::broker::configs::Configs;
use crate::broker::meta::Key;
use crate::broker::serve;
use crate::broker::spec::PORT;
use crate::broker::spec::Spec;
use crate::broker::state::State;
use crate::broker::state::Status;
use crate::broker::takeover::Act;
use crate::broker::takeover::Call;
use crate::broker::takeover::ControlId;
use crate::net::Net;

struct Shared {
    net: Net,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

/// A running simulated cluster; clones are the same cluster.
#[derive(Clone)]
pub struct TestCluster {
    shared: Arc<Shared>,
}

impl TestCluster {
    /// Starts a cluster inside the present tokio runtime.
    pub fn start(net: &Net, spec: Spec) -> Self {
        let brokers = 1..=spec.brokers;
        let shared = Shared {
            net: net.clone(),
            state: Mutex::new(State::new(spec)),
            changes: watch::Sender::new(0),
        };
        let cluster = Self { shared: Arc::new(shared) };
        for broker in brokers {
            cluster.listen(broker);
            tokio::spawn(follow(cluster.clone(), broker));
        }
        cluster
    }

    /// Host and port of every broker.
    pub fn bootstrap(&self) -> Vec<(String, u16)> {
        self.look(|state| state.brokers.values().map(|b| (b.host.clone(), PORT)).collect())
    }

    /// The name of a broker in the network.
    pub fn host(&self, broker: i32) -> String {
        self.look(|state| state.broker(broker).host.clone())
    }

    /// The network that it lives in.
    pub fn net(&self) -> &Net {
        &self.shared.net
    }

    /// Looks at the cluster; nobody is woken.
    pub fn look<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.state.lock().expect("no test panics while it holds the cluster"))
    }

    /// Changes the cluster, and wakes whoever waits for a change.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state =
            self.shared.state.lock().expect("no test panics while it holds the cluster");
        let result = change(&mut state);
        drop(state);
        self.shared.changes.send_modify(|n| *n += 1);
        result
    }

    /// Changes what nobody waits for.
    pub(crate) fn quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.state.lock().expect("no test panics while it holds the cluster"))
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Waits until the cluster looks so.
    pub async fn wait_for(&self, mut holds: impl FnMut(&State) -> bool) {
        let mut changes = self.changes();
        while !self.look(&mut holds) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Creates a topic; panics when the cluster refuses it.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs: Configs =
            configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.change(|state| {
            let replication = state.spec.replication;
            state.create_topic(name, partitions, replication, configs).expect("a sound topic")
        })
    }

    /// Deletes a topic and creates it again, empty, under a new id.
    pub fn recreate_topic(&self, name: &str) -> Uuid {
        self.change(|state| {
            let old = state.meta.topics().get(name).cloned().expect("the topic exists");
            state.delete_topic(name).expect("the topic exists");
            let replicas = old.partitions.iter().map(|p| p.replicas.clone()).collect();
            state.create_assigned(name, replicas, old.configs.clone())
        })
    }

    /// The key of a partition.
    pub fn key(&self, topic: &str, partition: i32) -> Key {
        self.look(|state| (state.meta.topics().get(topic).expect("the topic exists").id, partition))
    }

    /// The leader of a partition, as the controller knows it; -1 for none.
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        let key = self.key(topic, partition);
        self.look(|state| state.meta.partition(key).map_or(-1, |p| p.leader))
    }

    /// Kills a broker (-9): its connections are reset; others lead after the session timeout.
    pub fn kill(&self, broker: i32) {
        let host = self.host(broker);
        self.shared.net.unlisten(&host, PORT);
        self.change(|state| state.set_status(broker, Status::Down));
        self.fence_later(broker);
    }

    /// Stops a broker in order: others lead at once, the log start is kept.
    pub fn stop(&self, broker: i32) {
        self.change(|state| {
            state.fence(broker);
            for ((_, id), replica) in &mut state.replicas {
                if *id == broker {
                    replica.start_before = None;
                }
            }
        });
        self.kill(broker);
    }

    /// Starts a dead broker again.
    pub fn restart(&self, broker: i32) {
        self.change(|state| {
            state.fence(broker);
            state.forget(broker);
            state.set_status(broker, Status::Up);
            state.unfence(broker);
        });
        self.listen(broker);
    }

    /// SIGSTOP: answers nothing, connections stay; others lead after the session timeout.
    pub fn freeze(&self, broker: i32) {
        self.change(|state| state.set_status(broker, Status::Frozen));
        self.fence_later(broker);
    }

    /// SIGCONT: goes on believing what it knew, and learns the rest a little later (A9).
    pub fn thaw(&self, broker: i32) {
        self.change(|state| {
            let learn = state.broker(broker).meta.clone();
            state.set_status(broker, Status::Up);
            state.broker_mut(broker).meta = learn;
        });
        let cluster = self.clone();
        tokio::spawn(async move {
            let wait = cluster.look(|state| state.spec.timing.learn_ms);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            cluster.change(|state| {
                if state.broker(broker).is_up() {
                    state.unfence(broker);
                }
            });
        });
    }

    /// Makes another broker in sync the leader.
    pub fn move_leader(&self, topic: &str, partition: i32, to: i32) {
        let key = self.key(topic, partition);
        self.change(|state| {
            let sound = state.meta.partition(key).is_some_and(|p| p.isr.contains(&to));
            assert!(sound, "{to} is not in sync for {topic}-{partition}");
            state.elect(key, to, true);
        });
    }

    /// Makes any replica the leader, whatever it lacks: the others truncate to it.
    pub fn elect_unclean(&self, topic: &str, partition: i32, to: i32) {
        let key = self.key(topic, partition);
        self.change(|state| state.elect(key, to, false));
    }

    /// A follower does not reach its leader any more and falls out of sync; or it does again.
    pub fn cut_follower(&self, topic: &str, partition: i32, follower: i32, is_cut: bool) {
        let key = self.key(topic, partition);
        self.change(|state| {
            if !is_cut {
                state.cut_off.remove(&(key, follower));
                return state.broker_mut(follower).behind.insert(key);
            }
            if let Some(known) = state.meta.partition_mut(key) {
                known.isr.retain(|id| *id != follower);
            }
            state.publish();
            state.cut_off.insert((key, follower))
        });
    }

    /// Asks `control` about every request of this API; `None` lets it pass.
    pub fn control_key(
        &self,
        key: ApiKey,
        control: impl FnMut(&Call) -> Option<Act> + Send + 'static,
    ) -> ControlId {
        self.change(|state| state.controls.add(key, Box::new(control)))
    }

    /// Takes a control back.
    pub fn drop_control(&self, id: ControlId) {
        self.change(|state| state.controls.remove(id));
    }

    /// Says `throttle_time_ms` in every answer of this API, and mutes the connection so long.
    pub fn throttle(&self, key: ApiKey, ms: i32) {
        self.change(|state| state.throttles.insert(key as i16, ms));
    }

    /// Gives every client id so many bytes a second of Produce or Fetch at each broker.
    pub fn set_quota(&self, key: ApiKey, bytes_per_second: Option<i64>) {
        self.change(|state| state.quotas.set(key, bytes_per_second));
    }

    /// What came to connections that were not read: how long after the answer that told it, to a
    /// request of which API and client.
    pub fn early(&self) -> Vec<(ApiKey, String, Duration)> {
        self.look(|state| state.early.clone())
    }

    fn listen(&self, broker: i32) {
        let mut accept = self.shared.net.listen(&self.host(broker), PORT);
        let cluster = self.clone();
        tokio::spawn(async move {
            while let Some(stream) = accept.recv().await {
                tokio::spawn(serve::serve(cluster.clone(), broker, stream));
            }
        });
    }

    fn fence_later(&self, broker: i32) {
        let cluster = self.clone();
        let status = self.look(|state| state.broker(broker).status.subscribe());
        let before = *status.borrow();
        tokio::spawn(async move {
            let wait = cluster.look(|state| state.spec.timing.session_timeout_ms);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if *status.borrow() == before {
                cluster.change(|state| state.fence(broker));
            }
        });
    }
}

/// One broker as follower: fetches a little after there is something to fetch.
async fn follow(cluster: TestCluster, broker: i32) {
    let mut changes = cluster.changes();
    loop {
        let idle = |state: &State| {
            let own = state.broker(broker);
            own.behind.is_empty() || !own.is_up()
        };
        while cluster.look(idle) {
            if changes.changed().await.is_err() {
                return;
            }
        }
        let wait = cluster.quietly(|state| {
            let (low, high) = state.spec.timing.replicate_ms;
            state.rng.between(low, high)
        });
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if cluster.quietly(|state| pull_all(state, broker)) {
            cluster.change(|_| ());
        }
        // who cannot reach a leader tries again, though not as often
        let missed = cluster.quietly(|state| std::mem::take(&mut state.broker_mut(broker).missed));
        if !missed.is_empty() {
            tokio::time::sleep(MISSED_PAUSE).await;
            cluster.quietly(|state| state.broker_mut(broker).behind.extend(missed));
        }
    }
}

/// `replica.fetch.backoff.ms`, a little shortened.
const MISSED_PAUSE: Duration = Duration::from_millis(300);

fn pull_all(state: &mut State, broker: i32) -> bool {
    if !state.broker(broker).is_up() {
        return false;
    }
    let mut changed = false;
    for key in std::mem::take(&mut state.broker_mut(broker).behind) {
        if state.misses_leader(broker, key) {
            state.broker_mut(broker).missed.insert(key);
        } else if state.replicas.contains_key(&(key, broker)) {
            changed |= state.pull(broker, key);
        }
    }
    changed
}
