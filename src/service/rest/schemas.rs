//! The shapes of bodies and answers, as the OpenAPI document has them.
//!
//! It never lets a field through that is not here: every object is closed.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// All shapes, by name.
pub fn all() -> Value {
    let mut all = Map::new();
    for (name, shape) in
        bodies().into_iter().chain(links()).chain(configs()).chain(parts()).chain(mirrors())
    {
        all.insert(name.to_owned(), shape);
    }
    for (name, of) in [
        ("KafkaClusterList", "KafkaCluster"),
        ("KafkaLinkDataList", "KafkaLinkData"),
        ("KafkaLinkConfigDataList", "KafkaLinkConfigData"),
        ("KafkaMirrorDataList", "KafkaMirrorData"),
        ("KafkaAlterMirrorStatusDataList", "KafkaAlterMirrorStatusData"),
    ] {
        all.insert(name.to_owned(), list(name, of));
    }
    Value::Object(all)
}

type Shapes = Vec<(&'static str, Value)>;

fn text() -> Value {
    json!({"type": "string"})
}

fn nullable() -> Value {
    json!({"type": "string", "nullable": true})
}

fn number() -> Value {
    json!({"type": "integer"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn many(item: Value) -> Value {
    json!({"type": "array", "items": item})
}

/// A closed object; `*` before a name says that the field is always there.
fn object(fields: Vec<(&str, Value)>) -> Value {
    let required: Vec<&str> =
        fields.iter().filter_map(|(name, _)| name.strip_prefix('*')).collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, shape)| (name.trim_start_matches('*').to_owned(), shape.clone()))
        .collect();
    let mut all = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(map) = all.as_object_mut().filter(|_| !required.is_empty()) {
        map.insert("required".to_owned(), json!(required));
    }
    all
}

fn kind(word: &str) -> Value {
    json!({"type": "string", "enum": [word]})
}

fn list(name: &str, item: &str) -> Value {
    object(vec![
        ("*kind", kind(name)),
        ("*metadata", of("ListMetadata")),
        ("*data", many(of(item))),
    ])
}

fn bodies() -> Shapes {
    let operation = json!({"type": "string", "enum": ["SET", "DELETE"], "nullable": true});
    vec![
        ("Error", object(vec![("*error_code", number()), ("*message", text())])),
        ("ConfigData", object(vec![("*name", text()), ("value", nullable())])),
        (
            "CreateLink",
            object(vec![
                ("source_cluster_id", nullable()),
                ("destination_cluster_id", nullable()),
                ("remote_cluster_id", nullable()),
                ("cluster_link_id", nullable()),
                ("configs", json!({"type": "array", "items": of("ConfigData"), "nullable": true})),
            ]),
        ),
        ("PutConfig", object(vec![("*value", text())])),
        (
            "AlterEntry",
            object(vec![("*name", text()), ("value", nullable()), ("operation", operation)]),
        ),
        ("AlterConfigs", object(vec![("*data", many(of("AlterEntry")))])),
        ("AlterGroups", object(vec![("*consumer_group_ids", many(text()))])),
        (
            "CreateMirror",
            object(vec![
                ("*source_topic_name", text()),
                ("mirror_topic_name", nullable()),
                (
                    "replication_factor",
                    json!({"type": "integer", "minimum": 1, "maximum": 32767, "nullable": true}),
                ),
                ("configs", json!({"type": "array", "items": of("ConfigData"), "nullable": true})),
            ]),
        ),
        (
            "AlterMirrors",
            object(vec![
                ("mirror_topic_names", json!({"type": "array", "items": text(), "nullable": true})),
                ("mirror_topic_name_pattern", nullable()),
            ]),
        ),
    ]
}

fn links() -> Shapes {
    let state = json!({
        "type": "string", "enum": ["ACTIVE", "FAILED", "UNAVAILABLE", "PAUSED", "UNKNOWN"],
    });
    vec![
        ("Metadata", object(vec![("*self", text()), ("resource_name", text())])),
        ("ListMetadata", object(vec![("*self", text()), ("*next", nullable())])),
        ("Related", object(vec![("*related", text())])),
        (
            "KafkaCluster",
            object(vec![
                ("*kind", kind("KafkaCluster")),
                ("*metadata", of("Metadata")),
                ("*cluster_id", text()),
                ("*controller", of("Related")),
                ("*acls", of("Related")),
                ("*brokers", of("Related")),
                ("*broker_configs", of("Related")),
                ("*consumer_groups", of("Related")),
                ("*topics", of("Related")),
                ("*partition_reassignments", of("Related")),
            ]),
        ),
        (
            "KafkaLinkData",
            object(vec![
                ("*kind", kind("KafkaLinkData")),
                ("*metadata", of("Metadata")),
                ("*source_cluster_id", nullable()),
                ("*destination_cluster_id", nullable()),
                ("*remote_cluster_id", nullable()),
                ("*link_name", text()),
                ("*link_id", text()),
                ("*cluster_link_id", text()),
                ("*topic_names", many(text())),
                ("*topics_let_go", many(text())),
                ("*groups_forgotten", many(text())),
                ("*link_error", text()),
                ("*link_error_message", nullable()),
                ("*link_state", state),
                ("*category_counts", many(of("CategoryCount"))),
                ("tasks", many(of("Task"))),
            ]),
        ),
        ("CategoryCount", object(vec![("*state_category", text()), ("*count", number())])),
        (
            "Task",
            object(vec![
                ("*task_name", text()),
                ("*state", text()),
                ("*errors", many(of("CodedError"))),
            ]),
        ),
        ("CodedError", object(vec![("*error_code", text()), ("*error_message", text())])),
    ]
}

fn configs() -> Shapes {
    let source = json!({
        "type": "string", "enum": [
            "DEFAULT_CONFIG", "DYNAMIC_CLUSTER_LINK_CONFIG", "STATIC_CLUSTER_LINK_CONFIG",
        ],
    });
    vec![(
        "KafkaLinkConfigData",
        object(vec![
            ("*kind", kind("KafkaLinkConfigData")),
            ("*metadata", of("Metadata")),
            ("*cluster_id", text()),
            ("*link_name", text()),
            ("*name", text()),
            ("*value", nullable()),
            ("*is_default", flag()),
            ("*is_read_only", flag()),
            ("*is_sensitive", flag()),
            ("*source", source),
            ("*synonyms", many(text())),
        ]),
    )]
}

/// Of what is shown of mirror topics.
fn parts() -> Shapes {
    let groups = object(vec![
        ("*time_ms", number()),
        ("*synced", number()),
        ("*clamped", number()),
        ("*ahead", number()),
        // null where a promote's last turn came to nothing, so that nobody knows
        ("*not_synced", json!({"type": "integer", "nullable": true})),
        ("*not_synced_first", many(json!({"type": "object"}))),
    ]);
    let check =
        object(vec![("*check", text()), ("*ok", flag()), ("*text", text()), ("*cure", text())]);
    vec![("ConsumerGroups", groups), ("Check", check)]
}

fn mirrors() -> Shapes {
    let status = json!({"type": "string", "enum": super::reads::statuses()});
    let code = json!({"type": "integer", "nullable": true});
    vec![
        (
            "MirrorLag",
            object(vec![
                ("*partition", number()),
                ("*lag", number()),
                ("*last_source_fetch_offset", number()),
                ("*held_records", number()),
                ("*last_record_time_ms", number()),
            ]),
        ),
        (
            "KafkaMirrorData",
            object(vec![
                ("*kind", kind("KafkaMirrorData")),
                ("*metadata", of("Metadata")),
                ("*link_name", text()),
                ("*mirror_topic_name", text()),
                ("*source_topic_name", text()),
                ("*num_partitions", number()),
                ("*mirror_lags", many(of("MirrorLag"))),
                ("*mirror_status", status),
                ("*mirror_topic_error", text()),
                ("*mirror_topic_error_message", nullable()),
                ("*state_time_ms", number()),
                ("mirror_state_transition_errors", many(of("CodedError"))),
                ("consumer_groups", of("ConsumerGroups")),
            ]),
        ),
        (
            "KafkaAlterMirrorStatusData",
            object(vec![
                ("*kind", kind("KafkaAlterMirrorStatusData")),
                ("*metadata", of("Metadata")),
                ("*mirror_topic_name", text()),
                ("*error_code", code),
                ("*error_message", nullable()),
                ("*mirror_lags", many(of("MirrorLag"))),
                ("*messages_truncated", json!({"type": "integer", "nullable": true})),
                ("*partition_level_truncation_data", many(json!({"type": "object"}))),
                ("checks", many(of("Check"))),
            ]),
        ),
        (
            "KafkaTopic",
            object(vec![
                ("*kind", kind("KafkaTopic")),
                ("*metadata", of("Metadata")),
                ("*cluster_id", text()),
                ("*topic_name", text()),
                ("*is_internal", flag()),
                ("*replication_factor", json!({"type": "integer", "nullable": true})),
                ("*partitions_count", number()),
                ("*partitions", of("Related")),
                ("*configs", of("Related")),
                ("*partition_reassignments", of("Related")),
                ("*authorized_operations", many(text())),
            ]),
        ),
    ]
}
