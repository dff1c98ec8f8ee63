//! Whatever counts the memory of its whole process: hostile bytes, the guard's table, a quiet hour.
//!
//! Two of them never run at once: each takes `alone` first.

mod fetches;
mod hostile;
mod idle;
mod logins;
mod metadata;
mod scrapes;
mod shape;
mod units;

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

static ALONE: Mutex<()> = Mutex::new(());

/// One test of this program at a time: the heap is counted for all of them together.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
