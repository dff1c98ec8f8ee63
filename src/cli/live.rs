//! A text that is drawn in place again and again, on a terminal.
//!
//! It never draws where nobody looks at a screen: scripts get what comes last alone.

use std::io::IsTerminal;

use super::Failure;
use super::say;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_leaves_nothing_of_the_old_screen() {
        assert_eq!(over("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
