//! deploy/: the unit and the container file, against what systemd says of them and what the code
//! needs.
//!
//! It never starts anything: systemd-analyze reads files, and where it is missing or too old, that
//! is printed and the rest is still looked at.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use super::read;
use super::top;

const UNIT: &str = "deploy/isolog.service";
/// What the unit starts; it need not be on the machine that tests.
const PROGRAM: &str = "/usr/local/bin/isolog";
/// What is there wherever systemd is.
const THERE: &str = "/bin/sh";
/// The most exposure that `systemd-analyze security` may find, in tenths: 11 by systemd 252, most
/// of it for the network, which isolog is for; and some room for what newer ones look at.
const EXPOSURE_MAX: &str = "15";
/// The first systemd that judges a file (`security --offline`).
const SYSTEMD_MIN: u32 = 250;

fn analyze(args: &[&OsStr]) -> Option<Output> {
    Command::new("systemd-analyze").args(args).env("SYSTEMD_COLORS", "0").output().ok()
}

/// Why systemd-analyze cannot judge here, if it cannot.
fn cannot_judge() -> Option<String> {
    let Some(told) = analyze(&["--version".as_ref()]) else {
        return Some("there is no systemd-analyze: .ci/tools installs it".to_owned());
    };
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let version = text.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
    let old = version.is_none_or(|version| version < SYSTEMD_MIN);
    old.then(|| format!("systemd-analyze is older than {SYSTEMD_MIN}: {text}"))
}

/// A copy of the unit that starts a program which is there.
fn startable() -> PathBuf {
    let unit = read(&top().join(UNIT));
    assert_eq!(unit.matches(PROGRAM).count(), 1, "{UNIT} starts {PROGRAM}");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("deploy");
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let copy = dir.join("isolog.service");
    std::fs::write(&copy, unit.replace(PROGRAM, THERE)).expect("it is written");
    copy
}

fn agreed(args: &[&str]) -> String {
    let unit = startable();
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([unit.as_os_str()]).collect();
    let told = analyze(&args).expect("it ran before");
    let text = [told.stdout, told.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
    let text = text.concat();
    assert!(told.status.success(), "systemd-analyze {args:?}:\n{text}");
    text
}

#[test]
fn systemd_agrees_with_the_unit() {
    if let Some(why) = cannot_judge() {
        // Not by eprintln: what a test that passes prints is kept from the reader.
        let _seen = writeln!(std::io::stderr(), "\nSKIPPED: {UNIT} was not judged: {why}");
        return;
    }
    let said = agreed(&["verify", "--man=no", "--recursive-errors=no"]);
    // Words that systemd does not know are passed over with a line and no error.
    let ours = said.lines().filter(|line| line.contains("isolog.service"));
    let ours: Vec<&str> = ours.collect();
    assert!(ours.is_empty(), "systemd-analyze verify: {ours:#?}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let said = agreed(&["security", "--no-pager", "--offline=true", &threshold]);
    assert!(said.contains("Overall exposure level for isolog.service"), "{said}");
}

/// All values of a setting of the unit, in their order.
fn values<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    let of = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    unit.lines().filter_map(of).collect()
}

/// The number behind `const NAME: TYPE =` in a file of the code.
fn constant(file: &str, name: &str) -> u64 {
    let text = read(&top().join(file));
    let told = text.split_once(&format!("const {name}: ")).expect("the constant is there").1;
    let digits = told.split_once('=').expect("it has a value").1.split(';').next();
    let digits = digits.unwrap_or_default().chars().filter(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("it is a number")
}

#[test]
fn the_unit_gives_what_the_code_needs() {
    let unit = read(&top().join(UNIT));
    let sockets = "src/cluster/dial/sockets.rs";
    let files = constant(sockets, "SOCKETS_MAX") + constant(sockets, "KEPT");
    assert_eq!(values(&unit, "LimitNOFILE"), [files.to_string()], "{sockets}");
    let misused = constant("src/cli/mod.rs", "MISUSED").to_string();
    assert_eq!(values(&unit, "RestartPreventExitStatus"), [misused], "src/cli/mod.rs");
    let stop = values(&unit, "TimeoutStopSec")[0].parse::<u64>().expect("seconds");
    let promise = constant("src/cli/stop.rs", "STOP_WAIT_MAX") + 1;
    assert!(stop >= 2 * promise, "{stop} s for a stop that may take {promise} s");
    // leave_no_core and the limit of open files end in this call, and a start without it fails.
    assert_eq!(values(&unit, "SystemCallFilter").last(), Some(&"prlimit64"));
}

#[test]
fn the_container_runs_as_nobody_and_needs_no_shell() {
    let file = read(&top().join("deploy/Containerfile")).replace("\\\n", "");
    let lines: Vec<(&str, &str)> = file
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.trim().split_once(' '))
        .collect();
    let of = |word: &str| -> Vec<&str> {
        lines.iter().filter(|line| line.0 == word).map(|line| line.1.trim()).collect()
    };
    assert_eq!(of("FROM"), ["scratch"]);
    assert_eq!(of("RUN"), [""; 0], "there is nothing that could run it");
    let copied = of("COPY");
    assert!(copied.len() == 1 && copied[0].ends_with(" isolog /isolog"), "{copied:?}");
    let user = of("USER")[0].split(':').map(|number| number.parse::<u32>().expect("a number"));
    assert!(user.clone().count() == 2 && user.clone().all(|number| number > 0));
    let health = of("HEALTHCHECK")[0].split_once("CMD ").expect("it runs something").1;
    for words in [of("ENTRYPOINT")[0], of("CMD")[0], health] {
        let list: Result<Vec<String>, _> = serde_json::from_str(words);
        assert!(list.is_ok(), "{words} is a line for a shell");
    }
    let dist = read(&top().join(".ci/dist"));
    assert!(dist.contains("-o dist/isolog "), "what is copied is made there");
}
