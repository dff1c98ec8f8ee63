//! A source that is gone in each way that real brokers have (its password changed, frozen, stopped
//! in order): a failover asks nothing of it, and its topics are STOPPED.
//!
//! It never skips, and never measures time: how long that may take is asserted on the simulated
//! clock (`sim`, `stopped::a_failover_needs_no_source`), where names and packets are lost too.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use kafka_protocol::messages::AlterUserScramCredentialsRequest;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialDeletion;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::direct::Dump;
use protocol_tests::check::batches_equal;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::secure::ways::Safe;
use protocol_tests::secure::ways::USER;
use protocol_tests::secure::ways::make_account;

use crate::operated::Operated;
use crate::operated::Stage;
use crate::operated::until;

const TOPICS: [&str; 3] = ["g-password", "g-frozen", "g-stopped"];
/// Kafka's number of the mechanism.
const SCRAM_SHA_512: i8 = 2;

/// Nobody knows a password of the account any more.
fn change_password(stage: &Stage) {
    let deletion = ScramCredentialDeletion::default()
        .with_name(StrBytes::from_static_str(USER))
        .with_mechanism(SCRAM_SHA_512);
    let request = AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion]);
    let told = stage.source.ask_any(0, &request).unwrap();
    assert!(told.results.iter().all(|one| one.error_code == 0), "{told:?}");
}

/// The topic is STOPPED, holds what it had, and takes its next record behind the seal.
fn failed_over(stage: &Stage, isolog: &Operated, topic: &str, log: &Dump) {
    let (how, deadline_ms) = (How::Failover, None);
    isolog.mirrors("dr", topic, MirrorVerb::Stop { how, deadline_ms });
    isolog.wait_status("dr", topic, Status::Stopped);
    let copy = stage.destination.log(topic, 0).unwrap();
    let differ = batches_equal(log, &copy, log.start, log.end);
    assert!(differ.is_empty(), "{topic}: {differ:#?}");
    let seal = copy.batches.last().unwrap();
    assert_eq!((seal.base, copy.end), (log.end, log.end + 1), "{topic}");
    assert_eq!(seal.header.unwrap().producer_epoch, 1, "{topic}");
    let next = Build::plain(now_ms(), "next", 1);
    assert_eq!(stage.destination.produce(topic, 0, &next).unwrap(), log.end + 1, "{topic}");
}

/// Must show: a failover starts at once and ends, whichever way the source is gone.
#[test]
fn a_failover_needs_no_source_however_it_is_gone() {
    let _room = room(2);
    let safe = Safe::new("gone").unwrap();
    let secure = RealSpec { secure: Some(safe.dir.clone()), ..RealSpec::new("4.3.1", 1) };
    let stage = Stage::on(RealCluster::both(secure, RealSpec::new("4.3.1", 1)).unwrap());
    make_account(&stage.source).unwrap();
    for topic in TOPICS {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        (0..3).for_each(|_| stage.write(topic, 0));
    }
    let ways = safe.ways();
    let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
    let at = format!("127.0.0.1:{}", stage.clusters.0.secure_ports()[*port]);
    let file = format!(
        "[link.dr]\nbootstrap.servers = '{at}'\n{lines}metadata.max.age.ms = 1000\n\
         availability.check.ms = 1000\nbatch.merge = 'never'\nmirror.topics = 'g-*'\n"
    );
    let isolog = Operated::start(&stage.clusters.1, &file);
    TOPICS.iter().for_each(|topic| stage.copied(topic, topic, 0));
    let logs = TOPICS.map(|topic| stage.source.log(topic, 0).unwrap());

    change_password(&stage);
    // a login lasts 5 s at that broker: then isolog is refused
    until("isolog is refused", || {
        let links = isolog.driver.links();
        let rows = links.iter().flat_map(|link| link.partitions());
        let told: Vec<String> = rows.map(|(_, seen)| format!("{:?}", seen.reason)).collect();
        let is_refused = |text: &String| text.contains("password");
        (told.len() == TOPICS.len() && told.iter().all(is_refused)).then_some(())
    });
    failed_over(&stage, &isolog, TOPICS[0], &logs[0]);
    make_account(&stage.source).unwrap();

    stage.clusters.0.freeze(1).unwrap();
    failed_over(&stage, &isolog, TOPICS[1], &logs[1]);
    stage.clusters.0.thaw(1).unwrap();

    stage.clusters.0.term(1).unwrap();
    failed_over(&stage, &isolog, TOPICS[2], &logs[2]);
}
