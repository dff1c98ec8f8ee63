//! The rules of deploy/alerts.yml: each case in which something that is wanted is not copied, or
//! would be lost, fires its alerts, and no other; a level link fires none.
//!
//! It never makes series up: they are what isolog's /metrics shows in the case, and Prometheus's
//! own promtool judges.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use isolog::service;
use isolog::service::view::Check;
use isolog::service::view::LinkView;
use isolog::service::view::PartitionView;
use isolog::service::view::Sight;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Version;
use protocol_tests::net::Rule;
use protocol_tests::real::repo;
use protocol_tests::world::CLIENT;
use tokio::time::Duration;
use tokio::time::sleep;

use crate::faults::lab::BAD;
use crate::faults::lab::GOOD;
use crate::faults::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

/// Where promtool lies.
fn tool() -> String {
    let script = repo().join("protocol-tests/tools/promtool");
    let told = Command::new(script).output().expect("the script runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8_lossy(&told.stdout).trim().to_owned()
}

fn promtool(args: &[&str]) -> String {
    let output = Command::new(tool()).args(args).output().expect("promtool runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {text}");
    text
}

fn rules() -> String {
    repo().join("deploy/alerts.yml").display().to_string()
}

/// Each series of an answer of /metrics, with its sample.
fn samples(metrics: &str) -> BTreeMap<&str, &str> {
    let lines = metrics.lines().filter(|line| line.starts_with("isolog_"));
    lines.filter_map(|line| line.rsplit_once(' ')).collect()
}

/// A unit file of promtool: isolog shows `before` for ten minutes, then `metrics` for twenty, and
/// a series that is in the first alone goes stale; then exactly `alerts` fire.
fn unit(before: &str, metrics: &str, alerts: &[&str]) -> String {
    let mut text = format!(
        "rule_files: ['{}']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    \
         input_series:\n",
        rules()
    );
    let (before, now) = (samples(before), samples(metrics));
    let series: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
    for series in series {
        let first = before.get(series).map_or("_x10".to_owned(), |value| format!("{value}+0x9"));
        let then = now.get(series).map_or("stale".to_owned(), |value| format!("{value}+0x20"));
        writeln!(text, "      - series: '{series}'\n        values: '{first} {then}'").unwrap();
    }
    text.push_str("    promql_expr_test:\n");
    text.push_str("      - expr: group by (alertname) (ALERTS{alertstate=\"firing\"})\n");
    text.push_str("        eval_time: 30m\n        exp_samples:\n");
    for alert in alerts {
        writeln!(text, "          - labels: '{{alertname=\"{alert}\"}}'\n            value: 1")
            .unwrap();
    }
    if alerts.is_empty() {
        text = text.replace("exp_samples:\n", "exp_samples: []\n");
    }
    text
}

/// What isolog shows now.
fn shown(lab: &Lab) -> String {
    service::metrics(lab.world.isolog().sight())
}

/// Exactly these alerts fire when isolog goes on showing what it shows now.
fn fires(lab: &Lab, case: &str, alerts: &[&str]) {
    fires_after("", lab, case, alerts);
}

/// The same, where it has shown `before` until now.
fn fires_after(before: &str, lab: &Lab, case: &str, alerts: &[&str]) {
    let text = unit(before, &shown(lab), alerts);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alerts-{case}.yml"));
    std::fs::write(&path, text).unwrap();
    promtool(&["test", "rules", &path.display().to_string()]);
}

#[test]
fn the_rules_are_rules() {
    assert!(promtool(&["check", "rules", &rules()]).contains("SUCCESS"));
}

/// One of several instances that has no work.
struct StandsBy;

impl Sight for StandsBy {
    fn partitions(&self) -> Vec<PartitionView> {
        Vec::new()
    }

    fn links(&self) -> Vec<LinkView> {
        let (name, state) = ("dr".to_owned(), "Standby".to_owned());
        vec![LinkView { name, state, ..LinkView::default() }]
    }

    fn stands_by(&self) -> Option<String> {
        Some("another one has the work".to_owned())
    }

    fn readiness(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// The metrics of a process that Prometheus knows as `instance`.
fn scraped(metrics: &str, instance: &str) -> String {
    let label = format!("instance=\"{instance}\"");
    let lines = metrics.lines().filter(|line| line.starts_with("isolog_"));
    let labelled = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        Some(match series.strip_suffix('}') {
            Some(open) => format!("{open},{label}}} {value}\n"),
            None => format!("{series}{{{label}}} {value}\n"),
        })
    });
    labelled.collect()
}

/// Who stands by is no fault, and nobody who has the work is one.
#[tokio::test(start_paused = true)]
async fn instances_that_all_stand_by_fire() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.level(GOOD[0]).await;
    let (works, rests) =
        (scraped(&shown(&lab), "a:1"), scraped(&service::metrics(&StandsBy), "b:1"));
    for (case, metrics, alerts) in
        [("one-works", works + &rests, &[][..]), ("nobody-works", rests, &["IsologNobodyWorks"])]
    {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alerts-{case}.yml"));
        std::fs::write(&path, unit("", &metrics, alerts)).unwrap();
        promtool(&["test", "rules", &path.display().to_string()]);
    }
}

/// Milliseconds are what Kafka measures in, and `_count` is how Cluster Linking's metrics end;
/// beyond that promtool finds nothing in what a link shows.
#[tokio::test(start_paused = true)]
async fn the_names_are_what_prometheus_expects() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let text = shown(&lab);
    for name in ["isolog_link_rpo_ms", "isolog_link_mirror_topic_count", "isolog_link_bytes_total"]
    {
        assert!(text.contains(&format!("\n{name}{{")), "{name} is missing in {text}");
    }
    let counted = text.lines().find_map(|line| {
        line.strip_prefix("isolog_link_record_age_ms_count{link=\"dr\"} ")?.parse::<u64>().ok()
    });
    assert!(counted.is_some_and(|count| count > 0), "no age was counted: {text}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("names.prom");
    std::fs::write(&path, text).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let told = Command::new(tool()).args(["check", "metrics"]).stdin(file).output().unwrap();
    let said = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    let known = |line: &&str| {
        line.ends_with("metric names should not contain abbreviated units")
            || line.ends_with("_count\" suffix")
    };
    assert!(said.lines().any(|line| known(&line)), "promtool judges no longer as it did: {said}");
    let news: Vec<&str> = said.lines().filter(|line| !known(line)).collect();
    assert!(news.is_empty(), "{news:#?}");
}

#[test]
fn no_metrics_at_all_fire_too() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alerts-gone.yml");
    std::fs::write(&path, unit("", "isolog_gone 1", &["IsologGone"])).unwrap();
    promtool(&["test", "rules", &path.display().to_string()]);
}

const NOT_MIRRORED: [&str; 3] = ["IsologLagUnknown", "IsologNotReady", "IsologTopicNotMirrored"];

#[tokio::test(start_paused = true)]
async fn a_level_link_fires_nothing_and_a_topic_that_went_does() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    fires(&lab, "level", &[]);
    lab.world.stop().await;
    lab.destination().change(|state| state.delete_topic(BAD.0)).unwrap();
    lab.world.start();
    lab.wait("the halt", |lab| lab.is_halted(BAD)).await;
    fires(&lab, "s1", &[&NOT_MIRRORED[..], &["IsologPartitionHalted"]].concat());
}

#[tokio::test(start_paused = true)]
async fn what_matches_nothing_fires() {
    let mut lab = Lab::single(Version::V4_3);
    lab.world.patterns = vec!["good", "bad", ".*"];
    lab.begin().await;
    fires(&lab, "s2-pattern", &["IsologNotReady", "IsologTopicNotMirrored"]);
    let mut lab = Lab::single(Version::V4_3);
    lab.world.patterns = vec!["good", "bad", "never.there"];
    lab.begin().await;
    fires(&lab, "s2-name", &NOT_MIRRORED);
}

#[tokio::test(start_paused = true)]
async fn a_halted_partition_and_its_lag_fire() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let foreign = Build::plain(lab.now_ms(), "foreign", 1);
    lab.destination().append(BAD.0, BAD.1, &foreign);
    lab.append(BAD, 1);
    lab.wait("the halt", |lab| lab.is_halted(BAD)).await;
    sleep(SECOND * 90).await;
    let halted = ["IsologPartitionHalted", "IsologLag", "IsologNotReady", "IsologTopicNotMirrored"];
    fires(&lab, "s3", &halted);
}

#[tokio::test(start_paused = true)]
async fn one_halted_partition_of_several_leaves_isolog_ready() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let foreign = Build::plain(lab.now_ms(), "foreign", 1);
    lab.destination().append(GOOD[0].0, GOOD[0].1, &foreign);
    lab.wait("the halt", |lab| lab.is_halted(GOOD[0])).await;
    sleep(SECOND * 5).await;
    fires(&lab, "one-of-two", &["IsologPartitionHalted"]);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_fires() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().deny(BAD.0, Right::Write);
    lab.append(BAD, 1);
    sleep(SECOND * 90).await;
    fires(&lab, "right", &["IsologLag", "IsologNotReady", "IsologTopicNotMirrored"]);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_away_fires() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let host = lab.destination().host(1);
    lab.world.net.set_rule(CLIENT, &host, Rule { refuse: true, ..Rule::default() });
    lab.world.net.cut(CLIENT, &host);
    sleep(SECOND * 25).await;
    fires(&lab, "away-there", &["IsologLagUnknown", "IsologLinkNotActive", "IsologNotReady"]);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_held_back_fire() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let open = Build::plain(lab.now_ms(), "open", 5).producer(7_007, 0, 0).flags(TRANSACTIONAL);
    lab.append_bad(&open);
    lab.append(BAD, 10);
    let is_held = |lab: &Lab| lab.seen(BAD).is_some_and(|seen| seen.held_records == Some(15));
    lab.wait("what is held", is_held).await;
    assert_eq!(lab.seen(BAD).unwrap().lag_records, Some(0));
    fires(&lab, "s4", &["IsologRecordsHeld"]);
    // a source that dies lets nothing go: what it held is not known any more, and told on
    let before = shown(&lab);
    let host = lab.source().host(1);
    lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
    lab.world.net.cut(CLIENT, &host);
    sleep(SECOND * 30).await;
    assert_eq!(lab.seen(BAD).unwrap().held_records, None);
    assert_eq!(lab.view().held_records, None);
    let now = shown(&lab);
    for name in ["isolog_link_held_records", "isolog_partition_held_records"] {
        let is_shown = |text: &str| text.contains(&format!("\n{name}{{"));
        assert!(is_shown(&before) && !is_shown(&now), "{name}: {now}");
    }
    let away = ["IsologLagUnknown", "IsologLinkNotActive", "IsologNotReady"];
    fires_after(&before, &lab, "s4-away", &[&away[..], &["IsologRecordsHeld"]].concat());
    // it answers again, and the transaction ends
    lab.world.net.clear_rule(CLIENT, &host);
    lab.source().end_txn(BAD.0, BAD.1, (7_007, 0), true);
    lab.level(BAD).await;
    lab.wait("readiness", |lab| lab.unready().is_empty() && lab.troubles().is_empty()).await;
    assert_eq!(lab.view().held_records, Some(0));
    fires_after(&before, &lab, "s4-ended", &[]);
}

#[tokio::test(start_paused = true)]
async fn surplus_partitions_fire() {
    let mut lab = Lab::single(Version::V4_3);
    lab.destination().create_topic(BAD.0, 3, &[]);
    lab.begin().await;
    lab.wait("the trouble", |lab| !lab.troubles().is_empty()).await;
    fires(&lab, "s5", &["IsologTopicDiffers"]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_refused_fires() {
    let mut lab = Lab::single(Version::V4_3);
    lab.destination().deny("late", Right::Create);
    lab.begin().await;
    lab.source().create_topic("late", 1, &[]);
    lab.wait("the trouble", |lab| !lab.troubles().is_empty()).await;
    fires(&lab, "s6", &NOT_MIRRORED);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_fires() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let host = lab.source().host(1);
    lab.world.net.set_rule(CLIENT, &host, Rule { refuse: true, ..Rule::default() });
    lab.world.net.cut(CLIENT, &host);
    sleep(SECOND * 120).await;
    fires(&lab, "away", &["IsologLagUnknown", "IsologLinkNotActive", "IsologNotReady"]);
}
