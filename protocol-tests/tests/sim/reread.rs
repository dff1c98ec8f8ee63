//! The config file of a running isolog, read again: on SIGHUP, and when it has changed.
//!
//! It never needs Kafka: the clusters listen and say nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::Path;

use protocol_tests::real::free_port;

use super::process::Dir;
use super::process::LOOK_SECONDS_MAX;
use super::process::Running;
use super::process::Silent;
use super::process::isolog;
use super::process::wait_for;

/// The log so far, of which `from` bytes were read before, once it holds `part`.
fn log_with(log: &Path, from: &mut usize, part: &str) -> String {
    let text = wait_for(part, LOOK_SECONDS_MAX, || {
        let text = fs::read_to_string(log).ok()?;
        text[*from..].contains(part).then(|| text[*from..].to_owned())
    });
    *from += text.len();
    text
}

#[test]
fn the_file_is_read_again_and_a_wrong_one_changes_nothing() {
    let (silent, other) = (Silent::listen(), Silent::listen());
    let dir = Dir::new();
    let config = dir.config(&silent.address, &other.address, free_port().unwrap());
    let right = fs::read_to_string(&config).unwrap();
    let log = dir.0.join("log");
    let mut command = isolog("run", &config);
    let mut run = Running::start(command.stderr(fs::File::create(&log).unwrap()));
    let mut from = 0;
    log_with(&log, &mut from, "isolog serves");

    run.signal("-HUP");
    log_with(&log, &mut from, "the config file says what isolog runs with");

    fs::write(&config, format!("{right}gap.fil = 'hunter2'\ngap.offsets.max = 0\n")).unwrap();
    run.signal("-HUP");
    let said = log_with(&log, &mut from, "the config file is wrong, and nothing is changed");
    assert!(said.contains("gap.fil (line 10): no such property; did you mean gap.fill?"), "{said}");
    assert!(said.contains("gap.offsets.max = 0 (line 11): must be"), "{said}");
    assert!(said.contains("mistakes=2") && !said.contains("hunter2"), "{said}");

    // nobody says so: the file is looked at
    fs::write(&config, format!("{right}gap.fill = 'halt'\n[link.m]\n")).unwrap();
    let said = log_with(&log, &mut from, "the config file is wrong, and nothing is changed");
    assert!(said.contains("the config file has changed"), "{said}");
    assert!(said.contains("[link.m] bootstrap.servers: is missing"), "{said}");
    fs::write(&config, format!("{right}gap.fill = 'halt'\n")).unwrap();
    let said = log_with(&log, &mut from, "[link.l] gap.fill: changed in the file");
    assert!(said.contains("and taken (what it touches: reseat)"), "{said}");
    run.signal("-HUP");
    log_with(&log, &mut from, "the config file says what isolog runs with");

    run.stops("after its file was read again");
}
