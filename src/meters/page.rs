//! `docs/METRICS.md`: the table of meters as a page.
//!
//! It never knows a meter of its own.

use std::fmt::Write;

use super::METERS;
use super::Meter;

const HEAD: &str = "\
# Metrics

Written from the table in `src/meters.rs`; mend the table, then run
`ISOLOG_BLESS=1 cargo test -p protocol-tests --test tidy`.

`GET /metrics` on the service port answers in the Prometheus text format. What is not known yet is
absent, never zero.

| name | kind | unit | labels | what it says |
| --- | --- | --- | --- | --- |
";

/// `docs/METRICS.md`; tidy compares the file with it.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for meter in METERS {
        let Meter { name, unit, help, .. } = meter;
        let labels = meter.labels.join(", ");
        let kind = meter.kind.word();
        writeln!(out, "| `{name}` | {kind} | {unit} | {labels} | {help} |")
            .expect("a String takes any text");
    }
    out
}
