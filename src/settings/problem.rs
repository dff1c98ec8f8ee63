//! One mistake in settings, said so that it can be mended without looking anything up.
//!
//! It never holds a secret: who makes a problem leaves out values of sensitive properties.

use std::fmt;

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

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.place.as_ref().map(|place| format!("[{place}]")));
        parts.extend(self.key.clone());
        parts.extend(self.value.as_ref().map(|value| format!("= {value}")));
        parts.extend(self.spot.as_ref().map(Spot::to_string));
        if !parts.is_empty() {
            write!(f, "{}: ", parts.join(" "))?;
        }
        f.write_str(&self.text)
    }
}
