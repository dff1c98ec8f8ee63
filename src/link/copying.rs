//! What copies the partitions of one link: its partition manager, and who asks for ends beside it.
//!
//! It never says what is wanted: who began it does.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::flow::ask::ends::Asker;
use crate::flow::ask::open_txns;
use crate::flow::entry::Fact;
use crate::flow::entry::ToManager;
use crate::flow::lane::memory::held_bytes;
use crate::flow::lane::memory::unit_bytes;
use crate::flow::lane::pace::Pace;
use crate::flow::manager::PartitionManager;
use crate::flow::producer_id;
use crate::flow::seal;
use crate::flow::shared::Shared;
use crate::ids::LinkName;
use crate::link::LinkSettings;
use crate::link::status::Link;
use crate::link::world::World;
use crate::mirror::facts::Limits;
use crate::mirror::work::LIGHT_BYTES_MAX;

/// How many orders the partition manager may have before it.
const ORDERS_MAX: usize = 16;
/// How many reports of its lanes.
const REPORTS_MAX: usize = 64;
/// How much of what it tells the link may have before it.
const FACTS_MAX: usize = 64;
/// `producer.id.expiration.ms` of a destination that does not tell it: Kafka's own default.
const PRODUCER_AGE_MS_DEFAULT: i64 = 86_400_000;
/// Sooner than the destination's own bound by its checking interval and a margin
/// (`producer.id.expiration.check.interval.ms`).
const PRODUCER_AGE_MS_MARGIN: i64 = 900_000;

/// What runs, until `end`.
pub(super) struct Copying {
    /// Where orders go.
    pub orders: mpsc::Sender<ToManager>,
    link: LinkName,
    /// In a set, so that the manager ends with its owner, however that ends.
    manager: JoinSet<()>,
    asking: JoinSet<()>,
}

/// Begins to copy from `source` to `destination`, under the writer id of the link; nothing is
/// wanted yet. What is let go must be read for as long as orders are given.
pub(super) async fn begin(
    link: &Link,
    settings: &LinkSettings,
    world: &World,
    (source, destination): (&Arc<Cluster>, &Arc<Cluster>),
    stop: &CancellationToken,
) -> (Copying, mpsc::Receiver<Fact>) {
    let (back, reports) = mpsc::channel(REPORTS_MAX);
    let (facts, released) = mpsc::channel(FACTS_MAX);
    let (orders, taken) = mpsc::channel(ORDERS_MAX);
    let limits = limits(settings, destination).await;
    let shared = Shared {
        writer: producer_id::of(&source.id(), &destination.id(), &link.name),
        source: source.clone(),
        destination: destination.clone(),
        options: settings.flow.clone(),
        committed_only: settings.link.committed_only,
        wall: world.wall,
        lanes: world.lanes.clone(),
        pace: Arc::new(Pace::new(&link.name, settings.flow.bytes_per_second_max)),
        pool: world.pool.clone(),
        back,
        stop: stop.clone(),
    };
    let mut asking = JoinSet::new();
    for cluster in [source, destination] {
        let (cluster, board) = (cluster.clone(), link.board.clone());
        let (manager, committed_only) = (orders.downgrade(), settings.link.committed_only);
        let (link, wall) = (link.name.clone(), world.wall);
        asking.spawn(Asker { link, cluster, board, wall, committed_only, manager }.keep());
    }
    asking.spawn(open_txns::keep(source.clone(), link.board.clone(), world.wall));
    let mut manager = JoinSet::new();
    let managed = PartitionManager::new(shared, reports, facts, link.board.clone(), limits);
    manager.spawn(managed.run(taken));
    (Copying { orders, link: link.name.clone(), manager, asking }, released)
}

impl Copying {
    /// Ends it: lanes wait for what is in flight.
    pub async fn end(self) {
        let Copying { orders, link, mut manager, mut asking } = self;
        drop(orders);
        while let Some(Err(error)) = manager.join_next().await {
            tracing::error!(%link, %error, "the partition manager ended in a panic");
        }
        asking.abort_all();
    }
}

async fn limits(settings: &LinkSettings, destination: &Cluster) -> Limits {
    let broker = destination.look(|metadata| metadata.brokers().next().map(|one| one.id));
    let told = match broker {
        Some(broker) => seal::producer_age_ms(destination, broker).await,
        None => None,
    };
    let age = told.unwrap_or(PRODUCER_AGE_MS_DEFAULT);
    let partition = usize::try_from(settings.flow.partition_bytes_max).unwrap_or(0);
    Limits {
        waiting_bytes_max: partition,
        fetch_bytes_max: partition,
        append_bytes_max: settings.flow.append_bytes_max,
        unpacked_bytes_max: unit_bytes(&settings.flow),
        held_bytes_max: held_bytes(&settings.flow),
        light_bytes_max: LIGHT_BYTES_MAX,
        producer_age_ms_max: (age - PRODUCER_AGE_MS_MARGIN).max(0),
        policy: settings.link.policy,
    }
}
