//! `/exporters`: what copies schemas, in the words of Schema Linking.
//!
//! It never changes one: they are declared in the config file. No secret is among what it shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Method;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::any;
use serde_json::Value;
use serde_json::json;

use crate::http::url::Url;
use crate::schemas::client::Auth;
use crate::schemas::exporter::Exporter;

use super::view::ExporterView;
use super::view::Sight;

/// Schema Linking's code of an exporter that is not there.
const NOT_FOUND: u32 = 40450;
/// What can be ordered of one exporter there, and not here.
const ORDERS: &[&str] = &["config", "pause", "resume", "reset"];
/// The most letters of a name that an answer repeats; no longer one is an exporter's.
const NAME_LETTERS_MAX: usize = 64;

/// An exporter as it is shown.
pub fn view(exporter: &Exporter) -> ExporterView {
    let (options, progress) = (exporter.options(), exporter.progress());
    let to = &options.destination;
    let urls: Vec<String> = to.urls.iter().map(url).collect();
    let mut config = BTreeMap::from([("schema.registry.url", urls.join(","))]);
    match to.auth {
        Auth::None => None,
        Auth::Basic(_) => {
            config.insert("basic.auth.user.info", "[hidden]".into());
            config.insert("basic.auth.credentials.source", "USER_INFO".into())
        }
        Auth::Bearer(_) => {
            config.insert("bearer.auth.token", "[hidden]".into());
            config.insert("bearer.auth.credentials.source", "STATIC_TOKEN".into())
        }
    };
    ExporterView {
        name: options.name.clone(),
        context_type: options.context_type.clone(),
        context: options.context.clone(),
        subjects: options.subjects.clone(),
        subject_rename_format: options.format.clone(),
        config,
        state: progress.state.word(),
        offset: progress.taken,
        ts: progress.level_ms,
        trace: progress.trace.unwrap_or_default(),
        missing: progress.missing,
    }
}

fn url(url: &Url) -> String {
    let scheme = if url.is_https { "https" } else { "http" };
    format!("{scheme}://{}{}", url.authority(), url.path.trim_end_matches('/'))
}

/// The routes.
pub fn router(sight: Arc<dyn Sight>) -> Router {
    Router::new()
        .route("/exporters", any(serve))
        .route("/exporters/{*rest}", any(serve))
        .with_state(sight)
}

async fn serve(State(sight): State<Arc<dyn Sight>>, request: Request) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/exporters").unwrap_or(path);
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut all = sight.exporters();
    all.sort_by(|left, right| left.name.cmp(&right.name));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = match (&*segments, reads) {
        ([], true) => Ok(all.iter().map(|one| one.name.clone()).collect()),
        ([], false) if *request.method() == Method::POST => Err(declared("NAME")),
        ([], false) => Err(method("GET, HEAD and POST")),
        ([name, rest @ ..], reads) => find(&all, name).and_then(|one| match (rest, reads) {
            ([], true) => Ok(described(one)),
            (["status"], true) => Ok(status(one)),
            (["config"], true) => Ok(json!(one.config)),
            ([], false) => Err(declared(&one.name)),
            ([order], false) if ORDERS.contains(order) => Err(declared(&one.name)),
            ([order], true) if ORDERS.contains(order) => Err(method("PUT")),
            (["status"], false) => Err(method("GET and HEAD")),
            _ => Err((404, 404, "there is no such path below /exporters".to_owned())),
        }),
    };
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err((status, error_code, message)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, Json(json!({ "error_code": error_code, "message": message }))).into_response()
        }
    }
}

/// Status, `error_code` and words.
type Refused = (u16, u32, String);

/// An order that this version does not take.
fn declared(name: &str) -> Refused {
    let text = format!(
        "Exporters are declared in isolog's config file: change [schemas.{name}] there, and start \
         isolog again; orders for them come with a later release."
    );
    (501, 501, text)
}

fn method(methods: &str) -> Refused {
    (405, 405, format!("This path takes {methods}."))
}

fn find<'a>(all: &'a [ExporterView], name: &str) -> Result<&'a ExporterView, Refused> {
    all.iter().find(|one| one.name == name).ok_or_else(|| {
        let is_shown = |letter: &char| letter.is_ascii_alphanumeric() || "_-.%".contains(*letter);
        let name: String = name.chars().filter(is_shown).take(NAME_LETTERS_MAX).collect();
        let text = format!("Exporter {name} does not exist; /exporters has all that do.");
        (404, NOT_FOUND, text)
    })
}

fn described(one: &ExporterView) -> Value {
    json!({
        "name": one.name,
        "contextType": one.context_type,
        "context": one.context,
        "subjects": one.subjects,
        "subjectRenameFormat": one.subject_rename_format,
        "config": one.config,
    })
}

fn status(one: &ExporterView) -> Value {
    json!({
        "name": one.name,
        "state": one.state,
        "offset": one.offset,
        "ts": one.ts,
        "trace": one.trace,
    })
}
