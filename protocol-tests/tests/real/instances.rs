//! Several isologs of one destination, members of one group of Kafka's own: one has the work, the
//! others stand by, and one of those goes on when it is killed, frozen or stopped.
//!
//! It never skips, and compares batch by batch what both logs hold: nothing is written twice.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use kafka_protocol::messages::DescribeGroupsRequest;
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::messages::GroupId;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

use super::operated::until;

const TOPICS: [&str; 3] = ["i-0", "i-1", "i-2"];
/// Records of one batch.
const BATCH: i64 = 5;
/// The pause between two batches of a topic.
const WRITE_PAUSE: Duration = Duration::from_millis(40);
/// Long enough for a machine that stands still for some seconds.
const SESSION_MS: u64 = 20_000;
/// For how long a takeover is waited for: a session, and what a loaded machine needs.
const TAKEOVER_SECONDS_MAX: u64 = 120;
/// What isolog may append while it is to fall behind, in bytes a second.
const SLOW: f64 = 2_000.0;
const STOP_MAX: Duration = Duration::from_secs(30);

struct Pair {
    source: RealCluster,
    destination: RealCluster,
}

impl Pair {
    fn start(version: &str) -> Pair {
        let spec = || RealSpec::new(version, 1);
        let there = spec().prop("group.initial.rebalance.delay.ms", "0");
        let (source, destination) = RealCluster::both(spec(), there).unwrap();
        Pair { source, destination }
    }

    fn isolog(&self, instance: &str) -> Isolog {
        self.isolog_with(instance, "")
    }

    fn isolog_with(&self, instance: &str, link_more: &str) -> Isolog {
        let plain =
            IsologSpec::new(self.source.bootstrap(), self.destination.bootstrap(), &["i-*"]);
        let top = format!(
            "instances.group.id = \"__isolog\"\n\
             instances.group.instance.id = \"{instance}\"\n\
             instances.session.timeout.ms = {SESSION_MS}\n\
             instances.heartbeat.interval.ms = 1000\n"
        );
        let link_more = format!("{}{link_more}", plain.link_more);
        Isolog::start(&IsologSpec { top, link_more, ..plain }).unwrap()
    }

    /// The copies are the sources, batch by batch.
    fn compare(&self) {
        let (ours, theirs) =
            (Hand::new(self.source.bootstrap()), Hand::new(self.destination.bootstrap()));
        for topic in TOPICS {
            let (log, copy) = (ours.log(topic, 0).unwrap(), theirs.log(topic, 0).unwrap());
            assert_eq!((log.start, log.end), (copy.start, copy.end), "{topic}");
            assert_eq!(log.batches.len(), copy.batches.len(), "{topic}");
            let differ = batches_equal(&log, &copy, log.start, log.end);
            assert!(differ.is_empty(), "{topic}: {differ:#?}");
        }
    }
}

/// Writes to all topics until it is told to stop.
fn write(source: &str, stop: &AtomicBool) {
    let hand = Hand::new(source);
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        for topic in TOPICS {
            let batch = Build::plain(now_ms(), &format!("{topic}-{at}"), BATCH as usize);
            hand.produce(topic, 0, &batch).unwrap();
        }
        at += 1;
        sleep(WRITE_PAUSE);
    }
}

/// Waits until this one has the work, and all that was written by then is copied.
fn wait_works(isolog: &Isolog, source: &Hand) {
    isolog.wait_for("it has the work", TAKEOVER_SECONDS_MAX, |one| {
        (one.link().0 == "Active").then_some(())
    });
    for topic in TOPICS {
        let (_, end) = source.ends(topic, 0).unwrap();
        isolog.wait_for(&format!("{topic} is copied to {end}"), TAKEOVER_SECONDS_MAX, |one| {
            let seen = one.partition(topic, 0)?;
            (seen.destination_hwm? >= end).then_some(())
        });
    }
}

/// The instances that the coordinator counts as members.
fn members(hand: &Hand) -> Vec<String> {
    let group = GroupId(StrBytes::from_static_str("__isolog"));
    let request = DescribeGroupsRequest::default().with_groups(vec![group]);
    let told = hand.ask_any(4, &request).unwrap();
    let each = told.groups.iter().flat_map(|group| &group.members);
    each.filter_map(|one| Some(one.group_instance_id.as_ref()?.to_string())).collect()
}

/// How often it was given the work.
fn takes(isolog: &Isolog) -> usize {
    isolog.log().matches("this isolog has the work of its group").count()
}

/// Waits until this one has the work of one that is killed or frozen. The bound of that is made of
/// what happens, not of a clock: as long as the coordinator counts the other one as a member, for
/// a session at most, this one stands by, and the first share behind that gives it the work.
fn wait_takes_over(pair: &Pair, (isolog, takes_before): (&Isolog, usize), gone: &str) {
    let (source, there) =
        (Hand::new(pair.source.bootstrap()), Hand::new(pair.destination.bootstrap()));
    isolog.wait_for(&format!("it has the work of {gone}"), TAKEOVER_SECONDS_MAX, |one| {
        // in this order: who is no member now does not come back by itself
        let has_work = one.metric("isolog_instance_has_work", "") == 1.0;
        let members = members(&there);
        let is_counted = members.iter().any(|member| member == gone);
        assert!(!(has_work && is_counted), "it has the work of a member: {members:?}");
        has_work.then_some(())
    });
    wait_works(isolog, &source);
    assert_eq!(takes(isolog), takes_before + 1, "{}", isolog.log());
}

/// What whoever has the work tells of links and mirror topics, but for what changes by itself,
/// and the rows of the journal that count.
fn told(isolog: &Isolog) -> Value {
    let clusters = isolog.get("/kafka/v3/clusters").unwrap();
    let id = clusters["data"][0]["cluster_id"].as_str().unwrap();
    let links = format!("/kafka/v3/clusters/{id}/links");
    let list = |path: &str| isolog.get(path).unwrap()["data"].as_array().unwrap().clone();
    isolog.wait_for("all its mirror topics are ACTIVE", TAKEOVER_SECONDS_MAX, |one| {
        let all = one.get(&format!("{links}/-/mirrors?mirror_status=ACTIVE"))?;
        (all["data"].as_array()?.len() == TOPICS.len()).then_some(())
    });
    let mut all = [list(&links), list(&format!("{links}/-/mirrors"))].concat();
    for one in &mut all {
        // the port, how far the copy is, and since when this process knows of the state
        for field in ["metadata", "mirror_lags", "state_time_ms"] {
            one.as_object_mut().unwrap().remove(field);
        }
    }
    let rows = isolog.command(&["journal", "list", "-o", "json"]).unwrap();
    assert!(rows.status.success(), "{}", String::from_utf8_lossy(&rows.stderr));
    let mut rows: Value = serde_json::from_slice(&rows.stdout).unwrap();
    for row in rows.as_array_mut().unwrap() {
        row.as_object_mut().unwrap().retain(|field, _| field == "key" || field == "value");
    }
    json!({ "shown": all, "rows": rows })
}

/// Waits until this one stands by, and says who has the work.
fn wait_stands_by(isolog: &Isolog, holder: &str) {
    let word = format!("instance {holder} has the work");
    isolog.wait_for(&format!("it stands by: {word}"), TAKEOVER_SECONDS_MAX, |one| {
        let (state, reason) = one.link();
        (state == "Standby" && reason.contains(&word)).then_some(())
    });
}

/// What is asked of one that stands by.
fn says_that_it_stands_by(isolog: &Isolog, holder: &str) {
    let ask = |method: &str, path: &str, body: Option<&Value>| {
        isolog.order(method, path, body).unwrap_or_else(|| panic!("{path}: no answer"))
    };
    // who stands by is ready when it has read the journal
    isolog.wait_for("it is ready", TAKEOVER_SECONDS_MAX, |one| {
        let (status, ready) = one.order("GET", "/health/ready", None)?;
        (status == 200 && ready["ready"] == json!(true)).then_some(())
    });
    assert_eq!(ask("GET", "/v1/partitions", None).0, 503);
    let metrics = isolog.text("/metrics").unwrap();
    assert!(!metrics.contains("\nisolog_partition_"), "{metrics}");
    assert!(metrics.contains("isolog_link_state{link=\"dr\",state=\"Standby\"} 1"), "{metrics}");
    assert!(metrics.contains("\nisolog_instance_has_work 0"), "{metrics}");
    assert!(!metrics.contains("isolog_link_partitions{link=\"dr\"}"), "{metrics}");
    assert_eq!(ask("GET", "/v1/groups", None).0, 503);
    let (status, clusters) = ask("GET", "/kafka/v3/clusters", None);
    assert_eq!(status, 200, "{clusters}");
    let id = clusters["data"][0]["cluster_id"].as_str().unwrap();
    let links = format!("/kafka/v3/clusters/{id}/links");
    let new = json!({"source_cluster_id": "x", "configs": []});
    for (method, path, body) in [
        ("GET", links.clone(), None),
        ("POST", format!("{links}?link_name=more"), Some(&new)),
        (
            "POST",
            format!("{links}/dr/mirrors:pause"),
            Some(&json!({"mirror_topic_names": ["i-0"]})),
        ),
    ] {
        let (status, said) = ask(method, &path, body);
        let text = said["message"].as_str().unwrap_or_default();
        assert_eq!(status, 503, "{method} {path}: {said}");
        assert!(text.contains(&format!("instance {holder} has the work")), "{text}");
    }
    let lag = isolog.command(&["lag"]).unwrap();
    assert!(!lag.status.success());
    let text = String::from_utf8_lossy(&lag.stderr).into_owned();
    assert!(text.contains("stands by"), "{text}");
}

/// The same once the journal has what its topics get when they stop: nothing more is to come.
fn settled(isolog: &Isolog) -> Value {
    until("the first comparison of configs is written", || {
        let told = told(isolog);
        // which limits of timestamps the destination knows is what a comparison adds to a row
        let count = |part: &str| told.to_string().matches(part).count();
        (count(r#"max.ms\":null"#) >= count(r#"at_stop\":"#)).then_some(told)
    })
}

/// Must show: one copies, the other one stands by and says so; whoever has the work is killed,
/// frozen, stopped, and the other one goes on; who thaws writes nothing twice.
fn one_has_the_work_and_the_other_stands_by(version: &str) {
    let _room = room(2);
    let pair = Pair::start(version);
    let source = Hand::new(pair.source.bootstrap());
    for topic in TOPICS {
        source.create(topic, 1, 1, &[]).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(pair.source.bootstrap(), &stop));
        let _ends = Ends(&stop);
        let mut one = pair.isolog("one");
        wait_works(&one, &source);
        let two = pair.isolog("two");
        wait_stands_by(&two, "one");
        says_that_it_stands_by(&two, "one");
        let folded = settled(&one);
        let before = takes(&two);
        one.kill();
        wait_takes_over(&pair, (&two, before), "one");
        assert_eq!(told(&two), folded, "both fold to the same state");
        one.start_again().unwrap();
        wait_stands_by(&one, "two");
        // frozen for longer than its session lasts
        let before = takes(&one);
        two.freeze(true).unwrap();
        wait_takes_over(&pair, (&one, before), "two");
        assert_eq!(told(&one), folded, "both fold to the same state");
        two.freeze(false).unwrap();
        wait_stands_by(&two, "one");
        // it had the work, and has it again as soon as it is back, whoever leads the group
        one.kill();
        one.start_again().unwrap();
        wait_works(&one, &source);
        wait_stands_by(&two, "one");
        // who stops leaves, and nobody waits for it
        assert!(one.term(STOP_MAX).unwrap().success());
        wait_works(&two, &source);
        assert_eq!(told(&two), folded, "who was frozen folds to the same state");
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        wait_works(&two, &source);
        for isolog in [&one, &two] {
            assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
        }
    });
    pair.compare();
}

#[test]
fn they_take_turns_4_3_1() {
    one_has_the_work_and_the_other_stands_by("4.3.1");
}

/// A coordinator before KIP-814: a leader that was restarted is not told that it leads.
#[test]
fn they_take_turns_2_8_2() {
    one_has_the_work_and_the_other_stands_by("2.8.2");
}

/// The path of the link by REST.
fn link_path(isolog: &Isolog) -> String {
    let id = isolog.wait_for("the cluster's id", TAKEOVER_SECONDS_MAX, |one| {
        let clusters = one.get("/kafka/v3/clusters")?;
        clusters["data"][0]["cluster_id"].as_str().map(str::to_owned)
    });
    format!("/kafka/v3/clusters/{id}/links/dr")
}

/// Where a topic was sealed, once it is STOPPED.
fn sealed_at(isolog: &Isolog, path: &str, topic: &str) -> i64 {
    isolog.wait_for(&format!("{topic} is STOPPED"), TAKEOVER_SECONDS_MAX, |one| {
        let told = one.get(&format!("{path}/mirrors/{topic}"))?;
        let is_stopped = told["mirror_status"] == "STOPPED";
        is_stopped.then(|| told["mirror_lags"][0]["last_source_fetch_offset"].as_i64().unwrap())
    })
}

/// Must show: who has the work is frozen while it copies, the other one fails its topics over, and
/// it is thawed: nothing of isolog's lands behind the seals.
#[test]
fn who_was_frozen_before_a_failover_appends_nothing_behind_it() {
    let _room = room(2);
    let pair = Pair::start("4.3.1");
    let (source, there) =
        (Hand::new(pair.source.bootstrap()), Hand::new(pair.destination.bootstrap()));
    TOPICS.into_iter().for_each(|topic| source.create(topic, 1, 1, &[]).unwrap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(pair.source.bootstrap(), &stop));
        let _ends = Ends(&stop);
        let one = pair.isolog("one");
        wait_works(&one, &source);
        let two = pair.isolog("two");
        wait_stands_by(&two, "one");
        // slower than what is written: it holds batches that it has not sent
        there.quota("isolog", "producer_byte_rate", Some(SLOW)).unwrap();
        for topic in TOPICS {
            one.wait_for(&format!("{topic} falls behind"), TAKEOVER_SECONDS_MAX, |_| {
                let (ours, theirs) = (source.ends(topic, 0).ok()?.1, there.ends(topic, 0).ok()?.1);
                (ours > theirs + 20 * BATCH).then_some(())
            });
        }
        one.freeze(true).unwrap();
        two.wait_for("it has the work", TAKEOVER_SECONDS_MAX, |isolog| {
            (isolog.link().0 == "Active").then_some(())
        });
        there.quota("isolog", "producer_byte_rate", None).unwrap();
        let path = link_path(&two);
        let body = json!({ "mirror_topic_names": TOPICS });
        let answer = two.order("POST", &format!("{path}/mirrors:failover"), Some(&body)).unwrap();
        assert!((200..300).contains(&answer.0), "{answer:?}");
        let seals = TOPICS.map(|topic| (topic, sealed_at(&two, &path, topic)));
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        one.freeze(false).unwrap();
        wait_stands_by(&one, "two");
        for (topic, end) in seals {
            let (log, copy) = (source.log(topic, 0).unwrap(), there.log(topic, 0).unwrap());
            let differ = batches_equal(&log, &copy, log.start, end);
            assert!(differ.is_empty(), "{topic}: {differ:#?}");
            let last = copy.batches.last().unwrap();
            let seal = last.header.unwrap();
            assert_eq!((last.base, seal.producer_epoch), (end, 1), "{topic}: {last:?}");
            assert!(end < log.end, "{topic}: it was copied to its end");
        }
        for isolog in [&one, &two] {
            assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
        }
    });
}

/// Lets the writer end where the test does not come to it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Of two with one name the older one stops at once, and says why.
#[test]
fn of_two_with_one_name_the_older_stops() {
    let _room = room(2);
    let pair = Pair::start("4.3.1");
    let source = Hand::new(pair.source.bootstrap());
    for topic in TOPICS {
        source.create(topic, 1, 1, &[]).unwrap();
        source.produce(topic, 0, &Build::plain(now_ms(), topic, BATCH as usize)).unwrap();
    }
    let older = pair.isolog("same");
    wait_works(&older, &source);
    let newer = pair.isolog("same");
    wait_works(&newer, &source);
    older.wait_for("it says so in its log", TAKEOVER_SECONDS_MAX, |one| {
        let is_told = |line: &str| line.contains(" WARN ") && line.contains("FENCED_INSTANCE_ID");
        one.log().lines().any(is_told).then_some(())
    });
    let reason = older.wait_for("it is fenced", TAKEOVER_SECONDS_MAX, |one| {
        let (state, reason) = one.link();
        (state == "Standby" && reason.contains("FENCED_INSTANCE_ID")).then_some(reason)
    });
    assert!(
        reason.contains("as same") && reason.contains("instances.group.instance.id"),
        "{reason}"
    );
    let (status, _) = older.order("GET", "/health/ready", None).unwrap();
    assert_eq!(status, 503, "a person must act");
    for topic in TOPICS {
        source.produce(topic, 0, &Build::plain(now_ms(), topic, BATCH as usize)).unwrap();
    }
    wait_works(&newer, &source);
    pair.compare();
}

/// Who coordinates the group.
fn coordinator(hand: &Hand) -> u8 {
    let key = StrBytes::from_static_str("__isolog");
    let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![key]);
    let found = hand.ask_any(4, &request).unwrap();
    u8::try_from(found.coordinators[0].node_id.0).unwrap()
}

/// Must show: while the coordinator is away what is copied goes on, and nothing else is changed
/// once the lease is over; when it is back, so is all else.
#[test]
fn without_its_coordinator_it_copies_and_changes_nothing_else() {
    let _room = room(4);
    // the group lives on one broker alone
    let there = RealSpec::new("4.3.1", 3)
        .prop("group.initial.rebalance.delay.ms", "0")
        .prop("offsets.topic.replication.factor", "1");
    let (source, destination) = RealCluster::both(RealSpec::new("4.3.1", 1), there).unwrap();
    let pair = Pair { source, destination };
    let (source, destination) =
        (Hand::new(pair.source.bootstrap()), Hand::new(pair.destination.bootstrap()));
    for topic in TOPICS {
        source.create(topic, 1, 1, &[]).unwrap();
        source.produce(topic, 0, &Build::plain(now_ms(), topic, BATCH as usize)).unwrap();
    }
    let more = "replication.factor = 3\ntopic.config.sync.ms = 1000\n";
    let isolog = pair.isolog_with("one", more);
    wait_works(&isolog, &source);
    let retention = |wanted: &str| {
        isolog.wait_for(&format!("retention.ms is {wanted}"), 90, |_| {
            let has = destination.config("i-0", "retention.ms").unwrap();
            (has.as_deref() == Some(wanted)).then_some(())
        });
    };
    source.alter("i-0", "retention.ms", Some("700000000")).unwrap();
    retention("700000000");
    let node = coordinator(&destination);
    pair.destination.kill(node).unwrap();
    isolog.wait_for("it misses its coordinator", 90, |one| {
        let (status, ready) = one.order("GET", "/health/ready", None)?;
        let is_told = ready.to_string().contains("the coordinator of the group __isolog");
        (status == 503 && is_told).then_some(())
    });
    // no heartbeat that was answered is younger
    sleep(Duration::from_millis(SESSION_MS));
    source.alter("i-0", "retention.ms", Some("800000000")).unwrap();
    isolog.wait_for("the lease is over", 90, |one| {
        one.log().contains("it was not sent: this isolog").then_some(())
    });
    for topic in TOPICS {
        source.produce(topic, 0, &Build::plain(now_ms(), topic, BATCH as usize)).unwrap();
    }
    wait_works(&isolog, &source);
    let has = destination.config("i-0", "retention.ms").unwrap();
    assert_eq!(has.as_deref(), Some("700000000"), "nothing is changed without a lease");
    pair.destination.restart(node).unwrap();
    retention("800000000");
    isolog.wait_for("it is ready again", 90, |one| {
        let (status, _) = one.order("GET", "/health/ready", None)?;
        (status == 200).then_some(())
    });
    pair.compare();
}
