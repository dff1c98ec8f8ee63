//! What a person should know of what stands around a mirror topic before it is stopped: users and
//! quotas of clients, schemas, the inner topics of Streams applications.
//!
//! It never asks a cluster: it puts into words what others have asked.

use std::collections::BTreeSet;

use crate::link::clients::Clients;
use crate::link::clients::Compared;
use crate::service::view::ExporterView;

use super::Line;
use super::named;
use super::no;
use super::yes;

/// How the topics end that a Streams application makes for itself.
const STREAMS_ENDS: [&str; 2] = ["-changelog", "-repartition"];

/// What stands around the mirror topics of one link.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// What both clusters hold of their clients; `None` where nobody could ask.
    pub clients: Option<Clients>,
    /// Who has rights here that the link has copied, without `User:`.
    pub principals: BTreeSet<String>,
    /// The link's mirror topics, by the source's names.
    pub sources: BTreeSet<String>,
    /// What copies schemas.
    pub exporters: Vec<ExporterView>,
}

impl Around {
    /// The same lines for each topic of the link.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(clients) = &self.clients {
            lines.extend([self.users(&clients.users), quotas(&clients.quotas)]);
        }
        lines.extend((!self.exporters.is_empty()).then(|| self.schemas()));
        lines.push(self.streams());
        lines
    }

    fn users(&self, users: &Compared) -> Line {
        let check = "SCRAM users";
        match users {
            Compared::Same(0) => yes(check, "the source has none"),
            Compared::Same(count) => yes(check, format!("all {count} of the source are here")),
            Compared::Differs(missing) => {
                let name = |one: &String| one.split(" (").next().unwrap_or_default().to_owned();
                let names: BTreeSet<String> = missing.iter().map(name).collect();
                let known: Vec<&str> =
                    names.intersection(&self.principals).map(String::as_str).collect();
                let rights = match known.is_empty() {
                    true => String::new(),
                    false => format!("; ACLs were copied for {}", named(known.into_iter())),
                };
                let text = format!("not here: {}{rights}", named(texts(missing)));
                let cure = "passwords cannot be copied: kafka-configs.sh --alter --entity-type \
                            users --entity-name NAME --add-config 'MECHANISM=[password=...]'";
                no(check, text, cure)
            }
            Compared::Unknown(why) => unknown(check, why, "users"),
        }
    }

    fn schemas(&self) -> Line {
        let check = "schemas";
        let moved = self.exporters.iter().filter(|one| !one.context.is_empty());
        let moved: Vec<String> =
            moved.map(|one| format!("{}: {}", one.name, one.context)).collect();
        if !moved.is_empty() {
            let text = format!(
                "copied outside of the default context by {}",
                named(moved.iter().map(String::as_str))
            );
            let cure = "clients must ask the registry here for that context \
                        (schema.registry.url=.../contexts/NAME), or copy with contextType NONE";
            return no(check, text, cure);
        }
        let behind = self.exporters.iter().filter(|one| one.missing != Some(0));
        let behind: Vec<&str> = behind.map(|one| one.name.as_str()).collect();
        match behind.is_empty() {
            true => yes(check, "all that exporters copy is here, in the default context"),
            false => {
                let text = format!("not known to be all here: {}", named(behind.into_iter()));
                no(check, text, "GET /exporters/NAME/status says why")
            }
        }
    }

    fn streams(&self) -> Line {
        let check = "no inner topic of a Streams application is mirrored";
        let is_inner = |name: &&String| STREAMS_ENDS.iter().any(|end| name.ends_with(end));
        let inner = named(self.sources.iter().filter(is_inner).map(String::as_str));
        match inner.is_empty() {
            true => yes(check, "none has such a name"),
            false => {
                let cure = "state and input of the application are two copies of two moments: \
                            start it with kafka-streams-application-reset.sh, or do not mirror \
                            these (EXCLUDE in auto.create.mirror.topics.filters)";
                no(check, inner, cure)
            }
        }
    }
}

fn quotas(quotas: &Compared) -> Line {
    let check = "quotas";
    match quotas {
        Compared::Same(0) => yes(check, "there are none on either side"),
        Compared::Same(count) => yes(check, format!("the same for {count} on both sides")),
        Compared::Differs(all) => {
            let cure = "where it is not meant to be so: kafka-configs.sh --alter --entity-type \
                        users (or clients) --add-config ...";
            no(check, named(texts(all)), cure)
        }
        Compared::Unknown(why) => unknown(check, why, "users and clients"),
    }
}

fn texts(all: &[String]) -> impl Iterator<Item = &str> {
    all.iter().map(String::as_str)
}

fn unknown(check: &'static str, why: &str, kinds: &str) -> Line {
    let cure = format!(
        "compare the {kinds} of both sides yourself (kafka-configs.sh --describe): what a source \
         that is gone had is known to its people alone"
    );
    no(check, format!("not known: {why}"), &cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(users: Compared, quotas: Compared) -> Around {
        Around { clients: Some(Clients { away: None, users, quotas }), ..Around::default() }
    }

    #[track_caller]
    fn only_no(around: &Around) -> Line {
        let lines = around.lines();
        let not: Vec<&Line> = lines.iter().filter(|line| !line.ok).collect();
        let [line] = not[..] else { panic!("{lines:?}") };
        assert!(!line.text.is_empty() && !line.cure.is_empty(), "{line:?}");
        line.clone()
    }

    #[test]
    fn where_all_is_well_each_line_says_yes_and_what_nobody_asked_has_none() {
        let lines = around(Compared::Same(3), Compared::Same(0)).lines();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.ok), "{lines:?}");
        let lines = Around::default().lines();
        assert!(lines.len() == 1 && lines[0].check.contains("Streams"), "{lines:?}");
    }

    #[test]
    fn users_without_a_password_are_named_and_who_has_rights_among_them() {
        let missing = ["alice (SCRAM-SHA-512)", "bob (SCRAM-SHA-256)"].map(str::to_owned);
        let mut around = around(Compared::Differs(missing.into()), Compared::Same(1));
        assert_eq!(only_no(&around).text, "not here: alice (SCRAM-SHA-512), bob (SCRAM-SHA-256)");
        around.principals = ["bob", "carol"].map(str::to_owned).into();
        let line = only_no(&around);
        assert!(line.text.ends_with("ACLs were copied for bob"), "{line:?}");
    }

    #[test]
    fn what_could_not_be_asked_is_not_said_to_be_well() {
        let why = "no answer within 5 s";
        let line = only_no(&around(Compared::Same(1), Compared::Unknown(why.to_owned())));
        assert_eq!((line.check, &*line.text), ("quotas", "not known: no answer within 5 s"));
    }

    #[test]
    fn schemas_in_another_context_or_not_all_here_are_told() {
        let one = ExporterView { missing: Some(0), name: "to-b".into(), ..Default::default() };
        let mut around = Around { exporters: vec![one], ..Around::default() };
        assert!(around.lines().iter().all(|line| line.ok));
        around.exporters[0].missing = None;
        assert!(only_no(&around).text.ends_with("to-b"));
        around.exporters[0].context = ".a".into();
        assert!(only_no(&around).text.ends_with("to-b: .a"));
    }

    #[test]
    fn inner_topics_of_streams_applications_are_told() {
        let names = ["orders", "app-store-changelog", "app-by-key-repartition", "a-changelog-b"];
        let sources = names.map(str::to_owned).into();
        let line = only_no(&Around { sources, ..Around::default() });
        assert_eq!(line.text, "app-by-key-repartition, app-store-changelog");
    }
}
