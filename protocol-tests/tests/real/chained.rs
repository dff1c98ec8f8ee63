//! A to B to C under two prefixes, equal at each of them; and what would lead back to A is refused,
//! by what the journals of B and C say.
//!
//! It never takes isolog's word for a copy: batches are compared by a hand of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

/// For how long anything may take.
const WAIT_SECONDS: u64 = 120;

/// For how long what journals say to each other may take to come around: each is read every minute.
const LEARNT_SECONDS: u64 = 400;

/// An isolog beside its destination, without a link.
struct Hop {
    isolog: Isolog,
    source: String,
    destination: String,
}

impl Hop {
    fn start(source: &RealCluster, destination: &RealCluster) -> Hop {
        let (source, destination) = (source.bootstrap(), destination.bootstrap());
        let isolog = Isolog::start(&IsologSpec::new(source, destination, &[])).unwrap();
        Hop { isolog, source: source.to_owned(), destination: destination.to_owned() }
    }

    fn links(&self) -> String {
        let clusters = self.isolog.wait_for("it knows its destination", WAIT_SECONDS, |one| {
            let (status, clusters) = one.order("GET", "/kafka/v3/clusters", None)?;
            (status == 200).then_some(clusters)
        });
        let id = clusters["data"][0]["cluster_id"].as_str().unwrap();
        format!("/kafka/v3/clusters/{id}/links")
    }

    /// Status and text of an order to create a link that has this prefix.
    fn create_link(&self, link: &str, prefix: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let config = |name: &str, value: &str| json!({"name": name, "value": value});
        let mut configs = vec![
            config("bootstrap.servers", &self.source),
            config("batch.merge", "never"),
            config("metadata.max.age.ms", "1000"),
        ];
        configs.extend((!prefix.is_empty()).then(|| config("cluster.link.prefix", prefix)));
        configs.extend(more.iter().map(|(name, value)| config(name, value)));
        let new = json!({ "configs": configs });
        let path = format!("{}?link_name={link}", self.links());
        self.isolog.order("POST", &path, Some(&new)).unwrap()
    }

    fn create_mirror(&self, link: &str, (source, mirror): (&str, &str)) -> (u16, Value) {
        let new = json!({"source_topic_name": source, "mirror_topic_name": mirror});
        let path = format!("{}/{link}/mirrors", self.links());
        // who has just created a link may be before its source has been reached
        self.isolog.wait_for("it is answered", WAIT_SECONDS, |one| {
            one.order("POST", &path, Some(&new)).filter(|(status, _)| *status != 503)
        })
    }

    fn mirrors(&self, link: &str, prefix: &str, topic: &str) {
        let (status, said) = self.create_link(link, prefix, &[]);
        assert!(status < 300, "{status}: {said}");
        let (status, said) = self.create_mirror(link, (topic, &format!("{prefix}{topic}")));
        assert!(status < 300, "{status}: {said}");
    }

    fn get(&self, path: &str) -> Option<Value> {
        let (status, told) = self.isolog.order("GET", &format!("{}{path}", self.links()), None)?;
        (status == 200).then_some(told)
    }

    fn wait_status(&self, link: &str, topic: &str, status: &str) -> Value {
        let path = format!("/{link}/mirrors/{topic}");
        self.isolog.wait_for(&format!("{topic} of {link} is {status}"), LEARNT_SECONDS, |_| {
            self.get(&path).filter(|told| told["mirror_status"] == status)
        })
    }

    fn copied(&self, topic: &str, mirror: &str) {
        let (ours, theirs) = (Hand::new(&self.source), Hand::new(&self.destination));
        let want = ours.ends(topic, 0).unwrap();
        self.isolog.wait_for(&format!("{mirror} ends at {want:?}"), WAIT_SECONDS, |_| {
            (theirs.ends(mirror, 0).ok()? == want).then_some(())
        });
        let (ours, theirs) = (ours.log(topic, 0).unwrap(), theirs.log(mirror, 0).unwrap());
        assert_eq!(batches_equal(&ours, &theirs, want.0, want.1), Vec::<String>::new(), "{mirror}");
    }
}

#[test]
fn a_chain_is_equal_and_does_not_lead_back() {
    let _room = room(3);
    let one = || RealSpec::new("4.3.1", 1);
    let (a, b) = RealCluster::both(one(), one()).unwrap();
    let c = RealCluster::start(one()).unwrap();
    let hand = Hand::new(a.bootstrap());
    hand.create("orders", 1, 1, &[]).unwrap();
    let write = |tag: &str| hand.produce("orders", 0, &Build::plain(now_ms(), tag, 20)).unwrap();
    write("first");
    let (ab, bc) = (Hop::start(&a, &b), Hop::start(&b, &c));
    ab.mirrors("ab", "b.", "orders");
    ab.copied("orders", "b.orders");
    bc.mirrors("bc", "c.", "b.orders");
    bc.copied("b.orders", "c.b.orders");
    write("second");
    ab.copied("orders", "b.orders");
    bc.copied("b.orders", "c.b.orders");
    // over both, and over one
    let ca = Hop::start(&c, &a);
    let over = "a mirror of topic orders of this destination (link bc there, over b.orders of";
    let named = [("mirror.topics", "c.b.orders")];
    let (status, said) = ca.create_link("named", "a.", &named);
    assert!(status == 400 && said.to_string().contains(over), "{status}: {said}");
    let (status, said) = ca.create_link("ca", "a.", &[]);
    assert!(status < 300, "{status}: {said}");
    let (status, said) = ca.create_mirror("ca", ("c.b.orders", "a.c.b.orders"));
    assert!(status == 400 && said.to_string().contains(over), "{status}: {said}");
    let ba = Hop::start(&b, &a);
    let (status, said) = ba.create_link("ba", "a.", &[("mirror.topics", "b.orders")]);
    assert!(status == 400 && said.to_string().contains("it would be a loop"), "{status}: {said}");
    for hop in [&ab, &bc, &ca, &ba] {
        assert!(!hop.isolog.log().contains("panicked"), "{}", hop.isolog.log());
    }
}

/// A link that names what is no mirror yet: once it is one, it is not taken, and the link says so.
fn what_becomes_a_mirror_later_is_not_taken(ab: &Hop, ba: &Hop) {
    let (status, said) = ba.create_link("ba", "a.", &[("mirror.topics", "b.later, own")]);
    assert!(status < 300, "{status}: {said}");
    let hand = Hand::new(&ab.source);
    hand.create("later", 1, 1, &[]).unwrap();
    hand.produce("later", 0, &Build::plain(now_ms(), "later", 20)).unwrap();
    ab.mirrors("ab", "b.", "later");
    ab.copied("later", "b.later");
    let told = ba.isolog.wait_for("it is refused live", LEARNT_SECONDS, |_| {
        let told = ba.get("/ba?include_tasks=true")?.to_string();
        told.contains("it would be a loop").then_some(told)
    });
    assert!(told.contains("b.later") && told.contains("topic later of this destination"), "{told}");
    // what it names besides comes all the same
    Hand::new(&ba.source).create("own", 1, 1, &[]).unwrap();
    ba.wait_status("ba", "a.own", "ACTIVE");
    assert!(Hand::new(&ba.destination).is_absent("a.b.later"));
}

/// B is mirrored to C; then B becomes a mirror of A, and A one of C, while the isolog beside C is
/// frozen and tells nobody of the former.
fn a_loop_that_nobody_could_know_halts(ab: &Hop, bc: &Hop, ca: &Hop) {
    let hands = [&ab.source, &bc.source].map(|at| Hand::new(at));
    hands.iter().for_each(|hand| hand.create("x", 1, 1, &[]).unwrap());
    bc.mirrors("bc", "", "x");
    bc.wait_status("bc", "x", "ACTIVE");
    bc.isolog.freeze(true).unwrap();
    ab.mirrors("round", "", "x");
    ca.mirrors("ca", "", "x");
    for (hop, link) in [(ab, "round"), (ca, "ca")] {
        hop.wait_status(link, "x", "ACTIVE");
    }
    bc.isolog.freeze(false).unwrap();
    for (hop, link) in [(ca, "ca"), (ab, "round"), (bc, "bc")] {
        let told = hop.wait_status(link, "x", "FAILED");
        let partition = hop.isolog.wait_halt("x", 0);
        assert_eq!(partition.code, "LOOP", "{told} {partition:?}");
    }
    // opened at one place it goes on at the others, and each record is there once
    let path = format!("{}/ca/mirrors/x", ca.links());
    assert_eq!(ca.isolog.order("DELETE", &path, None).unwrap().0, 204);
    for (hop, link) in [(ab, "round"), (bc, "bc")] {
        hop.wait_status(link, "x", "ACTIVE");
    }
    hands[0].produce("x", 0, &Build::plain(now_ms(), "once", 20)).unwrap();
    ab.copied("x", "x");
    bc.copied("x", "x");
    assert_eq!(hands[0].ends("x", 0).unwrap(), (0, 20));
}

/// Must show: a loop that comes to be while the links run is refused live too.
#[test]
fn a_loop_that_comes_to_be_is_refused_live() {
    let _room = long_room(3);
    let one = || RealSpec::new("4.3.1", 1);
    let (a, b) = RealCluster::both(one(), one()).unwrap();
    let c = RealCluster::start(one()).unwrap();
    let (ab, bc, ca) = (Hop::start(&a, &b), Hop::start(&b, &c), Hop::start(&c, &a));
    // the isolog beside A has a link from B as well
    let ba = Hop { source: ab.destination.clone(), ..ca };
    what_becomes_a_mirror_later_is_not_taken(&ab, &ba);
    let ca = Hop { source: bc.destination.clone(), ..ba };
    a_loop_that_nobody_could_know_halts(&ab, &bc, &ca);
    for hop in [&ab, &bc, &ca] {
        assert!(!hop.isolog.log().contains("panicked"), "{}", hop.isolog.log());
    }
}
