//! Rights that follow a link, on real Kafka with its StandardAuthorizer on both sides: every kind
//! of binding comes across as it is, nobody but isolog writes into a mirror topic, and what was
//! there before survives all of it.
//!
//! It never skips. `ISOLOG_ACLS=3.9.1` does the same on brokers of that version.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use isolog::audit::Dials;
use isolog::audit::check;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::task::TaskName;
use isolog::control::topic::Fault;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::ids::LinkName;
use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::DeleteAclsRequest;
use kafka_protocol::messages::DescribeAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::secure::ways::Safe;
use protocol_tests::secure::ways::make_account;

use super::operated::Operated;
use super::operated::until;

/// A binding in Kafka's numbers: resource, pattern, name, principal, host, operation, permission.
pub(crate) type Acl = (i8, i8, String, String, String, i8, i8);

pub(crate) const TOPIC: i8 = 2;
pub(crate) const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
pub(crate) const USER: i8 = 7;
pub(crate) const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
pub(crate) const ALL: i8 = 2;
pub(crate) const READ: i8 = 3;
pub(crate) const WRITE: i8 = 4;
const CREATE: i8 = 5;
const DELETE: i8 = 6;
const ALTER: i8 = 7;
pub(crate) const DESCRIBE: i8 = 8;
const CLUSTER_ACTION: i8 = 9;
const DESCRIBE_CONFIGS: i8 = 10;
const ALTER_CONFIGS: i8 = 11;
pub(crate) const TWO_PHASE_COMMIT: i8 = 15;
pub(crate) const DESCRIBE_TOKENS: i8 = 14;
pub(crate) const TRANSACTIONAL_ID: i8 = 5;
pub(crate) const DENY: i8 = 2;
pub(crate) const ALLOW: i8 = 3;
const ANY: i8 = 1;

/// Whom the plaintext listener takes everybody for: the application, the administrator and the
/// broker itself.
pub(crate) const APP: &str = "User:ANONYMOUS";
/// isolog, which logs in.
pub(crate) const ISOLOG: &str = "User:alice";
/// As everybody writes them who has none.
pub(crate) const EVERYTHING: &str = r#"{"aclFilters":[{
    "resourceFilter":{"resourceType":"any","patternType":"any"},
    "accessFilter":{"operation":"any","permissionType":"any"}}]}"#;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn acl(what: (i8, i8, &str), principal: &str, operation: i8, permission: i8) -> Acl {
    let (resource, pattern, name) = what;
    (resource, pattern, name.into(), principal.into(), "*".into(), operation, permission)
}

/// The last version that knows no users is one that 2.8 has as well.
fn version_for(acls: &[Acl]) -> i16 {
    if acls.iter().any(|acl| acl.0 == USER) { 3 } else { 2 }
}

pub(crate) fn grant(hand: &Hand, acls: &[Acl]) {
    let creation = |(resource, pattern, name, principal, host, operation, permission): &Acl| {
        AclCreation::default()
            .with_resource_type(*resource)
            .with_resource_name(text(name))
            .with_resource_pattern_type(*pattern)
            .with_principal(text(principal))
            .with_host(text(host))
            .with_operation(*operation)
            .with_permission_type(*permission)
    };
    let creations = acls.iter().map(creation).collect();
    // the last version that knows no users, which 2.8 has as well
    let version = if acls.iter().any(|acl| acl.0 == USER) { 3 } else { 2 };
    let answer =
        hand.ask_any(version, &CreateAclsRequest::default().with_creations(creations)).unwrap();
    for (one, acl) in answer.results.iter().zip(acls) {
        assert_eq!(one.error_code, 0, "{acl:?}: {one:?}");
    }
}

pub(crate) fn revoke(hand: &Hand, acls: &[Acl]) {
    let filter = |(resource, pattern, name, principal, host, operation, permission): &Acl| {
        DeleteAclsFilter::default()
            .with_resource_type_filter(*resource)
            .with_resource_name_filter(Some(text(name)))
            .with_pattern_type_filter(*pattern)
            .with_principal_filter(Some(text(principal)))
            .with_host_filter(Some(text(host)))
            .with_operation(*operation)
            .with_permission_type(*permission)
    };
    let filters = acls.iter().map(filter).collect();
    let answer = hand
        .ask_any(version_for(acls), &DeleteAclsRequest::default().with_filters(filters))
        .unwrap();
    assert!(answer.filter_results.iter().all(|one| one.matching_acls.len() == 1), "{answer:?}");
}

pub(crate) fn all(hand: &Hand) -> BTreeSet<Acl> {
    all_by(hand, 3)
}

/// The same by that version of the question.
pub(crate) fn all_by(hand: &Hand, version: i16) -> BTreeSet<Acl> {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(ANY)
        .with_permission_type(ANY);
    let answer = hand.ask_any(version, &request).unwrap();
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let each = answer.resources.iter().flat_map(|one| {
        one.acls.iter().map(|acl| {
            let (name, principal) = (one.resource_name.to_string(), acl.principal.to_string());
            let what = (one.resource_type, one.pattern_type, name, principal);
            let (host, operation, permission) =
                (acl.host.to_string(), acl.operation, acl.permission_type);
            (what.0, what.1, what.2, what.3, host, operation, permission)
        })
    });
    each.collect()
}

/// Every resource type, pattern type, operation and permission, on names of nobody's.
fn every_kind() -> Vec<Acl> {
    let mut every = Vec::new();
    let last = if version().starts_with("3.") { DESCRIBE_TOKENS } else { TWO_PHASE_COMMIT };
    for resource in TOPIC..=USER {
        for operation in ALL..=last {
            for (permission, host) in [(ALLOW, "*"), (DENY, "10.1.2.3"), (DENY, "::1")] {
                let (patterns, name) = match resource {
                    CLUSTER => (LITERAL..=LITERAL, "kafka-cluster"),
                    USER => (LITERAL..=LITERAL, "User:x/y:%"),
                    _ => (LITERAL..=PREFIXED, "rt.a"),
                };
                for pattern in patterns {
                    let principal = "User:CN=bob,O=x y".to_owned();
                    let (name, host) = (name.to_owned(), host.to_owned());
                    every.push((resource, pattern, name, principal, host, operation, permission));
                }
            }
        }
    }
    every
}

pub(crate) fn errors(isolog: &Operated, of: &str) -> Option<Vec<(String, Fault)>> {
    let seen = isolog.driver.registry.seen();
    let link = seen.links.get(&LinkName(of.into()))?;
    let task = link.tasks.iter().find(|task| task.name == TaskName::AclSync)?;
    (task.state == "ACTIVE" || task.state == "IN_ERROR").then(|| task.errors.clone())
}

/// Two clusters with rights, of which everybody has all where nobody has one.
pub(crate) struct Stage {
    pub(crate) source: Hand,
    pub(crate) destination: Hand,
    pub(crate) clusters: (RealCluster, RealCluster),
}

fn version() -> String {
    std::env::var("ISOLOG_ACLS").unwrap_or_else(|_| "4.3.1".to_owned())
}

impl Stage {
    pub(crate) fn start(safe: &Safe) -> Stage {
        Stage::of((&version(), &version()), safe, &[])
    }

    /// The same of the versions of both sides, with more properties of the destination's broker.
    pub(crate) fn of(versions: (&str, &str), safe: &Safe, more: &[(&str, &str)]) -> Stage {
        let spec = |version: &str| {
            let authorizer = match version.starts_with("2.") {
                true => "kafka.security.authorizer.AclAuthorizer",
                false => "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            };
            let spec = RealSpec { secure: Some(safe.dir.clone()), ..RealSpec::new(version, 1) };
            spec.prop("authorizer.class.name", authorizer)
                .prop("allow.everyone.if.no.acl.found", "true")
        };
        let there = spec(versions.1);
        let there = more.iter().fold(there, |spec, (name, value)| spec.prop(name, value));
        let clusters = RealCluster::both(spec(versions.0), there).unwrap();
        let (source, destination) =
            (Hand::new(clusters.0.bootstrap()), Hand::new(clusters.1.bootstrap()));
        make_account(&destination).unwrap();
        Stage { source, destination, clusters }
    }

    pub(crate) fn write(&self, hand: &Hand, topic: &str) -> Result<(), String> {
        let batch = Build::plain(now_ms(), &format!("{topic}-{}", now_ms()), 10);
        hand.produce(topic, 0, &batch).map(drop).map_err(|error| error.to_string())
    }

    pub(crate) fn copied(&self, topic: &str) {
        let want = self.source.ends(topic, 0).unwrap();
        until(&format!("{topic} ends at {want:?}"), || {
            (self.destination.ends(topic, 0).ok()? == want).then_some(())
        });
    }

    /// The application may not write into a topic of the destination.
    pub(crate) fn refused(&self, topic: &str) {
        let refused = self.write(&self.destination, topic).unwrap_err();
        assert!(refused.contains("Kafka error 29"), "{topic}: {refused}");
    }
}

const ON_CLUSTER: (i8, i8, &str) = (CLUSTER, LITERAL, "kafka-cluster");

/// What the broker, the application and isolog need of the clusters themselves.
pub(crate) fn grant_clusters(stage: &Stage) -> Vec<Acl> {
    let ours = [CLUSTER_ACTION, ALTER, CREATE, DESCRIBE, ALTER_CONFIGS, DESCRIBE_CONFIGS];
    let ours = ours.map(|operation| acl(ON_CLUSTER, APP, operation, ALLOW));
    // the first one takes what everybody had
    grant(&stage.source, &ours);
    let isologs = [ALTER, CREATE, DESCRIBE_CONFIGS];
    let isologs = isologs.map(|operation| acl(ON_CLUSTER, ISOLOG, operation, ALLOW));
    let foreign = acl((TOPIC, PREFIXED, "theirs"), "User:carol", WRITE, ALLOW);
    let all = [&ours[..], &isologs, &[foreign]].concat();
    grant(&stage.destination, &all);
    all
}

#[test]
fn rights_come_across_and_nobody_but_isolog_writes_into_a_mirror() {
    let _room = room(2);
    let safe = Safe::new("acls").unwrap();
    let stage = Stage::start(&safe);
    let foreign = grant_clusters(&stage);
    for topic in ["orders", "pay"] {
        stage.source.create(topic, 1, 1, &[]).unwrap();
    }
    stage.destination.create("local", 1, 1, &[]).unwrap();
    let broad = acl((TOPIC, LITERAL, "*"), APP, ALL, ALLOW);
    let literal = acl((TOPIC, LITERAL, "orders"), "User:bob", WRITE, ALLOW);
    let every = every_kind();
    grant(&stage.source, &[broad.clone(), literal.clone()]);
    grant(&stage.source, &every);
    stage.write(&stage.source, "orders").unwrap();

    let ways = safe.ways();
    let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
    let at = format!("127.0.0.1:{}", stage.clusters.1.secure_ports()[*port]);
    let isolog = Operated::start_at(&at, lines);
    let more = [("acl.sync.enable", "true"), ("acl.sync.ms", "1000"), ("acl.filters", EVERYTHING)];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    isolog.create_mirror("dr", "orders");
    isolog.create_mirror("dr", "pay");
    stage.copied("orders");

    all_but_what_changes_a_mirror_is_there(&stage, &isolog, (&broad, &literal, &every));
    for topic in ["orders", "pay", "__isolog"] {
        stage.refused(topic);
    }
    stage.write(&stage.destination, "local").unwrap();
    stage.write(&stage.source, "orders").unwrap();
    stage.copied("orders");

    what_changes_at_the_source_changes_here(&stage, &every);
    // what is stopped is writable at once, what is a mirror still is not
    let (how, deadline_ms) = (How::Promote, None);
    isolog.mirrors("dr", "orders", MirrorVerb::Stop { how, deadline_ms });
    isolog.wait_status("dr", "orders", Status::Stopped);
    stage.write(&stage.destination, "orders").unwrap();
    assert!(all(&stage.destination).contains(&literal), "bob may write");
    stage.refused("pay");
    isolog.mirrors("dr", "pay", MirrorVerb::Delete { topic: false });
    until("the application may write into what was let go", || {
        stage.write(&stage.destination, "pay").ok()
    });
    isolog.obeyed("dr", Verb::DeleteLink { is_forced: true });
    until("the link and its ledger are gone", || {
        let seen = isolog.driver.registry.seen();
        (seen.links.is_empty() && seen.ledgers.is_empty()).then_some(())
    });
    let there = all(&stage.destination);
    assert!(foreign.iter().chain([&broad, &literal]).all(|one| there.contains(one)), "{there:?}");
    // nobody keeps the application from anything now but from the journal of others
    let denied = there.iter().filter(|one| one.3 == APP && one.6 == DENY);
    assert_eq!(denied.count(), 0, "{there:?}");
}

fn all_but_what_changes_a_mirror_is_there(
    stage: &Stage,
    isolog: &Operated,
    (broad, literal, every): (&Acl, &Acl, &[Acl]),
) {
    until("every kind of binding has come across", || {
        let there = all(&stage.destination);
        every.iter().chain([broad]).all(|one| there.contains(one)).then_some(())
    });
    until("the task has nothing to complain of", || errors(isolog, "dr")?.is_empty().then_some(()));
    let there = all(&stage.destination);
    assert!(!there.contains(literal), "{there:?}");
    let orders = (TOPIC, LITERAL, "orders");
    let changes = [WRITE, DELETE, ALTER, ALTER_CONFIGS];
    let guards = changes.map(|operation| acl(orders, APP, operation, DENY));
    let right = [
        acl(orders, ISOLOG, ALL, ALLOW),
        acl(orders, "User:bob", DESCRIBE, ALLOW),
        acl((TOPIC, LITERAL, "__isolog"), ISOLOG, ALL, ALLOW),
        acl((GROUP, LITERAL, "rt.a"), ISOLOG, READ, ALLOW),
    ];
    for one in guards.iter().chain(&right) {
        assert!(there.contains(one), "{one:?} is missing: {there:?}");
    }
}

fn what_changes_at_the_source_changes_here(stage: &Stage, every: &[Acl]) {
    let new = acl((TOPIC, LITERAL, "pay"), "User:dave", READ, ALLOW);
    let before = all(&stage.destination);
    revoke(&stage.source, &every[..1]);
    grant(&stage.source, std::slice::from_ref(&new));
    let right: BTreeSet<Acl> =
        before.into_iter().filter(|one| *one != every[0]).chain([new]).collect();
    until("exactly these two have changed", || (all(&stage.destination) == right).then_some(()));
}

/// A link of the file with a topic, and what copies the rights on it.
struct OfFile {
    stage: Stage,
    _safe: Safe,
    at: String,
    file: String,
    reads: Acl,
    writes: Acl,
    /// What `isolog check` said beforehand that the link would change of ACLs.
    planned: Vec<String>,
}

/// What `isolog check` says that the first link of the file would change of ACLs.
fn planned(at: &str, file: &str) -> Vec<String> {
    let text = format!("[destination]\nbootstrap.servers = \"{at}\"\n{file}");
    let config = isolog::config::load_text(&text, std::path::Path::new(".")).unwrap();
    let link = config.audits().into_iter().find(|link| &*link.name.0 == "dr").unwrap();
    let (topics, tell) = (Vec::new(), |_: &str| {});
    let ask = check::Ask { topics, is_deep: false, workers: 1, fetch_bytes: 1 << 20, tell };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(check::run(&link, &Dials::real(&link), &ask));
    assert!(!report.findings.iter().any(|one| one.text.starts_with("ACLs:")), "{report:?}");
    report.acl_changes
}

impl OfFile {
    /// Copied, with all rights but those that change a mirror.
    fn start(name: &str, more: impl Fn(&str) -> String) -> (OfFile, Operated) {
        let safe = Safe::new(name).unwrap();
        let stage = Stage::start(&safe);
        grant_clusters(&stage);
        stage.source.create("orders", 1, 1, &[]).unwrap();
        let broad = acl((TOPIC, LITERAL, "*"), APP, ALL, ALLOW);
        let (reads, writes) =
            [READ, WRITE].map(|of| acl((TOPIC, LITERAL, "orders"), "User:bob", of, ALLOW)).into();
        grant(&stage.source, &[broad, reads.clone(), writes.clone()]);
        stage.write(&stage.source, "orders").unwrap();
        let ways = safe.ways();
        let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
        let at = format!("127.0.0.1:{}", stage.clusters.1.secure_ports()[*port]);
        let source = format!("bootstrap.servers = '{}'\n", stage.clusters.0.bootstrap());
        let more = more(&source);
        let file = format!("{lines}\n[link.dr]\n{source}mirror.topics = 'orders'\n{more}");
        let planned = planned(&at, &file);
        let isolog = Operated::start_at(&at, &file);
        stage.copied("orders");
        // what is written before that would be a foreign record
        let guard = acl((TOPIC, LITERAL, "orders"), APP, WRITE, DENY);
        until("bob may read, and nobody may write", || {
            let there = all(&stage.destination);
            let is_guarded = there.contains(&guard) && !there.contains(&writes);
            (there.contains(&reads) && is_guarded).then_some(())
        });
        stage.refused("orders");
        (OfFile { stage, _safe: safe, at, file, reads, writes, planned }, isolog)
    }

    fn may_write(&self) -> Option<()> {
        all(&self.stage.destination).contains(&self.writes).then_some(())
    }
}

fn copying_acls() -> String {
    format!("acl.sync.enable = true\nacl.sync.ms = 1000\nacl.filters = '''{EVERYTHING}'''\n")
}

/// What is known of a source that is away holds, over a start too; what is given is given before a
/// topic is STOPPED.
#[test]
fn rights_follow_links_of_the_file() {
    let _room = room(2);
    let (lab, isolog) = OfFile::start("acls-file", |_| copying_acls());
    let OfFile { stage, at, file, reads, .. } = &lab;
    until("the task has nothing to complain of", || {
        errors(&isolog, "dr")?.is_empty().then_some(())
    });
    let before = all(&stage.destination);
    // said beforehand, and nothing of it is left to do
    for words in ["--add --allow-principal 'User:bob' --allow-host '*' --operation Read", "--deny-"]
    {
        assert!(lab.planned.iter().any(|line| line.contains(words)), "{:?}", lab.planned);
    }
    assert!(
        lab.planned
            .iter()
            .all(|line| !line.contains("'User:bob' --allow-host '*' --operation Write"))
    );
    assert_eq!(planned(at, file), Vec::<String>::new());
    drop(isolog);
    stage.clusters.0.kill(1).unwrap();
    let isolog = Operated::start_at(at, file);
    until("the journal is read", || isolog.driver.registry.seen().is_level.then_some(()));
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(all(&stage.destination), before);
    }
    stage.clusters.0.restart(1).unwrap();
    revoke(&stage.source, std::slice::from_ref(reads));
    until("bob may not read", || (!all(&stage.destination).contains(reads)).then_some(()));
    let (how, deadline_ms) = (How::Promote, None);
    isolog.mirrors("dr", "orders", MirrorVerb::Stop { how, deadline_ms });
    isolog.wait_status("dr", "orders", Status::Stopped);
    assert_eq!(lab.may_write(), Some(()), "bob may write");
    stage.write(&stage.destination, "orders").unwrap();
}

/// A failover asks the source nothing, also of its ACLs: one that is frozen would be waited for
/// longer than this test waits.
#[test]
fn a_failover_gives_rights_back_while_its_source_is_frozen() {
    let _room = room(2);
    let patient = |_: &str| format!("request.timeout.ms = 600000\n{}", copying_acls());
    let (lab, isolog) = OfFile::start("acls-frozen", patient);
    lab.stage.clusters.0.freeze(1).unwrap();
    let (how, deadline_ms) = (How::Failover, None);
    isolog.mirrors("dr", "orders", MirrorVerb::Stop { how, deadline_ms });
    isolog.wait_status("dr", "orders", Status::Stopped);
    assert_eq!(lab.may_write(), Some(()), "bob may write");
    lab.stage.write(&lab.stage.destination, "orders").unwrap();
    lab.stage.clusters.0.thaw(1).unwrap();
}

/// A link of the file that copies ACLs alone, for the topics of another one: at its next turn.
#[test]
fn a_link_of_the_file_copies_acls_alone() {
    let _room = room(2);
    let rights = |source: &str| format!("[link.rights]\n{source}{}", copying_acls());
    let (lab, isolog) = OfFile::start("acls-alone", rights);
    let (how, deadline_ms) = (How::Promote, None);
    isolog.mirrors("dr", "orders", MirrorVerb::Stop { how, deadline_ms });
    isolog.wait_status("dr", "orders", Status::Stopped);
    until("bob may write", || lab.may_write());
    until("and the application", || lab.stage.write(&lab.stage.destination, "orders").ok());
}

/// A cluster without an authorizer has no ACLs, and says so; what is mirrored goes on.
#[test]
fn a_cluster_without_an_authorizer_is_the_tasks_error_and_holds_no_mirror_up() {
    let _room = room(2);
    let clusters = RealCluster::plain_pair(&version()).unwrap();
    let hands = (Hand::new(clusters.0.bootstrap()), Hand::new(clusters.1.bootstrap()));
    hands.0.create("orders", 1, 1, &[]).unwrap();
    hands.0.produce("orders", 0, &Build::plain(now_ms(), "orders", 10)).unwrap();
    let isolog = Operated::start_at(clusters.1.bootstrap(), "");
    let more = [("acl.sync.enable", "true"), ("acl.filters", EVERYTHING)];
    isolog.create_link("dr", clusters.0.bootstrap(), &more);
    isolog.create_mirror("dr", "orders");
    let fault = until("the task tells it", || Some(errors(&isolog, "dr")?.first()?.1.clone()));
    assert_eq!(fault.code, "SECURITY_DISABLED_ERROR", "{fault:?}");
    assert!(fault.text.contains("has no authorizer"), "{}", fault.text);
    let want = hands.0.ends("orders", 0).unwrap();
    until("orders is copied", || (hands.1.ends("orders", 0).ok()? == want).then_some(()));
}
