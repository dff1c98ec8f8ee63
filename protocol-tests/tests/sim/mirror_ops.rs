//! The partition machine against a ten-line broker, over many seeds.
//!
//! It never reads a clock to judge; the rate that it prints is for people.

use protocol_tests::mirror_ops::Tally;
use protocol_tests::mirror_ops::run_seed;
use protocol_tests::seeds::on_all_cores;
use protocol_tests::seeds::wanted;

#[test]
fn the_copy_is_exact_whatever_fails() {
    let seeds = wanted();
    let is_one = seeds.clone().count() == 1;
    let (mut sum, began) = (Tally::default(), std::time::Instant::now());
    let run = |seed| {
        std::panic::catch_unwind(|| run_seed(seed, 3_000)).unwrap_or_else(|_| {
            panic!("replay: ISOLOG_SEED={seed} cargo test -p protocol-tests --test sim mirror_ops")
        })
    };
    for tally in on_all_cores(seeds, run) {
        sum.steps += tally.steps;
        sum.copied += tally.copied;
        sum.filled += tally.filled;
        sum.anew += tally.anew;
        sum.handed += tally.handed;
        sum.halted += tally.halted;
        sum.level += 1 - tally.halted;
    }
    let rate = sum.steps as f64 / began.elapsed().as_secs_f64();
    println!("{sum:?}, {rate:.0} steps/s");
    if !is_one {
        assert!(
            sum.copied > 10_000 && sum.handed > 500 && sum.halted > 0 && sum.level > 0,
            "the worlds are too quiet: {sum:?}"
        );
    }
}
