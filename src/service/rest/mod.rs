//! REST v3 of Kafka for links and mirror topics, in Cluster Linking's words.
//!
//! It never decides anything about them: the registry does, and what it answers is shown.
//!
//! ```text
//!   request ─▶ path, query: the table ─▶ right ─▶ cluster id ─▶ body ─▶ reads or orders
//! ```

mod answers;
mod blockers;
mod configs;
pub(in crate::service) mod error;
mod links;
mod mirrors;
pub(in crate::service) mod noted;
mod openapi;
mod reads;
pub(in crate::service) mod request;
mod schemas;
mod shown;
mod table;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::any;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::control::order::GroupVerb;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Verb;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::link::clients::Clients;
use crate::link::registry::Registry;
use crate::link::restore::Parted;
use crate::service::auth::Principal;
use crate::service::auth::Right;
use crate::service::events::Events;
use crate::service::kept::Kept;
use crate::service::kept::Turn;
use crate::service::view::PartitionView;
use crate::service::view::Sight;
use crate::settings;
use crate::settings::describe::ConfigEntry;
use crate::settings::link::Defaults;

use self::answers::Place;
use self::error::Kind;
use self::noted::Noted;
use self::request::Asked;
use self::shown::Everything;
use self::table::Call;
use self::table::Led;
use self::table::Route;

pub use self::error::Problem;
pub use self::mirrors::whole_names;

/// How many requests are answered at once: an order may wait for its answer, and metrics and
/// health must not wait with it.
const REQUESTS_MAX: usize = 24;
/// The most letters of a Host header that answers repeat.
const HOST_LETTERS_MAX: usize = 255;

/// What comes back from the source that a link's properties lead to.
pub type Reaching = Pin<Box<dyn Future<Output = Result<ClusterId, Refusal>> + Send>>;

/// What comes back from the clusters of a link.
pub type Comparing = Pin<Box<dyn Future<Output = Clients> + Send>>;

/// What comes back of topics that were mirrored from here: by name, where each parts.
pub type Parting =
    Pin<Box<dyn Future<Output = Result<BTreeMap<TopicName, Parted>, String>> + Send>>;

/// Asks clusters while a request is answered; bounded in time.
pub trait Probe: Send + Sync + 'static {
    /// Before there is a link to a source (`validate_link`): the id of the cluster that answers,
    /// or why none does.
    fn reach(&self, link: &LinkName, configs: &BTreeMap<String, String>) -> Reaching;
    /// What both clusters of a link hold of their clients, for the list of a dry stop.
    fn clients(&self, link: &LinkName) -> Comparing;
    /// The topics here of which the link's source has former mirrors.
    fn parted(&self, link: &LinkName) -> Parting;
}

/// Links of the config file, and the configs of each as they are listed.
pub type Declared = BTreeMap<LinkName, Vec<ConfigEntry>>;

/// What orders need of the running whole.
#[derive(Clone)]
pub struct Orders {
    /// Where they are given.
    pub registry: Registry,
    /// The destination's id, once it has been reached.
    pub cluster: watch::Receiver<Option<ClusterId>>,
    /// The links that the config file declares, with what it says of each.
    pub declared: watch::Receiver<Arc<Declared>>,
    /// What a link gets that its own properties do not say.
    pub defaults: Arc<Defaults>,
    /// The same for an exporter.
    pub exporters: Arc<settings::exporters::Defaults>,
    /// Asks clusters.
    pub probe: Option<Arc<dyn Probe>>,
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let declared = self.declared.borrow();
        f.debug_struct("Orders").field("declared", &declared.keys()).finish_non_exhaustive()
    }
}

/// What every request is answered with.
#[derive(Clone)]
pub struct Api {
    /// Orders.
    pub orders: Orders,
    /// What runs.
    pub sight: Arc<dyn Sight>,
    /// Its partitions, sorted, kept for a moment.
    pub partitions: Kept<Arc<Vec<PartitionView>>>,
    /// Large answers are prepared one after the other.
    pub turn: Turn,
    /// Where orders are told.
    pub events: Events,
    /// How what is answered names its own place.
    pub base: Base,
}

/// What URLs in answers begin with.
#[derive(Clone, Debug)]
pub enum Base {
    /// This, and the host that the request names.
    Seen(&'static str),
    /// All of it is said in the config.
    Said(String),
}

/// What is answered when all is well.
enum Reply {
    /// A body of JSON.
    Json(Vec<u8>),
    /// No body, and this status.
    Nothing(u16),
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Reply::Json(_) => 200,
            Reply::Nothing(status) => *status,
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Reply::Json(text) => {
                ([(header::CONTENT_TYPE, "application/json")], text).into_response()
            }
            Reply::Nothing(status) => {
                StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT).into_response()
            }
        }
    }
}

/// The routes of REST, and the document that describes them.
pub fn router(api: Api) -> Router {
    let served = Served { api, room: Arc::new(Semaphore::new(REQUESTS_MAX)) };
    Router::new()
        .route("/kafka/v3/{*rest}", any(serve))
        .route("/openapi.json", get(async || axum::Json(openapi::document())))
        .with_state(served)
}

#[derive(Clone)]
struct Served {
    api: Api,
    room: Arc<Semaphore>,
}

async fn serve(State(served): State<Served>, request: Request) -> Response {
    let Ok(_room) = served.room.try_acquire() else {
        let text = "Too many requests are being answered: try again in a moment.";
        return Problem::new(Kind::TooMany, text).into_response();
    };
    let segments = match request::segments(request.uri().path()) {
        Ok(segments) => segments,
        Err(problem) => return problem.into_response(),
    };
    match table::lead(request.method().as_str(), &segments) {
        Led::To(route, params) => {
            let who = request.extensions().get::<Principal>().cloned();
            let subject: Vec<&str> = params.iter().skip(1).map(|(_, name)| &**name).collect();
            let (subject, query) = (subject.join("/"), request.uri().query().map(str::to_owned));
            let asked = Asked::new(route, params, query.as_deref());
            let is_dry = asked.as_ref().is_ok_and(|asked| asked.flag("validate_only", false));
            let link = asked.as_ref().ok().and_then(link_of);
            let mut noted = Noted { link, ..Noted::default() };
            let given = (who.as_ref(), request);
            let done = obey(&served.api, route, asked, given, &mut noted).await;
            let told = done.as_ref().map(Reply::status);
            let ordered = (route.name, route.right);
            let orders = noted.orders(ordered, (who.as_ref(), &subject), is_dry, told);
            orders.into_iter().for_each(|order| noted::tell(order, &served.api.events));
            done.map_or_else(Problem::into_response, Reply::into_response)
        }
        Led::Methods(methods) => {
            let text = format!("This path takes {}.", methods.join(", "));
            let mut answer = Problem::new(Kind::Method, text).into_response();
            if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
                answer.headers_mut().insert(header::ALLOW, allow);
            }
            answer
        }
        Led::Nowhere => {
            let text = "There is no such path; /openapi.json has all that are.";
            Problem::new(Kind::Unknown, text).into_response()
        }
    }
}

async fn obey(
    api: &Api,
    route: &'static Route,
    asked: Result<Asked, Problem>,
    (who, request): (Option<&Principal>, Request),
    noted: &mut Noted,
) -> Result<Reply, Problem> {
    let needed = right_of(route, &asked);
    if who.is_none_or(|who| who.right < needed) {
        let (word, name) = (needed.word(), who.map_or("nobody", |who| &who.name));
        let text = format!("{name} has no right to do that: it takes the right '{word}'.");
        return Err(Problem::new(Kind::Forbidden, text));
    }
    let mut asked = asked?;
    let place = api.place(&request)?;
    if asked.params.iter().any(|(name, id)| *name == "cluster_id" && *id != place.cluster) {
        let id = request::shown(asked.param("cluster_id"));
        let text = format!(
            "Cluster {id} is not served here: the destination of this isolog is '{}'.",
            place.cluster
        );
        return Err(Problem::new(Kind::Unknown, text));
    }
    let is_of_cluster = matches!(route.call, Call::ListClusters | Call::GetCluster);
    if let Some(why) = api.sight.stands_by().filter(|_| !is_of_cluster) {
        return Err(Problem::new(Kind::Unavailable, format!("Nothing was done: {why}.")));
    }
    if route.body.is_some() {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        // who waits to be told that the body may come need not send it
        let waits = parts.headers.contains_key(header::EXPECT);
        if waits && length.is_some_and(|length| length > request::BODY_BYTES_MAX as u64) {
            return Err(request::too_long());
        }
        asked.body = request::read(body).await?;
        if !asked.body.is_empty() {
            request::check_type(&parts.headers)?;
        }
    }
    // what comes to be known meanwhile is not in the answer
    let is_read = api.orders.registry.seen().is_level;
    let done = call(api, (route, asked), place, noted).await;
    if is_read { done } else { unread(route, done) }
}

async fn call(
    api: &Api,
    (route, asked): (&'static Route, Asked),
    place: Place,
    noted: &mut Noted,
) -> Result<Reply, Problem> {
    match route.call {
        Call::CreateLink => links::create(api, &asked).await,
        Call::DeleteLink => links::delete(api, &asked).await,
        Call::AlterConfigs => configs::alter(api, &asked, noted).await,
        Call::PutConfig => configs::put(api, &asked, noted).await,
        Call::ResetConfig => configs::reset(api, &asked).await,
        Call::ForgetGroups => links::groups(api, &asked, (GroupVerb::Forget, noted)).await,
        Call::FollowGroups => links::groups(api, &asked, (GroupVerb::Follow, noted)).await,
        Call::CreateMirror => mirrors::create(api, &asked, noted).await,
        Call::ForgetMirror => mirrors::forget(api, &asked).await,
        Call::DeleteTopic => mirrors::delete_topic(api, &asked).await,
        Call::Pause
        | Call::Resume
        | Call::Promote
        | Call::Failover
        | Call::ReverseAndStart
        | Call::ReverseAndPause => mirrors::alter(api, &asked, (route.call, place), noted).await,
        Call::Restore => mirrors::restore(api, &asked, (route, place), noted).await,
        _ => api.read(route.call, asked, place).await,
    }
}

/// An answer from before the journal was read: what is not in it may be there all the same.
fn unread(route: &Route, done: Result<Reply, Problem>) -> Result<Reply, Problem> {
    let is_list = matches!(route.call, Call::ListLinks | Call::ListMirrors | Call::ListAllMirrors);
    let is_absent = |problem: &Problem| matches!(problem.kind, Kind::Unknown | Kind::UnknownTopic);
    if !is_list && !done.as_ref().is_err_and(is_absent) {
        return done;
    }
    let text = "Which links and mirror topics there are is not known yet: the journal (topic \
                __isolog at the destination) is being read. Try again in a moment; GET \
                /health/ready says what it waits for.";
    Err(Problem::new(Kind::Unavailable, text))
}

/// The link that an order names, in its path or its query.
fn link_of(asked: &Asked) -> Option<String> {
    let in_query = asked.word("link_name").or(asked.word("link"));
    let in_path = Some(asked.param("link_name")).filter(|name| !name.is_empty());
    in_path.or(in_query).map(str::to_owned)
}

/// A link is paused by one of its configs, which takes the right to pause.
fn right_of(route: &Route, asked: &Result<Asked, Problem>) -> Right {
    let name = asked.as_ref().map(|asked| asked.param("config_name"));
    match route.method != "GET" && name == Ok(configs::PAUSED) {
        true => Right::Operate,
        false => route.right,
    }
}

impl Api {
    /// Where answers say that they are.
    fn place(&self, request: &Request) -> Result<Place, Problem> {
        let cluster = self.orders.cluster.borrow().clone().ok_or_else(|| {
            let text = "The destination has not been reached yet: try again in a moment.";
            Problem::new(Kind::Unavailable, text)
        })?;
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.filter(|host| host.len() <= HOST_LETTERS_MAX).unwrap_or("localhost");
        let base = match &self.base {
            Base::Seen(scheme) => format!("{scheme}://{host}"),
            Base::Said(base) => base.clone(),
        };
        Ok(Place { base, cluster: cluster.to_string() })
    }

    /// Does work that may take long aside, in turn.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Api) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let api = self.clone();
        let failed =
            |_| Problem::new(Kind::Broken, "The answer failed, which is a fault of isolog.");
        self.turn.aside(move || work(&api)).await.map_err(failed)
    }

    async fn read(&self, call: Call, asked: Asked, place: Place) -> Result<Reply, Problem> {
        let text = self.aside(move |api| {
            let shown = reads::answer(call, &asked, &place, &api.everything())?;
            text_of(&shown)
        });
        text.await?.map(Reply::Json)
    }

    /// All that is seen now; to be called aside.
    fn everything(&self) -> Everything {
        let partitions = self.partitions.get(|| {
            let mut all = self.sight.partitions();
            all.sort_by(|left, right| left.place().cmp(&right.place()));
            Arc::new(all)
        });
        let (links, configs) = (self.sight.links(), self.orders.declared.borrow().clone());
        Everything { seen: self.orders.registry.seen(), partitions, links, configs }
    }

    /// A link that is there, by its name.
    fn known_link(&self, asked: &Asked) -> Result<LinkName, Problem> {
        let name = asked.param("link_name");
        let key = LinkName(name.into());
        if self.orders.registry.seen().links.contains_key(&key) {
            return Ok(key);
        }
        if self.orders.declared.borrow().contains_key(&key) {
            let text = format!(
                "Cluster link '{name}' is declared in the config file, and has no row in the \
                 journal yet: try again in a moment; GET /health/ready says what it waits for."
            );
            return Err(Problem::new(Kind::Unavailable, text));
        }
        Err(no_link(name))
    }

    /// Gives an order about a link itself.
    async fn order(&self, link: LinkName, verb: Verb, is_dry: bool) -> Result<(), Problem> {
        let outcomes = self.outcomes(link, verb, is_dry).await;
        match outcomes.into_iter().find_map(|outcome| outcome.result.err()) {
            Some(refusal) => Err(Problem::of_link(refusal)),
            None => Ok(()),
        }
    }

    async fn outcomes(&self, link: LinkName, verb: Verb, is_dry: bool) -> Vec<Outcome> {
        self.orders.registry.order(Order { link, verb, is_dry }).await
    }
}

fn no_link(name: &str) -> Problem {
    let text = format!("Cluster link {} does not exist.", request::shown(name));
    Problem::new(Kind::Unknown, text)
}

fn text_of(value: &Value) -> Result<Vec<u8>, Problem> {
    let failed = |_| Problem::new(Kind::Broken, "The answer failed, which is a fault of isolog.");
    serde_json::to_vec(value).map_err(failed)
}
