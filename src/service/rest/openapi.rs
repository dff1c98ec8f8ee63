//! The OpenAPI document, made from the table of routes.
//!
//! It never says of a route what the router does not do: both read the same rows.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::error;
use super::error::Kind;
use super::reads;
use super::schemas;
use super::table::ROUTES;
use super::table::Route;
use super::table::Word;

/// What any request may be answered.
const ALWAYS: &[Kind] = &[
    Kind::Malformed,
    Kind::Unauthorized,
    Kind::Forbidden,
    Kind::Unknown,
    Kind::TooMany,
    Kind::Broken,
    Kind::Unavailable,
];
/// What an order may be answered besides.
const ORDERED: &[Kind] =
    &[Kind::Refused, Kind::UnknownTopic, Kind::Conflict, Kind::NotYet, Kind::Unanswered];
/// What a request with a body may be answered besides.
const BODIED: &[Kind] = &[Kind::Late, Kind::TooLong, Kind::MediaType];

/// All of it.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_ascii_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "isolog: links and mirror topics",
            "description": "REST v3 of Kafka in Cluster Linking's words.",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    })
}

fn operation(route: &Route) -> Value {
    let named = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = named.map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
    );
    let parameters: Vec<Value> = in_path.chain(route.query.iter().map(word)).collect();
    let mut responses = Map::new();
    let (status, schema) = route.success;
    responses.insert(status.to_string(), success(schema));
    for (kind, status, _) in error::TABLE {
        let is_ordered = route.method != "GET" && ORDERED.contains(kind);
        let is_bodied = route.body.is_some() && BODIED.contains(kind);
        if ALWAYS.contains(kind) || is_ordered || is_bodied {
            responses.insert(status.to_string(), failure());
        }
    }
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.doc,
        "description": format!("It takes the right '{}'.", route.right.word()),
        "parameters": parameters,
        "responses": responses,
    });
    if let (Some(name), Some(object)) = (route.body, operation.as_object_mut()) {
        let body = json!({"required": true, "content": content(name)});
        object.insert("requestBody".to_owned(), body);
    }
    operation
}

fn word(word: &Word) -> Value {
    let schema = match (word.is_flag, word.name) {
        (true, _) => json!({"type": "boolean"}),
        (false, "timeout_ms") => json!({"type": "integer", "minimum": 1}),
        (false, "mirror_status") => json!({"type": "string", "enum": reads::statuses()}),
        (false, _) => json!({"type": "string"}),
    };
    json!({
        "name": word.name,
        "in": "query",
        "required": word.is_required,
        "description": word.doc,
        "schema": schema,
    })
}

fn content(schema: &str) -> Value {
    let reference = format!("#/components/schemas/{schema}");
    json!({"application/json": {"schema": {"$ref": reference}}})
}

fn success(schema: Option<&str>) -> Value {
    match schema {
        Some(schema) => json!({"description": "Done.", "content": content(schema)}),
        None => json!({"description": "Done."}),
    }
}

fn failure() -> Value {
    json!({"description": "Not done; the text says what to do.", "content": content("Error")})
}
