//! A tail on real Kafka, as a person saves it by the command line: listed, exported to files,
//! appended to a topic of its own, and handed to Kafka's own tool for consumer groups.
//!
//! It never asks a running isolog: the config file and the journal say where topics were sealed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;

use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::direct::Dump;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::now_ms;
use protocol_tests::real::tool;
use serde_json::Value;
use serde_json::json;

use crate::operated::Stage;

const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const GROUP: &str = "s-mover";
/// Ten batches of so many records.
const BATCH: usize = 100;
const RECORDS: usize = 10 * BATCH;

/// A record as it is compared: time, key, value, headers.
type Plain = (i64, Option<String>, Option<String>, Vec<(String, Option<String>)>);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Every record of a log from that offset on, in order.
fn records(log: &Dump, from: i64) -> Vec<Plain> {
    let batches = log.batches.iter().filter(|batch| batch.base >= from);
    let plain = |time: i64, record: &Record| -> Plain {
        let headers = record.headers.iter();
        let headers = headers.map(|(name, value)| (text(name), value.as_deref().map(text)));
        let (key, value) = (record.key.as_deref().map(text), record.value.as_deref().map(text));
        (time + record.timestamp_delta, key, value, headers.collect())
    };
    let all = batches.flat_map(|batch| {
        let time = batch.header.unwrap().base_timestamp;
        batch.records.as_ref().unwrap().iter().map(move |record| plain(time, record))
    });
    all.collect()
}

/// The records of an exported file, and their offsets.
fn exported(lines: &str) -> Vec<(i64, Plain)> {
    let each = lines.lines().map(|line| {
        let one: Value = serde_json::from_str(line).unwrap();
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let headers = one["headers"].as_array().unwrap().iter();
        let headers = headers.map(|one| (word(&one["name"]).unwrap(), word(&one["value"])));
        let time = one["timestamp"].as_i64().unwrap();
        let plain = (time, word(&one["key"]), word(&one["value"]), headers.collect());
        (one["offset"].as_i64().unwrap(), plain)
    });
    each.collect()
}

/// What `isolog mirror tail …` prints.
fn told(isolog: &Isolog, args: &[&str]) -> String {
    let output = isolog.command(&[&["mirror", "tail"], args].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A group of the source is set to where its tail begins, as the file says.
fn a_group_is_set_to_it(stage: &Stage, isolog: &Isolog, csv: &str, (topic, end): (&str, i64)) {
    let file = isolog.config().with_file_name("tail.csv");
    fs::write(&file, csv).unwrap();
    let (source, file) = (stage.clusters.0.bootstrap(), file.display().to_string());
    let words = ["--bootstrap-server", source, "--group", GROUP];
    let reset = ["--reset-offsets", "--from-file", &file, "--execute"];
    tool(GROUPS, &[&words[..], &reset].concat()).unwrap();
    let said = tool(GROUPS, &[&words[..], &["--describe"]].concat()).unwrap();
    let row = said.lines().find(|line| line.contains(topic)).unwrap_or_else(|| panic!("{said}"));
    let cells: Vec<&str> = row.split_whitespace().collect();
    let (end, lag) = (end.to_string(), RECORDS.to_string());
    let is_there = |word: &str| cells.contains(&word);
    assert!(is_there("0") && is_there(&end) && is_there(&lag), "{said}");
}

/// Both files of the tail hold what the source has: the records, and the batches byte by byte.
fn it_is_exported(isolog: &Isolog, source: &Dump, (topic, end): (&str, i64)) {
    let dir = isolog.config().with_file_name("rescue");
    fs::create_dir(&dir).unwrap();
    told(isolog, &["export", topic, "--link", "dr", "--dir", dir.to_str().unwrap()]);
    let lines = fs::read_to_string(dir.join(format!("{topic}-0.jsonl"))).unwrap();
    let (offsets, got): (Vec<i64>, Vec<Plain>) = exported(&lines).into_iter().unzip();
    assert_eq!(got, records(source, end));
    let want: Vec<i64> = (end..end + RECORDS as i64).collect();
    assert_eq!(offsets, want);
    let batches = fs::read(dir.join(format!("{topic}-0.batches"))).unwrap();
    let (mut rest, mut found) = (&batches[..], Vec::new());
    while let Some(header) = Header::read(rest) {
        let (batch, behind) = rest.split_at(12 + usize::try_from(header.length).unwrap());
        found.push((header.base_offset, batch[HEADER_BYTES..].to_vec()));
        rest = behind;
    }
    assert!(rest.is_empty(), "{} bytes are no batch", rest.len());
    let own = source.batches.iter().filter(|batch| batch.next > end);
    let own: Vec<_> = own.map(|batch| (batch.base, batch.section.to_vec())).collect();
    assert_eq!(found, own);
}

/// The n-th record of the tail is record n of its topic, once, however often it is ordered.
fn it_is_appended(stage: &Stage, isolog: &Isolog, source: &Dump, (topic, end): (&str, i64)) {
    for appended in [RECORDS, 0] {
        let rows = told(isolog, &["append", topic, "--link", "dr", "-o", "json"]);
        let rows: Value = serde_json::from_str(&rows).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["partition"] == 0).unwrap();
        let got = (&row["records"], &row["appended"]);
        assert_eq!(got, (&json!(RECORDS), &json!(appended)), "{rows}");
    }
    let tail = stage.destination.read(&format!("{topic}.tail"), 0).unwrap();
    assert_eq!((tail.start, tail.end), (0, RECORDS as i64));
    assert_eq!(records(&tail, 0), records(source, end));
}

/// Writes a thousand records behind what was mirrored of partition 0, which ended there: they are
/// on no side that is read, and found, saved and appended by config file and journal alone. The
/// link has so many stopped partitions.
pub(crate) fn a_tail_is_saved(
    stage: &Stage,
    isolog: &Isolog,
    (topic, end): (&str, i64),
    partitions: i32,
) {
    let source: &Hand = &stage.source;
    for n in 0..RECORDS / BATCH {
        let records = Build::plain(now_ms(), &format!("tail{n}"), BATCH);
        source.produce(topic, 0, &records).unwrap();
    }
    let csv = told(isolog, &["list", "--link", "dr", "-o", "csv"]);
    assert_eq!(csv, format!("{topic},0,{end}\n"));
    let rows: Value =
        serde_json::from_str(&told(isolog, &["list", "--link", "dr", "-o", "json"])).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), partitions as usize, "{rows:?}");
    for row in rows {
        let is_tail = row["mirror_topic_name"] == topic && row["partition"] == 0;
        let want =
            if is_tail { (json!("tail"), json!(RECORDS)) } else { (json!("none"), json!(0)) };
        assert_eq!((&row["state"], &row["offsets"]), (&want.0, &want.1), "{row}");
    }
    let log = source.read(topic, 0).unwrap();
    it_is_exported(isolog, &log, (topic, end));
    it_is_appended(stage, isolog, &log, (topic, end));
    a_group_is_set_to_it(stage, isolog, &csv, (topic, end));
}
