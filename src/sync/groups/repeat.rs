//! How long an offset stands at the destination before it is committed again.
//!
//! It never commits one.

use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::sync::groups::Follower;

/// For how long the destination keeps offsets.
const RETENTION: &str = "offsets.retention.minutes";
/// Kafka's default of it, where it may not be read: a week.
const RETENTION_DEFAULT_MINUTES: i64 = 7 * 24 * 60;
/// An offset is committed again when it has stood for this share of that.
const RETENTION_SHARE: i64 = 4;
/// How often the retention is read: it changes when a broker is started with another.
const RETENTION_READ: Duration = Duration::from_secs(300);

impl Follower {
    /// How long an offset may stand at the destination before it is committed again, in ms.
    pub(super) async fn repeat_ms(&mut self, destination: &Cluster) -> i64 {
        if let Some((at, ms)) = self.repeat.filter(|(at, _)| at.elapsed() < RETENTION_READ) {
            self.repeat = Some((at, ms));
            return ms;
        }
        let minutes = retention(destination).await.unwrap_or(RETENTION_DEFAULT_MINUTES);
        let ms = minutes.saturating_mul(60_000) / RETENTION_SHARE;
        self.repeat = Some((Instant::now(), ms));
        ms
    }
}

async fn retention(destination: &Cluster) -> Option<i64> {
    let broker = destination.look(|metadata| metadata.brokers().next().map(|one| one.id))?;
    let told = destination.describe_broker_configs(broker, Some(&[RETENTION])).await;
    told.ok()?.ok()?.get(RETENTION)?.value.as_ref()?.parse().ok()
}
