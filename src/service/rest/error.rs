//! The one table of errors of REST v3: what is wrong, the status, and the code that scripts know.
//!
//! It never repeats a value that was sent: it may be a secret.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;

use crate::control::order::Refusal;

/// What is wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is no such request: its query, its JSON, a name that cannot be one.
    Malformed,
    /// The request is sound, and cannot be obeyed as things are.
    Refused,
    /// No token, or a wrong one.
    Unauthorized,
    /// A right is missing.
    Forbidden,
    /// No such path, cluster or link.
    Unknown,
    /// No such mirror topic.
    UnknownTopic,
    /// The path is there, with other methods.
    Method,
    /// The body did not come in time.
    Late,
    /// Something is there already, or was changed meanwhile.
    Conflict,
    /// The body is too long.
    TooLong,
    /// The body is no JSON by its content type.
    MediaType,
    /// Too much is going on.
    TooMany,
    /// A fault of isolog.
    Broken,
    /// Not in this version.
    NotYet,
    /// Not now: try again.
    Unavailable,
    /// The order was not answered in time.
    Unanswered,
    /// No such exporter.
    UnknownExporter,
    /// A name that no exporter may have.
    ExporterName,
    /// Properties of an exporter that are none.
    ExporterConfig,
    /// Subjects, contexts or names of an exporter that are none.
    ExporterSubjects,
    /// There is an exporter of that name.
    ExporterExists,
    /// An exporter runs, and must not.
    ExporterRuns,
    /// There are too many exporters.
    ManyExporters,
}

/// Each kind with its status and `error_code`; Kafka's REST knows some codes of five digits.
pub const TABLE: &[(Kind, u16, u32)] = &[
    (Kind::Malformed, 400, 400),
    (Kind::Refused, 400, 40002),
    (Kind::Unauthorized, 401, 40101),
    (Kind::Forbidden, 403, 40301),
    (Kind::Unknown, 404, 404),
    (Kind::UnknownTopic, 404, 40403),
    (Kind::Method, 405, 405),
    (Kind::Late, 408, 408),
    (Kind::Conflict, 409, 409),
    (Kind::TooLong, 413, 413),
    (Kind::MediaType, 415, 415),
    (Kind::TooMany, 429, 429),
    (Kind::Broken, 500, 50002),
    (Kind::NotYet, 501, 501),
    (Kind::Unavailable, 503, 50003),
    (Kind::Unanswered, 504, 504),
    (Kind::UnknownExporter, 404, 40450),
    (Kind::ExporterName, 409, 40950),
    (Kind::ExporterConfig, 409, 40951),
    (Kind::ExporterSubjects, 409, 40952),
    (Kind::ExporterExists, 409, 40960),
    (Kind::ExporterRuns, 409, 40963),
    (Kind::ManyExporters, 409, 40964),
];

/// An answer that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub kind: Kind,
    /// For people, with what to do.
    pub text: String,
}

impl Problem {
    /// One of a kind.
    pub fn new(kind: Kind, text: impl Into<String>) -> Problem {
        Problem { kind, text: text.into() }
    }

    /// The request is no such request.
    pub fn malformed(text: impl Into<String>) -> Problem {
        Problem::new(Kind::Malformed, text)
    }

    /// Its HTTP status.
    pub fn status(&self) -> u16 {
        row(self.kind).1
    }

    /// Its `error_code`.
    pub fn code(&self) -> u32 {
        row(self.kind).2
    }

    /// What a refusal of the machine is about a link.
    pub fn of_link(refusal: Refusal) -> Problem {
        Problem { kind: kind(refusal.status, Kind::Unknown), text: refusal.text }
    }

    /// What a refusal of the machine is about a mirror topic.
    pub fn of_topic(refusal: Refusal) -> Problem {
        Problem { kind: kind(refusal.status, Kind::UnknownTopic), text: refusal.text }
    }
}

impl Problem {
    /// What a refusal of the machine is about an exporter: its code says it.
    pub fn of_exporter(refusal: Refusal) -> Problem {
        let by_code = TABLE.iter().find(|row| Some(row.2) == refusal.code).map(|row| row.0);
        let kind = by_code.unwrap_or_else(|| kind(refusal.status, Kind::UnknownExporter));
        Problem { kind, text: refusal.text }
    }
}

/// The kind that a status of the machine's stands for.
fn kind(status: u16, unknown: Kind) -> Kind {
    match status {
        400 => Kind::Refused,
        404 => unknown,
        _ => TABLE.iter().find(|row| row.1 == status).map_or(Kind::Broken, |row| row.0),
    }
}

fn row(kind: Kind) -> (Kind, u16, u32) {
    let broken = (Kind::Broken, 500, 50002);
    TABLE.iter().find(|row| row.0 == kind).copied().unwrap_or(broken)
}

#[derive(Serialize)]
struct Body<'a> {
    error_code: u32,
    message: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, status, error_code) = row(self.kind);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = (status, Json(Body { error_code, message: &self.text })).into_response();
        let headers = answer.headers_mut();
        // who is not let in, came too often, or sends too much keeps no seat
        if matches!(
            kind,
            Kind::Unauthorized | Kind::Forbidden | Kind::TooMany | Kind::TooLong | Kind::Late
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if kind == Kind::Unauthorized {
            let scheme = HeaderValue::from_static("Bearer, Basic realm=\"isolog\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_that_its_status_leads_back_to() {
        for (at, (kind, status, code)) in TABLE.iter().enumerate() {
            let problem = Problem::new(*kind, "x");
            assert_eq!((problem.status(), problem.code()), (*status, *code));
            assert!(TABLE[at + 1..].iter().all(|other| other.0 != *kind), "{kind:?} twice");
        }
        let of =
            |status| Problem::of_link(Refusal { code: None, status, text: String::new() }).kind;
        let all = [400, 404, 409, 429, 501, 503, 504, 999].map(of);
        use Kind::*;
        assert_eq!(
            all,
            [Refused, Unknown, Conflict, TooMany, NotYet, Unavailable, Unanswered, Broken]
        );
        let of =
            |status| Problem::of_topic(Refusal { code: None, status, text: String::new() }).kind;
        assert_eq!([of(404), of(400)], [UnknownTopic, Refused]);
        let of = |status, code| {
            let (code, text) = (Some(code), String::new());
            Problem::of_exporter(Refusal { status, code, text }).kind
        };
        assert_eq!(
            [of(409, 40963), of(404, 40450), of(503, 0)],
            [ExporterRuns, UnknownExporter, Unavailable]
        );
    }
}
