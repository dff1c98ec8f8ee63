//! Mirror topics that nobody but isolog may write into, on real Kafka with rights: denied to
//! everybody (`mirror.write.protection = deny-all`), and under a binding of everybody's at the
//! source.
//!
//! It never skips. isolog is a super user of the destination, which `deny-all` asks for.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use protocol_tests::real::room;
use protocol_tests::secure::ways::Safe;

use crate::acls::ALL;
use crate::acls::ALLOW;
use crate::acls::APP;
use crate::acls::Acl;
use crate::acls::DESCRIBE;
use crate::acls::DESCRIBE_TOKENS;
use crate::acls::EVERYTHING;
use crate::acls::GROUP;
use crate::acls::ISOLOG;
use crate::acls::LITERAL;
use crate::acls::READ;
use crate::acls::Stage;
use crate::acls::TOPIC;
use crate::acls::TRANSACTIONAL_ID;
use crate::acls::TWO_PHASE_COMMIT;
use crate::acls::USER;
use crate::acls::acl;
use crate::acls::all_by;
use crate::acls::errors;
use crate::acls::grant;
use crate::acls::grant_clusters;
use crate::acls::revoke;
use crate::operated::Operated;
use crate::operated::until;

const EVERYBODY: &str = "User:*";

fn promoted(isolog: &Operated, of: &str, topic: &str) {
    let (how, deadline_ms) = (How::Promote, None);
    isolog.mirrors(of, topic, MirrorVerb::Stop { how, deadline_ms });
    isolog.wait_status(of, topic, Status::Stopped);
}

/// Everybody may do everything at the destination, and no ACL is copied: what is denied to
/// everybody alone keeps the application out.
fn everybody_is_denied(stage: &Stage, isolog: &Operated) {
    let broad = acl((TOPIC, LITERAL, "*"), EVERYBODY, ALL, ALLOW);
    grant(&stage.destination, std::slice::from_ref(&broad));
    for topic in ["orders", "pay"] {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        stage.write(&stage.source, topic).unwrap();
    }
    let more = [("mirror.write.protection", "deny-all"), ("acl.sync.ms", "1000")];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    for topic in ["orders", "pay"] {
        isolog.create_mirror("dr", topic);
    }
    // the first one tells whether isolog is hit itself; the others are denied after that
    for topic in ["orders", "pay"] {
        stage.copied(topic);
        stage.refused(topic);
    }
    stage.write(&stage.destination, "local").unwrap();
    // isolog goes on
    stage.write(&stage.source, "orders").unwrap();
    stage.copied("orders");
    promoted(isolog, "dr", "orders");
    stage.write(&stage.destination, "orders").unwrap();
    stage.refused("pay");
    stage.write(&stage.source, "pay").unwrap();
    stage.copied("pay");
    isolog.obeyed("dr", Verb::DeleteLink { is_forced: true });
    until("nobody is denied anything any more", || stage.write(&stage.destination, "pay").ok());
    revoke(&stage.destination, &[broad]);
}

/// What everybody may do at the source everybody may here, but for topics that are mirrors.
fn what_everybody_may_stops_at_mirrors(stage: &Stage, isolog: &Operated) {
    grant(&stage.source, &[acl((TOPIC, LITERAL, "*"), EVERYBODY, ALL, ALLOW)]);
    for topic in ["wide-a", "wide-b"] {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        stage.write(&stage.source, topic).unwrap();
    }
    // nobody may write what nobody was granted
    for topic in ["local", "free"] {
        let on = (TOPIC, LITERAL, topic);
        let rights = [acl(on, ISOLOG, ALL, ALLOW), acl(on, APP, DESCRIBE, ALLOW)];
        grant(&stage.destination, &rights);
    }
    until("the application may write into neither", || {
        let is_denied = |topic: &&str| stage.write(&stage.destination, topic).is_err();
        ["local", "free"].iter().all(is_denied).then_some(())
    });
    let more = [("acl.sync.enable", "true"), ("acl.sync.ms", "1000"), ("acl.filters", EVERYTHING)];
    isolog.create_link("wide", stage.clusters.0.bootstrap(), &more);
    for topic in ["wide-a", "wide-b"] {
        isolog.create_mirror("wide", topic);
    }
    for topic in ["wide-a", "wide-b"] {
        stage.copied(topic);
        stage.refused(topic);
    }
    for topic in ["local", "free"] {
        until(&format!("everybody may write into {topic}"), || {
            stage.write(&stage.destination, topic).ok()
        });
    }
    stage.refused("wide-a");
    promoted(isolog, "wide", "wide-a");
    until("everybody may write into what is no mirror any more", || {
        stage.write(&stage.destination, "wide-a").ok()
    });
    stage.refused("wide-b");
    stage.write(&stage.source, "wide-b").unwrap();
    stage.copied("wide-b");
}

fn nobody_but_isolog_writes(version: &str) {
    let _room = room(2);
    let safe = Safe::new(&format!("denied-{version}")).unwrap();
    // an old destination has a source that knows rights which it does not
    let source = if version == "2.8.2" { "4.3.1" } else { version };
    let stage = Stage::of((source, version), &safe, &[("super.users", ISOLOG)]);
    grant_clusters(&stage);
    for topic in ["local", "free"] {
        stage.destination.create(topic, 1, 1, &[]).unwrap();
    }
    let ways = safe.ways();
    let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
    let at = format!("127.0.0.1:{}", stage.clusters.1.secure_ports()[*port]);
    let isolog = Operated::start_at(&at, lines);
    everybody_is_denied(&stage, &isolog);
    what_everybody_may_stops_at_mirrors(&stage, &isolog);
    if source != version {
        what_an_old_destination_does_not_know_holds_nothing_up(&stage, &isolog);
    }
}

/// A binding that the destination refuses, since it does not know its kind: it is told with its
/// line, and the others come across.
fn what_an_old_destination_does_not_know_holds_nothing_up(stage: &Stage, isolog: &Operated) {
    let carol = "User:carol";
    let known: Vec<Acl> =
        (0..40).map(|n| acl((GROUP, LITERAL, &format!("new-{n}")), carol, READ, ALLOW)).collect();
    let tokens = acl((USER, LITERAL, "User:bob"), carol, DESCRIBE_TOKENS, ALLOW);
    let commit = acl((TRANSACTIONAL_ID, LITERAL, "tx"), carol, TWO_PHASE_COMMIT, ALLOW);
    let unknown = [tokens, commit];
    grant(&stage.source, &known);
    grant(&stage.source, &unknown);
    until("what it knows is there", || {
        let there = all_by(&stage.destination, 2);
        known.iter().all(|one| there.contains(one)).then_some(())
    });
    let told = until("what it does not know is told", || {
        let told: Vec<_> = errors(isolog, "wide")?.into_iter().map(|(_, fault)| fault).collect();
        (told.len() == unknown.len()).then_some(told)
    });
    assert!(told.iter().all(|fault| fault.code == "INVALID_REQUEST_ERROR"), "{told:?}");
    for word in ["DescribeTokens", "TwoPhaseCommit"] {
        assert!(told.iter().any(|fault| fault.text.contains(word)), "{word}: {told:?}");
    }
    revoke(&stage.source, &unknown);
    until("the task is well", || errors(isolog, "wide")?.is_empty().then_some(()));
}

/// Must show: with `deny-all` a producer is refused on the mirror and welcome after a promote; a
/// binding of everybody's reaches what is no mirror, and no mirror.
#[test]
fn nobody_but_isolog_writes_into_mirrors_4_3_1() {
    nobody_but_isolog_writes("4.3.1");
}

#[test]
fn nobody_but_isolog_writes_into_mirrors_3_9_1() {
    nobody_but_isolog_writes("3.9.1");
}

/// With the authorizer of ZooKeeper's time.
#[test]
fn nobody_but_isolog_writes_into_mirrors_2_8_2() {
    nobody_but_isolog_writes("2.8.2");
}
