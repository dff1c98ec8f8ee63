//! How many sockets to brokers the process holds: in all, and to each address.
//!
//! It never takes the last descriptors: some stay for the service port, so that health and metrics
//! answer whatever the clusters claim.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

use crate::cluster::dial::DialError;

/// Descriptors that brokers never get: the service port's connections, files, the runtime's own.
const KEPT: usize = 128;
/// The most sockets in all, however many descriptors there may be.
const SOCKETS_MAX: usize = 16_384;
/// The most sockets to one address: a broker is one lane to each broker of the other side, a few
/// looks and questions. More brokers than that behind one address are none.
const ADDRESS_MAX: usize = 512;
/// What is taken for "no limit".
const UNLIMITED: u64 = 1 << 20;

/// The process's own.
static SOCKETS: OnceLock<Sockets> = OnceLock::new();

/// The bounds, and who is within them.
#[derive(Debug)]
pub(super) struct Sockets {
    max: usize,
    address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// By host and port, where there are any.
    by_address: BTreeMap<(String, u16), usize>,
}

/// One socket's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    sockets: &'static Sockets,
    address: (String, u16),
}

impl Sockets {
    /// The process's own. The first call raises the soft limit of open files to the hard one.
    pub fn of_process() -> &'static Sockets {
        SOCKETS.get_or_init(|| Sockets::within(files_max()))
    }

    /// For so many descriptors.
    fn within(files: usize) -> Sockets {
        let max = files.saturating_sub(KEPT).max(files / 2).min(SOCKETS_MAX);
        Sockets { max, address_max: ADDRESS_MAX, open: Mutex::default() }
    }

    /// In all, and to one address.
    pub fn bounds(&self) -> (usize, usize) {
        (self.max, self.address_max)
    }

    /// Whether one more that only asks questions may be opened: a quarter of all places is left to
    /// those that carry records, or nothing would be copied where there are too few.
    pub fn may_ask(&self, host: &str, port: u16) -> Result<(), DialError> {
        let asking = |max: usize| max - max / 4;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.by_address.get(&(host.to_owned(), port)).copied().unwrap_or(0);
        match (open.all >= asking(self.max), at >= asking(self.address_max)) {
            (true, _) => Err(DialError::NoDescriptor(open.all)),
            (false, true) => Err(DialError::Crowded(at)),
            (false, false) => Ok(()),
        }
    }

    /// A place for one more, if there is room.
    pub fn place(&'static self, host: &str, port: u16) -> Result<Place, DialError> {
        let address = (host.to_owned(), port);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.max {
            return Err(DialError::NoDescriptor(self.max));
        }
        let at = open.by_address.entry(address.clone()).or_default();
        if *at >= self.address_max {
            return Err(DialError::Crowded(self.address_max));
        }
        *at += 1;
        open.all += 1;
        Ok(Place { sockets: self, address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(at) = open.by_address.get_mut(&self.address) {
            *at = at.saturating_sub(1);
            if *at == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// Raises the soft limit as far as it goes, and tells how far that is.
fn files_max() -> usize {
    let known = getrlimit(Resource::Nofile);
    let hard = known.maximum.unwrap_or(UNLIMITED);
    let soft = known.current.unwrap_or(UNLIMITED);
    let raised = Rlimit { current: Some(hard), maximum: known.maximum };
    let reached = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(error) => {
            tracing::warn!(%error, soft, hard, "the soft limit of open files stays");
            soft
        }
    };
    usize::try_from(reached).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_whatever_the_limit() {
        let check = |files: usize, max: usize| assert_eq!(Sockets::within(files).max, max);
        check(1_024, 1_024 - KEPT);
        check(1 << 20, SOCKETS_MAX);
        check(256, 128);
        check(64, 32);
    }

    #[test]
    fn five_hundred_leaders_at_one_address_leave_room_for_others() {
        let sockets: &'static Sockets =
            Box::leak(Box::new(Sockets { max: 20, address_max: 8, open: Mutex::default() }));
        let mut places: Vec<_> = (0..8).map(|_| sockets.place("one", 1).unwrap()).collect();
        let said = sockets.place("one", 1).unwrap_err().to_string();
        assert!(said.contains("8 connections to this address"), "{said}");
        places.extend((0..12).map(|port| sockets.place("other", port).unwrap()));
        let said = sockets.place("third", 1).unwrap_err().to_string();
        assert!(said.contains("LimitNOFILE"), "{said}");
        drop(places);
        assert!(sockets.open.lock().unwrap().by_address.is_empty());
        assert!(sockets.place("one", 1).is_ok());
    }

    #[test]
    fn questions_leave_room_for_records() {
        let sockets: &'static Sockets =
            Box::leak(Box::new(Sockets { max: 20, address_max: 12, open: Mutex::default() }));
        let mut places: Vec<_> = (0..9).map(|_| sockets.place("one", 1).unwrap()).collect();
        let said = sockets.may_ask("one", 1).unwrap_err().to_string();
        assert!(said.contains("9 connections to this address"), "{said}");
        places.extend((0..6).map(|port| sockets.place("other", port).unwrap()));
        let said = sockets.may_ask("third", 1).unwrap_err().to_string();
        assert!(said.contains("LimitNOFILE"), "{said}");
        // what carries records still has a place at both
        places.extend([sockets.place("one", 1).unwrap(), sockets.place("third", 1).unwrap()]);
        drop(places);
        assert!(sockets.may_ask("one", 1).is_ok());
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let known = getrlimit(Resource::Nofile);
        let low = known.maximum.unwrap_or(UNLIMITED).min(512);
        setrlimit(Resource::Nofile, Rlimit { current: Some(low), ..known }).unwrap();
        let reached = files_max();
        assert_eq!(reached as u64, known.maximum.unwrap_or(UNLIMITED));
        assert_eq!(getrlimit(Resource::Nofile).current, Some(reached as u64));
    }
}
