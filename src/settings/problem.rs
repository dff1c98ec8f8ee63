//! One mistake in settings, said so that it can be mended without looking anything up.
//!
//! It never holds a secret: who makes a problem leaves out values of sensitive properties.

use std::fmt;

/// The most letters of a text: parsers of JSON repeat what they are given.
const TEXT_LETTERS_MAX: usize = 1_000;
/// A longer name is no property's.
const NAME_BYTES_MAX: usize = 100;

/// Where in the files something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A line of the config file, counted from 1.
    Line(usize),
    /// A `.properties` file.
    File(String),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Line(line) => write!(f, "(line {line})"),
            Spot::File(path) => write!(f, "(in {path})"),
        }
    }
}

/// What is no mistake and good to know, told in the same way.
pub type Note = Problem;

/// One mistake: where it is, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `link.dr`; `None` for the top of the file.
    pub place: Option<String>,
    /// The property, where there is one.
    pub key: Option<String>,
    /// The value as written, where it may be shown.
    pub value: Option<String>,
    /// Where it stands, where that is known.
    pub spot: Option<Spot>,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Problem {
    /// A mistake that belongs to no property.
    pub fn general(text: impl Into<String>) -> Problem {
        Problem { place: None, key: None, value: None, spot: None, text: text.into() }
    }

    /// A mistake of a section, or of one property in it.
    pub fn at(place: Option<&str>, key: Option<&str>, text: impl Into<String>) -> Problem {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Problem { place: owned(place), key: owned(key), ..Problem::general(text) }
    }

    /// The same, with the place in the files.
    pub fn found(self, spot: Option<Spot>) -> Problem {
        Problem { spot, ..self }
    }

    /// The same, showing the value.
    pub fn showing(self, value: Option<String>) -> Problem {
        Problem { value, ..self }
    }
}

/// A property's name; what is none is quoted and cut, since it may come from anywhere.
fn named(key: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match key.len() <= NAME_BYTES_MAX && key.bytes().all(legal) && !key.is_empty() {
        true => key.to_owned(),
        false => cut(&format!("{key:?}"), NAME_BYTES_MAX),
    }
}

/// At most so many letters of a text on one line.
fn cut(text: &str, most: usize) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut all = text.chars().map(plain);
    let shown: String = all.by_ref().take(most).collect();
    if all.next().is_some() { shown + "..." } else { shown }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.place.as_ref().map(|place| format!("[{place}]")));
        parts.extend(self.key.as_deref().map(named));
        parts.extend(self.value.as_ref().map(|value| format!("= {value}")));
        parts.extend(self.spot.as_ref().map(Spot::to_string));
        if !parts.is_empty() {
            write!(f, "{}: ", parts.join(" "))?;
        }
        f.write_str(&cut(&self.text, TEXT_LETTERS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_anywhere_is_told_on_one_line_and_not_whole() {
        let told = |key: &str, text: &str| Problem::at(None, Some(key), text).to_string();
        assert_eq!(told("acl.sync.ms", "is odd"), "acl.sync.ms: is odd");
        assert_eq!(told("a\nb", "is\nodd"), "\"a\\nb\": is odd");
        assert_eq!(told("", "is odd"), "\"\": is odd");
        let long = told(&"é".repeat(1_000_000), &"t".repeat(1_000_000));
        assert!(long.chars().count() < TEXT_LETTERS_MAX + 200, "{} letters", long.len());
        assert!(long.ends_with("ttt...") && long.starts_with("\"é"));
    }
}
