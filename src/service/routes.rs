//! What is served at which path.
//!
//! It never takes an order: every route reads.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::Query;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
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

use crate::secure::Secret;

use super::export;
use super::view::Check;
use super::view::PartitionView;
use super::view::Sight;

/// For how long an answer may be prepared.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The content type of the Prometheus text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Counter {
    sight: Arc<dyn Sight>,
    recorder: PrometheusHandle,
}

/// All routes over one view of the links.
pub fn router(sight: Arc<dyn Sight>, recorder: PrometheusHandle, guard: Guard) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/v1/links", get(links))
        .route("/v1/partitions", get(partitions))
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_reading)
        .layer(middleware::from_fn(within_time))
        .layer(middleware::from_fn_with_state(Arc::new(guard), only_the_known))
        .with_state(Counter { sight, recorder })
}

/// Prepares an answer where it may take its time: 50,000 partitions are a few hundred ms.
async fn aside<T: Send + 'static>(
    counter: Counter,
    work: impl FnOnce(&Counter) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let joined = tokio::task::spawn_blocking(move || work(&counter)).await;
    joined.map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed"))
}

async fn metrics(State(counter): State<Counter>) -> Result<Response, Refusal> {
    let render = |counter: &Counter| export::render(&counter.recorder, &*counter.sight);
    let text = aside(counter, render).await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
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
    let checks = aside(counter, |counter| counter.sight.readiness()).await?;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Ready { ready, checks })).into_response())
}

async fn links(State(counter): State<Counter>) -> Result<Response, Refusal> {
    let mut links = aside(counter, |counter| counter.sight.links()).await?;
    links.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(Json(links).into_response())
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
    let body = aside(counter, move |counter| chosen(&*counter.sight, &which)).await?;
    Ok(Json(body).into_response())
}

fn chosen(sight: &dyn Sight, which: &Which) -> Vec<PartitionView> {
    let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
    let mut all = sight.partitions();
    all.retain(|view| fits(&which.link, &view.link) && fits(&which.topic, &view.topic));
    all.sort_by(|left, right| place(left).cmp(&place(right)));
    all
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
        (self.0, Json(body)).into_response()
    }
}

async fn nothing_here() -> Refusal {
    let paths = "there are /metrics, /health/live, /health/ready, /v1/links and /v1/partitions";
    Refusal(StatusCode::NOT_FOUND, paths)
}

async fn only_reading() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are taken here")
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
        let sent = head(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let is_known = sent.is_some_and(|sent| token.is(sent.trim().as_bytes()));
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
