//! Orders by REST that are given until they hold, while isolog is killed amid some of them.
//!
//! It never takes an answer for what is: what is answered well must hold after any crash, and what
//! is refused or not answered is given again.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Command;
use std::thread;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::rng::Rng;
use serde_json::Value;
use serde_json::json;

use crate::served::Program;

/// An order is killed so long after it went out, at most.
const KILL_MS_MAX: u64 = 400;
/// For how long an order is given again until it holds.
const OBEYED_WITHIN: Duration = Duration::from_secs(180);

/// One call of the REST; its path begins behind the cluster's id.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.method, self.path, self.body)
    }
}

pub(crate) fn put(path: String, value: &str) -> Call<'static> {
    Call { method: "PUT", path, body: Some(json!({ "value": value })) }
}

/// A topic of the source and who mirrors it.
#[derive(Clone)]
pub(crate) struct Topic {
    pub(crate) source: String,
    pub(crate) mirror: String,
    pub(crate) link: &'static str,
}

impl Topic {
    /// So many topics of a kind, under the prefix of their link.
    pub(crate) fn of(kind: &str, count: usize, (link, prefix): (&'static str, &str)) -> Vec<Topic> {
        let one = |n: usize| {
            let source = format!("{kind}-{n}");
            Topic { mirror: format!("{prefix}{source}"), source, link }
        };
        (0..count).map(one).collect()
    }
}

/// Who is ordered, and who orders.
pub(crate) struct Obeyed {
    pub(crate) program: Program,
    pub(crate) rng: Rng,
    /// The next order is killed on its way.
    pub(crate) kill_next: bool,
    /// Orders that had to be given again.
    pub(crate) repeats: u32,
}

impl Obeyed {
    pub(crate) fn new(program: Program, seed: u64) -> Obeyed {
        Obeyed { program, rng: Rng::new(seed), kill_next: false, repeats: 0 }
    }

    fn full(&self, path: &str) -> String {
        format!("{}{path}", self.program.links.trim_end_matches("/links"))
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.program.isolog.get(&self.full(path))
    }

    /// What is there; `Some(None)` where isolog knows that there is nothing.
    pub(crate) fn look(&self, path: &str) -> Option<Option<Value>> {
        match self.program.isolog.order("GET", &self.full(path), None)? {
            (200, told) => Some(Some(told)),
            (404, _) => Some(None),
            _ => None,
        }
    }

    pub(crate) fn has_link(&self, name: &str) -> Option<bool> {
        Some(self.look(&format!("/links/{name}"))?.is_some())
    }

    /// Its word; empty where it is no mirror.
    pub(crate) fn status(&self, topic: &Topic) -> Option<String> {
        let told = self.look(&format!("/links/{}/mirrors/{}", topic.link, topic.mirror))?;
        let word = |told: Value| told["mirror_status"].as_str().unwrap_or_default().to_owned();
        Some(told.map(word).unwrap_or_default())
    }

    /// Gives an order until it holds, and waits until it is seen to.
    pub(crate) fn obey(&mut self, call: &Call, holds: impl Fn(&Obeyed) -> Option<bool>) {
        let deadline = Instant::now() + OBEYED_WITHIN;
        loop {
            let answer = self.give(call);
            let is_well = answer.as_ref().is_some_and(is_well);
            loop {
                match holds(self) {
                    Some(true) => return,
                    Some(false) if !is_well => break,
                    // a promise, or nobody who could be asked
                    _ => {}
                }
                let is_in_time = Instant::now() < deadline;
                assert!(is_in_time, "{call} does not hold, {answer:?}:\n{}", self.log());
                sleep(Duration::from_millis(100));
            }
            assert!(Instant::now() < deadline, "{call}: {answer:?}\n{}", self.log());
            self.repeats += 1;
            sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        self.program.isolog.log()
    }

    /// One order, and where it is its turn a kill amid it.
    fn give(&mut self, call: &Call) -> Option<(u16, Value)> {
        assert!(self.program.isolog.is_running(), "{}", self.log());
        let path = self.full(&call.path);
        if !std::mem::take(&mut self.kill_next) {
            return self.program.isolog.order(call.method, &path, call.body.as_ref());
        }
        let pid = self.program.isolog.pid().unwrap().to_string();
        let after = Duration::from_millis(self.rng.between(0, KILL_MS_MAX));
        let killer = thread::spawn(move || {
            sleep(after);
            Command::new("kill").args(["-KILL", &pid]).status().unwrap()
        });
        let answer = self.program.isolog.order(call.method, &path, call.body.as_ref());
        assert!(killer.join().unwrap().success());
        self.program.isolog.kill();
        self.program.isolog.start_again().unwrap();
        answer
    }

    pub(crate) fn create_link(&mut self, (name, prefix): (&str, &str), source: &str) {
        let config = |name: &str, value: &str| json!({ "name": name, "value": value });
        let configs = [
            config("bootstrap.servers", source),
            config("metadata.max.age.ms", "1000"),
            config("availability.check.ms", "1000"),
            config("batch.merge", "never"),
            config("cluster.link.prefix", prefix),
        ];
        let configs = &configs[..if prefix.is_empty() { 4 } else { 5 }];
        let body = Some(json!({ "configs": configs }));
        let call = Call { method: "POST", path: format!("/links?link_name={name}"), body };
        self.obey(&call, |now| now.has_link(name));
    }

    pub(crate) fn create_mirror(&mut self, topic: &Topic) {
        let body = json!({
            "source_topic_name": topic.source, "mirror_topic_name": topic.mirror
        });
        let path = format!("/links/{}/mirrors", topic.link);
        self.obey(&Call { method: "POST", path, body: Some(body) }, |now| {
            now.status(topic).map(|status| status == "ACTIVE")
        });
    }

    /// An order about topics of one link, until all have that status.
    pub(crate) fn mirrors(&mut self, topics: &[Topic], verb: &str, status: &str) {
        let names: Vec<&str> = topics.iter().map(|topic| topic.mirror.as_str()).collect();
        let path = format!("/links/{}/mirrors:{verb}", topics[0].link);
        let body = Some(json!({ "mirror_topic_names": names }));
        self.obey(&Call { method: "POST", path, body }, |now| {
            let all: Option<Vec<String>> = topics.iter().map(|topic| now.status(topic)).collect();
            Some(all?.iter().all(|one| one == status))
        });
    }

    /// The mirror goes with its topic.
    pub(crate) fn delete_topic(&mut self, topic: &Topic) {
        let path = format!("/topics/{}?link_name={}", topic.mirror, topic.link);
        let call = Call { method: "DELETE", path, body: None };
        self.obey(&call, |now| now.status(topic).map(|status| status.is_empty()));
    }
}

/// Taken, and of each topic where it names several.
fn is_well((status, told): &(u16, Value)) -> bool {
    let each = told["data"].as_array();
    let refused = each.is_some_and(|each| each.iter().any(|one| !one["error_code"].is_null()));
    (200..300).contains(status) && !refused
}
