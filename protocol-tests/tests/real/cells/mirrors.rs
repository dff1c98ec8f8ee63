//! The table of mirror topics.
//!
//! It never lets two orders that are obeyed meet in one topic.

use std::thread;

use serde_json::Value;
use serde_json::json;

use super::CREATE;
use super::Cells;
use super::DELETE;
use super::Order;
use super::Refusal;
use super::WAIT_SECONDS;
use super::batch;
use super::ends;
use super::order;
use crate::acls;
use crate::served::Program;

/// Each state: its letter, and what it is called.
const WORDS: [(char, &str); 13] = [
    // no mirror topic
    ('n', ""),
    // being set up: the topic may not be created yet
    ('s', "ACTIVE"),
    ('a', "ACTIVE"),
    ('p', "PAUSED"),
    ('l', "LINK_PAUSED"),
    // somebody else wrote into it
    ('f', "FAILED"),
    ('x', "LINK_FAILED"),
    // promoted: an open transaction of the source is waited for
    ('t', "PENDING_STOPPED"),
    // promoted and level, failed over: the destination takes no seal
    ('q', "PENDING_STOPPED"),
    ('r', "PENDING_STOPPED"),
    ('z', "STOPPED"),
    // deleted with its topic, which the destination does not delete
    ('d', "PENDING_STOPPED"),
    ('g', "SOURCE_UNAVAILABLE"),
];
const STATES: &str = "nsaplfxtqrzdg";
/// The state that begins when the source is stopped.
const AWAY: char = 'g';
const TRANSACTIONAL: i16 = 0x10;

const REFUSALS: &[Refusal] = &[
    ('U', (404, 40403), "Topic '{t}' is not a mirror topic"),
    ('u', (200, 404), "Topic '{t}' is not a mirror topic of cluster link '{l}'."),
    ('A', (409, 409), "Topic '{t}' is a mirror topic of cluster link '{l}' already."),
    ('Z', (400, 40002), "Topic '{t}' has already stopped its mirror from '{l}'."),
    ('z', (200, 400), "Topic '{t}' has already stopped its mirror from '{l}'."),
    ('s', (200, 400), "Mirror topic '{t}' of cluster link '{l}' is still being set up"),
    ('t', (200, 400), "Topic '{t}' is stopping its mirror from '{l}'"),
    ('d', (200, 409), "Mirror topic '{t}' is being deleted from cluster link '{l}'."),
    ('M', (400, 40002), "Cluster link '{l}' still has mirror topics that are not STOPPED"),
    ('w', (200, 404), "knows of no promote or failover of a mirror of topic '{t}'"),
    ('r', (200, 409), "Topic '{t}' is a mirror topic of cluster link '{l}' already."),
    ('T', (200, 409), "offsets that its former mirror never got"),
    ('X', (503, 50003), "source and destination are the same cluster"),
    ('C', (503, 50003), "connect: refused: is the broker up"),
    ('P', (200, 503), "'{t}' of cluster link '{l}' cannot be promoted while its source is away"),
    ('S', (503, 50003), "Where the topics and their former mirrors part is not known"),
];

const NAMES: &str = r#"{"mirror_topic_names":["{t}"]}"#;
const MIRROR: &str = r#"{"source_topic_name":"{t}"}"#;
const PAUSE: &str = "/links/{l}/mirrors:pause";
const RESUME: &str = "/links/{l}/mirrors:resume";
const PROMOTE: &str = "/links/{l}/mirrors:promote";
const FAILOVER: &str = "/links/{l}/mirrors:failover";
const START_BACK: &str = "/links/{l}/mirrors:reverse-and-start-mirror";
const START_BACK_DRY: &str = "/links/{l}/mirrors:reverse-and-start-mirror?validate_only=true";
const PAUSE_BACK_DRY: &str = "/links/{l}/mirrors:reverse-and-pause-mirror?validate_only=true";
const RESTORE: &str = "/links/{l}/mirrors:truncate-and-restore";
const MIRROR_OF: &str = "/links/{l}/mirrors/{t}";
const FORCED_DRY: &str = "/links/{l}?force=true&validate_only=true";
/// How many states are begun at the same time.
const AT_ONCE: usize = 4;

/// The columns are `STATES`.
const TABLE: &[Order] = &[
    order(("GET", MIRROR_OF), "", 200, "U . . . . . . . . . . . ."),
    order(("GET", "/topics/{t}"), "", 200, "U . . . . . . . . . . . ."),
    order(("POST", "/links/{l}/mirrors?validate_only=true"), MIRROR, 204, CREATED),
    order(("POST", "/links/{l}/mirrors:pause?validate_only=true"), NAMES, 200, HALTED),
    order(("POST", "/links/{l}/mirrors:resume?validate_only=true"), NAMES, 200, HALTED),
    order(("POST", "/links/{l}/mirrors:promote?validate_only=true"), NAMES, 200, PROMOTED),
    order(("POST", "/links/{l}/mirrors:failover?validate_only=true"), NAMES, 200, STOPPED),
    order(("POST", RESTORE), NAMES, 200, "w w w w w w S w w w w w S"),
    order(("POST", START_BACK_DRY), NAMES, 200, REVERSED),
    order(("POST", PAUSE_BACK_DRY), NAMES, 200, REVERSED),
    order(("DELETE", "/links/{l}/mirrors/{t}?validate_only=true"), "", 204, DELETED),
    order(("DELETE", "/links/{l}?validate_only=true"), "", 200, ". M M M M M M M M M . . M"),
    order(("DELETE", FORCED_DRY), "", 200, ". . . . . . . . . . . . ."),
    ends(order(("POST", PAUSE), NAMES, 200, HALTED)),
    ends(order(("POST", RESUME), NAMES, 200, HALTED)),
    ends(order(("POST", PROMOTE), NAMES, 200, PROMOTED)),
    ends(order(("POST", FAILOVER), NAMES, 200, STOPPED)),
    ends(order(("POST", START_BACK), NAMES, 200, REVERSED)),
    ends(order(("DELETE", MIRROR_OF), "", 204, DELETED)),
    ends(order(("DELETE", "/topics/{t}?link_name={l}"), "", 204, DELETED)),
    ends(order(("POST", "/links/{l}/mirrors"), MIRROR, 204, CREATED)),
];
const CREATED: &str = ". A A A A A X A A A Z A C";
const HALTED: &str = "u . . . . . . t t t z d .";
const PROMOTED: &str = "u s . . . . P . . . z d P";
const REVERSED: &str = "u s . . . . P t t t z d P";
const STOPPED: &str = "u s . . . . . . . . z d .";
const DELETED: &str = "U . . . . . . . . . . . .";

/// The same of topics whose former mirror the source has; what a topic has beyond that may go.
const BACK: &[Order] = &[
    order(("POST", RESTORE_DRY), NAMES, 200, ". T T T T T S T T T T T S"),
    order(("POST", RESTORE_ALL_DRY), NAMES, 200, RESTORED),
    order(("POST", RESTORE_ALL), NAMES, 200, RESTORED),
];
const RESTORE_DRY: &str = "/links/{l}/mirrors:truncate-and-restore?validate_only=true";
const RESTORE_ALL: &str = "/links/{l}/mirrors:truncate-and-restore?discard_tail=true";
const RESTORE_ALL_DRY: &str =
    "/links/{l}/mirrors:truncate-and-restore?discard_tail=true&validate_only=true";
const RESTORED: &str = ". r r r r r S r r r . r S";

/// The topic that a row asks about in a state.
fn topic_of(state: char, number: usize) -> String {
    match TABLE[number].has_own(STATES, state) {
        true => format!("c-{state}-{number}"),
        false => format!("c-{state}-still"),
    }
}

/// The topics of a state that no former mirror has.
fn topics_in(state: char) -> Vec<String> {
    let mut all: Vec<String> = (0..TABLE.len()).map(|number| topic_of(state, number)).collect();
    all.sort();
    all.dedup();
    all
}

fn link_of(state: char) -> String {
    format!("k-{state}")
}

fn back_of(state: char) -> String {
    format!("c-{state}-back")
}

/// All mirror topics of a state.
fn mirrors_in(state: char) -> Vec<String> {
    let mut all = topics_in(state);
    all.push(back_of(state));
    all
}

fn names(topics: &[String]) -> String {
    json!({ "mirror_topic_names": topics }).to_string()
}

/// An order about all mirror topics of a state.
fn all_of(on: &Cells, state: char, verb: &str) {
    let path = format!("/links/{}/mirrors:{verb}", link_of(state));
    let told = on.must("POST", &path, &names(&mirrors_in(state)));
    let refused = |one: &&Value| !one["error_code"].is_null();
    assert!(!told["data"].as_array().unwrap().iter().any(|one| refused(&one)), "{told}");
}

/// A topic here, whose mirror at the source was promoted: what restores need.
fn former_mirrors(on: &Cells) {
    let topics: Vec<String> = STATES.chars().map(back_of).collect();
    for topic in &topics {
        on.stage.destination.create(topic, 1, 1, &[]).unwrap();
        on.stage.destination.produce(topic, 0, &batch(topic)).unwrap();
    }
    let program = Program::start(&on.stage.clusters.0);
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let configs = [
        config("bootstrap.servers", on.stage.clusters.1.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("batch.merge", "never"),
    ];
    program.order("POST", "?link_name=dr", Some(&json!({ "configs": configs })));
    for topic in &topics {
        program.order("POST", "/dr/mirrors", Some(&json!({ "source_topic_name": topic })));
    }
    let named = json!({ "mirror_topic_names": topics });
    program.order("POST", "/dr/mirrors:promote", Some(&named));
    for topic in &topics {
        program.isolog.wait_for(&format!("{topic} is STOPPED"), WAIT_SECONDS, |_| {
            (program.status(topic)? == "STOPPED").then_some(())
        });
    }
}

/// Mirror topics of all states, as they begin: copied.
fn begun(on: &Cells) {
    for state in STATES.chars() {
        on.create_link(&link_of(state));
        for topic in topics_in(state) {
            on.stage.source.create(&topic, 1, 1, &[]).unwrap();
            on.stage.source.produce(&topic, 0, &batch(&topic)).unwrap();
        }
    }
    let begin = |state: char| {
        let link = link_of(state);
        for topic in topics_in(state) {
            let body = MIRROR.replace("{t}", &topic);
            on.must("POST", &format!("/links/{link}/mirrors"), &body);
        }
        let body = names(&[back_of(state)]);
        on.must("POST", &RESTORE.replace("{l}", &link), &body);
        wait_all(on, state, "ACTIVE");
        // the seal of its former mirror too: it has more than that
        on.stage.copied(&back_of(state), &back_of(state), 0);
    };
    let others: Vec<char> = STATES.chars().filter(|state| !"ns".contains(*state)).collect();
    let begin = &begin;
    thread::scope(|scope| {
        for some in others.chunks(others.len().div_ceil(AT_ONCE)) {
            scope.spawn(move || some.iter().copied().for_each(begin));
        }
    });
}

fn wait_all(on: &Cells, state: char, word: &str) {
    let (link, want) = (link_of(state), mirrors_in(state).len());
    let what = format!("the {want} mirror topics of {link} are {word}");
    on.program.isolog.wait_for(&what, WAIT_SECONDS, |_| {
        let list = on.must("GET", &format!("/links/{link}/mirrors?mirror_status={word}"), "");
        (list["data"].as_array()?.len() == want).then_some(())
    });
}

/// Its seals are refused, and it says so.
fn wait_sealing(on: &Cells, state: char) {
    for topic in mirrors_in(state) {
        let path = MIRROR_OF.replace("{l}", &link_of(state)).replace("{t}", &topic);
        let path = format!("{path}?include_state_transition_errors=true");
        on.program.isolog.wait_for(&format!("{topic} is not sealed"), WAIT_SECONDS, |_| {
            let told = on.must("GET", &path, "");
            let errors = told["mirror_state_transition_errors"].to_string();
            errors.contains("TOPIC_AUTHORIZATION_FAILED").then_some(())
        });
    }
}

/// Brings each into its state, and holds it there.
pub(super) fn all_states(on: &Cells) {
    on.withhold_any_topic();
    former_mirrors(on);
    begun(on);
    all_of(on, 'p', "pause");
    on.put(&link_of('l'), "cluster.link.paused", "true");
    for topic in mirrors_in('f') {
        on.stage.destination.produce(&topic, 0, &batch("foreign")).unwrap();
    }
    on.fail(&link_of('x'));
    for (number, topic) in mirrors_in('t').iter().enumerate() {
        let open = batch("open").producer(7_000 + number as i64, 0, 0).flags(TRANSACTIONAL);
        on.stage.source.produce(topic, 0, &open).unwrap();
    }
    on.withhold("c-q-", &[acls::WRITE]);
    on.withhold("c-r-", &[acls::WRITE]);
    on.withhold("c-d-", &[DELETE]);
    "tqz".chars().for_each(|state| all_of(on, state, "promote"));
    all_of(on, 'r', "failover");
    for topic in mirrors_in('d') {
        on.must("DELETE", &format!("/topics/{topic}?link_name={}", link_of('d')), "");
    }
    set_up(on);
    for (state, word) in WORDS {
        if !"nsg".contains(state) {
            wait_all(on, state, word);
        }
    }
    wait_sealing(on, 'q');
    wait_sealing(on, 'r');
}

/// What may not be created is not set up, and what is to be replaced is not deleted.
fn set_up(on: &Cells) {
    let (back, link) = (back_of('s'), link_of('s'));
    on.stage.destination.produce(&back, 0, &batch("tail")).unwrap();
    on.withhold("c-s-", &[CREATE, DELETE]);
    let mut given = Vec::new();
    for topic in topics_in('s') {
        given.push(on.give(&format!("/links/{link}/mirrors"), &MIRROR.replace("{t}", &topic)));
    }
    given.push(on.give(&RESTORE_ALL.replace("{l}", &link), &names(&[back])));
    wait_all(on, 's', "ACTIVE");
}

/// Each cell; those of the state that begins when the source is stopped come behind that.
pub(super) fn cells(on: &Cells, is_away: bool) {
    for (state, word) in WORDS.into_iter().filter(|(state, _)| (*state == AWAY) == is_away) {
        let link = link_of(state);
        if state == AWAY {
            wait_all(on, state, word);
        }
        for (number, order) in TABLE.iter().enumerate() {
            let topic = topic_of(state, number);
            on.cell((state, order), order.cell(STATES, state), (&link, &topic), REFUSALS);
        }
        for order in BACK {
            on.cell((state, order), order.cell(STATES, state), (&link, &back_of(state)), REFUSALS);
        }
        // dry orders and refused ones have changed nothing
        let path = MIRROR_OF.replace("{l}", &link).replace("{t}", &format!("c-{state}-still"));
        let (status, shown) = on.ask("GET", &path, "");
        let is_there = state != 'n';
        assert_eq!(status == 200, is_there, "{state}: {shown}");
        assert!(!is_there || shown["mirror_status"] == word, "{state}: {shown}");
    }
}
