//! The counter: what the outside sees of a running isolog.
//!
//! It shows and never does.

mod export;
mod http;
mod routes;
pub mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::link;

use self::http::Door;
use self::view::Check;
use self::view::LinkView;
use self::view::PartitionView;
use self::view::Sight;

/// A loopback address and port; other machines cannot reach it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is not a loopback address: other machines are let in by a later release, with TLS and \
     tokens"
)]
pub struct NotLoopback(SocketAddr);

impl Listen {
    /// Refuses what is not loopback.
    pub fn new(address: SocketAddr) -> Result<Listen, NotLoopback> {
        if address.ip().is_loopback() { Ok(Listen(address)) } else { Err(NotLoopback(address)) }
    }

    /// The address; port 0 is any free one.
    pub fn address(self) -> SocketAddr {
        self.0
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
}

impl Counter {
    /// Opens the port.
    pub async fn open(options: &Options) -> Result<Counter, Error> {
        let address = options.listen.address();
        let refused = |cause| Error::Listen { address, cause };
        let door = Door::open(options.listen).await.map_err(refused)?;
        Ok(Counter { door })
    }

    /// The address with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Shows `sight` until `shutdown`; answers that are under way end first.
    pub async fn serve(self, sight: Arc<dyn Sight>, shutdown: CancellationToken) {
        let router = routes::router(sight, export::recorder());
        self.door.serve(router, shutdown).await;
    }
}

/// Runs the whole: opens the counter, starts the links, serves until `shutdown`, stops the links.
pub async fn run(
    settings: link::Settings,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let counter = Counter::open(&options).await?;
    tracing::info!(address = %counter.address(), links = settings.links.len(), "isolog serves");
    counter.serve(Arc::new(NotStarted(settings)), shutdown).await;
    tracing::info!("isolog has stopped");
    Ok(())
}

/// What is seen before the links run: their names and nothing else.
struct NotStarted(link::Settings);

impl Sight for NotStarted {
    fn partitions(&self) -> Vec<PartitionView> {
        Vec::new()
    }

    fn links(&self) -> Vec<LinkView> {
        let view = |link: &link::LinkSettings| LinkView {
            name: link.name.to_string(),
            state: "Preparing".to_owned(),
            ..LinkView::default()
        };
        self.0.links.iter().map(view).collect()
    }

    fn readiness(&self) -> Vec<Check> {
        let check = |link: &link::LinkSettings| Check {
            name: format!("link {}", link.name),
            ok: false,
            reason: "the link has not started".to_owned(),
        };
        self.0.links.iter().map(check).collect()
    }
}

#[cfg(test)]
mod tests;
