//! Each instruction of each kind of order at which a process may end, all of them.
//!
//! It never throws dice.

use std::collections::BTreeMap;

use protocol_tests::control_ops::crashes::Point;
use protocol_tests::control_ops::crashes::all;
use protocol_tests::control_ops::crashes::kill_at_each;

#[test]
fn what_was_begun_ends_the_same_wherever_the_process_ends() {
    let mut sum: BTreeMap<Point, usize> = BTreeMap::new();
    for kind in all() {
        let counts = kill_at_each(&kind);
        let total = counts.values().sum::<usize>();
        println!("{:3} points: {} {counts:?}", total, kind.name);
        assert!(counts.contains_key(&Point::Written), "{}: it is written", kind.name);
        counts.into_iter().for_each(|(point, count)| *sum.entry(point).or_default() += count);
    }
    println!("{:3} points in all: {sum:?}", sum.values().sum::<usize>());
    assert_eq!(sum.len(), Point::ALL.len(), "each kind of point was met: {sum:?}");
}
