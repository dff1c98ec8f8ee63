//! What is served at which path.
//!
//! It never takes an order itself: every route here reads, and `rest` is beside them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::Version;
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
use tokio_util::sync::CancellationToken;

use crate::http::server::Client;
use crate::http::sliced::With;

use super::auth::Denied;
use super::auth::Guard;
use super::events;
use super::events::Events;
use super::export;
use super::exporters;
use super::folded::Series;
use super::kept::Kept;
use super::kept::Turn;
use super::rest;
use super::rest::Base;
use super::rest::Orders;
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

/// What the process has counted, and which partitions have series of their own.
pub type Recorder = (PrometheusHandle, Series);

#[derive(Clone)]
struct Counter {
    sight: Arc<dyn Sight>,
    recorder: Recorder,
    large: Turn,
    small: Turn,
    metrics: Kept<Bytes>,
    partitions: Kept<Arc<Vec<PartitionView>>>,
}

/// All routes over one view of the links and the events; with `orders`, where there is somebody to
/// obey them. Who waits for events does not beyond the token.
pub fn router(
    sight: Arc<dyn Sight>,
    recorder: Recorder,
    guard: Guard,
    (orders, (told, stop)): (Option<(Orders, Base)>, (Events, CancellationToken)),
) -> Router {
    let counter = Counter {
        sight,
        recorder,
        large: Turn::new(),
        small: Turn::new(),
        metrics: Kept::default(),
        partitions: Kept::default(),
    };
    let large = Arc::new(Semaphore::new(LARGE_MAX));
    let beside = middleware::from_fn_with_state(large, beside_health);
    let health = Router::new().route("/health/live", get(live)).route("/health/ready", get(ready));
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/groups", get(groups))
        .route("/v1/links", get(links))
        .route("/v1/partitions", get(partitions))
        .layer(beside.clone())
        .merge(health)
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_reading)
        .layer(middleware::from_fn(within_time))
        .with_state(counter.clone());
    let given = orders.as_ref().map(|(orders, _)| exporters::Orders {
        registry: orders.registry.clone(),
        defaults: orders.exporters.clone(),
    });
    let exporters = exporters::router(counter.sight.clone(), given, told.clone());
    let exporters = exporters.layer(beside.clone());
    // who waits for an event waits longer than an answer may take
    let events = events::router(told.clone(), counter.sight.clone(), stop).layer(beside.clone());
    let rest = orders.map(|orders| rest::router(counter.api(orders, told)).layer(beside));
    pages
        .merge(rest.unwrap_or_default())
        .merge(exporters)
        .merge(events)
        .layer(middleware::from_fn_with_state(Arc::new(guard), only_the_known))
        .layer(middleware::from_fn(with_host))
}

impl Counter {
    fn api(self, (orders, base): (Orders, Base), events: Events) -> rest::Api {
        let Counter { sight, partitions, large: turn, .. } = self;
        rest::Api { orders, sight, partitions, turn, events, base }
    }
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
            let render = move || {
                let (recorder, series) = &recorder;
                metrics.get(|| export::render(recorder, &*sight, *series).into())
            };
            aside(&large, render).await?
        }
    };
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

/// An answer that was made to JSON aside.
pub(super) fn json(text: Result<Vec<u8>, serde_json::Error>) -> Result<Response, Refusal> {
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
struct WhichGroups {
    link: Option<String>,
    group: Option<String>,
    /// With their offsets, by partition; those of one that is named always.
    #[serde(default)]
    offsets: bool,
    /// Why links do not follow the group.
    #[serde(default)]
    unfollowed: bool,
}

async fn groups(
    State(counter): State<Counter>,
    which: Result<Query<WhichGroups>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let bad = "the query takes link=NAME, group=NAME, offsets=true and unfollowed=true";
    let Query(which) = which.map_err(|_| Refusal(StatusCode::BAD_REQUEST, bad))?;
    let sight = counter.sight;
    has_work(&*sight)?;
    let all = move || {
        let is_whole = which.offsets || which.group.is_some();
        let mut groups = match (which.group.as_deref(), which.unfollowed) {
            (Some(name), true) => sight.unfollowed(name),
            (name, _) => sight.groups(name, is_whole),
        };
        groups.retain(|one| which.link.as_ref().is_none_or(|link| *link == one.link));
        groups.sort_by(|a, b| (&a.link, &a.group).cmp(&(&b.link, &b.group)));
        serde_json::to_vec(&groups)
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
    has_work(&*sight)?;
    let text = move || {
        let is_known = |name: &String| sight.links().iter().any(|link| link.name == *name);
        if which.link.as_ref().is_some_and(|name| !is_known(name)) {
            return None;
        }
        let all = partitions.get(|| Arc::new(sorted(&*sight)));
        Some(serde_json::to_vec(&chosen(&all, &which)))
    };
    let unknown = Refusal(StatusCode::NOT_FOUND, "no such link: /v1/links has all that there are");
    json(aside(&large, text).await?.ok_or(unknown)?)
}

/// Another instance knows what this one does not.
pub(super) fn has_work(sight: &dyn Sight) -> Result<(), Refusal> {
    let why = "this isolog stands by, and another instance knows: /v1/links says which";
    let refused = sight.stands_by().map(|_| Refusal(StatusCode::SERVICE_UNAVAILABLE, why));
    refused.map_or(Ok(()), Err)
}

fn sorted(sight: &dyn Sight) -> Vec<PartitionView> {
    let mut all = sight.partitions();
    all.sort_by(|left, right| left.place().cmp(&right.place()));
    all
}

fn chosen<'a>(all: &'a [PartitionView], which: &Which) -> Vec<&'a PartitionView> {
    let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
    // where a prefix makes two names of one topic, either will do
    let fits = |view: &&PartitionView| {
        let is_named = fits(&which.topic, &view.topic) || fits(&which.topic, &view.source_topic);
        fits(&which.link, &view.link) && is_named
    };
    all.iter().filter(fits).collect()
}

/// An answer that is not what was asked for, in the shape of Confluent's REST errors.
pub(super) struct Refusal(pub StatusCode, pub &'static str);

#[derive(Serialize)]
struct RefusalBody {
    error_code: u32,
    message: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // Kafka's REST has codes of its own for these two
        let error_code = match self.0 {
            StatusCode::UNAUTHORIZED => 40101,
            StatusCode::FORBIDDEN => 40301,
            other => u32::from(other.as_u16()),
        };
        let body = RefusalBody { error_code, message: self.1 };
        let mut answer = (self.0, Json(body)).into_response();
        if self.0 == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static("Bearer, Basic realm=\"isolog\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, schemes);
        }
        // who is not let in, or came too often, keeps no seat
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, TOO_MANY].contains(&self.0) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

async fn nothing_here() -> Refusal {
    let paths = "there are /metrics, /health/live, /health/ready, /v1/links, /v1/partitions, \
                 /v1/groups, /v1/events, /exporters, and what /openapi.json lists below /kafka/v3";
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

/// A request of HTTP/1.1 names its host, once (RFC 9112, 3.2).
async fn with_host(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let is_named = hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11;
    match is_named {
        true => next.run(request).await,
        false => {
            let text = "a request has one Host header, and one only (RFC 9112, 3.2)";
            Refusal(StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

/// Nobody else is heard; who is let in goes with the request.
async fn only_the_known(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = request.extensions().get::<Client>();
    let status = match guard.admit(request.headers(), client) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            return next.run(request).await;
        }
        Err(Denied::Token) => (StatusCode::UNAUTHORIZED, Denied::Token),
        Err(denied) => (StatusCode::FORBIDDEN, denied),
    };
    Refusal(status.0, status.1.text()).into_response()
}
