//! Two small clusters, a topic that is going to suffer and one that must not notice.
//!
//! It never asserts what the trouble is: the tests do.

use std::time::Duration;

use isolog::ids::LinkName;
use isolog::ids::TopicName;
use isolog::link::status::LinkState;
use isolog::mirror::lag::Snapshot;
use isolog::service::view::LinkView;
use isolog::service::view::Sight;
use isolog::sync::trouble::Trouble;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::direct::Dump;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::broker::state::State;
use protocol_tests::check::assert_copied;
use protocol_tests::world::World;
use tokio::time::Instant;
use tokio::time::sleep;

/// The partition that suffers.
pub const BAD: (&str, i32) = ("bad", 0);
/// Those that must go on.
pub const GOOD: [(&str, i32); 2] = [("good", 0), ("good", 1)];
/// Where the bad topic ends before anything happens to it.
pub const END: i64 = 10;
/// How long anything may take, in the world's own time.
const WAIT_MAX: Duration = Duration::from_secs(300);

pub struct Lab {
    pub world: World,
    /// Numbers the batches, so that no two are alike.
    written: usize,
}

impl Lab {
    /// One broker on each side; isolog is not started.
    pub fn single(version: Version) -> Lab {
        let spec = |name, seed| Spec { version, ..Spec::single(name, seed) };
        Lab::of(spec("source", 1), spec("destination", 2))
    }

    /// Three brokers on each side; isolog is not started.
    pub fn triple(version: Version) -> Lab {
        let spec = |name, seed| Spec { version, ..Spec::triple(name, seed) };
        Lab::of(spec("source", 1), spec("destination", 2))
    }

    /// `bad` with one partition of ten records in two batches, `good` with two partitions.
    pub fn of(source: Spec, destination: Spec) -> Lab {
        let mut world = World::between(source, destination);
        world.topic(BAD.0, 1);
        world.topic(GOOD[0].0, 2);
        let mut lab = Lab { world, written: 0 };
        lab.append(BAD, 4);
        lab.append(BAD, 6);
        for place in GOOD {
            lab.append(place, 3);
        }
        lab
    }

    /// Starts isolog and waits until everything is copied.
    pub async fn begin(&mut self) {
        self.world.start();
        self.level(BAD).await;
        for place in GOOD {
            self.level(place).await;
        }
        // what is seen may be as old as a tenth of a second
        self.wait("it is shown", |lab| lab.link_state() == LinkState::Active).await;
    }

    pub fn source(&self) -> &TestCluster {
        &self.world.source
    }

    pub fn destination(&self) -> &TestCluster {
        &self.world.destination
    }

    pub fn now_ms(&self) -> i64 {
        self.source().look(State::now_ms)
    }

    /// A batch that is like no other.
    pub fn batch(&mut self, count: usize) -> Build {
        self.written += 1;
        Build::plain(self.now_ms(), &format!("b{}", self.written), count)
    }

    /// A batch with one record whose value has so many bytes.
    pub fn large(&mut self, bytes: usize) -> Build {
        Build::new(self.now_ms(), vec![Record::new("k", &"v".repeat(bytes))])
    }

    /// Appends a batch of so many records at the source; gives its first offset.
    pub fn append(&mut self, (topic, partition): (&str, i32), count: usize) -> i64 {
        let build = self.batch(count);
        self.source().append(topic, partition, &build)
    }

    pub fn append_bad(&self, build: &Build) -> i64 {
        self.source().append(BAD.0, BAD.1, build)
    }

    pub fn source_dump(&self, place: (&str, i32)) -> Dump {
        self.source().dump(place.0, place.1)
    }

    pub fn copy(&self, place: (&str, i32)) -> Dump {
        self.destination().dump(place.0, place.1)
    }

    /// Whether the copy ends where the source does.
    pub fn is_level(&self, place: (&str, i32)) -> bool {
        let there = self.destination().look(|state| {
            let topic = state.meta.topics().get(place.0);
            topic.is_some_and(|topic| topic.partitions.len() as i32 > place.1)
        });
        there && self.source_dump(place).end == self.copy(place).end
    }

    /// Waits for something; panics with what isolog shows when it never comes.
    pub async fn wait(&self, what: &str, mut holds: impl FnMut(&Lab) -> bool) -> Duration {
        let began = Instant::now();
        while !holds(self) {
            let link = self.world.isolog().link();
            let shown = || (link.status(), link.partitions());
            assert!(began.elapsed() < WAIT_MAX, "{what} never came: {:#?}", shown());
            sleep(Duration::from_millis(20)).await;
        }
        began.elapsed()
    }

    /// Waits until the copy is complete, and checks it.
    pub async fn level(&self, place: (&str, i32)) -> Duration {
        let what = format!("the end of {place:?}");
        let took = self.wait(&what, |lab| lab.is_level(place)).await;
        let source = self.source_dump(place);
        assert_copied(&source, &self.copy(place), source.end);
        took
    }

    /// Whatever is at the destination is the source's own, up to exactly `end`.
    pub fn exact_to(&self, place: (&str, i32), end: i64) {
        let copy = self.copy(place);
        assert_eq!(copy.end, end, "where the copy of {place:?} ends");
        assert_copied(&self.source_dump(place), &copy, end);
    }

    /// The good partitions take new records, which are copied.
    pub async fn others_go_on(&mut self) {
        for place in GOOD {
            for _ in 0..3 {
                self.append(place, 2);
            }
            self.level(place).await;
        }
    }

    pub fn seen(&self, place: (&str, i32)) -> Option<Snapshot> {
        self.world.seen(place.0, place.1)
    }

    pub fn is_halted(&self, place: (&str, i32)) -> bool {
        self.seen(place).is_some_and(|seen| seen.state == "Halted")
    }

    /// Waits until the partition halts: for this reason, with these words, and for good.
    pub async fn halts(&mut self, place: (&str, i32), label: &str, words: &[&str]) {
        self.wait(label, |lab| lab.is_halted(place)).await;
        let end = self.copy_end(place);
        self.others_go_on().await;
        sleep(Duration::from_secs(60)).await;
        // some reasons are looked at again now and then
        self.wait(label, |lab| lab.is_halted(place)).await;
        let shown = self.seen(place).and_then(|seen| seen.reason);
        let (is, text) = shown.expect("a halt has a reason");
        assert_eq!(is, label, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
        assert_eq!(self.copy_end(place), end, "something was appended after the halt");
        self.others_go_on().await;
    }

    /// Waits until the topic is refused as no copy: for this reason, with these words, for good.
    pub async fn refused(&mut self, place: (&str, i32), label: &str, words: &[&str]) {
        let end = self.copy_end(place);
        let reason = |lab: &Lab| lab.seen(place).and_then(|seen| seen.reason);
        let is = |lab: &Lab| reason(lab).is_some_and(|(is, _)| is == label);
        self.wait(label, is).await;
        self.others_go_on().await;
        sleep(Duration::from_secs(60)).await;
        self.wait(label, is).await;
        let (_, text) = reason(self).expect("it was there");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
        let seen = self.seen(place).expect("a row");
        assert_eq!((seen.state, seen.lag_records), ("Preparing", None), "{seen:?}");
        assert_eq!(self.copy_end(place), end, "something was appended to it");
        self.others_go_on().await;
    }

    /// Where the copy ends; `None` where the topic is gone.
    fn copy_end(&self, place: (&str, i32)) -> Option<i64> {
        let there = self.destination().look(|state| state.meta.topics().contains_key(place.0));
        there.then(|| self.copy(place).end)
    }

    /// What is told to be wrong with topics.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.world.isolog().link().status().all_troubles().cloned().collect()
    }

    /// The conditions of readiness that do not hold, by name, with their reasons.
    pub fn unready(&self) -> Vec<(String, String)> {
        let sight = self.world.isolog().sight();
        let failed = sight.readiness().into_iter().filter(|check| !check.ok);
        failed.map(|check| (check.name, check.reason)).collect()
    }

    /// The link as the service port shows it.
    pub fn view(&self) -> LinkView {
        self.world.isolog().sight().links().remove(0)
    }

    /// `mirror_status` of Cluster Linking of a topic, and the state of its link.
    pub fn words(&self, topic: &str) -> Option<(&'static str, &'static str)> {
        let seen = self.world.isolog().sight().driver.registry.seen();
        let key = (LinkName("dr".into()), TopicName::new(topic).expect("a legal name"));
        Some((seen.mirrors.get(&key)?.status.word(), seen.links.get(&key.0)?.state.word()))
    }

    pub fn link_state(&self) -> LinkState {
        self.world.isolog().link().status().state
    }
}
