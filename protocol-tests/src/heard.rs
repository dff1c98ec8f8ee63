//! What a test's own thread logs, line by line.
//!
//! It never reads what the program prints: the lines are heard where they are made.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tracing::Dispatch;
use tracing::Event;
use tracing::Metadata;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::span;
use tracing::subscriber::DefaultGuard;

/// All lines of this thread: the level, then a field after the other.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

/// While it lives, lines are heard.
pub struct Listening {
    _heard: DefaultGuard,
    _another: Dispatch,
}

impl Heard {
    /// Hears what this thread logs from now on.
    pub fn begin() -> (Heard, Listening) {
        let heard = Heard::default();
        // with one alone, another test's thread that comes first decides that nobody wants a line
        let another = Dispatch::new(Heard::default());
        let guard = tracing::subscriber::set_default(heard.clone());
        (heard, Listening { _heard: guard, _another: another })
    }

    /// Those that hold a text, in order.
    pub fn lines(&self, part: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _never = write!(self.0, "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _never = write!(self.0, "{}={value} ", field.name());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
