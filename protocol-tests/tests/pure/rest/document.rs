//! The OpenAPI document against what is really answered: every route answers, and every answer has
//! the shape that the document says.
//!
//! It never uses the product's own shapes to check them: it reads the document that is served.

use serde_json::Value;

use super::Rig;

/// What is wrong with a value under a schema; the parts of OpenAPI 3.0 that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, all: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        match target {
            Some(target) => faults(document, target, value, at, all),
            None => all.push(format!("{at}: {reference} is not there")),
        }
        return;
    }
    if value.is_null() {
        if schema["nullable"] != true {
            all.push(format!("{at} is null"));
        }
        return;
    }
    let is_right = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        other => panic!("{at}: type {other:?} is not known to this test"),
    };
    if !is_right {
        all.push(format!("{at} is no {}: {value}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        all.push(format!("{at} is none of {}: {value}", schema["enum"]));
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        faults(document, &schema["items"], item, &format!("{at}[{place}]"), all);
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().expect("a name")) {
            all.push(format!("{at} has no {name}"));
        }
    }
    for (name, item) in object {
        match schema["properties"].get(name) {
            Some(inner) => faults(document, inner, item, &format!("{at}.{name}"), all),
            None if schema["additionalProperties"] == false => {
                all.push(format!("{at} has {name}, which the document does not know"));
            }
            None => {}
        }
    }
}

/// A path with everything filled in that stands in braces.
fn filled(path: &str, link: &str, topic: &str) -> String {
    path.replace("{cluster_id}", "C1")
        .replace("{link_name}", link)
        .replace("{config_name}", "bootstrap.servers")
        .replace("{mirror_topic_name}", topic)
        .replace("{topic_name}", topic)
}

fn body_of(schema: Option<&str>) -> &'static str {
    match schema.unwrap_or_default().rsplit('/').next().unwrap_or_default() {
        "CreateLink" => super::LINK,
        "PutConfig" => r#"{"value":"127.0.0.1:9093"}"#, // of bootstrap.servers
        "AlterConfigs" => r#"{"data":[{"name":"cluster.link.paused","value":"false"}]}"#,
        "CreateMirror" => r#"{"source_topic_name":"t2"}"#,
        "AlterGroups" => r#"{"consumer_group_ids":["billing"]}"#,
        "AlterMirrors" => r#"{"mirror_topic_names":["t1","t9"]}"#,
        "" => "",
        other => panic!("{other} has no example here"),
    }
}

#[tokio::test]
async fn every_route_answers_in_the_shapes_of_the_document() {
    let rig = Rig::start().await;
    let document = rig.ask_at("GET", "/openapi.json", "").await;
    assert_eq!(document.status, 200);
    let document = document.json();
    assert_eq!(document["openapi"], "3.0.3");
    let paths = document["paths"].as_object().expect("paths");
    let (mut tried, mut wrong) = (0, Vec::new());
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            // there, with everything it needs; not there; and with a word that nobody knows
            for (link, topic, query) in
                [("l1", "t1", ""), ("l9", "t9", ""), ("l1", "t1", "&nobody=knows")]
            {
                let rig = Rig::start().await;
                rig.create_link("l1", &["t1", "t2"]).await;
                rig.create_mirror("l1", "t1").await;
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                let body = body_of(schema["$ref"].as_str());
                let needed = operation["parameters"].as_array().into_iter().flatten();
                let needed = needed.filter(|one| one["in"] == "query" && one["required"] == true);
                let needed: Vec<String> = needed
                    .map(|one| format!("{}=new", one["name"].as_str().expect("a name")))
                    .collect();
                let path = filled(path, link, topic);
                let path = format!("{path}?{}{query}", needed.join("&"));
                let method = method.to_ascii_uppercase();
                let answer = rig.ask_at(&method, &path, body).await;
                let said = &operation["responses"][answer.status.to_string()];
                if said.is_null() {
                    wrong
                        .push(format!("{method} {path}: {} is not in the document", answer.status));
                    continue;
                }
                let shape = &said["content"]["application/json"]["schema"];
                match (shape.is_null(), answer.body.is_empty()) {
                    (true, true) => {}
                    (false, false) => {
                        faults(
                            &document,
                            shape,
                            &answer.json(),
                            &format!("{method} {path}"),
                            &mut wrong,
                        );
                    }
                    _ => wrong.push(format!("{method} {path}: a body or none: {answer:?}")),
                }
                tried += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(tried, 3 * 27, "every route of the table");
}

#[tokio::test]
async fn what_stands_in_the_document_is_all_there() {
    let rig = Rig::start().await;
    let text = rig.ask_at("GET", "/openapi.json", "").await.body;
    let document: Value = serde_json::from_str(&text).expect("JSON");
    for piece in text.split("\"$ref\":\"").skip(1) {
        let reference = piece.split('"').next().expect("a reference");
        let target = document.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference}");
    }
}
