//! `GET /v1/events`: what came behind a cursor, waited for where there is nothing yet.
//!
//! It never keeps who waits beyond [`WAIT_MAX`], nor while isolog ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::service::routes::Refusal;
use crate::service::routes::has_work;
use crate::service::routes::json;
use crate::service::view::Sight;

use super::Events;
use super::NoCursor;
use super::Page;
use super::WAIT_MAX;

/// How many may follow events at once: who waits holds a seat of the port.
const FOLLOWERS_MAX: usize = 16;

#[derive(Clone)]
struct Served {
    events: Events,
    sight: Arc<dyn Sight>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The route.
pub fn router(events: Events, sight: Arc<dyn Sight>, stop: CancellationToken) -> Router {
    let room = Arc::new(Semaphore::new(FOLLOWERS_MAX));
    Router::new().route("/v1/events", get(serve)).with_state(Served { events, sight, room, stop })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    after: Option<String>,
    link: Option<String>,
    #[serde(default)]
    wait_ms: u64,
}

async fn serve(
    State(served): State<Served>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Refusal> {
    let bad = "the query takes after=CURSOR, link=NAME and wait_ms=N";
    let Query(which) = which.map_err(|_| Refusal(StatusCode::BAD_REQUEST, bad))?;
    let Ok(_room) = served.room.try_acquire() else {
        let text = "too many follow events: try again in a moment";
        return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, text));
    };
    has_work(&*served.sight)?;
    let page = served.answer(&which).await;
    // it may have gone to another instance while it was waited
    has_work(&*served.sight)?;
    let odd = "after must be the cursor of an event or of an answer, or the word now";
    let page = page.map_err(|NoCursor| Refusal(StatusCode::BAD_REQUEST, odd))?;
    Ok(json(serde_json::to_vec(&page))?.into_response())
}

impl Served {
    async fn answer(&self, which: &Which) -> Result<Page, NoCursor> {
        let (after, link) = (which.after.as_deref(), which.link.as_deref());
        let wait = Duration::from_millis(which.wait_ms).min(WAIT_MAX);
        let waited = self.stop.run_until_cancelled(self.events.wait(after, link, wait)).await;
        waited.unwrap_or_else(|| self.events.page(after, link))
    }
}
