//! Where both logs end, asked for wherever no lane tells it: at the source of partitions that are
//! halted, that rest, or whose fetch goes unanswered; at the destination of those that nothing is
//! appended to.
//!
//! It never judges: what it finds is for people, and an end beyond the copy is a doubt, for which
//! the manager has both logs looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::Each;
use crate::cluster::EndKind;
use crate::cluster::Listed;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::flow::Wall;
use crate::flow::entry::ToManager;
use crate::flow::stats::Board;
use crate::flow::stats::Cell;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::lag::DestinationEnd;
use crate::mirror::lag::SourceEnd;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;

/// The pause between two rounds, and how long a partition may be silent before it is asked about.
const PAUSE: Duration = Duration::from_secs(5);
/// What one broker may take to answer. With the pause it is less than `END_AGE_MS_MAX`, so that a
/// cluster that answers is never shown as unknown.
const ASK_MAX: Duration = Duration::from_secs(5);
/// We may not see it.
const TOPIC_AUTHORIZATION_FAILED: KafkaCode = KafkaCode(29);
/// So many partitions are asked about in one question.
const ASKED_MAX: usize = 1_000;

type Asked = Vec<(TopicPartition, LeaderEpoch, Arc<Cell>)>;

/// Who asks one cluster of a link.
#[derive(Clone)]
pub struct Asker {
    /// Whose partitions.
    pub link: LinkName,
    /// Which.
    pub cluster: Arc<Cluster>,
    /// Where the partitions are shown.
    pub board: Arc<Board>,
    /// The time.
    pub wall: Wall,
    /// Up to the source's last stable offset, or its high watermark.
    pub committed_only: bool,
    /// Who is told of doubts.
    pub manager: mpsc::WeakSender<ToManager>,
}

/// What one broker said.
#[derive(Default)]
struct Said {
    /// That another one leads.
    is_stale: bool,
    /// Partitions whose log ends beyond the copy.
    doubts: Vec<TopicPartition>,
}

impl Asker {
    /// Asks round after round, until it is dropped.
    pub async fn keep(self) {
        loop {
            sleep(PAUSE).await;
            self.round().await;
        }
    }

    /// Asks about every partition of which nothing was heard for a pause.
    async fn round(&self) {
        let began = self.wall.now();
        let by_leader = self.silent(TimestampMs(began.0 - PAUSE.as_millis() as i64));
        let mut questions = JoinSet::new();
        for (leader, asked) in by_leader {
            let asker = self.clone();
            questions.spawn(async move { timeout(ASK_MAX, asker.ask(leader, asked)).await });
        }
        let side = self.cluster.side();
        if questions.is_empty() && self.board.is_silent(side) {
            // nobody is left to be asked about: that is no answer
            return self.board.note_round(side, began, self.knock().await);
        }
        let (mut is_stale, mut answers, mut trouble) = (false, 0, None);
        while let Some(answered) = questions.join_next().await {
            match answered {
                Ok(Ok(Ok(said))) => {
                    answers += 1;
                    is_stale |= said.is_stale;
                    self.doubt(said.doubts).await;
                }
                Ok(Ok(Err(error))) => trouble = Some(error.to_string()),
                Ok(Err(_)) => trouble = Some("a leader does not tell its ends in time".to_owned()),
                Err(error) => {
                    tracing::error!(link = %self.link, %error, "asking for ends ended in a panic");
                }
            }
        }
        if let Some(error) = &trouble {
            tracing::debug!(link = %self.link, %side, %error, "ends are not known");
        }
        self.board.note_round(side, began, trouble.filter(|_| answers == 0));
        if is_stale && let Err(error) = self.cluster.refresh(Wanted::All).await {
            tracing::debug!(%error, "metadata could not be read");
        }
    }

    /// Why no broker says anything; `None` where one does.
    async fn knock(&self) -> Option<String> {
        match timeout(ASK_MAX, self.cluster.refresh(Wanted::Topics(&[]))).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no broker answers in time".to_owned()),
        }
    }

    fn silent(&self, since: TimestampMs) -> BTreeMap<BrokerId, Asked> {
        let side = self.cluster.side();
        let mut by_leader: BTreeMap<BrokerId, Asked> = BTreeMap::new();
        for (name, cell) in self.board.silent(side, since) {
            let tp = match side {
                Side::Source => name.source(),
                Side::Destination => name.mirror(),
            };
            // Asked by name: the ends of another topic of that name say nothing.
            let topic = self.cluster.topic(&tp.topic);
            topic.iter().for_each(|topic| self.refused(&cell, topic.error));
            let id = topic.map(|topic| topic.id);
            let is_it = id.is_some_and(|id| id == cell.id_at(side) || id == TopicId::NIL);
            let partition = self.cluster.partition(&tp).filter(|_| is_it);
            if let Some((leader, epoch)) = partition.and_then(|one| Some((one.leader?, one.epoch)))
            {
                by_leader.entry(leader).or_default().push((tp, epoch, cell));
            }
        }
        by_leader
    }

    async fn ask(&self, leader: BrokerId, asked: Asked) -> Result<Said, ClusterError> {
        let mut said = Said::default();
        for some in asked.chunks(ASKED_MAX) {
            let at = self.wall.now();
            let tps: Vec<_> = some.iter().map(|(tp, epoch, _)| (tp.clone(), *epoch)).collect();
            let list = |kind: EndKind| self.cluster.list_offsets(leader, &tps, kind);
            // The first one before the other: at the source what grows in between is rather held
            // than copied, at the destination it is rather replicated than a doubt.
            let first = match self.cluster.side() {
                Side::Source if self.committed_only => Some(list(EndKind::Stable).await?),
                Side::Source => None,
                Side::Destination => Some(list(EndKind::LogEnd).await?),
            };
            let high = list(EndKind::HighWatermark).await?;
            let first = first.as_ref().unwrap_or(&high);
            for (tp, _, cell) in some {
                match both(tp, first, &high) {
                    Some(Ok((first, high))) => self.tell(tp, cell, (first, high, at), &mut said),
                    Some(Err(code)) => {
                        said.is_stale |= code.remedy() == Remedy::Refresh;
                        self.refused(cell, code);
                    }
                    None => {}
                }
            }
        }
        Ok(said)
    }

    fn tell(
        &self,
        tp: &TopicPartition,
        cell: &Cell,
        (first, hwm, at): (Offset, Offset, TimestampMs),
        said: &mut Said,
    ) {
        match self.cluster.side() {
            Side::Source => {
                cell.tell_end(SourceEnd { end: first, held: first.distance_to(hwm), at });
            }
            Side::Destination => {
                if cell.tell_there(DestinationEnd { end: first, hwm: hwm.min(first), at }) {
                    said.doubts.push(tp.clone());
                }
            }
        }
    }

    /// What the source does not show us any more is not known from now on.
    fn refused(&self, cell: &Cell, code: KafkaCode) {
        if self.cluster.side() == Side::Source && code == TOPIC_AUTHORIZATION_FAILED {
            cell.refuse_end(self.wall.now());
        }
    }

    /// Nobody waits for a manager that has ended.
    async fn doubt(&self, doubts: Vec<TopicPartition>) {
        let Some(manager) = self.manager.upgrade() else { return };
        for tp in doubts {
            let _ = manager.send(ToManager::Doubt(tp)).await;
        }
    }
}

fn both(
    tp: &TopicPartition,
    first: &Each<Listed>,
    high: &Each<Listed>,
) -> Option<Result<(Offset, Offset), KafkaCode>> {
    let (first, high) = (*first.get(tp)?, *high.get(tp)?);
    Some(first.and_then(|first| Ok((first.offset, high?.offset))))
}
