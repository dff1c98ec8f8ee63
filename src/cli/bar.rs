//! The line of progress of a long look: how far, how fast, how long yet.
//!
//! It never writes where nobody watches: standard error, and only when that is a terminal.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::audit::verify::Progress;

use super::verify::line;

/// How often the line is drawn.
const PAUSE: Duration = Duration::from_millis(250);
/// Letters of a whole bar.
const BAR_LETTERS: u64 = 24;

/// What a line shows.
#[derive(Copy, Clone, Debug, Default)]
pub struct Line {
    /// Offsets that are done, and all.
    pub done: u64,
    /// All offsets.
    pub all: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Partitions that are done, and all.
    pub partitions: (u64, u64),
    /// Differences found.
    pub differences: u64,
}

/// A bar that is being shown.
pub struct Bar {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// Shows the progress until `end`, if anybody watches.
pub fn show(progress: &Arc<Progress>, is_watched: bool) -> Bar {
    let stop = CancellationToken::new();
    let (ended, progress) = (stop.clone(), progress.clone());
    let task = is_watched.then(|| {
        tokio::spawn(async move {
            let start = Instant::now();
            while !ended.is_cancelled() {
                show_line(&draw(&line(&progress), start.elapsed()));
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = ended.cancelled() => {}
                }
            }
            show_line("");
        })
    });
    Bar { stop, task }
}

/// Over the line before, if anybody watches.
fn show_line(text: &str) {
    let _seen = write!(std::io::stderr(), "\r{text}\x1b[K");
}

impl Bar {
    /// Takes the line away.
    pub async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            // it draws and nothing else
            let _ = task.await;
        }
    }
}

fn draw(line: &Line, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let part = |whole: u64| match line.all {
        0 => 0,
        all => (u128::from(line.done.min(all)) * u128::from(whole) / u128::from(all)) as u64,
    };
    let letters = part(BAR_LETTERS) as usize;
    let bar = "#".repeat(letters) + &"-".repeat(BAR_LETTERS as usize - letters);
    let rate = line.bytes as f64 / seconds / 1e6;
    let left = match line.done {
        0 => "?".to_owned(),
        done => {
            let seconds = seconds * (line.all.saturating_sub(done)) as f64 / done as f64;
            format!("{}:{:02}", seconds as u64 / 60, seconds as u64 % 60)
        }
    };
    let differences = match line.differences {
        0 => String::new(),
        count => format!(", {count} DIFFERENCES"),
    };
    format!(
        "[{bar}] {:>3} %  {} of {} partitions  {:.1} GB  {rate:.0} MB/s  {left} left{differences}",
        part(100),
        line.partitions.0,
        line.partitions.1,
        line.bytes as f64 / 1e9
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long_yet() {
        let bytes = 3_000_000_000;
        let line = Line { done: 50, all: 200, bytes, partitions: (1, 3), differences: 0 };
        let drawn = draw(&line, Duration::from_secs(10));
        assert_eq!(
            drawn,
            "[######------------------]  25 %  1 of 3 partitions  3.0 GB  300 MB/s  0:30 left"
        );
        assert!(draw(&Line { differences: 2, ..line }, PAUSE).ends_with(", 2 DIFFERENCES"));
        assert!(draw(&Line::default(), Duration::ZERO).contains("  0 %"));
    }
}
