//! Whether what stands at a mirror's name may be gone on with: its log must be a prefix of the
//! source's.
//!
//! It never writes. A topic without a record is a prefix of any; what holds records is refused,
//! since its records would have to be compared one by one first.

use crate::cluster::Cluster;
use crate::control::facts::Failed;
use crate::control::topic::Fault;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::looks;
use crate::sync::apply;

/// A source topic, and the topic that is to become its mirror.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub source: (TopicName, TopicId),
    pub mirror: (TopicName, TopicId),
}

/// Says nothing where it may; the fault is final where it may not.
pub(super) async fn compare(ctx: &Ctx, pair: Pair) -> Result<(), Failed> {
    let session = looks::session(ctx).await;
    let session = session.map_err(|fault| Failed { fault, is_final: false })?;
    same(&session.source, &pair.source).await?;
    same(&ctx.destination, &pair.mirror).await?;
    let name = &pair.mirror.0;
    if apply::is_empty(&ctx.destination, name).await? {
        tracing::info!(link = %ctx.name, topic = %name, "is there and empty: it is taken over");
        return Ok(());
    }
    let text = format!(
        "topic {name} is there at the destination and holds records: this version of isolog adopts \
         a topic that is not empty only for a link of the config file that names it in \
         mirror.topics; delete it there, or declare the link"
    );
    Err(Failed { fault: Fault { code: "TOPIC_EXISTS_ERROR".to_owned(), text }, is_final: true })
}

async fn same(cluster: &Cluster, (name, id): &(TopicName, TopicId)) -> Result<(), Failed> {
    if apply::id_of(cluster, name).await? == Some(*id) {
        return Ok(());
    }
    let (side, code) = (cluster.side(), "TOPIC_ID_CHANGED".to_owned());
    let text = format!(
        "the {side} topic {name} was deleted, or made anew, while its mirror was set up: create \
         the mirror again"
    );
    Err(Failed { fault: Fault { code, text }, is_final: true })
}
