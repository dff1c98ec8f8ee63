//! TLS and logins on real Kafka: every way in, on both sides, and logins renewed under load.
//!
//! It never skips. Stores are made by openssl and keytool, tokens are signed, and Kafka's own
//! reader judges the copies.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::Seen;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::real::tool;
use protocol_tests::secure::ways::Safe;
use protocol_tests::secure::ways::make_account;

/// Records of each topic of the matrix.
const RECORDS: u64 = 500;

/// `connections.max.reauth.ms` beside a broker that refuses.
const SESSION: Duration = Duration::from_secs(20);
/// So many logins and renewals of the healthy broker are waited for meanwhile.
const RENEWALS: f64 = 8.0;
/// The pause after a refusal doubles up to a minute: so many would take ten of them.
const REFUSED_MAX: f64 = 16.0;

/// In times of so many seconds no connection may be lost.
const RENEW_WINDOW_SECONDS: u64 = 60;
/// So many times in which one was lost do not count.
const RENEW_LOST_MAX: u32 = 10;

/// How long logins are renewed under load: `ISOLOG_RENEW_SECONDS`, or what CI has time for.
fn renew_seconds() -> u64 {
    let said = std::env::var("ISOLOG_RENEW_SECONDS").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(25)
}

fn start(safe: &Safe, from: &str, to: &str) -> (RealCluster, RealCluster) {
    let secure = Some(safe.dir.clone());
    let spec = |version| RealSpec { secure: secure.clone(), ..RealSpec::new(version, 1) };
    let both = RealCluster::both(spec(from), spec(to)).unwrap();
    make_account(&Hand::new(both.0.bootstrap())).unwrap();
    make_account(&Hand::new(both.1.bootstrap())).unwrap();
    both
}

fn spec(
    source: &RealCluster,
    destination: &RealCluster,
    from: &(&str, usize, String),
    to: &(&str, usize, String),
    topics: &[&str],
) -> IsologSpec {
    let at = |cluster: &RealCluster, way: &(&str, usize, String)| {
        format!("127.0.0.1:{}", cluster.secure_ports()[way.1])
    };
    let mut spec = IsologSpec::new(&at(source, from), &at(destination, to), topics);
    spec.link_more.push_str(&from.2);
    spec.destination_more.push_str(&to.2);
    spec
}

/// Each way in on each side once: ten links, one after the other.
fn matrix(from: &str, to: &str) {
    let _room = room(2);
    let safe = Safe::new(&format!("matrix-{from}")).unwrap();
    let (source, destination) = start(&safe, from, to);
    let ways = safe.ways();
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let topics = (0..ways.len()).map(|n| (format!("way-{n}"), codecs[n % 5].to_owned()));
    let load = LoadSpec {
        topics: topics.collect(),
        records: Some(RECORDS * ways.len() as u64),
        ..LoadSpec::five_codecs("", 2, 1)
    };
    Load::start(source.bootstrap(), &load).unwrap().wait().unwrap();
    let committed = DumpSpec::committed(&load.names());
    let wanted = dump(Reader::Java, source.bootstrap(), &committed).unwrap();
    for (n, way) in ways.iter().enumerate() {
        let other = &ways[(n + 3) % ways.len()];
        let topic = format!("way-{n}");
        let isolog = Isolog::start(&spec(&source, &destination, way, other, &[&topic])).unwrap();
        let began = Instant::now();
        for one in wanted.iter().filter(|one| one.topic == topic) {
            isolog.wait_copied(&topic, i64::from(one.partition), one.end);
        }
        println!("{from} {} -> {to} {}: {:?}", way.0, other.0, began.elapsed());
    }
    assert_equal(&wanted, &dump(Reader::Java, destination.bootstrap(), &committed).unwrap());
}

#[test]
fn every_way_from_3_9_1_to_4_3_1() {
    matrix("3.9.1", "4.3.1");
}

#[test]
fn every_way_from_4_3_1_to_3_9_1() {
    matrix("4.3.1", "3.9.1");
}

/// A delegation token of that cluster, as a way in by SCRAM (KIP-48).
fn delegated(safe: &Safe, cluster: &RealCluster) -> (&'static str, usize, String) {
    let plain = safe.ways().into_iter().find(|way| way.0 == "SASL_PLAINTEXT-PLAIN").unwrap();
    let file = safe.dir.join("alice.properties");
    std::fs::write(&file, plain.2.replace(" = '", "=").replace("'\n", "\n")).unwrap();
    let address = format!("127.0.0.1:{}", cluster.secure_ports()[plain.1]);
    let asked = ["--create", "--bootstrap-server", &address, "--max-life-time-period", "-1"];
    let file = file.display().to_string();
    let by = ["--renewer-principal", "User:alice", "--command-config", &file];
    let words = [&asked[..], &by].concat();
    let said = tool("org.apache.kafka.tools.DelegationTokenCommand", &words).unwrap();
    let row = said.lines().rfind(|line| line.contains("User:alice")).unwrap();
    let (id, hmac) = row.split_once(' ').unwrap();
    let hmac = hmac.split_whitespace().next().unwrap();
    let lines = format!(
        "security.protocol = 'SASL_PLAINTEXT'\nsasl.mechanism = 'SCRAM-SHA-512'\n\
         sasl.jaas.config = 'org.apache.kafka.common.security.scram.ScramLoginModule required \
         username=\"{id}\" password=\"{hmac}\" tokenauth=\"true\";'\n"
    );
    ("delegation token", plain.1, lines)
}

/// The renewals, and the tokens asked for, in so many seconds in which no connection was lost. A
/// machine that stands still for a second loses them in the five that a login lasts: such a time
/// does not count. Where renewals do not work no other one ever comes.
fn renewed_on_its_connections(isolog: &Isolog, safe: &Safe, seconds: u64) -> (f64, u32) {
    let asked = || safe.idp.asked.load(std::sync::atomic::Ordering::SeqCst);
    let look = || {
        let of = |name: &str, labels: &str| isolog.metric(name, labels);
        // beside those that were given up to ask another broker
        let opened =
            of("isolog_connections_opened_total", "") - of("isolog_connections_given_up_total", "");
        (opened, of("isolog_logins_total", "failed"), of("isolog_logins_total", "ok"), asked())
    };
    let (mut whole, mut lost, mut renewed, mut tokens) = (0, 0, 0.0, 0);
    while whole < seconds {
        let before = look();
        let window = seconds.min(RENEW_WINDOW_SECONDS);
        std::thread::sleep(Duration::from_secs(window));
        let after = look();
        let of_now = (after.2 - before.2, after.3 - before.3);
        println!("{window} s: {} renewed, {} tokens, {} opened", of_now.0, of_now.1, after.0);
        if (before.0, before.1) == (after.0, after.1) {
            (whole, renewed, tokens) = (whole + window, renewed + of_now.0, tokens + of_now.1);
        } else {
            lost += 1;
            assert!(lost < RENEW_LOST_MAX, "connections were lost {lost} times:\n{}", isolog.log());
        }
    }
    (renewed, tokens)
}

/// Brokers end each login after 5 s, tokens last 12 s: the copy is exact, no connection is lost.
#[test]
fn logins_are_renewed_under_load() {
    let _room = room(2);
    let safe = Safe::new("renew").unwrap();
    let (source, destination) = start(&safe, "3.9.1", "4.3.1");
    let ways = safe.ways();
    let find = |name: &str| ways.iter().find(|way| way.0 == name).unwrap();
    let (from, to) = (&delegated(&safe, &source), find("SASL_SSL-OAUTHBEARER"));
    let load = LoadSpec { rate: Some(2_000), ..LoadSpec::five_codecs("renew", 2, 1) };
    let first = LoadSpec { records: Some(50), rate: None, ..load.clone() };
    Load::start(source.bootstrap(), &first).unwrap().wait().unwrap();
    let names = load.names();
    let topics: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut one = spec(&source, &destination, from, to, &topics);
    // "any broker" is another connection now and then: not in this test
    for more in [&mut one.link_more, &mut one.destination_more] {
        *more = more.replace("metadata.max.age.ms = 1000\n", "metadata.max.age.ms = 600000\n");
    }
    one.link_more = one.link_more.replace("check.ms = 1000\n", "check.ms = 600000\n");
    let running = Load::start(source.bootstrap(), &load).unwrap();
    let isolog = Isolog::start(&one).unwrap();
    isolog.wait_for("all mirror", 40, |isolog| {
        let all = isolog.partitions();
        let up = all.iter().filter(|one| one.state == "Mirroring").count();
        (up == 10).then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    let seconds = renew_seconds();
    let (renewed, tokens) = renewed_on_its_connections(&isolog, &safe, seconds);
    assert!(renewed >= (seconds / 5 * 2) as f64, "{renewed} renewals:\n{}", isolog.log());
    assert!(u64::from(tokens) >= seconds / 15, "{tokens} tokens");
    running.stop().unwrap();
    let committed = DumpSpec::committed(&names);
    let wanted = dump(Reader::Java, source.bootstrap(), &committed).unwrap();
    for one in &wanted {
        isolog.wait_copied(&one.topic, i64::from(one.partition), one.end);
    }
    assert_equal(&wanted, &dump(Reader::Java, destination.bootstrap(), &committed).unwrap());
}

/// Of these partitions of a topic of two, the one whose copy has as many records, and the other.
fn copied_alone(isolog: &Isolog, topic: &str, records: i64) -> Option<(Seen, Seen)> {
    let [zero, one] = [0, 1].map(|partition| isolog.partition(topic, partition));
    let (zero, one) = (zero?, one?);
    let is_copied = |seen: &Seen| seen.destination_hwm == Some(records);
    match (is_copied(&zero), is_copied(&one)) {
        (true, false) => Some((zero, one)),
        (false, true) => Some((one, zero)),
        _ => None,
    }
}

/// C3. Sessions of 6 s, and one of two brokers refuses the password: the other one's partition is
/// copied, its logins are renewed, none of its connections is lost, and the reason of what stands
/// still names who refused.
#[test]
fn a_broker_that_refuses_logins_holds_up_no_other() {
    const TOPIC: &str = "one-each";
    let _room = room(3);
    let safe = Safe::new("refuses").unwrap();
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                user_alice=\"another one\";";
    let mut two = RealSpec { secure: Some(safe.dir.clone()), ..RealSpec::new("4.3.1", 2) };
    let key = "listener.name.saslp.plain.sasl.jaas.config";
    two.node_props.push((2, key.into(), jaas.into()));
    two = two.prop("connections.max.reauth.ms", &SESSION.as_millis().to_string());
    let (source, destination) = RealCluster::both(two, RealSpec::new("4.3.1", 1)).unwrap();
    let hand = Hand::new(source.bootstrap());
    hand.create(TOPIC, 2, 1, &[]).unwrap();
    let write = || {
        for partition in 0..2 {
            hand.produce(TOPIC, partition, &Build::plain(now_ms(), "one", 10)).unwrap();
        }
    };
    write();
    let ways = safe.ways();
    let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_PLAINTEXT-PLAIN").unwrap();
    let at = format!("127.0.0.1:{}", source.secure_ports()[*port]);
    let mut spec = IsologSpec::new(&at, destination.bootstrap(), &[TOPIC]);
    spec.link_more.push_str(lines);
    let isolog = Isolog::start(&spec).unwrap();
    let refused = |seen: &Seen| seen.reason.contains("source broker 2 at 127.0.0.1:");
    let (healthy, _) = isolog.wait_for("one is copied, the other names its broker", 60, |isolog| {
        copied_alone(isolog, TOPIC, 10).filter(|(_, other)| refused(other))
    });
    let logins = |result: &str| isolog.metric("isolog_logins_total", result);
    let (before, mut records, began) = (logins("ok"), 10, Instant::now());
    isolog.wait_for("logins are renewed", 300, |isolog| {
        write();
        records += 10;
        let (seen, other) = isolog
            .wait_for("the healthy one goes on", 90, |isolog| copied_alone(isolog, TOPIC, records));
        assert_eq!(seen.partition, healthy.partition);
        assert_eq!((seen.state.as_str(), seen.code.as_str()), ("Mirroring", ""), "{seen:?}");
        assert!(!other.reason.contains("broker 1"), "{other:?}");
        let is_long = began.elapsed() > SESSION * 3;
        (is_long && logins("ok") >= before + RENEWALS && refused(&other)).then_some(())
    });
    let failed = logins("failed");
    println!("{} logins and renewals, {failed} refused", logins("ok") - before);
    assert!((1.0..REFUSED_MAX).contains(&failed), "{failed} logins were refused");
    let log = isolog.log();
    let lost = log.lines().filter(|line| line.contains("broker 1") && line.contains("a lane has"));
    assert_eq!(lost.collect::<Vec<_>>(), Vec::<&str>::new());
}
