//! `/exporters`: asked and ordered in the words of Schema Linking.
//!
//! It never decides about an order, and shows no secret.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::any;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::control::order::Refusal;
use crate::control::schemas::order::ExporterOrder;
use crate::control::schemas::order::ExporterVerb;
use crate::control::schemas::order::unknown;
use crate::control::schemas::row::ExporterName;
use crate::link::registry::Registry;
use crate::service::auth::Principal;
use crate::service::auth::Right;
use crate::service::events::Events;
use crate::service::rest::Problem;
use crate::service::rest::error::Kind;
use crate::service::rest::noted;
use crate::service::rest::noted::Noted;
use crate::service::rest::request;
use crate::service::view::ExporterView;
use crate::service::view::Sight;
use crate::settings::exporters::Defaults;

use super::orders;
use super::orders::Given;
use super::table;
use super::table::Call;
use super::table::Route;

/// For how long a deletion is waited for to be through, so that the name is free again.
const DELETED_WAIT_MAX: Duration = Duration::from_secs(5);
/// As registries name their JSON, beside the usual name.
const JSON_TYPES: [&str; 3] = [
    "application/json",
    "application/vnd.schemaregistry+json",
    "application/vnd.schemaregistry.v1+json",
];

/// Where orders are given.
#[derive(Clone)]
pub struct Orders {
    /// To whom.
    pub registry: Registry,
    /// What an exporter gets that its order does not say.
    pub defaults: Arc<Defaults>,
}

#[derive(Clone)]
struct Served {
    sight: Arc<dyn Sight>,
    orders: Option<Orders>,
    events: Events,
}

/// The routes; without `orders` nothing is ordered there.
pub fn router(sight: Arc<dyn Sight>, orders: Option<Orders>, events: Events) -> Router {
    Router::new()
        .route("/exporters", any(serve))
        .route("/exporters/{*rest}", any(serve))
        .with_state(Served { sight, orders, events })
}

/// What is answered when all is well: nothing where there is no body.
type Answer = Result<Option<Value>, Problem>;

async fn serve(State(served): State<Served>, request: Request) -> Response {
    let segments = match request::segments(request.uri().path()) {
        Ok(segments) => segments,
        Err(problem) => return problem.into_response(),
    };
    let segments: Vec<String> = segments.into_iter().skip(1).filter(|it| !it.is_empty()).collect();
    let (route, name) = match table::lead(request.method().as_str(), &segments) {
        Ok(led) => led,
        Err(methods) if methods.is_empty() => {
            let text = "There is no such path below /exporters.";
            return Problem::new(Kind::Unknown, text).into_response();
        }
        Err(methods) => {
            let text = format!("This path takes {methods}.");
            return Problem::new(Kind::Method, text).into_response();
        }
    };
    let who = request.extensions().get::<Principal>().cloned();
    let mut subject = name.clone();
    let done = served.obey(route, (who.as_ref(), &mut subject), request).await;
    let told: Result<u16, &Problem> =
        done.as_ref().map(|body| if body.is_some() { 200 } else { 204 });
    let noted = Noted::default();
    let orders = noted.orders((route.name, route.right), (who.as_ref(), &subject), false, told);
    orders.into_iter().for_each(|order| noted::tell(order, &served.events));
    match done {
        Ok(Some(body)) => Json(body).into_response(),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

impl Served {
    async fn obey(
        &self,
        route: &'static Route,
        (who, name): (Option<&Principal>, &mut String),
        request: Request,
    ) -> Answer {
        if who.is_none_or(|who| who.right < route.right) {
            let (word, name) = (route.right.word(), who.map_or("nobody", |who| &who.name));
            let text = format!("{name} has no right to do that: it takes the right '{word}'.");
            return Err(Problem::new(Kind::Forbidden, text));
        }
        if route.right == Right::Read {
            return self.read(route.call, name).map(Some);
        }
        if let Some(why) = self.sight.stands_by() {
            return Err(Problem::new(Kind::Unavailable, format!("Nothing was done: {why}.")));
        }
        let orders = self.orders.as_ref().ok_or_else(|| {
            Problem::new(Kind::NotYet, "No orders are taken here: this isolog only shows.")
        })?;
        let given = body(route.call, request).await?;
        if route.call == Call::Create {
            *name = request::shown(given.name.as_deref().unwrap_or_default());
        }
        self.order(orders, route.call, name, given).await
    }

    fn read(&self, call: Call, name: &str) -> Result<Value, Problem> {
        let mut all = self.sight.exporters();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        if call == Call::List {
            // those of the file are there without a broker
            if all.is_empty() {
                self.is_known()?;
            }
            return Ok(all.iter().map(|one| one.name.clone()).collect());
        }
        let one = self.find(&all, name)?;
        Ok(match call {
            Call::Status => status(one),
            Call::Config => json!(one.config),
            _ => described(one),
        })
    }

    /// Before the journal was read nobody knows which exporters there are by order.
    fn is_known(&self) -> Result<(), Problem> {
        match &self.orders {
            Some(orders) if !orders.registry.seen().is_level => {
                let text = "Which exporters there are is not known yet: the journal (topic \
                            __isolog at the destination) is being read. Try again in a moment; \
                            GET /health/ready says what it waits for.";
                Err(Problem::new(Kind::Unavailable, text))
            }
            _ => Ok(()),
        }
    }

    fn find<'a>(&self, all: &'a [ExporterView], name: &str) -> Result<&'a ExporterView, Problem> {
        let found = all.iter().find(|one| one.name == name);
        found.ok_or_else(|| match self.is_known() {
            Ok(()) => Problem::of_exporter(unknown(request::shown(name).trim_matches('\''))),
            Err(problem) => problem,
        })
    }

    async fn order(&self, orders: &Orders, call: Call, name: &str, given: Given) -> Answer {
        let of_exporter = Problem::of_exporter;
        let key = match call {
            Call::Create => orders::name(given.name.as_deref()).map_err(of_exporter)?,
            _ => {
                let all = self.sight.exporters();
                let one = self.find(&all, name)?;
                if one.is_declared {
                    return Err(declared(name));
                }
                if given.name.as_deref().is_some_and(|other| other != name) {
                    let text = "Field 'name' of the body is another one than the path's: an \
                                exporter keeps its name.";
                    return Err(Problem::malformed(text));
                }
                ExporterName(name.into())
            }
        };
        if call == Call::Create && self.sight.exporters().iter().any(|one| one.name == *key.0) {
            let text = format!("Exporter '{key}' already exists: update it, or delete it first.");
            let exists = crate::control::schemas::order::EXISTS;
            return Err(of_exporter(crate::control::schemas::order::refusal(exists, text)));
        }
        let verb = verb(orders, call, &key, given).map_err(of_exporter)?;
        let warning = warning(orders, &key, &verb);
        let order = ExporterOrder { name: key.clone(), verb, is_dry: false };
        orders.registry.order_exporter(order).await.map_err(of_exporter)?;
        if call == Call::Delete {
            orders.until_gone(&key).await;
            return Ok(None);
        }
        let mut answer = json!({ "name": key.0.as_ref() });
        if let Some(warning) = warning {
            answer["warning"] = json!(warning);
        }
        Ok(Some(answer))
    }
}

fn verb(
    orders: &Orders,
    call: Call,
    name: &ExporterName,
    given: Given,
) -> Result<ExporterVerb, Refusal> {
    Ok(match call {
        Call::Create => ExporterVerb::Create(orders::wish(&orders.defaults, name, given, None)?),
        Call::Update | Call::PutConfig => {
            let seen = orders.registry.seen();
            let row = seen.exporters.exporters().get(name).ok_or_else(|| unknown(&name.0))?;
            let wish = orders::wish(&orders.defaults, name, given, Some(&row.wish))?;
            ExporterVerb::Update(wish, row.generation)
        }
        Call::Pause => ExporterVerb::Pause(true),
        Call::Resume => ExporterVerb::Pause(false),
        Call::Delete => ExporterVerb::Delete,
        // whatever only reads never comes here
        Call::Reset | Call::List | Call::Describe | Call::Status | Call::Config => {
            ExporterVerb::Reset
        }
    })
}

/// What is good to know of where schemas go.
fn warning(orders: &Orders, name: &ExporterName, verb: &ExporterVerb) -> Option<String> {
    let (ExporterVerb::Create(wish) | ExporterVerb::Update(wish, _)) = verb else { return None };
    let options = orders.defaults.options(name, wish, true).ok()?;
    let options = options.options;
    options.choice.leaves_default().then(|| {
        format!(
            "schemas go into the context {}: clients at the destination find the ids in records \
             only by that context; contextType NONE keeps them where they are",
            options.context
        )
    })
}

impl Orders {
    async fn until_gone(&self, name: &ExporterName) {
        let mut registry = self.registry.clone();
        let gone = async {
            while registry.seen().exporters.exporters().contains_key(name) {
                if !registry.changed().await {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(DELETED_WAIT_MAX, gone).await;
    }
}

async fn body(call: Call, request: Request) -> Result<Given, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = request::read(body).await?;
    let has_body = matches!(call, Call::Create | Call::Update | Call::PutConfig);
    if !has_body || bytes.is_empty() {
        return Ok(Given::default());
    }
    check_type(&parts.headers)?;
    match call {
        Call::PutConfig => Ok(Given { config: Some(read::<_>(&bytes)?), ..Given::default() }),
        _ => read(&bytes),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    request::object(bytes)
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let media = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if JSON_TYPES.iter().any(|known| media.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let text = "The body must be JSON: send Content-Type: application/json.";
    Err(Problem::new(Kind::MediaType, text))
}

/// One of the config file takes no orders.
fn declared(name: &str) -> Problem {
    let text = format!(
        "Exporter '{name}' is declared in isolog's config file, which wins: change \
         [schemas.{name}] there (paused = true pauses it), and start isolog again."
    );
    Problem::new(Kind::Refused, text)
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

/// The documented fields, and what they do not say: how much is missing, and for how long it may
/// have been.
fn status(one: &ExporterView) -> Value {
    json!({
        "name": one.name,
        "state": one.state,
        "offset": one.offset,
        "ts": one.ts,
        "trace": one.trace,
        "missingChanges": one.missing,
        "lagMs": one.lag_ms,
    })
}
