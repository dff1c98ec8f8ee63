//! The tests that papers name beside a promise or a case: they are there.
//!
//! It never runs them.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Tests named in a page, such as `ring::module::function`, that do not exist. `…::function` is in
/// the module named last. And how many are named.
pub fn missing(repo: &Path, text: &str) -> (usize, Vec<String>) {
    let mut module = String::new();
    let (mut count, mut missing) = (0, Vec::new());
    for name in names(text) {
        count += 1;
        let whole = match name.strip_prefix("…::") {
            Some(rest) => format!("{module}::{rest}"),
            None => name.to_owned(),
        };
        if !exists(repo, &whole) {
            missing.push(whole.clone());
        }
        module = whole.rsplit_once("::").map(|two| two.0.to_owned()).unwrap_or_default();
    }
    (count, missing)
}

/// What stands in code and is a path of names.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |part: &str| {
        !part.is_empty()
            && part.chars().all(|l| l.is_ascii_lowercase() || l.is_ascii_digit() || l == '_')
    };
    let example = "ring::module::function";
    text.split('`').skip(1).step_by(2).filter(move |code| {
        let path = code.strip_prefix("…::").unwrap_or(code);
        code.contains("::") && *code != example && path.split("::").all(is_name)
    })
}

fn exists(repo: &Path, name: &str) -> bool {
    let mut parts: Vec<&str> = name.split("::").collect();
    let ring = parts.remove(0);
    let root = match ring {
        "unit" => repo.join("src"),
        _ => repo.join("protocol-tests/tests").join(ring),
    };
    (0..=parts.len()).rev().find_map(|deep| Some((deep, file(&root, &parts[..deep])?))).is_some_and(
        |(deep, file)| match &parts[deep..] {
            [] => true,
            [.., function] => {
                let text = fs::read_to_string(file).unwrap_or_default();
                text.contains(&format!("fn {function}("))
            }
        },
    )
}

/// Where a module lies, if it does.
fn file(root: &Path, parts: &[&str]) -> Option<PathBuf> {
    let dir = parts.iter().fold(root.to_path_buf(), |dir, part| dir.join(part));
    let all =
        [dir.with_extension("rs"), dir.join("mod.rs"), dir.join("main.rs"), dir.join("lib.rs")];
    all.into_iter().find(|file| file.is_file())
}
