//! Chains of clusters that mirror on, and what would lead back: refused when it is ordered, halted
//! when nobody could know it then.
//!
//! It never waits for real time; a chain of real brokers is in `real/chained`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::order::Order;
use isolog::control::order::Outcome;
use isolog::control::order::Verb;
use isolog::control::topic::Status;
use isolog::ids::LinkName;
use isolog::link::driver::Driver;
use isolog::link::registry::MirrorSeen;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Spec;
use protocol_tests::check::assert_copied;
use protocol_tests::net::Net;
use protocol_tests::orders::exact_link;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::operated::SECOND;
use crate::operated::WAIT_MAX;
use crate::operated::begin;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::name;
use crate::operated::of_mirror;

/// An isolog beside its destination, with one link.
pub(crate) struct Hop {
    of: &'static str,
    pub(crate) source: TestCluster,
    pub(crate) destination: TestCluster,
    pub(crate) driver: Driver,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Hop {
    pub(crate) async fn start(
        of: &'static str,
        (source, destination): (&TestCluster, &TestCluster),
        more: &[(&str, &str)],
    ) -> Hop {
        let seed = u64::from(of.as_bytes()[0]);
        let (driver, stop, task) = begin(source, destination, &[], seed);
        let (source, destination) = (source.clone(), destination.clone());
        let hop = Hop { of, source, destination, driver, stop, task };
        hop.wait("it knows its destination", |hop| hop.driver.cluster.borrow().clone()).await;
        let created = hop.order(Verb::CreateLink(exact_link(&hop.hosts(), more))).await;
        created.result.unwrap();
        hop.wait("its settings", |hop| {
            hop.driver.registry.seen().links.get(&link(hop.of))?.settings.clone()
        })
        .await;
        hop
    }

    /// One more link from the same source.
    pub(crate) async fn with_link(&self, of: &str, more: &[(&str, &str)]) -> LinkName {
        let verb = Verb::CreateLink(exact_link(&self.hosts(), more));
        let order = Order { link: link(of), verb, is_dry: false };
        self.driver.registry.order(order).await.remove(0).result.unwrap();
        let is_reached =
            |hop: &Hop| hop.driver.registry.seen().links.get(&link(of))?.row.source.clone();
        self.wait("it has reached its source", is_reached).await;
        link(of)
    }

    fn hosts(&self) -> String {
        let hosts = self.source.bootstrap();
        let hosts: Vec<String> =
            hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        hosts.join(",")
    }

    pub(crate) async fn order(&self, verb: Verb) -> Outcome {
        let order = Order { link: link(self.of), verb, is_dry: false };
        self.driver.registry.order(order).await.remove(0)
    }

    pub(crate) async fn wait<T>(&self, what: &str, look: impl Fn(&Hop) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let seen = self.driver.registry.seen();
            assert!(began.elapsed() < WAIT_MAX, "{}: {what} never came: {seen:#?}", self.of);
            sleep(SECOND / 20).await;
        }
    }

    pub(crate) fn seen(&self, topic: &str) -> Option<MirrorSeen> {
        let seen = self.driver.registry.seen();
        seen.mirrors.get(&(link(self.of), name(topic))).map(|one| MirrorSeen::clone(one))
    }

    pub(crate) async fn wait_status(&self, topic: &str, status: Status) -> MirrorSeen {
        let is = |hop: &Hop| hop.seen(topic).filter(|one| one.status == status);
        self.wait(&format!("{topic} {status:?}"), is).await
    }

    /// Everything of the source's topic is in the mirror, and nothing else.
    pub(crate) async fn copied(&self, topic: &str, mirror: &str) {
        self.wait(&format!("{mirror} level"), |hop| {
            let end = hop.source.dump(topic, 0).end;
            (hop.destination.dump(mirror, 0).end == end).then_some(())
        })
        .await;
        let source = self.source.dump(topic, 0);
        assert_copied(&source, &self.destination.dump(mirror, 0), source.end);
    }

    /// The clusters that a mirror's records come over, nearest first, as its row says.
    fn line(&self, topic: &str) -> Vec<String> {
        let row = self.seen(topic).unwrap().row;
        row.ancestors.iter().map(|one| format!("{}/{}", one.cluster, one.topic)).collect()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the driver ends without a panic");
    }
}

pub(crate) fn clusters() -> [TestCluster; 3] {
    let net = Net::new(7);
    [("east", 1), ("west", 2), ("north", 3)]
        .map(|(id, node)| TestCluster::start(&net, Spec::single(id, node)))
}

pub(crate) fn append(cluster: &TestCluster, topic: &str) {
    let now = cluster.look(|state| state.now_ms());
    cluster.append(topic, 0, &Build::plain(now, "x", 5));
}

/// A to B and back: by a name it is refused, by a filter it is left out, and what is B's own comes.
#[tokio::test(start_paused = true)]
async fn a_mirror_of_a_mirror_does_not_lead_back() {
    let [a, b, _] = clusters();
    a.create_topic("orders", 1, &[]);
    append(&a, "orders");
    let ab = Hop::start("ab", (&a, &b), &[("cluster.link.prefix", "w.")]).await;
    ab.order(mirror("orders")).await.result.unwrap();
    ab.wait_status("w.orders", Status::Active).await;
    ab.copied("orders", "w.orders").await;
    b.create_topic("own", 1, &[]);
    let all = [("mirror.topics", "*"), ("cluster.link.prefix", "e.")];
    let ba = Hop::start("ba", (&b, &a), &all).await;
    let named = [("mirror.topics", "w.orders"), ("cluster.link.prefix", "e.")];
    let named = exact_link(&ba.hosts(), &named);
    let refused = ba.driver.probe(&link("back"), &named.configs).await.unwrap_err();
    assert!(refused.text.contains("it would be a loop"), "{refused:?}");
    let all = exact_link(&ba.hosts(), &all);
    assert!(ba.driver.probe(&link("back"), &all.configs).await.is_ok());
    ba.wait_status("e.own", Status::Active).await;
    sleep(SECOND * 30).await;
    assert!(ba.seen("e.w.orders").is_none());
    let told = ba.order(mirror("w.orders")).await.result.unwrap_err();
    assert!(told.text.contains("a mirror of topic orders of this destination"), "{told:?}");
    ab.end().await;
    ba.end().await;
}

/// A to B to C with prefixes, equal at each; and not from C to A, which C's journal tells A.
#[tokio::test(start_paused = true)]
async fn a_chain_does_not_lead_back_over_a_third_cluster() {
    let [a, b, c] = clusters();
    a.create_topic("orders", 1, &[]);
    append(&a, "orders");
    let ab = Hop::start("ab", (&a, &b), &[("cluster.link.prefix", "b.")]).await;
    ab.order(mirror("orders")).await.result.unwrap();
    ab.wait_status("b.orders", Status::Active).await;
    let bc = Hop::start("bc", (&b, &c), &[("cluster.link.prefix", "c.")]).await;
    bc.order(mirror("b.orders")).await.result.unwrap();
    bc.wait_status("c.b.orders", Status::Active).await;
    append(&a, "orders");
    ab.copied("orders", "b.orders").await;
    bc.copied("b.orders", "c.b.orders").await;
    assert_eq!(
        (ab.line("b.orders"), bc.line("c.b.orders")),
        (vec![], vec!["east/orders".to_owned()])
    );
    let ca = Hop::start("ca", (&c, &a), &[("cluster.link.prefix", "a.")]).await;
    let told = ca.order(mirror("c.b.orders")).await.result.unwrap_err().text;
    let words =
        "a mirror of topic orders of this destination (link bc there, over b.orders of west)";
    assert!(told.contains(words), "{told}");
    let named = exact_link(&ca.hosts(), &[("mirror.topics", "c.b.orders")]);
    let refused = ca.driver.probe(&link("back"), &named.configs).await.unwrap_err();
    assert!(refused.text.contains(words), "{refused:?}");
    for hop in [ab, bc, ca] {
        hop.end().await;
    }
}

/// Two that are ordered at both ends at the same moment: what is written into one of them then is
/// never appended there a second time.
#[tokio::test(start_paused = true)]
async fn of_two_mirrors_of_each_other_one_is_refused_at_least() {
    let [a, b, _] = clusters();
    let ab = Hop::start("ab", (&a, &b), &[]).await;
    let ba = Hop::start("ba", (&b, &a), &[]).await;
    for round in 0..10 {
        let topic = format!("twin{round}");
        for cluster in [&a, &b] {
            cluster.create_topic(&topic, 1, &[]);
        }
        let both = tokio::join!(ab.order(mirror(&topic)), ba.order(mirror(&topic)));
        append(&a, &topic);
        sleep(SECOND * 5).await;
        let refused = [both.0, both.1].map(|one| one.result.err());
        let told = refused.into_iter().flatten().next().expect("one is refused");
        assert!(told.text.contains("it would be a loop"), "{told:?}");
        assert_eq!(a.dump(&topic, 0).end, 5, "each record is there once");
    }
    ab.end().await;
    ba.end().await;
}

/// What nobody could know when it was ordered: B's own topic is mirrored on to C and A, and becomes
/// a mirror of A's then, while the isolog beside B may not read A's journal.
#[tokio::test(start_paused = true)]
async fn a_loop_that_closes_later_halts_until_it_is_open() {
    let [a, b, c] = clusters();
    b.create_topic("x", 1, &[]);
    let bc = Hop::start("bc", (&b, &c), &[]).await;
    let ca = Hop::start("ca", (&c, &a), &[]).await;
    bc.order(mirror("x")).await.result.unwrap();
    bc.wait_status("x", Status::Active).await;
    sleep(SECOND * 61).await;
    let ab = Hop::start("ab", (&a, &b), &[]).await;
    sleep(SECOND * 2).await;
    ca.order(mirror("x")).await.result.unwrap();
    ca.wait_status("x", Status::Active).await;
    assert_eq!(ca.line("x"), ["west/x"]);
    a.deny("__isolog", Right::Read);
    ab.order(mirror("x")).await.result.unwrap();
    ab.wait_status("x", Status::Active).await;
    a.grant("__isolog", Right::Read);
    let failed = ab.wait_status("x", Status::Failed).await;
    let fault = failed.reason.unwrap();
    assert_eq!(fault.code, "LOOP");
    assert!(fault.text.contains("link ca there, over x of north"), "{fault:?}");
    ca.wait_status("x", Status::Failed).await;
    bc.wait_status("x", Status::Failed).await;
    // nobody writes down more than the clusters there are
    sleep(SECOND * 200).await;
    assert!([&ab, &bc, &ca].iter().all(|hop| hop.line("x").len() <= 3));
    ab.order(of_mirror("x", MirrorVerb::Delete { topic: false })).await.result.unwrap();
    append(&b, "x");
    for hop in [&bc, &ca] {
        hop.wait_status("x", Status::Active).await;
        hop.copied("x", "x").await;
    }
    for hop in [ab, bc, ca] {
        hop.end().await;
    }
}
