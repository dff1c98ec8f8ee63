//! How a command ends: a signal asks for it, and a deadline sees to it.
//!
//! It never depends on the tasks that are to end: a thread of its own hears the signals and counts
//! the time, so that a runtime all of whose threads are busy ends too.

use std::process::exit;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use super::FAILED;
use super::Failure;

/// For how long an end in good order may take. After that the process ends as a kill would end it,
/// which is as safe (docs/OFFSETS.md).
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(4);
/// For how long the last line may take: nobody may be reading standard error.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);

/// A command that may be asked to end.
pub struct Stop {
    /// Cancelled by the first signal.
    pub token: CancellationToken,
    signal: Arc<OnceLock<&'static str>>,
}

impl Stop {
    /// Hears signals from now on. `late` is the exit code of an end that was not in good order,
    /// because it took too long.
    pub fn hear(late: u8) -> Result<Stop, Failure> {
        Stop::hear_within(STOP_WAIT_MAX, late)
    }

    /// The same with another deadline, for a command that has to remove what it made.
    pub fn hear_within(within: Duration, late: u8) -> Result<Stop, Failure> {
        let failed = |cause| Failure::Failed(format!("cannot listen for signals: {cause}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let signals = {
            let _inside = runtime.enter();
            Signals::listen().map_err(failed)?
        };
        let stop = Stop { token: CancellationToken::new(), signal: Arc::default() };
        let (token, signal) = (stop.token.clone(), stop.signal.clone());
        let watch = move || watch(&runtime, signals, (&token, &signal), (within, late));
        thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(failed)?;
        Ok(stop)
    }

    /// The name of the signal that came.
    pub fn signal(&self) -> &'static str {
        self.signal.get().copied().unwrap_or_default()
    }
}

/// Ends the process where nothing else does.
fn watch(
    runtime: &Runtime,
    mut signals: Signals,
    (token, signal): (&CancellationToken, &OnceLock<&'static str>),
    (within, late): (Duration, u8),
) {
    runtime.block_on(async {
        // only this thread sets it
        let _ = signal.set(signals.next().await);
        token.cancel();
        tokio::select! {
            () = tokio::time::sleep(within) => {
                let seconds = within.as_secs();
                leave(format!("what was not done within {seconds} s is given up"), late)
            }
            name = signals.next() => leave(format!("ended at once by {name}"), FAILED),
        }
    });
}

/// Says why, if anybody reads it, and ends the process.
fn leave(text: String, code: u8) {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        super::complain(&text);
        let _ = told.send(());
    });
    let _late_or_told = heard.recv_timeout(LAST_WORDS_MAX);
    exit(i32::from(code))
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
