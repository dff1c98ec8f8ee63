//! What the source is to be asked by each of the two inlets of a lane.
//!
//! It never has a partition asked for by both: what moves from one to the other waits until no
//! answer of the first one can bring it.
//!
//! ```text
//!  nobody is behind               first: all
//!  some are, others are level     first: those that are level      second: those that are behind
//!  all are behind                 first: every other one           second: the others
//! ```

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::flow::lane::members::Address;
use crate::flow::lane::members::Wanted;

/// How many connections to its source a lane has at most.
pub const INLETS: usize = 2;

/// How the two are used.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The first one for all.
    #[default]
    One,
    /// The second one for those that are behind.
    Beside,
    /// Both for those that are behind, who are all.
    Split,
}

/// Who is asked for in which way.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that are not behind.
    pub level: usize,
    /// Those that are.
    pub behind: usize,
    /// Of those, by each inlet.
    pub by_inlet: [usize; INLETS],
    /// How they are shared out.
    pub way: Way,
}

impl Counts {
    /// Whether a second connection would be of use.
    pub fn want_second(&self) -> bool {
        self.behind > 0 && self.level + self.behind > 1
    }
}

/// What is wanted of whom.
#[derive(Debug, Default)]
pub struct Wants {
    wanted: [BTreeMap<Address, Wanted>; INLETS],
    /// Of whom that is not what it was.
    rewanted: [BTreeSet<Address>; INLETS],
    behind: BTreeSet<usize>,
    counts: Counts,
    is_second_open: bool,
    /// Whether an answer of an inlet is on its way.
    under_way: [bool; INLETS],
    /// Who is to be asked for by the other inlet, once that has come.
    moving: BTreeSet<usize>,
    /// What is asked of each that is behind, in bytes.
    each_bytes: [usize; INLETS],
}

impl Wants {
    /// Notes whether one is behind.
    pub fn note(&mut self, at: usize, is_behind: bool) {
        if is_behind {
            self.behind.insert(at);
        } else {
            self.behind.remove(&at);
        }
    }

    /// Counts, of so many members; who must be thought about again.
    pub fn count(&mut self, members: usize) -> Vec<usize> {
        let behind = self.behind.len();
        let mut counts = Counts { level: members - behind, behind, ..Counts::default() };
        counts.way = match (self.is_second_open && counts.want_second(), counts.level) {
            (false, _) => Way::One,
            (true, 0) => Way::Split,
            (true, _) => Way::Beside,
        };
        let second = match counts.way {
            Way::One => 0,
            Way::Beside => behind,
            Way::Split => self.behind.iter().filter(|at| place(Way::Split, **at) == 1).count(),
        };
        counts.by_inlet = [behind - second, second];
        let before = std::mem::replace(&mut self.counts, counts);
        match before.way == counts.way {
            true => Vec::new(),
            false => self.behind.iter().copied().collect(),
        }
    }

    /// As they were counted last.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Which inlet is to ask for one now, and for how many bytes if it is behind.
    pub fn inlet_of(&mut self, at: usize, address: &Address) -> (usize, usize) {
        let is_behind = self.behind.contains(&at);
        let wanted = if is_behind { place(self.counts.way, at) } else { 0 };
        let other = INLETS - 1 - wanted;
        let stays = self.under_way[other] && self.wanted[other].contains_key(address);
        if stays {
            self.moving.insert(at);
        }
        let inlet = if stays { other } else { wanted };
        (inlet, self.each_bytes[inlet])
    }

    /// One is asked for so by that inlet, and not by the other.
    pub fn want(&mut self, address: Address, inlet: usize, wanted: Option<Wanted>) {
        self.set(&address, INLETS - 1 - inlet, None);
        self.set(&address, inlet, wanted);
    }

    fn set(&mut self, address: &Address, inlet: usize, wanted: Option<Wanted>) {
        let is_same = match (&wanted, self.wanted[inlet].get(address)) {
            (Some(now), Some(before)) => now.is_of_the_stay(before) && now.asks_the_same(before),
            (now, before) => now.is_none() && before.is_none(),
        };
        if is_same {
            return;
        }
        self.rewanted[inlet].insert(address.clone());
        match wanted {
            Some(wanted) => drop(self.wanted[inlet].insert(address.clone(), wanted)),
            None => drop(self.wanted[inlet].remove(address)),
        }
    }

    /// One has left.
    pub fn forget(&mut self, at: usize, address: Address) {
        self.behind.remove(&at);
        self.moving.remove(&at);
        self.want(address, 0, None);
    }

    /// All that an inlet is to ask for.
    pub fn of(&self, inlet: usize) -> &BTreeMap<Address, Wanted> {
        &self.wanted[inlet]
    }

    /// Of whom that may not be what it was when this was last asked.
    pub fn take_rewanted(&mut self, inlet: usize) -> BTreeSet<Address> {
        std::mem::take(&mut self.rewanted[inlet])
    }

    /// The second inlet is open, or is no more.
    pub fn set_second_open(&mut self, is_open: bool) {
        self.is_second_open = is_open;
    }

    /// An inlet has asked, or has its answer; who must be thought about again.
    pub fn set_under_way(&mut self, inlet: usize, is_it: bool) -> BTreeSet<usize> {
        self.under_way[inlet] = is_it;
        if is_it { BTreeSet::new() } else { std::mem::take(&mut self.moving) }
    }

    /// What an inlet asks of each that is behind; who must be thought about again.
    pub fn set_each_bytes(&mut self, inlet: usize, bytes: usize) -> Vec<usize> {
        let before = std::mem::replace(&mut self.each_bytes[inlet], bytes);
        if before == bytes { Vec::new() } else { self.behind.iter().copied().collect() }
    }
}

/// Which inlet asks for one that is behind.
fn place(way: Way, at: usize) -> usize {
    match way {
        Way::One => 0,
        Way::Beside => 1,
        Way::Split => at % INLETS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartitionId;
    use crate::ids::TopicId;
    use crate::wire::topic::TopicRef;

    fn address(at: usize) -> Address {
        (TopicRef::Id(TopicId([7; 16])), PartitionId(at as i32))
    }

    fn inlets(wants: &mut Wants, members: usize) -> Vec<usize> {
        wants.count(members);
        (0..members).map(|at| wants.inlet_of(at, &address(at)).0).collect()
    }

    #[test]
    fn those_that_are_behind_are_asked_for_beside_those_that_are_level() {
        let mut wants = Wants::default();
        assert_eq!(inlets(&mut wants, 3), [0, 0, 0]);
        wants.note(1, true);
        assert_eq!(inlets(&mut wants, 3), [0, 0, 0], "the second one is not open yet");
        assert!(wants.counts().want_second());
        wants.set_second_open(true);
        assert_eq!(inlets(&mut wants, 3), [0, 1, 0]);
        assert_eq!(wants.counts().by_inlet, [0, 1]);
        wants.note(0, true);
        wants.note(2, true);
        assert_eq!(inlets(&mut wants, 3), [0, 1, 0], "every other one");
        assert_eq!((wants.counts().way, wants.counts().by_inlet), (Way::Split, [2, 1]));
        wants.note(1, false);
        assert_eq!(inlets(&mut wants, 3), [1, 0, 1]);
        wants.set_second_open(false);
        assert_eq!(inlets(&mut wants, 3), [0, 0, 0]);
    }

    #[test]
    fn one_alone_needs_no_second_connection() {
        let mut wants = Wants::default();
        wants.note(0, true);
        wants.set_second_open(true);
        assert_eq!(inlets(&mut wants, 1), [0]);
        assert!(!wants.counts().want_second());
    }

    #[test]
    fn what_moves_waits_for_the_answer_that_may_bring_it() {
        let mut wants = Wants::default();
        wants.set_second_open(true);
        wants.count(2);
        wants.want(address(0), 0, Some(Wanted::sample()));
        assert_eq!(wants.take_rewanted(0).len(), 1);
        wants.set_under_way(0, true);
        wants.note(0, true);
        assert_eq!(inlets(&mut wants, 2), [0, 0]);
        assert_eq!(wants.set_under_way(0, false), BTreeSet::from([0]));
        assert_eq!(inlets(&mut wants, 2), [1, 0]);
        wants.want(address(0), 1, Some(Wanted::sample()));
        assert!(wants.of(0).is_empty() && wants.of(1).contains_key(&address(0)));
        assert_eq!(wants.take_rewanted(0).len(), 1, "the first one's session forgets it");
        wants.forget(0, address(0));
        assert!(wants.of(1).is_empty() && wants.counts().behind == 1);
        wants.count(1);
        assert_eq!(wants.counts(), Counts { level: 1, ..Counts::default() });
    }
}
