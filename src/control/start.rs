//! Where a link begins to mirror a partition: `mirror.start.offset.spec` of Cluster Linking.
//!
//! It never asks a cluster; `sync::start` does.

use std::fmt;

use crate::ids::TimestampMs;

/// `mirror.start.offset.spec`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum StartSpec {
    /// From the source's log start.
    Earliest,
    /// From the source's end, as it is at the first look.
    Latest,
    /// From the first record that is not older; from the end where all are.
    Time(TimestampMs),
}

impl StartSpec {
    /// Reads `earliest`, `latest` or an ISO-8601 time with its zone, such as
    /// `2026-11-21T09:30:00Z` or `2026-11-21T09:30:00.250+01:00`.
    pub fn parse(text: &str) -> Option<StartSpec> {
        match text {
            "earliest" => Some(StartSpec::Earliest),
            "latest" => Some(StartSpec::Latest),
            time => parse_time(time).map(StartSpec::Time),
        }
    }
}

impl fmt::Display for StartSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartSpec::Earliest => f.write_str("earliest"),
            StartSpec::Latest => f.write_str("latest"),
            StartSpec::Time(time) => write!(f, "the first record from {} ms on", time.0),
        }
    }
}

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

fn parse_time(text: &str) -> Option<TimestampMs> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let time = time_ms(time)? - zone_ms(zone)?;
    Some(TimestampMs(days(date)? * DAY_MS + time)).filter(|time| time.0 >= 0)
}

/// Exactly `digits` decimal digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, in the Gregorian calendar.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-');
    let year = number(parts.next()?, 4)?;
    let (month, day) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let february = if is_leap { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months_before = lengths.get(..usize::try_from(month - 1).ok()?)?;
    let length = *lengths.get(months_before.len())?;
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    Some(years + months_before.iter().sum::<i64>() + day - 1)
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.mmm`, up to nine decimals.
fn time_ms(time: &str) -> Option<i64> {
    let (whole, decimals) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = whole.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    if hour > 23 || minute > 59 || second > 59 || !(1..=9).contains(&decimals.len()) {
        return None;
    }
    let nanos = number(&format!("{decimals:0<9}"), 9)?;
    Some(hour * HOUR_MS + minute * MINUTE_MS + second * 1_000 + nanos / 1_000_000)
}

/// `Z`, `+HH:MM`, `+HHMM` or `+HH`.
fn zone_ms(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.get(1..)?.replacen(':', "", 1);
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(&digits[..2], 2)?, number(&digits[2..], 2)?),
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * HOUR_MS + minutes * MINUTE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_iso_8601_has_them() {
        let check = |text: &str, want: i64| {
            assert_eq!(StartSpec::parse(text), Some(StartSpec::Time(TimestampMs(want))), "{text}");
        };
        // by `date -u -d … +%s%3N`
        check("1970-01-01T00:00:00Z", 0);
        check("2000-02-29T12:00:00Z", 951_825_600_000);
        check("2024-12-31T23:59:59.999Z", 1_735_689_599_999);
        check("2026-11-21T09:30:00+01:00", 1_795_249_800_000);
        check("2026-11-21T08:30Z", 1_795_249_800_000);
        check("2026-11-21T03:30:00.000-0500", 1_795_249_800_000);
        check("2100-03-01T00:00:00Z", 4_107_542_400_000);
        check("2026-11-21T08:30:00.25Z", 1_795_249_800_250);
    }

    #[test]
    fn what_is_no_time_or_leaves_its_zone_open_is_refused() {
        for text in [
            "",
            "first",
            "2026-11-21",
            "2026-11-21T08:30:00",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T08:60:00Z",
            "2026-11-21T8:30:00Z",
            "2026-11-21T08:30:00+25:00",
            "2026-11-21T08:30:00.Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "２026-11-21T08:30:00Z",
        ] {
            assert_eq!(StartSpec::parse(text), None, "{text}");
        }
        assert_eq!(StartSpec::parse("earliest"), Some(StartSpec::Earliest));
        assert_eq!(StartSpec::parse("latest"), Some(StartSpec::Latest));
    }
}
