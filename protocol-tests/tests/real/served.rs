//! The program as people run it, without a link in its file: ordered by REST.
//!
//! It never takes an order for obeyed that was not answered well.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;

use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use serde_json::Value;

/// The program itself, by REST: the path of the link's mirrors.
pub(crate) struct Program {
    pub(crate) isolog: Isolog,
    pub(crate) links: String,
}

impl Program {
    pub(crate) fn start(destination: &RealCluster) -> Program {
        Program::with(destination, "")
    }

    /// With lines for its section `[service]`.
    pub(crate) fn with(destination: &RealCluster, service: &str) -> Program {
        let mut spec = IsologSpec::new("", destination.bootstrap(), &[]);
        spec.service_more = service.to_owned();
        Program::of(Isolog::start(&spec).unwrap())
    }

    /// One that runs already.
    pub(crate) fn of(isolog: Isolog) -> Program {
        let id = isolog.wait_for("the cluster's id", 60, |isolog| {
            let clusters = isolog.get("/kafka/v3/clusters")?;
            clusters["data"][0]["cluster_id"].as_str().map(str::to_owned)
        });
        Program { isolog, links: format!("/kafka/v3/clusters/{id}/links") }
    }

    /// Obeyed, or panics with what was answered.
    pub(crate) fn order(&self, method: &str, path: &str, body: Option<&Value>) {
        let path = format!("{}{path}", self.links);
        let answer = self.isolog.order(method, &path, body).unwrap();
        assert!((200..300).contains(&answer.0), "{method} {path}: {answer:?}");
    }

    pub(crate) fn status(&self, topic: &str) -> Option<String> {
        let mirror = self.isolog.get(&format!("{}/dr/mirrors/{topic}", self.links))?;
        mirror["mirror_status"].as_str().map(str::to_owned)
    }

    /// The journal's rows that count, by key, as `isolog journal list` reads them.
    pub(crate) fn rows(&self) -> BTreeMap<String, Value> {
        let told = self.isolog.command(&["journal", "list", "-o", "json"]).unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let row = |one: &Value| {
            let value = one["value"].as_str().unwrap();
            (one["key"].as_str().unwrap().to_owned(), serde_json::from_str(value).unwrap())
        };
        told.as_array().unwrap().iter().map(row).collect()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.isolog.get("/health/ready").is_some_and(|ready| ready["ready"] == true)
    }
}
