//! Tidy: the rules of the house as a test.
//!
//! It never judges taste; what it finds is a line number and a rule.

mod broken;
mod deploy;
mod named;
mod papers;
mod rules;
mod scan;

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rules::Tree;

/// Where Rust lives in this repository.
const RUST: &[&str] = &["src", "protocol-tests", "benches", "fuzz"];
/// Directories that hold nothing of ours.
const FOREIGN: &[&str] = &["target", "node_modules", "results", "cache"];

/// Faults that are known and not mended yet: file and rule. Nothing is added here.
const OWED: &[(&str, &str)] = &[];

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the package lies in the repository").to_owned()
}

/// All files below `dir` with that ending, those of build and hidden directories left out.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a directory can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || FOREIGN.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

fn rust_tree() -> Tree {
    let mut paths = Vec::new();
    RUST.iter().for_each(|dir| files(&top().join(dir), ".rs", &mut paths));
    let relative = |path: &PathBuf| {
        let inner = path.strip_prefix(top()).expect("it was found below");
        inner.to_string_lossy().into_owned()
    };
    paths.iter().map(|path| (relative(path), read(path))).collect()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_house_is_tidy() {
    let tree = rust_tree();
    assert!(tree.contains_key("src/lib.rs"), "the tree was not found");
    let mut faults = rules::faults(&tree);
    for (path, rule) in OWED {
        let owed = |fault: &String| fault.starts_with(path) && fault.contains(rule);
        assert!(faults.iter().any(owed), "{path} is paid for: take it out of OWED");
        faults.retain(|fault| !owed(fault));
    }
    none(&faults);
}

#[test]
fn every_meter_is_measured() {
    let tree = rust_tree();
    let meters = &tree["src/meters.rs"];
    let names: Vec<&str> = meters
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(": Meter").next())
        .filter(|name| !name.starts_with("METERS"))
        .collect();
    assert!(names.len() > 10, "the table was not found");
    let product = |path: &&String| path.starts_with("src/") && *path != "src/meters.rs";
    let code = |path: &String| scan::without_tests(&scan::code_of(&tree[path]));
    let all: String = tree.keys().filter(product).map(code).collect();
    let words: BTreeSet<&str> = scan::words(&all).map(|(_, word)| word).collect();
    let listed = |name: &&&str| meters.contains(&format!("    {name},\n"));
    let unused = names.iter().filter(|name| !words.contains(*name) || !listed(name));
    none(
        &unused
            .map(|name| format!("{name} is never measured, or not in METERS"))
            .collect::<Vec<_>>(),
    );
}

/// Compares a page with what the code says; `ISOLOG_BLESS=1` writes it instead.
fn generated(page: &str, right: &str) {
    let path = top().join(page);
    if std::env::var_os("ISOLOG_BLESS").is_some() {
        std::fs::write(&path, right).expect("the page can be written");
    }
    let same = read(&path) == right;
    assert!(same, "{page} is stale: ISOLOG_BLESS=1 cargo test -p protocol-tests --test tidy");
}

#[test]
fn config_md_is_what_the_table_says() {
    generated("docs/CONFIG.md", &isolog::config::page());
}

#[test]
fn metrics_md_is_what_the_meters_say() {
    generated("docs/METRICS.md", &isolog::meters::page());
}

/// The words between quotes that are all capitals and low lines.
fn capital_words(text: &str) -> Vec<&str> {
    let capital = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
    text.split('"').filter(|word| word.len() > 3 && word.bytes().all(capital)).collect()
}

#[test]
fn states_md_has_every_reason_to_halt_and_every_trouble_and_no_other() {
    let mut words = Vec::new();
    for path in ["src/mirror/halt.rs", "src/sync/trouble.rs"] {
        let text = read(&top().join(path));
        let label = text.split("pub fn label").nth(1).expect("they have labels");
        let label = label.split("pub fn").next().unwrap_or_default();
        words.extend(capital_words(label).into_iter().map(str::to_owned));
    }
    let page = read(&top().join("docs/STATES.md"));
    let told = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    let rows = page.lines().filter_map(told).filter(|word| word.to_uppercase() == *word);
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    words.sort();
    assert!(words.len() > 10, "the labels were not found");
    assert_eq!(rows, words, "docs/STATES.md, src/mirror/halt.rs and src/sync/trouble.rs");
}

#[test]
fn the_commands_that_are_told_are_those_that_ci_runs() {
    let makefile = read(&top().join("Makefile"));
    let gate = read(&top().join(".ci/run"));
    assert!(gate.contains("make test"), ".ci/run must run what people run: make test");
    let readme = papers::make_targets(&read(&top().join("README.md")));
    assert_eq!(readme[..2], ["demo", "test"], "the README's two commands");
    let mut pages = Vec::new();
    files(&top(), ".md", &mut pages);
    let told = pages.iter().flat_map(|page| papers::make_targets(&read(page)));
    let missing = told.filter(|target| !papers::has_target(&makefile, target));
    none(&missing.map(|target| format!("make {target} is told and not there")).collect::<Vec<_>>());
}

/// They run by `make mutants` alone, long after the line that they change was moved.
#[test]
fn every_mutant_finds_its_place() {
    for list in ["machines", "status"] {
        let path = top().join("protocol-tests/mutants").join(list);
        let told = Command::new(path).arg("--apply").output().expect("bash is there");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }
}

#[test]
fn links_between_papers_lead_somewhere() {
    let mut pages = Vec::new();
    files(&top(), ".md", &mut pages);
    assert!(!pages.is_empty());
    let broken = pages.iter().flat_map(|page| papers::broken_links(page, &read(page)));
    none(&broken.collect::<Vec<_>>());
}

/// SECURITY.md and docs/CASES.md name tests that hold what they say.
#[test]
fn tests_that_pages_name_exist() {
    for (page, at_least) in [("SECURITY.md", 30), ("docs/CASES.md", 5)] {
        let text = read(&top().join(page));
        let (count, missing) = named::missing(&top(), &text);
        assert!(missing.is_empty(), "{page} names tests that are not there: {missing:#?}");
        assert!(count >= at_least, "{page} names only {count} tests");
    }
    let (_, missing) = named::missing(&top(), "`tidy::named::missing` `…::nobody` `sim::no::one`");
    assert_eq!(missing, ["tidy::named::nobody", "sim::no::one"]);
}
