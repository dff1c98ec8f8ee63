//! Meters become the Prometheus text format.
//!
//! It never keeps a series of its own: lag is rendered from the views of the moment, so what is
//! gone is gone from the answer too.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;

use metrics_exporter_prometheus::PrometheusBuilder;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::meters;
use crate::meters::Kind;
use crate::meters::METERS;
use crate::meters::Meter;
use crate::mirror::lag::AGES_MS;
use crate::mirror::lag::Ages;

use super::folded;
use super::folded::Folded;
use super::folded::Series;
use super::view::ExporterView;
use super::view::GroupsView;
use super::view::JournalView;
use super::view::LinkView;
use super::view::PartitionView;
use super::view::Sight;

/// The process's recorder; installed once, however many services run in the process.
pub fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

fn install() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::error!("another recorder was installed: /metrics lacks the process's counters");
    }
    for meter in METERS {
        match meter.kind {
            Kind::Counter => metrics::describe_counter!(meter.name, meter.help),
            Kind::Gauge => metrics::describe_gauge!(meter.name, meter.help),
            Kind::Histogram => metrics::describe_histogram!(meter.name, meter.help),
        }
    }
    handle
}

/// The whole answer of `/metrics`.
pub fn render(recorder: &PrometheusHandle, sight: &dyn Sight, series: Series) -> String {
    recorder.run_upkeep();
    let mut out = recorder.render();
    let ready = sight.readiness().iter().all(|check| check.ok);
    head(&mut out, &meters::READY);
    line(&mut out, &meters::READY, &[], u64::from(ready));
    head(&mut out, &meters::INSTANCE_HAS_WORK);
    line(&mut out, &meters::INSTANCE_HAS_WORK, &[], u64::from(sight.stands_by().is_none()));
    memory(&mut out);
    journal(&mut out, sight.journal());
    links(&mut out, &sight.links());
    let mut all = sight.partitions();
    // of what is not to be copied there is no lag
    all.retain(|view| !view.is_paused());
    folded(&mut out, &all);
    all.retain(|view| series.shows(view));
    partitions(&mut out, &all);
    exporters(&mut out, &sight.exporters());
    out
}

/// One column of what is told of several partitions together.
type Sum = (&'static Meter, fn(&Folded) -> Option<u64>);

/// What is told in every setting of `metrics.partition.series`.
fn folded(out: &mut String, partitions: &[PartitionView]) {
    let of_link: [Sum; 4] = [
        (&meters::LINK_LAG_RECORDS, |sum| sum.lag_records),
        (&meters::LINK_LAG_MS, |sum| sum.lag_ms),
        (&meters::LINK_RPO_MS, |sum| sum.rpo_ms),
        (&meters::LINK_APPEND_BYTES, |sum| Some(sum.append_bytes)),
    ];
    let of_topic: [Sum; 4] = [
        (&meters::TOPIC_LAG_RECORDS, |sum| sum.lag_records),
        (&meters::TOPIC_LAG_MS, |sum| sum.lag_ms),
        (&meters::TOPIC_APPEND_RECORDS, |sum| Some(sum.append_records)),
        (&meters::TOPIC_APPEND_BYTES, |sum| Some(sum.append_bytes)),
    ];
    let links = folded::by(partitions, |view| [view.link.as_str()]);
    columns(out, &of_link, &links);
    head(out, &meters::LINK_RECORD_AGE_MS);
    for ([link], sum) in &links {
        histogram(out, &meters::LINK_RECORD_AGE_MS, link, &sum.ages);
    }
    let topics = folded::by(partitions, |view| [view.link.as_str(), view.topic.as_str()]);
    columns(out, &of_topic, &topics);
}

fn columns<const N: usize>(out: &mut String, columns: &[Sum], rows: &BTreeMap<[&str; N], Folded>) {
    for (meter, number) in columns {
        head(out, meter);
        for (labels, sum) in rows {
            if let Some(value) = number(sum) {
                line(out, meter, labels, value);
            }
        }
    }
}

/// Each class with all below it, as Prometheus counts.
fn histogram(out: &mut String, meter: &Meter, link: &str, ages: &Ages) {
    let bounds = AGES_MS.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
    let mut below = 0;
    for (bound, count) in bounds.zip(ages.counts) {
        below += count;
        let name = format!("{}_bucket", meter.name);
        sample(out, (&name, &["link", "le"]), &[link, &bound], below);
    }
    for (suffix, value) in [("sum", ages.sum_ms), ("count", below)] {
        sample(out, (&format!("{}_{suffix}", meter.name), meter.labels), &[link], value);
    }
}

/// What keeps the journal's rows; nothing of what is not known.
fn journal(out: &mut String, journal: Option<JournalView>) {
    let Some(journal) = journal else { return };
    let rows = [
        (&meters::JOURNAL_REPLICAS, journal.replicas),
        (&meters::JOURNAL_INSYNC_REPLICAS, journal.in_sync),
        (&meters::JOURNAL_MIN_INSYNC_REPLICAS, journal.min_in_sync),
        (&meters::JOURNAL_ROWS, Some(journal.rows)),
        (&meters::JOURNAL_IN_TROUBLE, Some(u64::from(journal.is_in_trouble))),
    ];
    for (meter, value) in rows {
        head(out, meter);
        if let Some(value) = value {
            line(out, meter, &[], value);
        }
    }
}

/// What the kernel says; nothing where there is no `/proc`.
fn memory(out: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rows = [(&meters::RESIDENT_BYTES, "VmRSS:"), (&meters::RESIDENT_BYTES_MAX, "VmHWM:")];
    for (meter, key) in rows {
        let row = status.lines().find_map(|row| row.strip_prefix(key));
        let kibibytes = row.and_then(|row| row.split_whitespace().next()?.parse::<u64>().ok());
        if let Some(kibibytes) = kibibytes {
            head(out, meter);
            line(out, meter, &[], kibibytes * 1024);
        }
    }
}

fn links(out: &mut String, links: &[LinkView]) {
    head(out, &meters::LINK_STATE);
    for link in links {
        line(out, &meters::LINK_STATE, &[&link.name, &link.state], 1);
    }
    // of what another instance knows nothing is said
    let known = || links.iter().filter(|link| !link.is_standby());
    type Number = fn(&LinkView) -> Option<u64>;
    let columns: [(&Meter, Number); 4] = [
        (&meters::LINK_PARTITIONS, |link| Some(link.partitions)),
        (&meters::LINK_PARTITIONS_HALTED, |link| Some(link.halted)),
        (&meters::LINK_PARTITIONS_LAG_UNKNOWN, |link| Some(link.lag_unknown)),
        (&meters::LINK_HELD_RECORDS, |link| link.held_records),
    ];
    for (meter, number) in columns {
        head(out, meter);
        for link in known() {
            if let Some(value) = number(link) {
                line(out, meter, &[&link.name], value);
            }
        }
    }
    groups(out, links);
    head(out, &meters::LINK_MIRROR_TOPICS);
    for link in links {
        for (status, count) in &link.mirror_topics {
            line(out, &meters::LINK_MIRROR_TOPICS, &[&link.name, status], *count);
        }
    }
    head(out, &meters::LINK_TROUBLES);
    for link in links {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        link.troubles.iter().for_each(|one| *counts.entry(&one.code).or_default() += 1);
        for (reason, count) in counts {
            line(out, &meters::LINK_TROUBLES, &[&link.name, reason], count);
        }
    }
    tasks(out, links);
}

fn tasks(out: &mut String, links: &[LinkView]) {
    let all = || links.iter().flat_map(|link| link.tasks.iter().map(move |task| (link, task)));
    head(out, &meters::LINK_TASK_COUNT);
    for (link, task) in all() {
        let labels = [&link.name, &task.name, &task.state, &task.code].map(String::as_str);
        line(out, &meters::LINK_TASK_COUNT, &labels, 1);
    }
    head(out, &meters::LINK_TASK_SUCCEEDED_MS);
    for (link, task) in all() {
        if let Some(at) = task.succeeded_ms.and_then(|at| u64::try_from(at).ok()) {
            line(out, &meters::LINK_TASK_SUCCEEDED_MS, &[&link.name, &task.name], at);
        }
    }
}

/// Of links that follow consumer groups.
fn groups(out: &mut String, links: &[LinkView]) {
    type Number = fn(&GroupsView) -> u64;
    let columns: [(&Meter, Number); 3] = [
        (&meters::LINK_CONSUMER_GROUPS, |groups| groups.followed),
        (&meters::LINK_CONSUMER_OFFSETS_CLAMPED, |groups| groups.clamped),
        (&meters::LINK_CONSUMER_OFFSETS_COMMITTED, |groups| groups.committed),
    ];
    for (meter, number) in columns {
        head(out, meter);
        for link in links {
            if let Some(groups) = &link.groups {
                line(out, meter, &[&link.name], number(groups));
            }
        }
    }
}

fn partitions(out: &mut String, partitions: &[PartitionView]) {
    type Number = fn(&PartitionView) -> Option<u64>;
    let columns: [(&Meter, Number); 16] = [
        (&meters::PARTITION_LAG_RECORDS, |view| view.lag_records),
        (&meters::PARTITION_LAG_BYTES, |view| view.lag_bytes),
        (&meters::PARTITION_LAG_MS, |view| view.lag_ms),
        (&meters::PARTITION_SOURCE_END, |view| view.source_end),
        (&meters::PARTITION_DESTINATION_END, |view| view.destination_end),
        (&meters::PARTITION_DESTINATION_HWM, |view| view.destination_hwm),
        (&meters::PARTITION_APPEND_BATCHES, |view| Some(view.append_batches)),
        (&meters::PARTITION_APPEND_RECORDS, |view| Some(view.append_records)),
        (&meters::PARTITION_APPEND_BYTES, |view| Some(view.append_bytes)),
        (&meters::PARTITION_REENCODED_BATCHES, |view| Some(view.reencoded_batches)),
        (&meters::PARTITION_MERGED_BATCHES, |view| Some(view.merged_batches)),
        (&meters::PARTITION_FILLED_OFFSETS, |view| Some(view.filled_offsets)),
        (&meters::PARTITION_FILLER_BYTES, |view| Some(view.filler_bytes)),
        (&meters::PARTITION_OVERTAKEN_OFFSETS, |view| Some(view.overtaken_offsets)),
        (&meters::PARTITION_FRONT_OFFSETS, |view| Some(view.front_offsets)),
        (&meters::PARTITION_HELD_RECORDS, |view| view.held_records),
    ];
    for (meter, number) in columns {
        head(out, meter);
        for view in partitions {
            if let Some(value) = number(view) {
                let partition = view.partition.to_string();
                line(out, meter, &[&view.link, &view.topic, &partition], value);
            }
        }
    }
    head(out, &meters::PARTITION_STATE);
    for view in partitions {
        let partition = view.partition.to_string();
        let labels = [&view.link, &view.topic, &partition, &view.state, &view.reason_code];
        line(out, &meters::PARTITION_STATE, &labels.map(String::as_str), 1);
    }
}

fn exporters(out: &mut String, exporters: &[ExporterView]) {
    head(out, &meters::EXPORTER_STATE);
    for one in exporters {
        line(out, &meters::EXPORTER_STATE, &[&one.name, one.state], 1);
    }
    type Number = fn(&ExporterView) -> Option<u64>;
    let columns: [(&Meter, Number); 5] = [
        (&meters::EXPORTER_IN_ERROR, |one| Some(u64::from(!one.trace.is_empty()))),
        (&meters::EXPORTER_MISSING_CHANGES, |one| one.missing),
        (&meters::EXPORTER_LEVEL_MS, |one| u64::try_from(one.ts).ok().filter(|ts| *ts > 0)),
        (&meters::EXPORTER_LAG_MS, |one| one.lag_ms),
        (&meters::EXPORTER_CHANGES, |one| Some(one.offset)),
    ];
    for (meter, number) in columns {
        head(out, meter);
        for one in exporters {
            if let Some(value) = number(one) {
                line(out, meter, &[&one.name], value);
            }
        }
    }
}

fn head(out: &mut String, meter: &Meter) {
    let Meter { name, help, .. } = meter;
    let kind = meter.kind.word();
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes any text");
}

/// One sample; labels without values are left out by the caller's giving fewer values.
fn line(out: &mut String, meter: &Meter, values: &[&str], value: u64) {
    sample(out, (meter.name, meter.labels), values, value);
}

fn sample(out: &mut String, (name, labels): (&str, &[&str]), values: &[&str], sample: u64) {
    out.push_str(name);
    for (at, (label, value)) in labels.iter().zip(values).enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        write!(out, "{before}{label}=\"").expect("a String takes any text");
        escape(out, value);
        out.push('"');
    }
    let after = if values.is_empty() { "" } else { "}" };
    writeln!(out, "{after} {sample}").expect("a String takes any text");
}

/// Backslash, quote and line break, as the text format wants them.
fn escape(out: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::view::Check;

    struct Two;

    impl Sight for Two {
        fn partitions(&self) -> Vec<PartitionView> {
            let known = PartitionView {
                link: "dr".into(),
                topic: "orders".into(),
                partition: 3,
                state: "Halted".into(),
                reason: "with numbers: 4".into(),
                reason_code: "a \"4\"\nb 5\\".into(),
                lag_records: Some(7),
                rpo_ms: Some(9),
                append_bytes: 5,
                ages: Ages { counts: [4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], sum_ms: 90 },
                ..PartitionView::default()
            };
            vec![known.clone(), PartitionView { partition: 4, lag_records: None, ..known }]
        }

        fn links(&self) -> Vec<LinkView> {
            let groups = Some(GroupsView { followed: 2, clamped: 1, committed: 9 });
            let (name, other) = ("dr".to_owned(), LinkView::default());
            let mirror_topics = BTreeMap::from([("FAILED".to_owned(), 1)]);
            let dr =
                LinkView { name, partitions: 2, halted: 1, groups, mirror_topics, ..other.clone() };
            vec![dr, other]
        }

        fn readiness(&self) -> Vec<Check> {
            vec![Check { name: "link dr".into(), ok: false, reason: "no".into() }]
        }
    }

    #[test]
    fn views_are_rendered_and_unknown_numbers_are_left_out() {
        let text = render(&recorder(), &Two, Series::All);
        let holds = |line: &str| assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
        holds("# TYPE isolog_partition_lag_records gauge");
        holds("isolog_link_mirror_topic_count{link=\"dr\",status=\"FAILED\"} 1");
        holds("isolog_link_mirror_topic_bytes_total{link=\"dr\",topic=\"orders\"} 10");
        holds("isolog_link_rpo_ms{link=\"dr\"} 9");
        holds("# TYPE isolog_link_record_age_ms histogram");
        for (bound, count) in [("10", 8), ("25", 8), ("50", 10), ("3600000", 10), ("+Inf", 14)] {
            let bucket = format!("{{link=\"dr\",le=\"{bound}\"}} {count}");
            holds(&format!("isolog_link_record_age_ms_bucket{bucket}"));
        }
        holds("isolog_link_record_age_ms_sum{link=\"dr\"} 180");
        holds("isolog_link_record_age_ms_count{link=\"dr\"} 14");
        let gone = "\nisolog_link_offset_lag{";
        assert!(!text.contains(gone), "the lag of one of them is unknown: {text}");
        holds("isolog_partition_lag_records{link=\"dr\",topic=\"orders\",partition=\"3\"} 7");
        holds("isolog_ready 0");
        holds("# TYPE isolog_resident_bytes gauge");
        holds("isolog_link_partitions_halted{link=\"dr\"} 1");
        holds("isolog_link_consumer_groups{link=\"dr\"} 2");
        holds("isolog_link_consumer_offsets_clamped{link=\"dr\"} 1");
        holds("isolog_link_consumer_offsets_committed_total{link=\"dr\"} 9");
        assert!(!text.contains("isolog_link_consumer_groups{link=\"\"}"), "{text}");
        holds(
            "isolog_partition_state{link=\"dr\",topic=\"orders\",partition=\"4\",\
             state=\"Halted\",reason=\"a \\\"4\\\"\\nb 5\\\\\"} 1",
        );
        assert!(!text.contains("lag_records{link=\"dr\",topic=\"orders\",partition=\"4\"}"));
    }

    #[test]
    fn counters_of_the_process_are_in_the_answer() {
        let handle = recorder();
        metrics::counter!(meters::REQUESTS.name, "side" => "test").increment(5);
        let text = render(&handle, &Two, Series::All);
        assert!(text.contains("isolog_requests_total{side=\"test\"} 5"), "{text}");
        assert!(text.contains("# TYPE isolog_requests_total counter"), "{text}");
    }
    #[test]
    fn partitions_have_series_as_it_is_set() {
        let told = |series| render(&recorder(), &Two, series);
        let of_partition = |text: &str| text.matches("\nisolog_partition_state{").count();
        assert_eq!(of_partition(&told(Series::All)), 2);
        assert_eq!(of_partition(&told(Series::Lagging)), 2, "both are halted");
        let none = told(Series::None);
        assert!(!none.contains("\nisolog_partition_"), "{none}");
        assert!(none.contains("\nisolog_link_rpo_ms{link=\"dr\"} 9\n"), "{none}");
    }
}
