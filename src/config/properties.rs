//! `.properties` text as `java.util.Properties` of JDK 17 reads it (`LineReader`, `loadConvert`).
//!
//! It never shows what it reads. `java-properties` is not used: it decodes bytes as Windows-1252,
//! loses a last line that ends in a backslash and knows no surrogate pairs, and each of these makes
//! another password of what Java would send. The test `properties_are_read_as_by_java` asks Java.

use std::collections::BTreeMap;
use std::path::Path;

/// Why a text is not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An escape that is none, in the property that begins in that line, counted from 1.
    Escape(usize),
    /// A byte order mark of that encoding. Java takes it for letters of the first name, and so
    /// passes that property over: were it `security.protocol`, it would speak in the open.
    Mark(&'static str),
}

impl Broken {
    /// What is wrong with that file.
    pub fn words(self, path: &Path) -> String {
        let path = path.display();
        match self {
            Broken::Escape(line) => format!(
                "{path} is not a .properties file (line {line}): a \\u needs four hex digits"
            ),
            Broken::Mark(encoding) => format!(
                "{path} begins with a byte order mark of {encoding}, which Kafka's clients take \
                 for a part of the first property's name: save it as plain ASCII or Latin-1, \
                 without a mark"
            ),
        }
    }
}

/// What editors write in front of a text, as bytes.
const MARKS: [(&[u8], &str); 3] =
    [(b"\xef\xbb\xbf", "UTF-8"), (b"\xfe\xff", "UTF-16"), (b"\xff\xfe", "UTF-16")];

/// Bytes as `Properties.load(InputStream)` has them, so as a Kafka client reads its file: Latin-1.
pub fn of_bytes(bytes: &[u8]) -> Result<BTreeMap<String, String>, Broken> {
    match MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        Some((_, encoding)) => Err(Broken::Mark(encoding)),
        None => read(bytes.iter().map(|byte| u16::from(*byte))),
    }
}

/// Text as `Properties.load(Reader)` has it, so as Kafka's `FileConfigProvider` reads its file.
pub fn of_text(text: &str) -> Result<BTreeMap<String, String>, Broken> {
    match text.starts_with('\u{feff}') {
        true => Err(Broken::Mark("UTF-8")),
        false => read(text.encode_utf16()),
    }
}

/// A key that stands twice keeps its last value.
fn read(units: impl Iterator<Item = u16>) -> Result<BTreeMap<String, String>, Broken> {
    let mut lines = Lines { units: units.peekable(), line: 1 };
    let mut all = BTreeMap::new();
    while let Some((line, text)) = lines.next() {
        let (key, value) = split(&text);
        let converted = |part| convert(part).ok_or(Broken::Escape(line));
        all.insert(converted(key)?, converted(value)?);
    }
    Ok(all)
}

const LF: u16 = 0x0a;
const CR: u16 = 0x0d;
const BACKSLASH: u16 = 0x5c;

fn is(unit: u16, letter: char) -> bool {
    u32::from(unit) == u32::from(letter)
}

/// Java's white space here: a blank, a tab, a form feed.
fn is_blank(unit: u16) -> bool {
    matches!(unit, 0x20 | 0x09 | 0x0c)
}

fn is_separator(unit: u16) -> bool {
    is(unit, '=') || is(unit, ':')
}

/// Lines without comments and blank ones, continued ones put together.
struct Lines<I: Iterator<Item = u16>> {
    units: std::iter::Peekable<I>,
    line: usize,
}

impl<I: Iterator<Item = u16>> Lines<I> {
    /// The next line, and where it began.
    fn next(&mut self) -> Option<(usize, Vec<u16>)> {
        let mut text = Vec::new();
        let mut began = self.line;
        let (mut at_begin, mut continued, mut escaped) = (true, false, false);
        while let Some(unit) = self.unit() {
            let is_break = matches!(unit, LF | CR);
            if at_begin {
                if is_blank(unit) || (is_break && !continued) {
                    continue;
                }
                (at_begin, continued) = (false, false);
            }
            if text.is_empty() {
                began = self.line;
                if is(unit, '#') || is(unit, '!') {
                    while self.unit().is_some_and(|unit| !matches!(unit, LF | CR)) {}
                    at_begin = true;
                    continue;
                }
            }
            match (is_break, escaped) {
                (false, _) => {
                    text.push(unit);
                    escaped = unit == BACKSLASH && !escaped;
                }
                (true, false) if text.is_empty() => at_begin = true,
                (true, false) => return Some((began, text)),
                (true, true) => {
                    // the backslash belongs to the line break
                    text.pop();
                    (at_begin, continued, escaped) = (true, true, false);
                }
            }
        }
        if escaped {
            text.pop();
        }
        (!text.is_empty() || escaped).then_some((began, text))
    }

    /// The next letter; CR LF is one break.
    fn unit(&mut self) -> Option<u16> {
        let unit = self.units.next()?;
        match unit {
            CR => drop(self.units.next_if_eq(&LF)),
            LF => {}
            _ => return Some(unit),
        }
        self.line += 1;
        Some(LF)
    }
}

/// A key ends at the first blank or separator without a backslash; one separator and blanks follow.
fn split(line: &[u16]) -> (&[u16], &[u16]) {
    let mut escaped = false;
    let ends = |unit: &u16| {
        let is_end = !escaped && (is_blank(*unit) || is_separator(*unit));
        escaped = *unit == BACKSLASH && !escaped;
        is_end
    };
    let (key, rest) = line.split_at(line.iter().position(ends).unwrap_or(line.len()));
    let rest = after_blanks(rest);
    let value = match rest.split_first() {
        Some((first, behind)) if is_separator(*first) => after_blanks(behind),
        _ => rest,
    };
    (key, value)
}

fn after_blanks(units: &[u16]) -> &[u16] {
    let first = units.iter().position(|unit| !is_blank(*unit));
    &units[first.unwrap_or(units.len())..]
}

/// What backslashes stand for; `None` where four hexadecimal digits are missing behind `\u`, and
/// where a surrogate is alone: Java sends a question mark for that.
fn convert(part: &[u16]) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut units = part.iter().copied();
    while let Some(unit) = units.next() {
        if unit != BACKSLASH {
            out.push(unit);
            continue;
        }
        let Some(escaped) = units.next() else { continue };
        out.push(match char::from_u32(u32::from(escaped)) {
            Some('u') => {
                let mut value = 0;
                for _ in 0..4 {
                    let digit = char::from_u32(u32::from(units.next()?))?.to_digit(16)?;
                    value = value << 4 | u16::try_from(digit).ok()?;
                }
                value
            }
            Some('t') => 0x09,
            Some('r') => CR,
            Some('n') => LF,
            Some('f') => 0x0c,
            _ => escaped,
        });
    }
    String::from_utf16(&out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keys_and_values_are_found_as_by_java() {
        let check = |text: &str, right: &[(&str, &str)]| {
            let read = of_text(text).unwrap();
            let read: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(read, right, "{text:?}");
        };
        check("", &[]);
        check(
            "# c\\\na=1\n ! d\n\n\x0c b : 2 \nc 3\rd\r\ne==4",
            &[("a", "1"), ("b", "2 "), ("c", "3"), ("d", ""), ("e", "=4")],
        );
        check("a=1\\\n   2\\\r\n\t3\nb=4\\", &[("a", "123"), ("b", "4")]);
        check("a=1\\\n\nb=2", &[("a", "1"), ("b", "2")]);
        check("a=1\\\n#2\n\\\n#c\nx=1\nx=2", &[("a", "1#2"), ("x", "2")]);
        check(r"a\ b\=\:c=\t\q\\\u00e9\uD83D\uDE00", &[("a b=:c", "\tq\\\u{e9}\u{1f600}")]);
        check("=v\n:w", &[("", "w")]);
    }

    #[test]
    fn bytes_are_latin_1() {
        let read = of_bytes(b"# \xfc\na=\x80\xfc").unwrap();
        assert_eq!(read["a"], "\u{80}\u{fc}");
    }

    /// A name that nobody sees is in front of `security.protocol`: it would be passed over.
    #[test]
    fn a_byte_order_mark_is_refused() {
        let text = "\u{feff}security.protocol=SSL\n";
        let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(of_bytes(text.as_bytes()), Err(Broken::Mark("UTF-8")));
        assert_eq!(of_bytes(&utf_16), Err(Broken::Mark("UTF-16")));
        assert_eq!(of_bytes(&wide), Err(Broken::Mark("UTF-16")));
        assert_eq!(of_text(text), Err(Broken::Mark("UTF-8")));
        let words = Broken::Mark("UTF-8").words(Path::new("a.properties"));
        assert!(words.contains("a.properties begins with a byte order mark of UTF-8"), "{words}");
    }

    #[test]
    fn what_java_refuses_is_refused_with_its_line() {
        for text in ["\n\na=\\u12", "#\n#\nb=\\\n\\uhunter2", "\n\na=\\uD83D"] {
            assert_eq!(of_text(text), Err(Broken::Escape(3)), "{text}");
        }
    }
}
