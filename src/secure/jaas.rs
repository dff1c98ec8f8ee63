//! The JAAS one-liner of `sasl.jaas.config`.
//!
//! It never repeats a value of the line: one of them is the password.
//!
//! ```text
//!  org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="b";
//! ```
//!
//! Quotes and escapes are those of Java's `StreamTokenizer`, which `JaasConfig` of Kafka's clients
//! reads the line with.

use std::collections::BTreeMap;
use std::fmt;

use super::secret::Secret;

/// The longest line that is read.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most options of one line.
const OPTIONS_MAX: usize = 64;

/// A login as the line tells it.
#[derive(Clone, PartialEq, Eq)]
pub struct Jaas {
    /// The last part of the class, such as `PlainLoginModule`.
    pub module: String,
    /// Options by name.
    pub options: BTreeMap<String, Secret>,
}

impl fmt::Debug for Jaas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} options", self.module, self.options.len())
    }
}

/// Why a line is not taken.
type Why = &'static str;

impl Jaas {
    /// Reads the line.
    pub fn parse(line: &str) -> Result<Jaas, Why> {
        if line.len() > LINE_BYTES_MAX {
            return Err("it is too long");
        }
        let mut words = Words { left: line };
        let class =
            words.next()?.plain().ok_or("it must begin with the class of a login module")?;
        let module = class.rsplit('.').next().unwrap_or_default().to_owned();
        let flag = words.next()?.plain().unwrap_or_default();
        let flags = ["required", "requisite", "sufficient", "optional"];
        if !flags.iter().any(|known| known.eq_ignore_ascii_case(&flag)) {
            return Err("behind the login module must stand \"required\"");
        }
        let mut options = BTreeMap::new();
        loop {
            match words.next()? {
                Word::End => break,
                Word::Nothing => return Err("it must end with a semicolon"),
                Word::Equals | Word::Quoted(_) => return Err("an option is name=\"value\""),
                Word::Plain(name) => {
                    let value = words.option()?;
                    options.insert(name, Secret::new(value));
                }
            }
            if options.len() > OPTIONS_MAX {
                return Err("it has too many options");
            }
        }
        match words.next()? {
            Word::Nothing => Ok(Jaas { module, options }),
            _ => Err("only one login module is taken: something stands behind the semicolon"),
        }
    }

    /// The value of an option.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.options.get(name)
    }
}

enum Word {
    Plain(String),
    Quoted(String),
    Equals,
    /// The semicolon.
    End,
    Nothing,
}

impl Word {
    fn plain(self) -> Option<String> {
        match self {
            Word::Plain(text) => Some(text),
            _ => None,
        }
    }
}

struct Words<'a> {
    left: &'a str,
}

impl Words<'_> {
    fn next(&mut self) -> Result<Word, Why> {
        self.left = self.left.trim_start();
        let Some(first) = self.left.chars().next() else { return Ok(Word::Nothing) };
        match first {
            '=' => Ok(self.skip(1, Word::Equals)),
            ';' => Ok(self.skip(1, Word::End)),
            '"' | '\'' => self.quoted(first).map(Word::Quoted),
            _ => {
                let ends = |letter: char| letter.is_whitespace() || "=;\"'".contains(letter);
                let end = self.left.find(ends).unwrap_or(self.left.len());
                let word = self.left[..end].to_owned();
                Ok(self.skip(end, Word::Plain(word)))
            }
        }
    }

    fn skip(&mut self, count: usize, word: Word) -> Word {
        self.left = &self.left[count..];
        word
    }

    /// What stands behind an option's name.
    fn option(&mut self) -> Result<String, Why> {
        let Word::Equals = self.next()? else { return Err("an option is name=\"value\"") };
        match self.next()? {
            Word::Plain(text) | Word::Quoted(text) => Ok(text),
            _ => Err("an option has no value"),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Why> {
        let mut text = String::new();
        let mut letters = self.left.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\n' | '\r' => break,
                '\\' => {
                    let (_, escaped) = letters.next().ok_or(OPEN)?;
                    text.push(unescaped(escaped));
                }
                _ if letter == quote => {
                    self.left = &self.left[at + 1..];
                    return Ok(text);
                }
                _ => text.push(letter),
            }
        }
        Err(OPEN)
    }
}

const OPEN: Why = "a quote is not closed";

/// `StreamTokenizer`'s escapes; octal ones are not taken, as nobody writes them.
fn unescaped(letter: char) -> char {
    match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_people_have_are_read() {
        let check = |line: &str, module: &str, options: &[(&str, &str)]| {
            let jaas = Jaas::parse(line).unwrap();
            let read: Vec<_> = jaas.options.iter().map(|(n, v)| (n.as_str(), v.expose())).collect();
            assert_eq!((jaas.module.as_str(), &*read), (module, options), "{line}");
        };
        check(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"alice\" password=\"a b=;'\\\"\\\\c\";",
            "PlainLoginModule",
            &[("password", "a b=;'\"\\c"), ("username", "alice")],
        );
        check(
            "x.ScramLoginModule required\n  username='t' password=\"h\"\n tokenauth=true ;",
            "ScramLoginModule",
            &[("password", "h"), ("tokenauth", "true"), ("username", "t")],
        );
        check("OAuthBearerLoginModule required ;\n", "OAuthBearerLoginModule", &[]);
    }

    #[test]
    fn wrong_lines_are_explained_and_never_shown() {
        for (line, part) in [
            ("", "class of a login module"),
            ("x.PlainLoginModule", "required"),
            ("x.PlainLoginModule required password=\"hunter2\"", "semicolon"),
            ("x.PlainLoginModule required password=\"hunter2;", "not closed"),
            ("x.PlainLoginModule required password;", "name=\"value\""),
            ("x.PlainLoginModule required \"hunter2\";", "name=\"value\""),
            ("x.PlainLoginModule required password=;", "no value"),
            ("x.PlainLoginModule required; y required;", "behind the semicolon"),
        ] {
            let said = Jaas::parse(line).unwrap_err();
            assert!(said.contains(part) && !said.contains("hunter2"), "{line}: {said}");
        }
        let jaas = Jaas::parse("x.Y required password=\"hunter2\";").unwrap();
        assert!(!format!("{jaas:?}").contains("hunter2"));
    }
}
