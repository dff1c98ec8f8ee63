//! What is served at which path below `/exporters`, and who may.
//!
//! It never obeys anything.

use crate::service::auth::Right;

/// What is called.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The names of all.
    List,
    /// A new one.
    Create,
    /// What one copies.
    Describe,
    /// It copies something else.
    Update,
    /// It goes.
    Delete,
    /// How far it is.
    Status,
    /// How its registries are asked.
    Config,
    /// They are asked in another way.
    PutConfig,
    /// It rests.
    Pause,
    /// It goes on.
    Resume,
    /// It begins anew.
    Reset,
}

/// One method of one path.
#[derive(Debug)]
pub struct Route {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Below `/exporters/NAME`; `None` is `/exporters` itself.
    pub rest: Option<&'static str>,
    /// What it calls.
    pub call: Call,
    /// Its operation, as the log names it.
    pub name: &'static str,
    /// Who may.
    pub right: Right,
}

const fn route(
    method: &'static str,
    rest: Option<&'static str>,
    call: Call,
    name: &'static str,
    right: Right,
) -> Route {
    Route { method, rest, call, name, right }
}

const ONE: Option<&str> = Some("");

/// All of them.
pub const ROUTES: &[Route] = &[
    route("GET", None, Call::List, "ListExporters", Right::Read),
    route("POST", None, Call::Create, "RegisterExporter", Right::Administer),
    route("GET", ONE, Call::Describe, "GetExporterInfoByName", Right::Read),
    route("PUT", ONE, Call::Update, "UpdateExporterInfo", Right::Administer),
    route("DELETE", ONE, Call::Delete, "DeleteExporter", Right::Administer),
    route("GET", Some("status"), Call::Status, "GetExporterStatusByName", Right::Read),
    route("GET", Some("config"), Call::Config, "GetExporterConfigByName", Right::Read),
    route("PUT", Some("config"), Call::PutConfig, "UpdateExporterConfigByName", Right::Administer),
    route("PUT", Some("pause"), Call::Pause, "PauseExporterByName", Right::Operate),
    route("PUT", Some("resume"), Call::Resume, "ResumeExporterByName", Right::Operate),
    route("PUT", Some("reset"), Call::Reset, "ResetExporterByName", Right::Administer),
];

/// What a method and the segments behind `/exporters` lead to, with the exporter's name; or the
/// methods that the path takes.
pub fn lead(method: &str, segments: &[String]) -> Result<(&'static Route, String), String> {
    let (rest, name) = match segments {
        [] => (None, ""),
        [name] => (ONE, name.as_str()),
        [name, rest] => (Some(rest.as_str()), name.as_str()),
        _ => return Err(String::new()),
    };
    let method = if method == "HEAD" { "GET" } else { method };
    let own = || ROUTES.iter().filter(|route| route.rest == rest);
    match own().find(|route| route.method == method) {
        Some(route) => Ok((route, name.to_owned())),
        None => Err(own().map(|route| route.method).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_catalogue_says() {
        let led = |method: &str, path: &str| {
            let segments: Vec<String> =
                path.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
            lead(method, &segments).map(|(route, name)| (route.call, name))
        };
        assert_eq!(led("GET", ""), Ok((Call::List, String::new())));
        assert_eq!(led("HEAD", "dr"), Ok((Call::Describe, "dr".into())));
        assert_eq!(led("PUT", "dr/pause"), Ok((Call::Pause, "dr".into())));
        assert_eq!(led("GET", "dr/pause"), Err("PUT".into()));
        assert_eq!(led("DELETE", ""), Err("GET, POST".into()));
        assert_eq!(led("GET", "dr/other"), Err(String::new()));
        assert_eq!(led("GET", "dr/status/x"), Err(String::new()));
    }
}
