//! Instances of one group against a coordinator, over many seeds.
//!
//! It never reads a clock.

use protocol_tests::group_ops::Tally;
use protocol_tests::group_ops::run_seed;
use protocol_tests::seeds::on_all_cores;
use protocol_tests::seeds::wanted;

#[test]
fn one_at_a_time_has_the_work() {
    let seeds = wanted();
    let is_one = seeds.clone().count() == 1;
    let mut sum = Tally::default();
    let run = |seed| {
        std::panic::catch_unwind(|| run_seed(seed, 5_000)).unwrap_or_else(|_| {
            panic!("replay: ISOLOG_SEED={seed} cargo test -p protocol-tests --test sim group_ops")
        })
    };
    for tally in on_all_cores(seeds, run) {
        sum.steps += tally.steps;
        sum.takeovers += tally.takeovers;
        sum.generations += tally.generations;
        sum.crashes += tally.crashes;
    }
    println!("{sum:?}");
    if !is_one {
        let least = [sum.takeovers, sum.generations, sum.crashes];
        assert!(least.iter().all(|count| *count > 100), "the worlds are too quiet: {sum:?}");
    }
}
