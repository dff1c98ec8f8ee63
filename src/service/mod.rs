//! The counter: what the outside sees of a running isolog.
//!
//! It shows, and hands orders on; it never does anything itself.

pub mod auth;
pub mod checklist;
pub mod events;
mod export;
pub mod exporters;
mod folded;
mod groups;
mod kept;
pub mod links;
mod orders;
pub mod rest;
mod routes;
pub mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::http::advertised::Advertised;
use crate::http::server::Door;
use crate::ids::TopicName;
use crate::link;
use crate::link::LinkSettings;
use crate::link::driver;
use crate::link::driver::Driver;
pub use crate::link::log::edit as journal;
use crate::link::world::World;
pub use crate::secure::Secret;
use crate::secure::ServerTls;
use crate::settings::link::Defaults;

use self::auth::Guard;
use self::auth::Right;
use self::events::Events;
pub use self::exporters::Exporting;
use self::exporters::Running;
pub use self::folded::Series;
use self::links::All;
use self::rest::Orders;
use self::view::Sight;

/// Who is let in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// TLS, where it is spoken.
    pub tls: Option<ServerTls>,
    /// What every client must send, where it is set.
    pub token: Option<Secret>,
    /// Tokens of those who may do less.
    pub tokens: Vec<(Right, Secret)>,
    /// TLS lets in only clients with a certificate.
    pub clients_are_known: bool,
}

/// An address and port, and who is let in there; other machines only with TLS, and known ones.
#[derive(Clone, Debug)]
pub struct Listen {
    address: SocketAddr,
    access: Access,
}

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is not a loopback address: other machines are let in only with TLS \
     (ssl.keystore.location) and a token, or with ssl.client.auth = \"required\""
)]
pub struct NotSafe(SocketAddr);

impl Access {
    /// Whether whoever is let in is known, by a token or a certificate.
    pub fn is_guarded(&self) -> bool {
        self.token.is_some() || !self.tokens.is_empty() || self.clients_are_known
    }
}

impl Listen {
    /// Refuses what others could reach unknown or in the open.
    pub fn new(address: SocketAddr, access: Access) -> Result<Listen, NotSafe> {
        if address.ip().is_loopback() || (access.tls.is_some() && access.is_guarded()) {
            return Ok(Listen { address, access });
        }
        Err(NotSafe(address))
    }

    /// The address; port 0 is any free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who is let in.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

/// The counter's settings; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `listen`.
    pub listen: Listen,
    /// `log.format` is `json`.
    pub log_json: bool,
    /// `log.level`: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// `metrics.partition.series`.
    pub series: Series,
    /// `advertised.url`.
    pub advertised: Option<Advertised>,
    /// `events.topic`.
    pub events_topic: Option<TopicName>,
}

impl Options {
    /// Those of a service that listens there; all else as it is where the config does not say it.
    pub fn new(listen: Listen) -> Options {
        Options {
            listen,
            log_json: false,
            log_level: "info".to_owned(),
            series: Series::default(),
            advertised: None,
            events_topic: None,
        }
    }
}

/// Why the whole cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or may not be opened.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// A counter whose port is open: health and metrics are there before the links are.
#[derive(Debug)]
pub struct Counter {
    door: Door,
    access: Access,
    series: Series,
    advertised: Option<Advertised>,
    orders: Option<Orders>,
    events: Events,
}

impl Counter {
    /// Opens the port.
    pub async fn open(options: &Options) -> Result<Counter, Error> {
        // first of all: what is counted before there is a recorder is lost
        export::recorder();
        let address = options.listen.address();
        let refused = |cause| Error::Listen { address, cause };
        let access = options.listen.access().clone();
        let door = Door::open(address, access.tls.clone()).await.map_err(refused)?;
        let (series, events) = (options.series, Events::default());
        let advertised = options.advertised.clone();
        Ok(Counter { door, access, series, advertised, orders: None, events })
    }

    /// The same, which takes orders by REST as well.
    pub fn with_orders(self, orders: Orders) -> Counter {
        Counter { orders: Some(orders), ..self }
    }

    /// The address with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Shows `sight` until `shutdown`; answers that are under way end first.
    pub async fn serve(self, sight: Arc<dyn Sight>, shutdown: CancellationToken) {
        let (door, router, following) = self.ready(sight, shutdown.clone());
        tokio::join!(door.serve(router, shutdown), following);
    }

    /// The same by a thread of its own.
    pub async fn serve_apart(self, sight: Arc<dyn Sight>, shutdown: CancellationToken) {
        let (door, router, following) = self.ready(sight, shutdown.clone());
        tokio::join!(door.serve_apart(router, shutdown), following);
    }

    /// What is served, and what follows events meanwhile.
    fn ready(
        self,
        sight: Arc<dyn Sight>,
        shutdown: CancellationToken,
    ) -> (Door, axum::Router, impl Future<Output = ()>) {
        let is_local = self.address().ip().is_loopback();
        let Access { tls, token, tokens, clients_are_known } = self.access;
        let advertised = self.advertised.clone();
        let guard = Guard { token, tokens, is_local, clients_are_known, advertised };
        let following = self.orders.as_ref().map(|orders| orders.registry.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base =
            self.advertised.map_or(rest::Base::Seen(scheme), |one| rest::Base::Said(one.base));
        let orders = self.orders.map(|orders| (orders, base));
        let rendering = (export::recorder(), self.series);
        let told = (self.events.clone(), shutdown.clone());
        let router = routes::router(sight.clone(), rendering, guard, (orders, told));
        let following = async {
            if let Some(registry) = following {
                events::follow(registry, sight, self.events, shutdown).await;
            }
        };
        (self.door, router, following)
    }
}

/// What `/metrics` answers.
pub fn metrics(sight: &dyn Sight) -> String {
    export::render(&export::recorder(), sight, Series::All)
}

/// What the config file says of its links.
#[derive(Clone, Debug)]
pub struct FileSaid {
    /// Their settings.
    pub links: Vec<LinkSettings>,
    /// Their configs as REST lists them.
    pub declared: rest::Declared,
}

/// Runs the whole: opens the counter, starts the links, serves until `shutdown`, stops the links.
/// Beside the settings: what copies schemas, what a link gets that is created by order, and what
/// the file says of its own links, now and whenever it is read again.
pub async fn run(
    (settings, exporting): (link::Settings, Exporting),
    (defaults, mut said): (Defaults, watch::Receiver<FileSaid>),
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let counter = Counter::open(&options).await?;
    tracing::info!(address = %counter.address(), links = settings.links.len(), "isolog serves");
    let world = World::real(&settings, shutdown.clone());
    let (told, shared) = (driver::Options::of(&settings, defaults.clone()), settings.shared);
    let (driver, driving) = driver::start(told, &world);
    let running = TaskTracker::new();
    running.spawn(watched_driver(driver.clone(), driving, shutdown.clone()));
    let (exporters, of_exporters) = Running::of(exporting, &driver.registry);
    let kept = (exporters.clone(), of_exporters.clone());
    running.spawn(exporters::keep(kept, driver.clone(), shutdown.clone()));
    let (listed, declared) = watch::channel(Arc::new(said.borrow_and_update().declared.clone()));
    let (declaring, stop) = ((driver.clone(), shared), shutdown.clone());
    running.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow_file(declaring, said, listed) => {}
        }
    });
    let counter = counter.with_orders(orders::taken(&driver, declared, (defaults, of_exporters)));
    if let Some(topic) = options.events_topic {
        let events = counter.events.clone();
        running.spawn(events::announce::announce(
            driver.announcer(topic),
            events,
            shutdown.clone(),
        ));
    }
    counter.serve_apart(Arc::new(All { driver, exporters }), shutdown).await;
    running.close();
    running.wait().await;
    tracing::info!("isolog has stopped");
    Ok(())
}

/// Hands on what the file says whenever it was read again, until nobody reads it any more.
async fn follow_file(
    (driver, shared): (Driver, link::Shared),
    mut said: watch::Receiver<FileSaid>,
    listed: watch::Sender<Arc<rest::Declared>>,
) {
    while said.changed().await.is_ok() {
        let FileSaid { mut links, declared } = said.borrow_and_update().clone();
        for link in &mut links {
            // what all links share is the process's, until it is started again
            link.flow.memory_bytes = shared.memory_bytes;
            link.flow.reencode_threads = shared.reencode_threads;
        }
        listed.send_replace(Arc::new(declared));
        driver.declare(links);
    }
}

/// Runs the driver; one that ends before it is told to is shown as what it is.
async fn watched_driver(
    driver: Driver,
    run: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) {
    if let Some(text) = ended("the driver of links", run, stop).await {
        tracing::error!("{text}");
        driver.tell_ended(text);
    }
}

/// What is to be said of a task that ended before it was told to.
async fn ended(
    what: &str,
    run: impl Future<Output = ()> + Send + 'static,
    stop: CancellationToken,
) -> Option<String> {
    // a set, so that a panic is an answer, and the task ends with this one
    let mut task = JoinSet::new();
    task.spawn(run);
    let ended = task.join_next().await;
    if stop.is_cancelled() {
        return None;
    }
    let cause = match ended {
        Some(Err(error)) => format!(" ({error})"),
        _ => String::new(),
    };
    Some(format!("{what} has ended, which is a fault of isolog{cause}: start it again"))
}

#[cfg(test)]
mod tests;
