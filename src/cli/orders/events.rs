//! `isolog events`: what happens at a running isolog, a line each.
//!
//! It never asks a broker, and never leaves out what it was not told of without a line that says
//! so.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::Failure;
use super::Remote;
use super::Service;
use super::plain;
use super::text;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::wait;

/// For how long the service waits for an event before it answers that there is none, in ms: less
/// than an answer may take.
const WAIT_MS: u64 = 10_000;
/// The first pause before a service is asked again that did not answer; it doubles.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// The longest.
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(5);
/// What is tried where the service does not know the path.
const NEXT: &str = "start an isolog of this version there";
/// The service's word for events that it does not tell.
const LOST: &str = "lost";

/// How events are printed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lines {
    /// A line for people
    Human,
    /// An object of JSON a line
    Json,
}

/// What `isolog events` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only of this link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// Go on until Ctrl-C, also over a restart of isolog
    #[arg(long)]
    follow: bool,
    /// Only what came behind the event with this cursor, or behind this moment: now [default: all
    /// that isolog has kept since it started]
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    service: Service,
    /// How events are printed
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "human")]
    format: Lines,
}

/// Why nothing was told.
enum Untold {
    /// Asking again may help.
    Again(Failure),
    /// It does not.
    Never(Failure),
}

/// Prints what has happened, or what happens.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let remote = arguments.service.reached()?;
    let mut reading = Reading { arguments, remote, after: arguments.after.clone() };
    if !arguments.follow {
        return super::run(async {
            let mut told = 0;
            loop {
                match reading.turn(0).await.map_err(Untold::into_failure)? {
                    0 => break,
                    more => told += more,
                }
            }
            reading.hint(told);
            Ok(())
        });
    }
    wait(async |stop| {
        let done = stop.run_until_cancelled(reading.follow()).await;
        done.unwrap_or(Ok(()))
    })
}

impl Untold {
    fn into_failure(self) -> Failure {
        match self {
            Untold::Again(failure) | Untold::Never(failure) => failure,
        }
    }
}

struct Reading<'a> {
    arguments: &'a Arguments,
    remote: Remote,
    after: Option<String>,
}

impl Reading<'_> {
    /// Until it fails for good: what does not answer at all the first time is not waited for.
    async fn follow(&mut self) -> Result<(), Failure> {
        let told = self.turn(0).await.map_err(Untold::into_failure)?;
        self.hint(told);
        let (mut is_away, mut pause) = (false, AGAIN_PAUSE);
        loop {
            match self.turn(if is_away { 0 } else { WAIT_MS }).await {
                Ok(_) if is_away => {
                    let from = &self.remote.address;
                    complain(&format!(
                        "isolog at {from} answers again: where events are missing, a line says so"
                    ));
                    (is_away, pause) = (false, AGAIN_PAUSE);
                }
                Ok(_) => {}
                Err(Untold::Never(failure)) => return Err(failure),
                Err(Untold::Again(failure)) => {
                    if let Failure::Failed(cause) | Failure::Away(cause) = failure
                        && !is_away
                    {
                        complain(&format!("{cause}; it is asked again until it answers"));
                    }
                    is_away = true;
                    sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_PAUSE_MAX);
                }
            }
        }
    }

    /// Nothing of a link may mean that there is none of that name.
    fn hint(&self, told: usize) {
        let all = self.arguments.after.is_none();
        if let Some(link) = self.arguments.link.as_ref().filter(|_| all && told == 0) {
            complain(&format!(
                "nothing has happened to a link {link} since isolog started: `isolog link list` \
                 names those that there are"
            ));
        }
    }

    /// One question, whose answer is printed: how many events it had.
    async fn turn(&mut self, wait_ms: u64) -> Result<usize, Untold> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.after.as_ref().map(|after| ("after", after)));
        query.extend_pairs(self.arguments.link.as_ref().map(|link| ("link", link)));
        query.append_pair("wait_ms", &wait_ms.to_string());
        let path = format!("/v1/events?{}", query.finish());
        let answer = self.remote.send("GET", &path, None).await.map_err(Untold::Again)?;
        let status = answer.status;
        let is_passing = status.is_server_error() || status.as_u16() == super::BUSY;
        let page = self.remote.read(&answer, NEXT).map_err(|failure| match is_passing {
            true => Untold::Again(failure),
            false => Untold::Never(failure),
        })?;
        let odd = || Untold::Never(self.remote.odd());
        let cursor = page.get("cursor").and_then(Value::as_str).ok_or_else(odd)?.to_owned();
        let events = page.get("events").and_then(Value::as_array).ok_or_else(odd)?;
        for event in events {
            say(&line(event, self.arguments.format)).map_err(Untold::Never)?;
        }
        self.after = Some(cursor);
        Ok(events.len())
    }
}

fn line(event: &Value, format: Lines) -> String {
    match format {
        Lines::Json => format!("{event}\n"),
        Lines::Human => format!("{}\n", plain(&human(event))),
    }
}

/// Time, kind, place, what it was and is, and why.
fn human(event: &Value) -> String {
    let time = utc(event.get("time_ms").and_then(Value::as_i64).unwrap_or_default());
    let mut parts = vec![time, text(event, "kind")];
    let partition = text(event, "partition");
    let partition = if partition.is_empty() { partition } else { format!("-{partition}") };
    let place = [text(event, "link"), text(event, "topic"), text(event, "task")];
    let place: Vec<String> = place.into_iter().filter(|part| !part.is_empty()).collect();
    parts.push(format!("{}{partition}", place.join("/")));
    match event.get("order") {
        Some(order) => parts.push(ordered(order)),
        None if text(event, "kind") == LOST => {}
        None => {
            let state = |field| Some(text(event, field)).filter(|word| !word.is_empty());
            let word = |field| state(field).unwrap_or_else(|| "-".to_owned());
            parts.push(format!("{} -> {}", word("from"), word("to")));
        }
    }
    parts.extend([text(event, "code"), text(event, "reason")]);
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

fn ordered(order: &Value) -> String {
    let words = |field: &str| {
        let words = order.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
        words.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let (topics, names, pattern) = (words("topics"), words("names"), text(order, "pattern"));
    let of = match (topics.is_empty(), pattern.is_empty()) {
        (true, true) => text(order, "subject"),
        (true, false) => pattern,
        (false, _) => topics.join(","),
    };
    let is_dry = order.get("dry").and_then(Value::as_bool).unwrap_or_default();
    let dry = if is_dry { " (dry run)" } else { "" };
    let (name, who, status) = (text(order, "name"), text(order, "who"), text(order, "status"));
    let names = if names.is_empty() { String::new() } else { format!(" [{}]", names.join(",")) };
    format!("{name} {of}{names}{dry} by {who}: {status}")
}

/// A time in ms since 1970 as RFC 3339 has it; days to dates as Howard Hinnant's
/// `civil_from_days` counts them.
fn utc(ms: i64) -> String {
    let (day, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, ms) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_764_422_485_123, "2025-11-29T13:21:25.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(ms), want);
        }
    }

    #[test]
    fn an_event_is_one_line_for_people_and_one_for_programs() {
        let event = json!({
            "cursor": "b.4", "seq": 4, "time_ms": 0, "kind": "mirror", "link": "dr",
            "topic": "orders", "from": "ACTIVE", "to": "FAILED", "code": "LOOP",
            "reason": "a\u{1b}[2Jb\nc",
        });
        let told = line(&event, Lines::Human);
        let want =
            "1970-01-01T00:00:00.000Z  mirror  dr/orders  ACTIVE -> FAILED  LOOP  a [2Jb c\n";
        assert_eq!(told, want);
        let json = line(&event, Lines::Json);
        assert_eq!(json.lines().count(), 1);
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), event);
        let halted = json!({"time_ms": 0, "kind": "partition", "link": "dr", "topic": "orders",
            "partition": 3, "from": "NOT_HALTED", "to": "HALTED", "code": "CORRUPT"});
        assert!(human(&halted).contains("  dr/orders-3  NOT_HALTED -> HALTED  CORRUPT"));
        let new = json!({"kind": "link", "link": "dr", "from": null, "to": "ACTIVE"});
        assert!(human(&new).ends_with("  link  dr  - -> ACTIVE"), "{}", human(&new));
        let lost = json!({"kind": "lost", "code": "RESTARTED", "reason": "why"});
        assert!(human(&lost).ends_with("  lost  RESTARTED  why"), "{}", human(&lost));
    }

    #[test]
    fn an_order_says_who_gave_it_for_what_and_what_came_of_it() {
        let mut order = json!({"who": "loopback", "name": "Promote", "subject": "dr",
            "topics": ["a", "b"], "pattern": "", "dry": true, "status": 200, "refused": 0});
        let told = |order: &Value| human(&json!({"kind": "order", "link": "dr", "order": order}));
        assert!(told(&order).ends_with("  order  dr  Promote a,b (dry run) by loopback: 200"));
        order["topics"] = json!([]);
        order["pattern"] = json!("'x.*'");
        assert!(told(&order).contains("Promote 'x.*' (dry"));
        order["pattern"] = json!("");
        assert!(told(&order).contains("Promote dr (dry"));
        order["names"] = json!(["billing", "audit"]);
        assert!(told(&order).contains("Promote dr [billing,audit] (dry"));
    }
}
