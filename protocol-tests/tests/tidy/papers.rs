//! The papers against the tree: generated pages, links between files, commands that CI runs too.
//!
//! It never asks the network: only links into this repository are looked at.

use std::path::Path;

/// Relative links of a Markdown page whose file does not exist.
pub fn broken_links(page: &Path, text: &str) -> Vec<String> {
    let dir = page.parent().expect("a page lies in a directory");
    let broken = |target: &&str| {
        let file = target.split('#').next().unwrap_or_default();
        let foreign = target.contains("://") || target.starts_with("mailto:");
        !foreign && !file.is_empty() && !dir.join(file).exists()
    };
    let said = |target: &str| format!("{}: {target} does not exist", page.display());
    targets(&prose(text)).into_iter().filter(broken).map(said).collect()
}

/// The page without its code blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// What stands in `](…)`.
fn targets(text: &str) -> Vec<&str> {
    let inner = |(at, _): (usize, &str)| {
        let rest = &text[at + 2..];
        rest.find(')').map(|end| rest[..end].split_whitespace().next().unwrap_or_default())
    };
    text.match_indices("](").filter_map(inner).collect()
}

/// `make` targets that a text names in code, such as `make test`.
pub fn make_targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, _) in line.match_indices("make ") {
            let starts = line[..at].chars().next_back().is_none_or(|l| !l.is_alphanumeric());
            let coded = line[..at].ends_with('`') || line[..at].trim().is_empty();
            let word: String = line[at + 5..]
                .chars()
                .take_while(|l| l.is_ascii_lowercase() || *l == '-')
                .collect();
            if starts && coded && !word.is_empty() {
                found.push(word);
            }
        }
    }
    found
}

/// Whether a Makefile has the target.
pub fn has_target(makefile: &str, target: &str) -> bool {
    let rule = |line: &str| line.split(':').next().unwrap_or_default().trim() == target;
    makefile.lines().any(|line| line.contains(':') && !line.starts_with('\t') && rule(line))
}

#[test]
fn broken_links_are_found() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("made-up.md");
    let text = "[a](Cargo.toml) [b](none.md#x \"t\") [c](https://x.y/z) [d](#here)\n\
                ```\n[e](gone.md)\n```\n![f](gone.png)";
    let said: Vec<String> = broken_links(&page, text);
    let right =
        ["none.md#x", "gone.png"].map(|t| format!("{}: {t} does not exist", page.display()));
    assert_eq!(said, right);
}

#[test]
fn make_targets_are_found() {
    let text = "Run `make test`, or:\n\n    make demo\n\nWe make sure of it. `cmake x`";
    assert_eq!(make_targets(text), ["test", "demo"]);
    let makefile = ".PHONY: demo\ntest: build\n\tcargo test: x\n";
    assert!(has_target(makefile, "test") && !has_target(makefile, "demo"));
    assert!(!has_target(makefile, "cargo test"));
}
