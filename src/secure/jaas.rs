//! The JAAS one-liner of `sasl.jaas.config`.
//!
//! It never repeats a value of the line: one of them is the password.
//!
//! ```text
//!  org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="b";
//! ```
//!
//! Java's `JaasConfig` reads the line with a `StreamTokenizer`; `Words` does the same, quirk by
//! quirk, so that a password reaches the broker as it does from Java. The test
//! `jaas_lines_reach_the_broker_as_from_java` asks Java.

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
        let mut words = Words::of(line);
        let class = words.next()?.text().ok_or("it must begin with the class of a login module")?;
        if class.contains(' ') {
            return Err(IN_QUOTES);
        }
        let module = class.rsplit('.').next().unwrap_or_default().to_owned();
        let flag = match words.next()? {
            Word::Sign('{') => return Err(WHOLE_FILE),
            word => word.text().unwrap_or_default(),
        };
        let flags = ["required", "requisite", "sufficient", "optional"];
        if !flags.iter().any(|known| known.eq_ignore_ascii_case(&flag)) {
            return Err("behind the login module must stand \"required\"");
        }
        let mut options = BTreeMap::new();
        loop {
            match words.next()? {
                Word::Sign(';') => break,
                Word::Nothing => return Err("it must end with a semicolon"),
                Word::Sign(_) | Word::Number => return Err(OPTION),
                Word::Text(name) => drop(options.insert(name, Secret::new(words.option()?))),
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

const WHOLE_FILE: Why = "this is a whole JAAS file (NAME { … };): write only what stands between \
                         its braces";
const IN_QUOTES: Why = "it stands in quotes as a whole: take these away, a .properties file needs \
                        none";
const OPTION: Why = "an option is name=\"value\"";

enum Word {
    /// A bare word, or what stood in quotes.
    Text(String),
    /// What begins like a number: Java has no text for it.
    Number,
    /// Any other letter.
    Sign(char),
    Nothing,
}

impl Word {
    fn text(self) -> Option<String> {
        match self {
            Word::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What `StreamTokenizer` does, set up as `JaasConfig` does: `//` and `/* */` are comments and so
/// is a `/` alone; `-`, `_` and `$` belong to words; numbers are read as such.
struct Words<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Words<'a> {
        Words { letters: line.chars().peekable() }
    }

    fn next(&mut self) -> Result<Word, Why> {
        while let Some(&first) = self.letters.peek() {
            match first {
                '\0'..=' ' => drop(self.letters.next()),
                '/' => self.comment(),
                '"' | '\'' => return self.quoted(first).map(Word::Text),
                '0'..='9' | '.' | '-' => return Ok(self.number()),
                _ if is_of_word(first) => {
                    let mut word = String::new();
                    while let Some(letter) = self.letters.next_if(|one| is_within_word(*one)) {
                        word.push(letter);
                    }
                    return Ok(Word::Text(word));
                }
                sign => {
                    self.letters.next();
                    return Ok(Word::Sign(sign));
                }
            }
        }
        Ok(Word::Nothing)
    }

    /// What stands behind an option's name.
    fn option(&mut self) -> Result<String, Why> {
        let Word::Sign('=') = self.next()? else { return Err(OPTION) };
        match self.next()? {
            Word::Text(text) => Ok(text),
            Word::Number | Word::Sign('-') => {
                Err("a value that begins with a digit, '.' or '-' needs quotes")
            }
            Word::Sign(_) | Word::Nothing => Err("an option has no value"),
        }
    }

    fn comment(&mut self) {
        self.letters.next();
        // Java takes this letter unseen, a line break too
        if self.letters.next() != Some('*') {
            while self.letters.next_if(|letter| !matches!(letter, '\n' | '\r')).is_some() {}
            return;
        }
        let mut before = '\0';
        while let Some(letter) = self.letters.next() {
            if letter == '/' && before == '*' {
                return;
            }
            before = match letter {
                // Java looks at the letter behind a line break only as the one before the next
                '\n' => self.letters.next().unwrap_or_default(),
                '\r' => {
                    let behind = self.letters.next();
                    let behind = if behind == Some('\n') { self.letters.next() } else { behind };
                    behind.unwrap_or_default()
                }
                other => other,
            };
        }
    }

    /// A minus sign without a number is a sign.
    fn number(&mut self) -> Word {
        let begins = |letter: &char| letter.is_ascii_digit() || *letter == '.';
        if self.letters.next_if_eq(&'-').is_some() && !self.letters.peek().is_some_and(begins) {
            return Word::Sign('-');
        }
        let mut points = 0;
        let mut belongs = |letter: &char| {
            points += usize::from(*letter == '.');
            letter.is_ascii_digit() || (*letter == '.' && points == 1)
        };
        while self.letters.next_if(&mut belongs).is_some() {}
        Word::Number
    }

    /// A line break ends a text in quotes as its quote does.
    fn quoted(&mut self, quote: char) -> Result<String, Why> {
        self.letters.next();
        let mut text = String::new();
        loop {
            match self.letters.peek() {
                None => return Err(OPEN),
                Some('\n' | '\r') => return Ok(text),
                Some(letter) if *letter == quote => {
                    self.letters.next();
                    return Ok(text);
                }
                Some('\\') => {
                    self.letters.next();
                    text.push(self.escaped()?);
                }
                Some(letter) => {
                    text.push(*letter);
                    self.letters.next();
                }
            }
        }
    }

    /// What stands behind a backslash: up to three octal digits (377 at most), or a letter.
    fn escaped(&mut self) -> Result<char, Why> {
        let first = self.letters.next().ok_or(OPEN)?;
        let Some(mut value) = first.to_digit(8) else { return Ok(unescaped(first)) };
        let most = if first <= '3' { 3 } else { 2 };
        for _ in 1..most {
            let digit = self.letters.peek().and_then(|letter| letter.to_digit(8));
            let Some(digit) = digit else { break };
            self.letters.next();
            value = value * 8 + digit;
        }
        Ok(char::from_u32(value).unwrap_or_default())
    }
}

const OPEN: Why = "a quote is not closed";

/// Letters that begin a word. Those between 0x80 and 0x9f are none, and stand alone.
fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphabetic() || matches!(letter, '_' | '$') || letter >= '\u{a0}'
}

fn is_within_word(letter: char) -> bool {
    is_of_word(letter) || letter.is_ascii_digit() || matches!(letter, '.' | '-')
}

/// `StreamTokenizer`'s letters behind a backslash.
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
        check(
            "\"x.Y\" // one\n/* two\n * / */ 'required' p=\"\\101\\x\\477\\8\" \
             \"q\"=a-1.$_\u{e9};/ three",
            "Y",
            &[("p", "Ax'78"), ("q", "a-1.$_\u{e9}")],
        );
    }

    #[test]
    fn wrong_lines_are_explained_and_never_shown() {
        for (line, part) in [
            ("", "class of a login module"),
            ("x.PlainLoginModule", "required"),
            ("'x.PlainLoginModule required password=\"hunter2\";'", "in quotes as a whole"),
            ("KafkaClient { x.PlainLoginModule required p=\"hunter2\"; };", "between its braces"),
            ("x.PlainLoginModule required password=\"hunter2\"", "semicolon"),
            ("x.PlainLoginModule required password=\"hunter2;", "not closed"),
            ("x.PlainLoginModule required password;", "name=\"value\""),
            ("x.PlainLoginModule required \"hunter2\";", "name=\"value\""),
            ("x.PlainLoginModule required password=1hunter2;", "needs quotes"),
            ("x.PlainLoginModule required password=/hunter2;", "no value"),
            ("x.PlainLoginModule required /\npassword=hunter2;", "semicolon"),
            ("x.PlainLoginModule required -password=hunter2;", "name=\"value\""),
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
