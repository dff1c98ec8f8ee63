//! Every cell of state and order of both tables (docs/STATES.md) through REST, on real Kafka: the
//! status, the code and the text.
//!
//! It never mends a state by hand: a broker holds back what would end it, or its source is away.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod links;
mod mirrors;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::PROXY_HOST;
use protocol_tests::real::Proxy;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use serde_json::Value;
use serde_json::json;

use crate::acls;
use crate::acls::acl;
use crate::operated::Stage;
use crate::served::Program;

/// For how long a state is waited for.
const WAIT_SECONDS: u64 = 120;
/// Kafka's numbers: a prefix, a cluster's own name, what is done there and to topics.
const PREFIXED: i8 = 4;
const CLUSTER: i8 = 4;
const CREATE: i8 = 5;
const DELETE: i8 = 6;

/// A refusal by its letter in a table: the status and the code (of an order about several topics
/// the status is 200, and the code is that of its topic), and what the text says.
type Refusal = (char, (u16, u64), &'static str);

/// One order, and a letter for each state; `.` is obeyed, with that status.
struct Order {
    method: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
    /// What it is obeyed with ends the state: it has a subject of its own.
    ends: bool,
    cells: &'static str,
}

const fn order(
    (method, path): (&'static str, &'static str),
    body: &'static str,
    status: u16,
    cells: &'static str,
) -> Order {
    Order { method, path, body, status, ends: false, cells }
}

const fn ends(order: Order) -> Order {
    Order { ends: true, ..order }
}

impl Order {
    /// The letter of a state, in the order in which `states` names them.
    fn cell(&self, states: &str, state: char) -> char {
        let at = states.find(state).unwrap();
        self.cells.chars().filter(|letter| *letter != ' ').nth(at).unwrap()
    }

    /// Whether it has a subject of its own in a state.
    fn has_own(&self, states: &str, state: char) -> bool {
        self.ends && self.cell(states, state) == '.'
    }
}

/// What was answered: the status, the code, and the text of what was refused.
fn told((status, body): &(u16, Value)) -> (u16, u64, String) {
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let item = &body["data"][0];
    match item["error_code"].as_u64() {
        Some(code) if body["kind"] == "KafkaAlterMirrorStatusDataList" => {
            (*status, code, text(&item["error_message"]))
        }
        _ => (*status, body["error_code"].as_u64().unwrap_or_default(), text(&body["message"])),
    }
}

/// Two clusters, an isolog beside each, and the links and topics of all states.
struct Cells {
    stage: Stage,
    program: Program,
    /// Leads to the destination.
    back: Proxy,
    wrong: Mutex<Vec<String>>,
}

impl Cells {
    /// The source lets transactions stay open, and the destination refuses what it is told to.
    fn start() -> Cells {
        let open = ("transaction.partition.verification.enable", "false");
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let source = RealSpec::new("4.3.1", 1).prop(open.0, open.1);
        let destination = RealSpec::new("4.3.1", 1)
            .prop("authorizer.class.name", authorizer)
            .prop("allow.everyone.if.no.acl.found", "true");
        let stage = Stage::on(RealCluster::both(source, destination).unwrap());
        stage.source.create("d-one", 1, 1, &[]).unwrap();
        let (from, to) = (stage.clusters.0.bootstrap(), stage.clusters.1.bootstrap());
        let spec = IsologSpec { link: "file".into(), ..IsologSpec::new(from, to, &["d-*"]) };
        let program = Program::of(Isolog::start(&spec).unwrap());
        let back = Proxy::bind(1, 1).unwrap();
        back.lead_to(stage.clusters.1.ports()).unwrap();
        Cells { stage, program, back, wrong: Mutex::default() }
    }

    /// Below the cluster's id.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let path = format!("{}{path}", self.program.links.trim_end_matches("/links"));
        let body = (!body.is_empty()).then(|| serde_json::from_str::<Value>(body).unwrap());
        let answer = self.program.isolog.order(method, &path, body.as_ref());
        answer.unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    fn must(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.ask(method, path, body);
        let (status, code, _) = told(&answer);
        assert!((200..300).contains(&status) && code == 0, "{method} {path}: {answer:?}");
        answer.1
    }

    /// Gives an order that is not answered before what it orders is done; whoever ordered it may go
    /// once it is written down.
    fn give(&self, path: &str, body: &str) -> TcpStream {
        let (port, base) =
            (self.program.isolog.port(), self.program.links.trim_end_matches("/links"));
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!(
            "POST {base}{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn create_link(&self, name: &str) {
        let body = self.link_body();
        self.must("POST", &format!("/links?link_name={name}"), &body);
    }

    fn link_body(&self) -> String {
        let config = |name: &str, value: &str| json!({ "name": name, "value": value });
        let configs = [
            config("bootstrap.servers", self.stage.clusters.0.bootstrap()),
            config("metadata.max.age.ms", "1000"),
            config("availability.check.ms", "1000"),
            config("batch.merge", "never"),
        ];
        json!({ "configs": configs }).to_string()
    }

    fn put(&self, link: &str, name: &str, value: &str) {
        let body = json!({ "value": value }).to_string();
        self.must("PUT", &format!("/links/{link}/configs/{name}"), &body);
    }

    /// The link fails: its address leads to the destination itself, where nobody could see it.
    fn fail(&self, link: &str) {
        self.put(link, "bootstrap.servers", &format!("{PROXY_HOST}:{}", self.back.ports()[0]));
    }

    fn wait_link(&self, link: &str, state: &str) {
        self.program.isolog.wait_for(&format!("{link} is {state}"), WAIT_SECONDS, |_| {
            (self.ask("GET", &format!("/links/{link}"), "").1["link_state"] == state).then_some(())
        });
    }

    /// Everybody may do everything with topics of a prefix but this.
    fn withhold(&self, prefix: &str, operations: &[i8]) {
        let what = (acls::TOPIC, PREFIXED, prefix);
        let mut all = vec![acl(what, "User:*", acls::ALL, acls::ALLOW)];
        all.extend(operations.iter().map(|one| acl(what, "User:*", *one, acls::DENY)));
        acls::grant(&self.stage.destination, &all);
    }

    /// Who may create or delete any topic is asked for no right on the topic: nobody may.
    fn withhold_any_topic(&self) {
        let what = (CLUSTER, acls::LITERAL, "kafka-cluster");
        let but = |operation| acl(what, "User:*", operation, acls::DENY);
        let all = [acl(what, "User:*", acls::ALL, acls::ALLOW), but(CREATE), but(DELETE)];
        acls::grant(&self.stage.destination, &all);
    }

    /// One cell: what is answered to an order about a link, or a topic of a link. What is not as it
    /// should be is kept, so that all of it is shown.
    fn cell(
        &self,
        (state, order): (char, &Order),
        letter: char,
        (link, topic): (&str, &str),
        of: &[Refusal],
    ) {
        let fill = |text: &str| text.replace("{l}", link).replace("{t}", topic);
        let body = match order.body {
            "LINK" => self.link_body(),
            body => fill(body),
        };
        let answer = self.ask(order.method, &fill(order.path), &body);
        let (status, code, text) = told(&answer);
        let refusal = of.iter().find(|one| one.0 == letter);
        let is_right = match refusal {
            Some((_, want, words)) => (status, code) == *want && text.contains(&fill(words)),
            None => letter == '.' && (status, code) == (order.status, 0),
        };
        if !is_right {
            let what = format!("{state}: {} {} {body}", order.method, fill(order.path));
            let wrong = format!("{what} is {status} {code} {text:?} instead of {letter}");
            self.wrong.lock().unwrap().push(wrong);
        }
    }
}

/// Must show: every cell of state and order of both tables through REST on a real cluster.
#[test]
fn every_cell_of_both_tables_on_a_real_cluster() {
    let _room = long_room(2);
    let on = Cells::start();
    mirrors::all_states(&on);
    links::all_states(&on);
    mirrors::cells(&on, false);
    links::cells(&on, false);
    on.stage.clusters.0.kill(1).unwrap();
    mirrors::cells(&on, true);
    links::cells(&on, true);
    let wrong = on.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert!(!on.program.isolog.log().contains("panicked"), "{}", on.program.isolog.log());
}

fn batch(tag: &str) -> Build {
    Build::plain(now_ms(), tag, 5)
}
