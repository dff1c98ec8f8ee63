//! The control machine against two clusters of maps and a journal, over many seeds.
//!
//! It never reads a clock to judge; the rate that it prints is for people.

use protocol_tests::control_ops::Tally;
use protocol_tests::control_ops::run_seed;
use protocol_tests::seeds::on_all_cores;
use protocol_tests::seeds::wanted;

/// What found something beyond the seeds of every day: a seal behind a halt that flow had been told
/// of, and not that it was over; and a declared link whose row was not written when its instance
/// lost the control role, and which it forgot.
const FOUND: [u64; 2] = [7833, 610];

#[test]
fn what_is_ordered_ends_as_it_was_written() {
    let seeds = wanted();
    let is_one = seeds.clone().count() == 1;
    let (mut sum, began) = (Tally::default(), std::time::Instant::now());
    let run = |seed| {
        std::panic::catch_unwind(|| run_seed(seed, 3_000)).unwrap_or_else(|_| {
            panic!("replay: ISOLOG_SEED={seed} cargo test -p protocol-tests --test sim control_ops")
        })
    };
    let found: Vec<Tally> = FOUND.into_iter().filter(|_| !is_one).map(run).collect();
    for tally in on_all_cores(seeds, run).into_iter().chain(found) {
        sum.steps += tally.steps;
        sum.counted += tally.counted;
        sum.skipped += tally.skipped;
        sum.obeyed += tally.obeyed;
        sum.refused += tally.refused;
        sum.crashes += tally.crashes;
        sum.sealed += tally.sealed;
        sum.bound += tally.bound;
        sum.committed += tally.committed;
    }
    let rate = sum.steps as f64 / began.elapsed().as_secs_f64();
    println!("{sum:?}, {rate:.0} steps/s");
    if !is_one {
        let least = [sum.counted, sum.skipped, sum.obeyed, sum.refused, sum.crashes, sum.sealed];
        let mut least = least.into_iter().chain([sum.bound, sum.committed]);
        assert!(least.all(|count| count > 100), "the worlds are too quiet: {sum:?}");
    }
}
