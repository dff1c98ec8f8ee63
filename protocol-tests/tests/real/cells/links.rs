//! The table of links.
//!
//! It never orders anything of the links that the other table has.

use super::Cells;
use super::Order;
use super::Refusal;
use super::ends;
use super::order;

/// Of none, ACTIVE, PAUSED, FAILED, being deleted, of the config file, UNAVAILABLE.
const STATES: &str = "napfvdu";
/// The state that begins when the source is stopped.
const AWAY: char = 'u';
/// The topic whose deletion, which `mirrors` withholds, keeps a link from being deleted.
const HELD: &str = "c-d-link";

const REFUSALS: &[Refusal] = &[
    ('N', (404, 404), "Cluster link '{l}' does not exist."),
    ('E', (409, 409), "Cluster link '{l}' already exists."),
    ('V', (409, 409), "Cluster link '{l}' is being deleted."),
    ('F', (400, 40002), "Cluster link '{l}' is declared in the config file"),
    ('m', (200, 404), "Topic 'nobody' is not a mirror topic of cluster link '{l}'."),
    ('w', (200, 404), "The journal at the source of cluster link '{l}' knows of no promote"),
    ('S', (503, 50003), "Where the topics and their former mirrors part is not known"),
    ('X', (503, 50003), "source and destination are the same cluster"),
    ('C', (503, 50003), "connect: refused: is the broker up"),
];

const NAMES: &str = r#"{"mirror_topic_names":["nobody"]}"#;
const MIRROR: &str = r#"{"source_topic_name":"lm-{l}"}"#;
const VALUE: &str = r#"{"value":"2000"}"#;
const ALTER: &str = r#"{"data":[{"name":"consumer.offset.sync.ms","value":"1000"},
    {"name":"topic.config.sync.ms","operation":"DELETE"}]}"#;
const PAUSE: &str = r#"{"data":[{"name":"cluster.link.paused","value":"true"}]}"#;
const GROUPS: &str = r#"{"consumer_group_ids":["billing"]}"#;
const CHECKS: &str = "/links/{l}/configs/availability.check.ms";
const PAUSED: &str = "/links/{l}/configs/cluster.link.paused";

/// The columns are `STATES`.
const TABLE: &[Order] = &[
    order(("POST", "/links?link_name={l}&validate_only=true"), "LINK", 204, ". E E E E E E"),
    ends(order(("POST", "/links?link_name={l}"), "LINK", 204, ". E E E E E E")),
    order(("GET", "/links/{l}"), "", 200, "N . . . . . ."),
    order(("GET", "/links/{l}/configs"), "", 200, "N . . . . . ."),
    order(("GET", CHECKS), "", 200, "N . . . . . ."),
    order(("PUT", CHECKS), VALUE, 204, "N . . . V F ."),
    order(("PUT", "/links/{l}/configs:alter?validate_only=true"), ALTER, 204, "N . . . V F ."),
    order(("PUT", "/links/{l}/configs:alter?validate_only=true"), PAUSE, 204, "N . . . V . ."),
    order(("PUT", "/links/{l}/configs:alter"), ALTER, 204, "N . . . V F ."),
    order(("DELETE", CHECKS), "", 204, "N . . . V F ."),
    order(("POST", "/links/{l}/groups:forget"), GROUPS, 204, "N . . . V . ."),
    order(("POST", "/links/{l}/groups:follow"), GROUPS, 204, "N . . . V . ."),
    order(("DELETE", "/links/{l}?validate_only=true"), "", 200, "N . . . . F ."),
    order(("DELETE", "/links/{l}?force=true&validate_only=true"), "", 200, "N . . . . F ."),
    order(("GET", "/links/{l}/mirrors"), "", 200, "N . . . . . ."),
    order(("POST", "/links/{l}/mirrors:pause"), NAMES, 200, "N m m m m m m"),
    order(("POST", "/links/{l}/mirrors:resume"), NAMES, 200, "N m m m m m m"),
    order(("POST", "/links/{l}/mirrors:promote"), NAMES, 200, "N m m m m m m"),
    order(("POST", "/links/{l}/mirrors:failover"), NAMES, 200, "N m m m m m m"),
    order(("POST", "/links/{l}/mirrors:truncate-and-restore"), NAMES, 200, "N w w S w w S"),
    order(("POST", "/links/{l}/mirrors:reverse-and-start-mirror"), NAMES, 200, "N m m m m m m"),
    ends(order(("POST", "/links/{l}/mirrors"), MIRROR, 204, "N . . X V . C")),
    ends(order(("PUT", PAUSED), r#"{"value":"true"}"#, 204, "N . . . V . .")),
    ends(order(("PUT", PAUSED), r#"{"value":"false"}"#, 204, "N . . . V . .")),
    ends(order(("DELETE", "/links/{l}"), "", 200, "N . . . . F .")),
    ends(order(("DELETE", "/links/{l}?force=true"), "", 200, "N . . . . F .")),
];

/// The link that a row asks about in a state.
fn link_of(state: char, number: usize) -> String {
    let is_own = TABLE[number].has_own(STATES, state);
    match state {
        'd' => "file".to_owned(),
        'v' => "l-v".to_owned(),
        _ if is_own => format!("l-{state}-{number}"),
        _ => format!("l-{state}"),
    }
}

fn links_in(state: char) -> Vec<String> {
    let mut all: Vec<String> = (0..TABLE.len()).map(|number| link_of(state, number)).collect();
    all.sort();
    all.dedup();
    all
}

/// Brings links into all states that need the source.
pub(super) fn all_states(on: &Cells) {
    for state in "apfu".chars() {
        for link in links_in(state) {
            on.create_link(&link);
        }
    }
    for state in STATES.chars() {
        for (number, order) in TABLE.iter().enumerate() {
            let topic = format!("lm-{}", link_of(state, number));
            if order.body == MIRROR && state != 'd' {
                on.stage.source.create(&topic, 1, 1, &[]).unwrap();
            }
        }
    }
    on.stage.source.create("lm-file", 1, 1, &[]).unwrap();
    on.stage.source.create(HELD, 1, 1, &[]).unwrap();
    on.create_link("l-v");
    on.must("POST", "/links/l-v/mirrors", &format!(r#"{{"source_topic_name":"{HELD}"}}"#));
    on.must("DELETE", &format!("/topics/{HELD}?link_name=l-v"), "");
    on.must("DELETE", "/links/l-v?force=true", "");
    for link in links_in('a') {
        on.wait_link(&link, "ACTIVE");
    }
    for link in links_in('p') {
        on.put(&link, "cluster.link.paused", "true");
        on.wait_link(&link, "PAUSED");
    }
    for link in links_in('f') {
        on.fail(&link);
        on.wait_link(&link, "FAILED");
    }
    on.wait_link("file", "ACTIVE");
    on.wait_link("l-v", "PAUSED");
}

/// Each cell; those of the state that begins when the source is stopped come behind that.
pub(super) fn cells(on: &Cells, is_away: bool) {
    let states = STATES.chars().filter(|state| (*state == AWAY) == is_away);
    for state in states {
        if state == AWAY {
            links_in(state).iter().for_each(|link| on.wait_link(link, "UNAVAILABLE"));
        }
        for (number, order) in TABLE.iter().enumerate() {
            let link = link_of(state, number);
            on.cell((state, order), order.cell(STATES, state), (&link, "nobody"), REFUSALS);
        }
        // dry orders and refused ones have changed nothing
        let word = match state {
            'a' => "ACTIVE",
            'p' | 'v' => "PAUSED",
            'f' => "FAILED",
            'u' => "UNAVAILABLE",
            _ => continue,
        };
        on.wait_link(&format!("l-{state}"), word);
    }
}
