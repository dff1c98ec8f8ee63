//! Whether a topic of one partition has got more: a registry's own topic tells of new schemas so.
//!
//! It never reads a record; who is told looks for itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::dial::TcpDial;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::only::OnlyPartition;
use crate::ids::Offset;
use crate::link::world::RECONNECT_MAX;
use crate::link::world::RECONNECT_MIN;
use crate::settings::exporters::Tail;

/// How often the end is asked for.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Calls `told` whenever the topic has got more, for ever; where it cannot be asked that is said,
/// and tried again.
pub async fn follow(who: &str, tail: &Tail, told: impl Fn()) {
    let (mut pause, mut end) = (RECONNECT_MIN, None);
    loop {
        let failed = look_on(tail, &mut end, &mut pause, &told).await;
        let topic = &tail.topic;
        tracing::warn!(
            exporter = who,
            %topic,
            "new schemas are found by polling alone while the registry's topic cannot be asked: \
             {failed}; it is tried again"
        );
        sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

async fn look_on(
    tail: &Tail,
    end: &mut Option<Offset>,
    pause: &mut Duration,
    told: &impl Fn(),
) -> ClusterError {
    let looking = async {
        let dial = Arc::new(TcpDial { timeout: tail.source.dial_timeout });
        let cluster = Cluster::connect(tail.source.clone(), dial, 0).await?;
        let own = OnlyPartition::new(cluster, tail.topic.clone());
        own.look().await?;
        loop {
            let (leader, partition) = own.leader().await?;
            let now = own.end(leader, partition.epoch, EndKind::HighWatermark).await?;
            *pause = RECONNECT_MIN;
            // what came while nobody asked has come too, before the first time as well
            if end.replace(now) != Some(now) {
                told();
            }
            sleep(LOOK_PAUSE).await;
        }
    };
    let ended: Result<std::convert::Infallible, ClusterError> = looking.await;
    match ended {
        Ok(never) => match never {},
        Err(error) => error,
    }
}
