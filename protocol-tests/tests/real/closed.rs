//! Rights that follow a link between clusters that allow nothing but what is granted, on real
//! Kafka: nobody gets more than at the source, and isolog keeps its own.
//!
//! It never skips. `ISOLOG_ACLS=3.9.1` does the same on brokers of that version.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;

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
use crate::acls::DENY;
use crate::acls::EVERYTHING;
use crate::acls::ISOLOG;
use crate::acls::LITERAL;
use crate::acls::READ;
use crate::acls::Stage;
use crate::acls::TOPIC;
use crate::acls::acl;
use crate::acls::all;
use crate::acls::grant;
use crate::acls::grant_clusters;
use crate::operated::Operated;
use crate::operated::until;

const MIRRORS: usize = 10;
/// So many of them are promoted.
const PROMOTED: usize = 3;

fn topic(n: usize) -> String {
    format!("t{n}")
}

/// Two clusters that refuse what nobody granted, and what each grants by itself.
fn closed(safe: &Safe) -> (Stage, [Acl; 2]) {
    let stage = Stage::start(safe);
    grant_clusters(&stage);
    // while everybody may: where a topic has a right, those without one see it no more
    for name in ["local", "other"] {
        stage.destination.create(name, 1, 1, &[]).unwrap();
    }
    let everywhere = (TOPIC, LITERAL, "*");
    let broad = acl(everywhere, APP, ALL, ALLOW);
    let reads = acl((TOPIC, LITERAL, "t0"), "User:bob", READ, ALLOW);
    grant(&stage.source, &[broad.clone(), reads.clone()]);
    let local = acl((TOPIC, LITERAL, "local"), APP, ALL, ALLOW);
    grant(&stage.destination, &[acl(everywhere, ISOLOG, ALL, ALLOW), local]);
    for cluster in [&stage.clusters.0, &stage.clusters.1] {
        cluster.restart_with("allow.everyone.if.no.acl.found", "false").unwrap();
    }
    (stage, [broad, reads])
}

/// Must show: a wildcard that allows all, over ten mirror topics of which three are promoted: its
/// producer writes into exactly those three, and into what is no mirror.
#[test]
fn nobody_gets_more_where_only_what_is_granted_is_allowed() {
    let _room = room(2);
    let safe = Safe::new("closed").unwrap();
    let (stage, theirs) = closed(&safe);
    for name in (0..MIRRORS).map(topic) {
        stage.source.create(&name, 1, 1, &[]).unwrap();
        stage.write(&stage.source, &name).unwrap();
    }
    stage.write(&stage.destination, "local").unwrap();
    let before = all(&stage.destination);

    let ways = safe.ways();
    let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
    let at = format!("127.0.0.1:{}", stage.clusters.1.secure_ports()[*port]);
    let isolog = Operated::start_at(&at, lines);
    let more = [("acl.sync.enable", "true"), ("acl.sync.ms", "1000"), ("acl.filters", EVERYTHING)];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    for name in (0..MIRRORS).map(topic) {
        isolog.create_mirror("dr", &name);
    }
    until("their rights have come across", || {
        let there = all(&stage.destination);
        theirs.iter().all(|one| there.contains(one)).then_some(())
    });
    for name in (0..MIRRORS).map(topic) {
        stage.copied(&name);
        stage.refused(&name);
    }
    stage.refused("__isolog");
    stage.write(&stage.destination, "other").unwrap();
    // isolog's own aside, what is allowed here beyond what was is allowed at the source
    let allowed = |acls: BTreeSet<Acl>| -> BTreeSet<Acl> {
        acls.into_iter().filter(|one| one.6 == ALLOW && one.3 != ISOLOG).collect()
    };
    let source = allowed(all(&stage.source));
    let new: Vec<Acl> = allowed(all(&stage.destination)).difference(&before).cloned().collect();
    assert!(new.iter().all(|one| source.contains(one)), "{new:?}");

    let (how, deadline_ms) = (How::Promote, None);
    for name in (0..PROMOTED).map(topic) {
        isolog.mirrors("dr", &name, MirrorVerb::Stop { how, deadline_ms });
        isolog.wait_status("dr", &name, Status::Stopped);
    }
    for n in 0..MIRRORS {
        match n < PROMOTED {
            true => stage.write(&stage.destination, &topic(n)).unwrap(),
            false => stage.refused(&topic(n)),
        }
    }
    stage.write(&stage.destination, "other").unwrap();
    // what is still mirrored goes on
    stage.write(&stage.source, &topic(PROMOTED)).unwrap();
    stage.copied(&topic(PROMOTED));
    isolog.obeyed("dr", Verb::DeleteLink { is_forced: true });
    until("nobody is denied anything any more", || {
        let there = all(&stage.destination);
        let denied = there.iter().any(|one| one.3 == APP && one.6 == DENY);
        (!denied && isolog.driver.registry.seen().links.is_empty()).then_some(())
    });
    stage.write(&stage.destination, &topic(MIRRORS - 1)).unwrap();
}
