//! Just enough of Rust's grammar to judge a file: what is code, what is a test, where a function
//! ends.
//!
//! It never parses: text in, text with the same lines out.

/// The text with comments, strings and character literals blanked; lines and columns stay.
pub fn code_of(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = end_of_blank(&letters, at);
        if end == at {
            out.push(letters[at]);
            at += 1;
        } else {
            let blank = |letter: &char| if *letter == '\n' { '\n' } else { ' ' };
            out.extend(letters[at..end].iter().map(blank));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` when none begins.
fn end_of_blank(letters: &[char], at: usize) -> usize {
    let starts = |word: &str| letters[at..].iter().take(word.len()).copied().eq(word.chars());
    if starts("//") {
        return until(letters, at, |rest| rest[0] == '\n', 0);
    }
    if starts("/*") {
        return end_of_comment(letters, at);
    }
    if letters[at] == '"' {
        return end_of_string(letters, at);
    }
    let inside_word = at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_');
    if !inside_word && (letters[at] == 'r' || starts("br")) {
        return end_of_raw_string(letters, at);
    }
    if letters[at] == '\'' {
        return end_of_letter(letters, at);
    }
    at
}

fn until(letters: &[char], from: usize, stop: impl Fn(&[char]) -> bool, past: usize) -> usize {
    let found = (from..letters.len()).find(|at| stop(&letters[*at..]));
    found.map_or(letters.len(), |at| at + past)
}

fn end_of_comment(letters: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < letters.len() {
        match letters[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(letters: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(letters.len())
}

/// `r"…"`, `r#"…"#`, `br"…"`; `from` itself when it is a word that begins with r.
fn end_of_raw_string(letters: &[char], from: usize) -> usize {
    let after = from + if letters[from] == 'b' { 2 } else { 1 };
    let hashes = letters[after..].iter().take_while(|letter| **letter == '#').count();
    if letters.get(after + hashes) != Some(&'"') {
        return from;
    }
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest[1..].iter().take_while(|letter| **letter == '#').count() >= hashes
    };
    until(letters, after + hashes + 1, closes, 1 + hashes)
}

/// `'x'` and `'\n'`; a lifetime is no literal.
fn end_of_letter(letters: &[char], from: usize) -> usize {
    match letters[from + 1..] {
        ['\\', ..] => until(letters, from + 3, |rest| rest[0] == '\'', 1),
        [_, '\'', ..] => from + 3,
        _ => from,
    }
}

/// Code without its test items: what follows `#[cfg(test)]` up to its end is blanked.
pub fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut out = String::new();
    while let Some(start) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..start]);
        let end = start + end_of_item(&rest[start..]);
        out.extend(rest[start..end].chars().map(|l| if l == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// The byte after the item at the start of `code`: its `;` or its closing brace.
pub fn end_of_item(code: &str) -> usize {
    let mut brackets = 0usize;
    let mut braces = 0usize;
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => braces += 1,
            '}' if braces <= 1 => return at + 1,
            '}' => braces -= 1,
            ';' if brackets == 0 && braces == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// One function of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// The line it begins in, from 1.
    pub line: usize,
    /// How many lines it has, from `fn` to the closing brace.
    pub lines: usize,
}

/// All functions in code, those inside others too.
pub fn functions(code: &str) -> Vec<Function> {
    words(code)
        .filter(|(_, word)| *word == "fn")
        .filter_map(|(at, _)| {
            let (_, name) = words(&code[at + 2..]).next()?;
            // `fn(` is a type, not a function.
            let named = code[at + 2..].trim_start().starts_with(name);
            let body = &code[at..at + end_of_item(&code[at..])];
            let line = code[..at].lines().count().max(1);
            let line = if code[..at].ends_with('\n') { line + 1 } else { line };
            let found = Function { name: name.to_owned(), line, lines: body.lines().count() };
            (named && body.ends_with('}')).then_some(found)
        })
        .collect()
}

/// The words of code with the byte each begins at.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(part)?;
        let end = code[start..].find(|l| !part(l)).map_or(code.len(), |length| start + length);
        at = end;
        Some((start, &code[start..end]))
    })
}

#[test]
fn literals_and_comments_are_no_code() {
    let check = |text: &str, right: &str| assert_eq!(code_of(text), right, "{text}");
    check("a // unsafe\nb", "a          \nb");
    check("a /* x /* y */ z */ b", "a                   b");
    check("f(\"un\\\"safe\")", "f(          )");
    check("f(r#\"a\"b\"#)", "f(        )");
    check("f(br\"\\\")", "f(     )");
    check("f('\"', 'x', b'\\'')", "f(   ,    , b    )");
    check("fn a<'x>(b: &'x u8)", "fn a<'x>(b: &'x u8)");
    check("for r in rows {}", "for r in rows {}");
    check("let s = \"open", "let s =      ");
}

#[test]
fn test_items_are_blanked() {
    let text = "fn a() {}\n#[cfg(test)]\nmod t {\n  fn b() { c(); }\n}\nfn d() {}\n";
    let code = without_tests(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(code.contains("fn a") && code.contains("fn d") && !code.contains("fn b"));
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests;\nb").replace(' ', ""), "a\n\n\nb");
}

#[test]
fn functions_are_measured() {
    let text = "x\npub fn a(b: [u8; 4]) -> u8\nwhere\n{\n}\nfn c();\ntype F = fn(u8) -> u8;\n";
    let found = functions(text);
    assert_eq!(found, [Function { name: "a".into(), line: 2, lines: 4 }]);
}
