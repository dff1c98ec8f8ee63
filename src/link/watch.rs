//! What is wrong with a link by what its partitions show: topics that stand still as a whole,
//! rights that are missing, a cluster that answers nobody.
//!
//! It never asks a cluster and never tells a partition anything: it reads what is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use crate::flow::Wall;
use crate::flow::stats::Standing;
use crate::ids::TopicName;
use crate::link::status::Link;
use crate::mirror::lag::Barred;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// The pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks again and again, until it is dropped.
pub(super) async fn keep(link: Link, wall: Wall) {
    loop {
        sleep(PAUSE).await;
        link.tell_standing(troubles(link.board.standing()));
        let halted = link.board.halted().into_iter().map(|(name, _)| name.mirror_topic);
        link.tell_halted(&halted.collect());
        let away = link.board.away(wall.now());
        link.tell_away(away.map(|(side, why)| format!("the {side} does not answer: {why}")));
    }
}

fn troubles(standing: BTreeMap<TopicName, Standing>) -> Vec<Trouble> {
    let trouble = |(name, one): (&TopicName, &Standing)| {
        let barred = one.barred.map(|barred| Trouble::new(name, Kind::Hidden, lacks(barred)));
        let whole = one.whole().map(|(label, text)| {
            Trouble::new(name, Kind::Halted(label), format!("all of it is halted: {text}"))
        });
        barred.or(whole)
    };
    standing.iter().filter_map(trouble).collect()
}

fn lacks(Barred { side, what }: Barred) -> String {
    let operations = what.operations();
    format!(
        "the {side} refuses us {operations} on it: TOPIC_AUTHORIZATION_FAILED (29): grant what \
         `isolog check` prints; it goes on by itself"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Side;
    use crate::mirror::lag::Doing;

    #[test]
    fn a_missing_right_is_named() {
        let text = lacks(Barred { side: Side::Destination, what: Doing::Appending });
        assert!(text.contains("the destination refuses us Write on it"), "{text}");
    }
}
