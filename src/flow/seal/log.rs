//! What lies before a seal: the last batches of the destination's log, read backwards.
//!
//! It never reads further back than it must to find what was mirrored last.

use crate::flow::probe::tail::LogEye;
use crate::flow::probe::tail::LookError;
use crate::flow::seal::Ask;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::BatchView;
use crate::wire::filler::COMPACTED_END;
use crate::wire::filler::NO_TIMESTAMP;
use crate::wire::filler::seal::Record;
use crate::wire::filler::seal::Whose;
use crate::wire::filler::seal::whose;
use crate::wire::reframe::Bounds;

/// How many batches are looked at, for what was mirrored last and for a record to be repeated.
const BACK_MAX: usize = 500;
/// How far back a look reaches at most where the log has holes: 2^40 offsets in so many steps.
const STEPS_MAX: u32 = 40;
/// How many answers one step may take.
const ANSWERS_MAX: usize = 64;

/// What lies below an offset.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// That offset.
    pub end: Offset,
    /// The greatest time of the batch before it.
    pub timestamp: TimestampMs,
    /// The last record, where one may have to be repeated.
    pub record: Option<Record>,
    /// The first offset of the source that is not mirrored; `None` where nothing is known.
    pub source_next: Option<Offset>,
    /// A seal stands there already.
    pub stands: Option<Offset>,
}

/// Looks at what lies below `end`.
pub(super) async fn before(
    log: &mut LogEye<'_>,
    end: Offset,
    ask: &Ask,
) -> Result<Before, LookError> {
    let confirmed = ask.known.filter(|known| known.end == end);
    let mut found = Before {
        end,
        timestamp: NO_TIMESTAMP,
        record: None,
        source_next: confirmed.map(|known| known.source_next),
        stands: None,
    };
    let wants_record = ask.takes.is_compacted != Some(false)
        && (end >= COMPACTED_END || ask.takes.leaves_batches == Some(false));
    let mut below = end;
    for step in 0..BACK_MAX {
        let Some(batch) = last_below(log, below).await? else { break };
        let whose = whose(&batch, ask.writer);
        if whose == Whose::Seal {
            return Ok(Before { stands: Some(batch.base_offset()), ..found });
        }
        if step == 0 {
            found.timestamp = batch.max_timestamp();
        }
        if wants_record && found.record.is_none() {
            found.record = Record::last_of(&batch, &Bounds::default());
        }
        if found.source_next.is_none() && whose == Whose::Mirrored {
            found.source_next = Some(batch.next_offset());
        }
        if found.source_next.is_some() && (found.record.is_some() || !wants_record) {
            return Ok(found);
        }
        below = batch.base_offset();
    }
    let is_empty = end == log.start;
    let known = ask.known.map(|known| known.source_next.min(end));
    found.source_next = found.source_next.or(known).or(is_empty.then_some(end));
    Ok(found)
}

/// The last batch below an offset, over the holes that a cleaner left.
async fn last_below(log: &mut LogEye<'_>, end: Offset) -> Result<Option<BatchView>, LookError> {
    for step in 0..STEPS_MAX {
        let from = end.get().saturating_sub(1 << step).max(log.start.get());
        let Some(mut from) = Offset::new(from).filter(|from| *from < end) else { break };
        let is_at_start = from == log.start;
        let mut last = None;
        for _ in 0..ANSWERS_MAX {
            let seen = log.look(from).await?.batches;
            let Some(batch) = seen.into_iter().take_while(|one| one.base_offset() < end).last()
            else {
                break;
            };
            from = batch.next_offset();
            last = Some(batch);
            if from >= end {
                break;
            }
        }
        if last.is_some() || is_at_start {
            return Ok(last);
        }
    }
    Ok(None)
}
