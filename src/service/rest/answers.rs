//! The answers of REST v3, in the shapes of Cluster Linking's.
//!
//! It never asks anybody: it is given what it shows.

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;

use crate::control::row::LinkMode;
use crate::control::task::last::LastSync;
use crate::ids::TopicName;
use crate::link::registry::TaskSeen;
use crate::settings::describe::ConfigEntry;

use super::error::Problem;
use super::shown::LinkShown;
use super::shown::MirrorShown;

/// What stays as it is in a segment of a path (RFC 3986, 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where answers say that they are.
#[derive(Clone, Debug)]
pub struct Place {
    /// `http://HOST:PORT`.
    pub base: String,
    /// The destination's id.
    pub cluster: String,
}

fn escaped(segment: &str) -> String {
    utf8_percent_encode(segment, PLAIN).to_string()
}

impl Place {
    fn cluster_url(&self) -> String {
        format!("{}/kafka/v3/clusters/{}", self.base, escaped(&self.cluster))
    }

    fn link_url(&self, link: &str) -> String {
        format!("{}/links/{}", self.cluster_url(), escaped(link))
    }

    fn name(&self, rest: &str) -> String {
        format!("crn:///kafka={}{rest}", escaped(&self.cluster))
    }

    /// A list of what is all there is: nothing is paged.
    fn list(&self, kind: &str, url: String, data: Vec<Value>) -> Value {
        json!({"kind": kind, "metadata": {"self": url, "next": null}, "data": data})
    }

    /// The destination.
    pub fn cluster(&self) -> Value {
        let url = self.cluster_url();
        let related = |what: &str| json!({"related": format!("{url}/{what}")});
        json!({
            "kind": "KafkaCluster",
            "metadata": {"self": url, "resource_name": self.name("")},
            "cluster_id": self.cluster,
            "controller": related("brokers"),
            "acls": related("acls"),
            "brokers": related("brokers"),
            "broker_configs": related("broker-configs"),
            "consumer_groups": related("consumer-groups"),
            "topics": related("topics"),
            "partition_reassignments": related("topics/-/partitions/-/reassignment"),
        })
    }

    /// All clusters.
    pub fn clusters(&self) -> Value {
        let url = format!("{}/kafka/v3/clusters", self.base);
        self.list("KafkaClusterList", url, vec![self.cluster()])
    }

    /// A link.
    pub fn link(&self, link: &LinkShown, with_tasks: bool) -> Value {
        let (error, text) = match &link.fault {
            Some((code, text)) => (code.as_str(), Some(text)),
            None => ("NO_ERROR", None),
        };
        let both_ways = link.mode == LinkMode::Bidirectional;
        let remote = link.source.as_ref().filter(|_| both_ways);
        let id = link.id.clone().unwrap_or_default();
        let mut shown = json!({
            "kind": "KafkaLinkData",
            "metadata": {
                "self": self.link_url(&link.name),
                "resource_name": self.name(&format!("/link={}", escaped(&link.name))),
            },
            "source_cluster_id": link.source.as_ref().filter(|_| !both_ways),
            "destination_cluster_id": null,
            "remote_cluster_id": remote,
            "link_name": link.name,
            "link_id": id,
            "cluster_link_id": id,
            "topic_names": link.topics,
            "topics_let_go": link.let_go,
            "groups_forgotten": link.forgotten,
            "link_error": error,
            "link_error_message": text,
            "link_state": link.state,
            "category_counts": counts(link),
        });
        if let Some(object) = shown.as_object_mut().filter(|_| with_tasks) {
            let tasks = link.tasks.iter().map(task).collect();
            object.insert("tasks".to_owned(), Value::Array(tasks));
        }
        shown
    }

    /// All links.
    pub fn links(&self, links: &[LinkShown]) -> Value {
        let data = links.iter().map(|link| self.link(link, false)).collect();
        self.list("KafkaLinkDataList", format!("{}/links", self.cluster_url()), data)
    }

    /// A config of a link.
    pub fn config(&self, link: &str, config: &ConfigEntry) -> Value {
        let url = format!("{}/configs/{}", self.link_url(link), escaped(&config.name));
        let name = format!("/link={}/config={}", escaped(link), escaped(&config.name));
        json!({
            "kind": "KafkaLinkConfigData",
            "metadata": {"self": url, "resource_name": self.name(&name)},
            "cluster_id": self.cluster,
            "link_name": link,
            "name": config.name,
            "value": config.value,
            "is_default": config.is_default,
            "is_read_only": config.is_read_only,
            "is_sensitive": config.is_sensitive,
            "source": config.source,
            "synonyms": config.synonyms,
        })
    }

    /// All configs of a link.
    pub fn configs(&self, link: &str, configs: &[ConfigEntry]) -> Value {
        let data = configs.iter().map(|config| self.config(link, config)).collect();
        let url = format!("{}/configs", self.link_url(link));
        self.list("KafkaLinkConfigDataList", url, data)
    }

    /// A mirror topic.
    pub fn mirror(&self, mirror: &MirrorShown, with_blockers: bool) -> Value {
        let url = format!("{}/mirrors/{}", self.link_url(&mirror.link), escaped(&mirror.mirror));
        let name = format!("/link={}/mirror={}", escaped(&mirror.link), escaped(&mirror.mirror));
        let code = mirror.fault.as_ref().map_or("NO_ERROR", |(code, _)| code.as_str());
        let text = mirror.fault.as_ref().map(|(_, text)| text).or(mirror.progress.as_ref());
        let mut shown = json!({
            "kind": "KafkaMirrorData",
            "metadata": {"self": url, "resource_name": self.name(&name)},
            "link_name": mirror.link,
            "mirror_topic_name": mirror.mirror,
            "source_topic_name": mirror.source,
            "num_partitions": mirror.partitions,
            "mirror_lags": mirror.lags,
            "mirror_status": mirror.status,
            "mirror_topic_error": code,
            "mirror_topic_error_message": text,
            "state_time_ms": mirror.since_ms,
        });
        if let (Some(object), Some(last)) = (shown.as_object_mut(), &mirror.groups) {
            object.insert("consumer_groups".to_owned(), groups(last));
        }
        if let Some(object) = shown.as_object_mut().filter(|_| with_blockers) {
            let errors = mirror.blockers.iter();
            let errors = errors.map(|text| json!({"error_code": "UNKNOWN", "error_message": text}));
            let errors = Value::Array(errors.collect());
            object.insert("mirror_state_transition_errors".to_owned(), errors);
        }
        shown
    }

    /// Mirror topics of one link, or of all (`-`).
    pub fn mirrors(&self, link: &str, mirrors: &[MirrorShown]) -> Value {
        let data = mirrors.iter().map(|mirror| self.mirror(mirror, false)).collect();
        self.list("KafkaMirrorDataList", format!("{}/mirrors", self.link_url(link)), data)
    }

    /// What came of an order, topic by topic.
    pub fn altered(
        &self,
        link: &str,
        verb: &str,
        outcomes: &[(String, Result<(), Problem>, Option<MirrorShown>)],
    ) -> Value {
        let of = |(name, result, mirror): &(String, Result<(), Problem>, Option<MirrorShown>)| {
            let problem = result.as_ref().err();
            let mut shown = json!({
                "kind": "KafkaAlterMirrorStatusData",
                "metadata": {
                    "self": format!("{}/mirrors/{}", self.link_url(link), escaped(name)),
                },
                "mirror_topic_name": name,
                "error_code": problem.map(Problem::status),
                "error_message": problem.map(|problem| &problem.text),
                "mirror_lags": mirror.as_ref().map(|mirror| &mirror.lags[..]).unwrap_or_default(),
                "messages_truncated": null,
                "partition_level_truncation_data": [],
            });
            let checks = mirror.as_ref().map(|mirror| &mirror.checks);
            let checks = checks.filter(|checks| !checks.is_empty());
            if let (Some(object), Some(checks)) = (shown.as_object_mut(), checks) {
                object.insert("checks".to_owned(), json!(checks));
            }
            shown
        };
        let data = outcomes.iter().map(of).collect();
        let url = format!("{}/mirrors:{verb}", self.link_url(link));
        self.list("KafkaAlterMirrorStatusDataList", url, data)
    }

    /// A mirror topic as a topic.
    pub fn topic(&self, topic: &TopicName, mirror: &MirrorShown) -> Value {
        let url = format!("{}/topics/{}", self.cluster_url(), topic);
        let related = |what: &str| json!({"related": format!("{url}/{what}")});
        json!({
            "kind": "KafkaTopic",
            "metadata": {"self": url, "resource_name": self.name(&format!("/topic={topic}"))},
            "cluster_id": self.cluster,
            "topic_name": topic.as_str(),
            "is_internal": false,
            "replication_factor": mirror.replicas,
            "partitions_count": mirror.partitions,
            "partitions": related("partitions"),
            "configs": related("configs"),
            "partition_reassignments": related("partitions/-/reassignment"),
            "authorized_operations": [],
        })
    }
}

/// Ours: Cluster Linking's answers have no such field.
fn groups(last: &LastSync) -> Value {
    let left = last.left.iter();
    let left = left.map(|one| json!({"subject": one.subject, "error_message": one.why}));
    json!({
        "time_ms": last.at_ms,
        "synced": last.synced,
        "clamped": last.clamped,
        "ahead": last.ahead,
        "not_synced": last.left_count(),
        "not_synced_first": left.collect::<Vec<Value>>(),
    })
}

fn task(task: &TaskSeen) -> Value {
    let errors = task.errors.iter();
    let errors = errors.map(|(topic, fault)| {
        json!({"error_code": fault.code, "error_message": format!("{topic}: {}", fault.text)})
    });
    let errors: Vec<Value> = errors.collect();
    json!({"task_name": task.name.word(), "state": task.state, "errors": errors})
}

fn counts(link: &LinkShown) -> Vec<Value> {
    let counts = link.counts;
    let all = [
        ("ACTIVE", counts.active),
        ("IN_ERROR", counts.in_error),
        ("PENDING", counts.pending),
        ("PAUSED", counts.paused),
        ("NOT_APPLICABLE", counts.not_applicable),
    ];
    let shown = all.into_iter().filter(|(_, count)| *count > 0);
    shown.map(|(category, count)| json!({"state_category": category, "count": count})).collect()
}
