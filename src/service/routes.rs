//! What is served at which path.
//!
//! It never takes an order: every route reads.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::http::sliced::With;
use crate::secure::Secret;

use super::export;
use super::kept::Kept;
use super::kept::Turn;
use super::view::Check;
use super::view::PartitionView;
use super::view::Sight;

/// For how long an answer may be prepared.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The status of what is refused because too much is going on.
const TOO_MANY: StatusCode = StatusCode::TOO_MANY_REQUESTS;
/// The content type of JSON.
const JSON_TYPE: &str = "application/json";
/// How many large answers (all but health) may be prepared or on their way at once. The seats
/// beyond them are for health.
pub const LARGE_MAX: usize = 48;

#[derive(Clone)]
struct Counter {
    sight: Arc<dyn Sight>,
    recorder: PrometheusHandle,
    large: Turn,
    small: Turn,
    metrics: Kept<Bytes>,
    partitions: Kept<Arc<Vec<PartitionView>>>,
}

/// All routes over one view of the links.
pub fn router(sight: Arc<dyn Sight>, recorder: PrometheusHandle, guard: Guard) -> Router {
    let counter = Counter {
        sight,
        recorder,
        large: Turn::new(),
        small: Turn::new(),
        metrics: Kept::default(),
        partitions: Kept::default(),
    };
    let large = Arc::new(Semaphore::new(LARGE_MAX));
    let health = Router::new().route("/health/live", get(live)).route("/health/ready", get(ready));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/links", get(links))
        .route("/v1/partitions", get(partitions))
        .layer(middleware::from_fn_with_state(large, beside_health))
        .merge(health)
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_reading)
        .layer(middleware::from_fn(within_time))
        .layer(middleware::from_fn_with_state(Arc::new(guard), only_the_known))
        .with_state(counter)
}

/// Prepares an answer where it may take its time: 50,000 partitions are a few hundred ms.
async fn aside<T: Send + 'static>(
    turn: &Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed");
    turn.aside(work).await.map_err(failed)
}

async fn metrics(State(counter): State<Counter>) -> Result<Response, Refusal> {
    let text = match counter.metrics.fresh() {
        Some(fresh) => fresh,
        None => {
            let Counter { sight, recorder, metrics, large, .. } = counter;
            let render = move || metrics.get(|| export::render(&recorder, &*sight).into());
            aside(&large, render).await?
        }
    };
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

/// An answer that was made to JSON aside.
fn json(text: Result<Vec<u8>, serde_json::Error>) -> Result<Response, Refusal> {
    let failed = |_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed");
    Ok(([(header::CONTENT_TYPE, JSON_TYPE)], text.map_err(failed)?).into_response())
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

/// Answers as long as the process answers at all.
async fn live() -> Json<Live> {
    Json(Live { live: true })
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

async fn ready(State(counter): State<Counter>) -> Result<Response, Refusal> {
    let sight = counter.sight;
    let checks = aside(&counter.small, move || sight.readiness()).await?;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Ready { ready, checks })).into_response())
}

async fn links(State(counter): State<Counter>) -> Result<Response, Refusal> {
    let sight = counter.sight;
    let all = move || {
        let mut links = sight.links();
        links.sort_by(|left, right| left.name.cmp(&right.name));
        serde_json::to_vec(&links)
    };
    json(aside(&counter.large, all).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    link: Option<String>,
    topic: Option<String>,
}

async fn partitions(
    State(counter): State<Counter>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let bad = "the query takes link=NAME and topic=NAME";
    let Query(which) = which.map_err(|_| Refusal(StatusCode::BAD_REQUEST, bad))?;
    let Counter { sight, partitions, large, .. } = counter;
    let text = move || {
        let all = partitions.get(|| Arc::new(sorted(&*sight)));
        serde_json::to_vec(&chosen(&all, &which))
    };
    json(aside(&large, text).await?)
}

fn sorted(sight: &dyn Sight) -> Vec<PartitionView> {
    let mut all = sight.partitions();
    all.sort_by(|left, right| place(left).cmp(&place(right)));
    all
}

fn chosen<'a>(all: &'a [PartitionView], which: &Which) -> Vec<&'a PartitionView> {
    let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
    let fits =
        |view: &&PartitionView| fits(&which.link, &view.link) && fits(&which.topic, &view.topic);
    all.iter().filter(fits).collect()
}

fn place(view: &PartitionView) -> (&str, &str, i32) {
    (&view.link, &view.topic, view.partition)
}

/// An answer that is not what was asked for, in the shape of Confluent's REST errors.
struct Refusal(StatusCode, &'static str);

#[derive(Serialize)]
struct RefusalBody {
    error_code: u16,
    message: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody { error_code: self.0.as_u16(), message: self.1 };
        let mut answer = (self.0, Json(body)).into_response();
        // who is not let in, or came too often, keeps no seat
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, TOO_MANY].contains(&self.0) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

async fn nothing_here() -> Refusal {
    let paths = "there are /metrics, /health/live, /health/ready, /v1/links and /v1/partitions";
    Refusal(StatusCode::NOT_FOUND, paths)
}

async fn only_reading() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are taken here")
}

/// Large answers leave seats for health: each counts until its last byte is handed over.
async fn beside_health(
    State(large): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(permit) = large.try_acquire_owned() else {
        return Refusal(TOO_MANY, "too many answers are being read: try again").into_response();
    };
    let answer = next.run(request).await;
    answer.map(|body| Body::new(With { inner: body, _permit: permit }))
}

async fn within_time(request: Request, next: Next) -> Response {
    let late = Refusal(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long");
    let answer = tokio::time::timeout(ANSWER_WAIT_MAX, next.run(request)).await;
    answer.unwrap_or_else(|_| late.into_response())
}

/// Who is let in.
#[derive(Debug)]
pub struct Guard {
    /// What clients must send.
    pub token: Option<Secret>,
    /// The port is on loopback: requests must name it so.
    pub is_local: bool,
}

/// A web page that had its own name point at loopback must not read this port, nor anybody without
/// the token, where there is one.
async fn only_the_known(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.refusal(request.headers()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

impl Guard {
    fn refusal(&self, headers: &HeaderMap) -> Option<Refusal> {
        let head = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if self.is_local && !head(header::HOST).is_none_or(is_local) {
            return Some(Refusal(StatusCode::FORBIDDEN, "the Host header must name loopback"));
        }
        let token = self.token.as_ref()?;
        let sent = head(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        // the scheme's letters may be of any case (RFC 9110, 11.1)
        let is_known = sent.is_some_and(|(scheme, sent)| {
            scheme.eq_ignore_ascii_case("bearer") && token.is(sent.trim().as_bytes())
        });
        let text = "send the token: Authorization: Bearer TOKEN";
        (!is_known).then_some(Refusal(StatusCode::UNAUTHORIZED, text))
    }
}

fn is_local(host: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if port(digits) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_local() {
        for good in ["localhost", "LocalHost:1", "127.0.0.1:8472", "[::1]:8472", "127.9.9.9"] {
            assert!(is_local(good), "{good}");
        }
        for bad in ["", "evil.example", "evil.example:8472", "10.0.0.1", "localhost.evil:1"] {
            assert!(!is_local(bad), "{bad}");
        }
    }
}
