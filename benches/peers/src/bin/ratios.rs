//! Makes the table of one round of `benches/run`: medians with their smallest and largest, and
//! every contender's CPU per byte as a multiple of isolog's. Keeps the round as one JSON file.
//!
//! It never mixes rounds, and gives no number to a run whose copy was not equal.
//!
//!   ratios --lines FILE --commit C --config isolog.toml --out results/X.json

use peers::Args;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The runs of one contender in one workload, in order of workload as they were run.
struct Group {
    workload: String,
    contender: String,
    runs: Vec<Value>,
}

fn main() -> Outcome<()> {
    let args = Args::parse(&["lines", "commit", "config", "out"], &[]);
    let text = fs::read_to_string(args.need("lines"))?;
    let runs: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let groups = group(&runs);
    let table = table(&groups) + &latencies(&groups);
    println!("{table}");
    let kept = json!({
        "commit": args.need("commit"),
        "config": fs::read_to_string(args.need("config"))?.lines().collect::<Vec<_>>(),
        "machine": machine(),
        "kafka": "4.3.1, one broker a side, same machine",
        "table": table.lines().collect::<Vec<_>>(),
        "runs": runs,
    });
    fs::write(args.need("out"), serde_json::to_string_pretty(&kept)? + "\n")?;
    println!("kept in {}", args.need("out"));
    Ok(())
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({"cpu": model.rsplit(": ").next(), "cores": cores, "kernel": kernel.trim()})
}

fn group(runs: &[Value]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let (workload, contender) = (text(run, "workload"), text(run, "contender"));
        let same = |g: &&mut Group| g.workload == workload && g.contender == contender;
        match groups.iter_mut().find(same) {
            Some(group) => group.runs.push(run.clone()),
            None => groups.push(Group { workload, contender, runs: vec![run.clone()] }),
        }
    }
    groups
}

fn text(run: &Value, name: &str) -> String {
    run[name].as_str().unwrap_or_default().to_string()
}

/// Median, smallest and largest of what the good runs say.
fn spread(group: &Group, of: impl Fn(&Value) -> Option<f64>) -> Option<(f64, f64, f64)> {
    let mut all: Vec<f64> = group.runs.iter().filter_map(of).collect();
    all.sort_by(f64::total_cmp);
    let (least, most) = (*all.first()?, *all.last()?);
    let median = f64::midpoint(all[(all.len() - 1) / 2], all[all.len() / 2]);
    Some((median, least, most))
}

/// CPU-seconds per GB of payload.
fn cpu(run: &Value) -> Option<f64> {
    run["cpu_seconds_per_gb"].as_f64()
}

/// CPU-seconds per GB of batches as they lie in the source's log.
fn cpu_wire(run: &Value) -> Option<f64> {
    let share = run["wire_bytes"].as_f64()? / run["payload_bytes"].as_f64()?;
    Some(cpu(run)? / share).filter(|figure| figure.is_finite())
}

fn speed(run: &Value) -> Option<f64> {
    Some(run["bytes"].as_f64()? / 1e6 / run["seconds"].as_f64()?)
}

fn rss(run: &Value) -> Option<f64> {
    Some(run["rss_bytes_max"].as_f64()? / 1e6)
}

fn table(groups: &[Group]) -> String {
    let mut ours: BTreeMap<&str, f64> = BTreeMap::new();
    for group in groups.iter().filter(|g| g.contender == "isolog") {
        if let Some((median, ..)) = spread(group, cpu) {
            ours.insert(&group.workload, median);
        }
    }
    let mut to = String::from(
        "| workload | contender | runs | CPU-s/GB, median (min-max) | x isolog | CPU-s/wire GB | \
         MB/s, median (min-max) | peak RSS MB |\n|---|---|---|---|---|---|---|---|\n",
    );
    for group in groups {
        if group.runs.iter().all(|run| run["destination"].is_null()) {
            to += &row(group, ours.get(group.workload.as_str()).copied());
        }
    }
    to
}

fn row(group: &Group, ours: Option<f64>) -> String {
    let good = group.runs.iter().filter(|run| run["failed"].is_null()).count();
    let costs = spread(group, cpu);
    let ratio = costs.zip(ours).map(|((median, ..), ours)| median / ours);
    format!(
        "| {} | {} | {good} of {} | {} | {} | {} | {} | {} |\n",
        group.workload,
        group.contender,
        group.runs.len(),
        shown(costs, 2),
        ratio.map_or("-".into(), |ratio| format!("{ratio:.1}")),
        spread(group, cpu_wire).map_or("-".into(), |(median, ..)| format!("{median:.2}")),
        shown(spread(group, speed), 0),
        spread(group, rss).map_or("-".into(), |(_, _, most)| format!("{most:.0}")),
    )
}

fn shown(figures: Option<(f64, f64, f64)>, digits: usize) -> String {
    figures.map_or("-".into(), |(median, least, most)| {
        format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
    })
}

/// Producer's timestamp until a consumer has the record, at either end.
fn latencies(groups: &[Group]) -> String {
    let mut to = String::new();
    for group in groups {
        for run in group.runs.iter().filter(|run| run["destination"].is_object()) {
            if to.is_empty() {
                to += "\n| workload | contender | end | p50 ms | p99 ms | p99.9 ms | max ms |\n\
                       |---|---|---|---|---|---|---|\n";
            }
            for end in ["source", "destination"] {
                let ms = ["p50_ms", "p99_ms", "p999_ms", "max_ms"];
                let cells = ms.map(|name| run[end][name].to_string()).join(" | ");
                let (workload, contender) = (&group.workload, &group.contender);
                to += &format!("| {workload} | {contender} | {end} | {cells} |\n");
            }
        }
    }
    to
}
