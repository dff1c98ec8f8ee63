//! A text that is drawn in place again and again, on a terminal; and an isolog that is waited for
//! while it is started anew.
//!
//! It never draws where nobody looks at a screen: scripts get what comes last alone.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Failure;
use super::complain;
use super::say;

/// For how long an isolog may not answer that is waited for: it is being started anew.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Clears the screen once.
const CLEAR: &str = "\x1b[2J";
/// Goes to the top left corner.
const HOME: &str = "\x1b[H";
/// Clears what is left of the line, and of the screen.
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// A screen, where there is one.
pub struct Live {
    /// Somebody looks at it.
    pub is_on: bool,
}

impl Live {
    /// Clears the screen; `is_wanted` where the output is for people.
    pub fn new(is_wanted: bool) -> Result<Live, Failure> {
        let is_on = is_wanted && std::io::stdout().is_terminal();
        if is_on {
            say(CLEAR)?;
        }
        Ok(Live { is_on })
    }

    /// Shows a text in the place of the one before.
    pub fn show(&self, text: &str) -> Result<(), Failure> {
        if self.is_on { say(&over(text)) } else { Ok(()) }
    }

    /// The screen is for what comes last.
    pub fn end(self) -> Result<(), Failure> {
        self.show("")
    }
}

/// The text over what the screen shows.
fn over(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}{REST_OF_LINE}\n"));
    format!("{HOME}{}{REST_OF_SCREEN}", lines.collect::<String>())
}

/// An isolog that is started anew while it is waited for: the order stands in the journal.
#[derive(Default)]
pub struct Away {
    since: Option<Instant>,
}

impl Away {
    /// What was answered; `None` where that is to be asked again, since isolog does not answer now,
    /// or has not read its journal since it did not.
    pub fn passes(
        &mut self,
        seen: Result<Vec<Value>, Failure>,
        is_whole: impl Fn(&Vec<Value>) -> bool,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let is_over = self.since.is_some_and(|since| since.elapsed() >= AWAY_MAX);
        match seen {
            Err(Failure::Away(text)) if !is_over => {
                if self.since.is_none() {
                    let cause = text.lines().next().unwrap_or_default();
                    complain(&format!("{cause}: the order stands, and is waited for"));
                }
                self.since.get_or_insert_with(Instant::now);
                Ok(None)
            }
            Err(failure) => Err(failure),
            Ok(seen) if self.since.is_some() && !is_over && !is_whole(&seen) => Ok(None),
            Ok(seen) => {
                self.since = None;
                Ok(Some(seen))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_leaves_nothing_of_the_old_screen() {
        assert_eq!(over("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_started_anew_is_waited_for_and_no_other_failure_is() {
        let away = || Err(Failure::Away("no answer".to_owned()));
        let whole = |seen: &Vec<Value>| !seen.is_empty();
        let row = || Ok(vec![Value::Null]);
        let mut one = Away::default();
        assert!(matches!(one.passes(Ok(Vec::new()), whole), Ok(Some(_))), "it may be deleted");
        assert!(matches!(one.passes(away(), whole), Ok(None)));
        assert!(matches!(one.passes(Ok(Vec::new()), whole), Ok(None)), "its journal is not read");
        assert!(matches!(one.passes(row(), whole), Ok(Some(_))));
        let refused = Err(Failure::Failed("no such link".to_owned()));
        assert!(matches!(one.passes(refused, whole), Err(Failure::Failed(_))));
        assert!(matches!(one.passes(away(), whole), Ok(None)));
        tokio::time::advance(AWAY_MAX).await;
        assert!(matches!(one.passes(Ok(Vec::new()), whole), Ok(Some(_))));
        assert!(matches!(one.passes(away(), whole), Ok(None)), "another time");
        tokio::time::advance(AWAY_MAX).await;
        assert!(matches!(one.passes(away(), whole), Err(Failure::Away(_))));
    }
}
