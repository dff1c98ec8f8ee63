//! The checker is checked: each made-up fault must be found, and nothing else.
//!
//! It never looks at the real tree.

use crate::rules;
use crate::rules::Tree;

/// A tree without a fault, with one file added or replaced.
fn tree(path: &str, text: &str) -> Tree {
    let mut tree = Tree::new();
    let lib = "//! Lib.\npub mod ids;\npub mod wire;\npub mod cluster;\npub mod mirror;\n";
    for (path, text) in [
        ("src/lib.rs", lib),
        ("src/ids.rs", "//! Ids.\n"),
        ("src/wire/mod.rs", "//! Wire.\npub mod batch;\nuse crate::ids::A;\n"),
        ("src/wire/batch.rs", "//! Batch.\n"),
        ("src/cluster/mod.rs", "//! Cluster.\nuse crate::wire::B;\n"),
        ("src/mirror/mod.rs", "//! Mirror.\n"),
        (path, text),
    ] {
        tree.insert(path.to_owned(), text.to_owned());
    }
    tree
}

fn check(path: &str, text: &str, right: &[&str]) {
    assert_eq!(rules::faults(&tree(path, text)), right, "{path}\n{text}");
}

#[test]
fn a_clean_tree_has_no_fault() {
    check("src/ids.rs", "//! Ids.\n", &[]);
}

#[test]
fn wrong_doors_are_found_in_uses_and_in_paths() {
    let said = "src/wire/batch.rs:2: wire must not open cluster";
    check("src/wire/batch.rs", "//! B.\nuse crate::cluster::Dial;\n", &[said]);
    check("src/wire/batch.rs", "//! B.\nfn a() { crate::cluster::dial(); }\n", &[said]);
    check("src/wire/batch.rs", "//! B.\npub use crate::cluster;\n", &[said]);
    check("src/wire/batch.rs", "//! B.\npub(crate) fn a() {}\n", &[]);
    check(
        "src/wire/batch.rs",
        "//! B.\n// crate::cluster\n#[cfg(test)]\nuse crate::cluster;\n",
        &[],
    );
    check("src/wire/batch.rs", "//! B.\nfn a() -> &str { \"crate::cluster\" }\n", &[]);
    let out = "leads out of wire: use crate::";
    check(
        "src/wire/mod.rs",
        "//! W.\npub mod batch;\nuse super::cluster;\n",
        &[&format!("src/wire/mod.rs:3: super:: {out}")],
    );
    check(
        "src/wire/batch.rs",
        "//! B.\nuse super::super::cluster;\n",
        &[&format!("src/wire/batch.rs:2: super::super:: {out}")],
    );
    check(
        "src/main.rs",
        "//! M.\nfn a() { isolog::wire::b() }\n",
        &["src/main.rs:2: main must not open wire"],
    );
    check(
        "src/wire/batch.rs",
        "//! B.\nuse crate::{ids, cluster};\n",
        &["src/wire/batch.rs:2: use crate::{ - one door a line"],
    );
}

#[test]
fn unknown_rooms_and_dead_files_are_found() {
    check(
        "src/attic.rs",
        "//! A.\n",
        &["src/attic.rs:1: attic is no room of the house", "src/attic.rs: no mod line leads here"],
    );
    check("src/wire/dust.rs", "//! D.\n", &["src/wire/dust.rs: no mod line leads here"]);
    check("src/wire/batch.rs", "//! B.\n// mod c;\n", &[]);
}

#[test]
fn the_first_line_says_what_a_room_holds() {
    let said = ":1: the first line must say what this room holds: //! ...";
    for path in ["src/ids.rs", "protocol-tests/src/lib.rs", "benches/a.rs"] {
        check(path, "use std::fmt;\n", &[&format!("{path}{said}")]);
        check(path, "", &[&format!("{path}{said}")]);
    }
}

#[test]
fn long_functions_files_and_lines_are_found() {
    let body = |lines: usize| format!("//! I.\nfn long() {{\n{}}}\n", "    a();\n".repeat(lines));
    check("src/ids.rs", &body(68), &[]);
    check("src/ids.rs", &body(69), &["src/ids.rs:2: fn long has 71 lines"]);
    let file = |lines: usize| format!("//! I.\n{}", "const A: u8 = 0;\n".repeat(lines));
    check("src/ids.rs", &file(499), &[]);
    check("src/ids.rs", &file(500), &["src/ids.rs:501: 501 lines before the tests"]);
    let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", file(499), "// a\n".repeat(99));
    check("src/ids.rs", &tests, &[]);
    let line = |letters: usize| format!("//! I.\n//{}\n", "é".repeat(letters - 2));
    check("src/ids.rs", &line(100), &[]);
    check("src/ids.rs", &line(101), &["src/ids.rs:2: the line has 101 letters"]);
}

#[test]
fn banned_words_are_found_outside_tests() {
    let find = |path: &str, code: &str, said: &str| {
        check(path, &format!("//! X.\n{code}\n"), &[&format!("{path}:2: {said}")]);
    };
    let path = "src/cluster/mod.rs";
    find(path, "a.unwrap();", ".unwrap() - say with expect why it cannot fail, or return an error");
    find(path, "unsafe { a() }", "unsafe - the crate forbids it");
    find(path, "println!(\"x\");", "println! - only cli speaks to a terminal");
    find(path, "todo!()", "todo! - it is a stub");
    find("src/wire/batch.rs", "use std::time::Instant;", "wire is pure: no Instant");
    find("src/mirror/mod.rs", "fn a(b: HashMap<u8, u8>) {}", "mirror is pure: no HashMap");
    find("src/mirror/mod.rs", "use tokio::time;", "mirror is pure: no tokio");
    check(path, "//! X.\nlet unsafely = 1; // unsafe\n", &[]);
    check(path, "//! X.\n#[cfg(test)]\nmod tests { fn a() { b.unwrap(); } }\n", &[]);
    let test = "protocol-tests/tests/a.rs";
    check(test, "//! X.\nfn a() { b.unwrap(); }\n", &[]);
    check(test, "//! X.\n#[ignore = \"writes seeds\"]\nfn a() {}\n", &[]);
    find(test, "#[ignore = \"needs Kafka\"]", "#[ignore - a test runs or does not exist");
    find(test, "#[ignore]", "#[ignore - a test runs or does not exist");
}

#[test]
fn crowded_and_deep_directories_are_found() {
    let mut crowd = tree("src/ids.rs", "//! I.\n");
    let names: Vec<String> = (0..13).map(|number| format!("b{number}")).collect();
    for name in &names {
        crowd.insert(format!("src/wire/{name}.rs"), "//! B.\n".into());
    }
    let mods: String = names.iter().map(|name| format!("mod {name};\n")).collect();
    crowd.insert("src/wire/mod.rs".into(), format!("//! W.\nmod batch;\n{mods}"));
    assert_eq!(rules::faults(&crowd), ["src/wire: 15 files, at most 14"]);
    let deep = tree("src/wire/a/b/c.rs", "//! C.\n");
    let said = rules::faults(&deep);
    assert!(said.contains(&"src/wire/a/b: deeper than 2 directories".to_owned()), "{said:?}");
}
