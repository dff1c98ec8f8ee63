//! The rules of the house over Rust files: doors, sizes, first lines, words, dead files.
//!
//! It never reads a disk: a tree is a map from path to text, so that broken ones can be made up.

use std::collections::BTreeMap;

use crate::scan;

/// Files by path, relative to the top of the repository.
pub type Tree = BTreeMap<String, String>;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;
const LINE_LETTERS_MAX: usize = 100;
const DIRECTORY_FILES_MAX: usize = 14;
/// Directories below `src`.
const DEPTH_MAX: usize = 2;

/// Which rooms each room may open (docs/ARCHITECTURE.md).
const DOORS: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("meters", &["ids"]),
    ("wire", &["ids"]),
    ("mirror", &["ids", "wire"]),
    ("control", &["ids", "mirror"]),
    ("secure", &[]),
    ("http", &["secure"]),
    ("cluster", &["ids", "meters", "secure", "http", "wire"]),
    ("flow", &["ids", "meters", "wire", "mirror", "cluster"]),
    ("sync", &["ids", "meters", "mirror", "control", "cluster"]),
    ("schemas", &["secure", "http", "control"]),
    ("settings", &["ids", "secure", "http", "mirror", "control", "cluster", "flow", "schemas"]),
    ("audit", &["ids", "meters", "wire", "mirror", "control", "cluster", "sync"]),
    (
        "link",
        &["ids", "meters", "mirror", "control", "cluster", "flow", "sync", "settings", "audit"],
    ),
    (
        "service",
        &[
            "ids", "meters", "secure", "http", "mirror", "control", "schemas", "settings", "link",
            "audit",
        ],
    ),
    (
        "config",
        &[
            "ids", "secure", "control", "cluster", "sync", "schemas", "settings", "link", "audit",
            "service",
        ],
    ),
    ("tail", &["ids", "wire", "control", "cluster", "flow", "audit"]),
    ("drill", &["ids", "wire", "cluster", "audit"]),
    (
        "cli",
        &[
            "ids", "meters", "secure", "http", "schemas", "config", "service", "audit", "tail",
            "drill",
        ],
    ),
    ("main", &["cli", "config", "service"]),
    ("lib", &[]),
];

/// Words no file of the product may hold, and why.
const BANNED: &[(&str, &str)] = &[
    (".unwrap()", "say with expect why it cannot fail, or return an error"),
    ("unsafe", "the crate forbids it"),
    ("dbg!", "it is a leftover"),
    ("todo!", "it is a stub"),
    ("unimplemented!", "it is a stub"),
    ("anyhow", "errors are typed"),
    ("use crate::{", "one door a line"),
];

/// Words that print; only `cli` speaks to a terminal.
const PRINTING: &[&str] = &["println!", "eprintln!", "print!", "eprint!"];

/// What the pure rooms must not know.
const IMPURE: &[&str] = &[
    "tokio",
    "tracing",
    "metrics",
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "std::thread",
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "rand",
    "socket2",
];
const PURE: &[&str] = &["ids", "wire", "mirror", "control"];

/// Everything in the tree that breaks a rule, a line each.
pub fn faults(tree: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    for (path, text) in tree {
        let file = File::new(path, text);
        file.first_line(&mut all);
        file.sizes(&mut all);
        file.banned(&mut all);
        if let Some(room) = room(path) {
            file.doors(room, &mut all);
            file.purity(room, &mut all);
        }
        if is_dead(path, tree) {
            all.push(format!("{path}: no mod line leads here"));
        }
    }
    crowded(tree, &mut all);
    all
}

/// The room of a file in `src`.
fn room(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    Some(inner.split('/').next()?.trim_end_matches(".rs"))
}

/// Files that hold tests and nothing else.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

struct File<'a> {
    path: &'a str,
    text: &'a str,
    /// Without comments and literals.
    code: String,
    /// Without tests too.
    product: String,
}

impl<'a> File<'a> {
    fn new(path: &'a str, text: &'a str) -> File<'a> {
        let code = scan::code_of(text);
        let product = if is_test(path) { String::new() } else { scan::without_tests(&code) };
        File { path, text, code, product }
    }

    fn fault(&self, line: usize, text: impl std::fmt::Display) -> String {
        format!("{}:{line}: {text}", self.path)
    }

    fn first_line(&self, faults: &mut Vec<String>) {
        let first = self.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            faults.push(self.fault(1, "the first line must say what this room holds: //! ..."));
        }
    }

    fn sizes(&self, faults: &mut Vec<String>) {
        for function in scan::functions(&self.code) {
            if function.lines > FUNCTION_LINES_MAX {
                let text = format!("fn {} has {} lines", function.name, function.lines);
                faults.push(self.fault(function.line, text));
            }
        }
        for (at, line) in self.text.lines().enumerate() {
            let letters = line.chars().count();
            if letters > LINE_LETTERS_MAX {
                faults.push(self.fault(at + 1, format!("the line has {letters} letters")));
            }
        }
        let lines = self.product.trim_end().lines().count();
        if lines > FILE_LINES_MAX {
            faults.push(self.fault(lines, format!("{lines} lines before the tests")));
        }
    }

    fn banned(&self, faults: &mut Vec<String>) {
        let in_src = self.path.starts_with("src/");
        for (word, why) in BANNED.iter().filter(|(word, _)| in_src || *word != ".unwrap()") {
            self.ban(word, why, faults);
        }
        for word in PRINTING.iter().filter(|_| in_src && room(self.path) != Some("cli")) {
            self.ban(word, "only cli speaks to a terminal", faults);
        }
        // What writes seeds or pages in the clothes of a test is a tool.
        let ignored = lines_with(&self.code, "#[ignore");
        let tool = |line: &usize| {
            let raw = self.text.lines().nth(line - 1).unwrap_or_default();
            raw.contains("#[ignore = \"writes ")
        };
        for line in ignored.into_iter().filter(|line| !tool(line)) {
            faults.push(self.fault(line, "#[ignore - a test runs or does not exist"));
        }
    }

    fn ban(&self, word: &str, why: &str, faults: &mut Vec<String>) {
        for line in lines_with(&self.product, word) {
            faults.push(self.fault(line, format!("{word} - {why}")));
        }
    }

    fn doors(&self, room: &str, faults: &mut Vec<String>) {
        let Some((_, open)) = DOORS.iter().find(|(name, _)| *name == room) else {
            faults.push(self.fault(1, format!("{room} is no room of the house")));
            return;
        };
        for (line, target) in targets(&self.product) {
            if target != room && !open.contains(&target.as_str()) {
                faults.push(self.fault(line, format!("{room} must not open {target}")));
            }
        }
        // `super` must not lead out of the room, where no door is seen.
        let depth = self.path.split('/').count() - 2 - usize::from(self.path.ends_with("/mod.rs"));
        let escape = "super::".repeat(depth + 1);
        for line in lines_with(&self.product, &escape) {
            faults.push(self.fault(line, format!("{escape} leads out of {room}: use crate::")));
        }
    }

    fn purity(&self, room: &str, faults: &mut Vec<String>) {
        for word in IMPURE.iter().filter(|_| PURE.contains(&room)) {
            for line in lines_with(&self.product, word) {
                faults.push(self.fault(line, format!("{room} is pure: no {word}")));
            }
        }
    }
}

/// The rooms that code names by `crate::` or, in the binary, by `isolog::`.
fn targets(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        for root in ["crate::", "isolog::"] {
            for (place, _) in line.match_indices(root) {
                let word = scan::words(&line[place + root.len()..]).next();
                let room = word.filter(|(start, _)| *start == 0).map(|(_, word)| word);
                if begins_a_word(line, place) {
                    found.extend(room.map(|room| (at + 1, room.to_owned())));
                }
            }
        }
    }
    found
}

fn begins_a_word(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_' && letter != '$')
}

/// The lines, from 1, that hold `word` as a whole word.
fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let closed = |line: &str, at: usize| {
        let open = word.ends_with(part);
        !open || line[at + word.len()..].chars().next().is_none_or(|letter| !part(letter))
    };
    let begins = |line: &str, at: usize| !word.starts_with(part) || begins_a_word(line, at);
    let holds =
        |line: &str| line.match_indices(word).any(|(at, _)| begins(line, at) && closed(line, at));
    let lines = code.lines().enumerate();
    lines.filter(|(_, line)| holds(line)).map(|(at, _)| at + 1).collect()
}

/// Whether a file below `src` is reached by no `mod` line of its parent.
fn is_dead(path: &str, tree: &Tree) -> bool {
    let Some(inner) = path.strip_prefix("src/") else { return false };
    if matches!(inner, "lib.rs" | "main.rs") {
        return false;
    }
    let module = inner.trim_end_matches(".rs").trim_end_matches("/mod");
    let (parents, name) = match module.rsplit_once('/') {
        Some((dir, name)) => (vec![format!("src/{dir}/mod.rs"), format!("src/{dir}.rs")], name),
        None => (vec!["src/lib.rs".to_owned()], module),
    };
    let line = format!("mod {name};");
    let leads = |parent: &String| {
        tree.get(parent).is_some_and(|text| !lines_with(&scan::code_of(text), &line).is_empty())
    };
    !parents.iter().any(leads)
}

fn crowded(tree: &Tree, faults: &mut Vec<String>) {
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for (dir, _) in tree.keys().filter_map(|path| path.rsplit_once('/')) {
        *files.entry(dir).or_default() += 1;
    }
    for (dir, count) in files {
        if count > DIRECTORY_FILES_MAX && dir.starts_with("src/") {
            faults.push(format!("{dir}: {count} files, at most {DIRECTORY_FILES_MAX}"));
        }
        let inside = dir.strip_prefix("src/");
        if inside.is_some_and(|inner| inner.split('/').count() > DEPTH_MAX) {
            faults.push(format!("{dir}: deeper than {DEPTH_MAX} directories"));
        }
    }
}
