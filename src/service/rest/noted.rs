//! What the log says of an order: who gave it, what it names, dry or not, and what came of it for
//! each topic that it was refused for.
//!
//! It never says anything of an order's values: they may be secrets.

use crate::service::auth::Principal;
use crate::service::auth::Right;

use super::Reply;
use super::error::Problem;
use super::request::shown;
use super::table::Route;

/// So many topics stand in one line; an order that names more has more lines.
const TOPICS_MAX: usize = 50;

/// A topic's name, and why the order is not obeyed for it.
type Topic = (String, Option<String>);

/// The mirror topics that an order is about.
#[derive(Debug, Default)]
pub struct Noted {
    /// Their names as they were sent, or as the pattern found them, with what each was refused for.
    pub topics: Vec<Topic>,
    /// The pattern.
    pub pattern: Option<String>,
}

impl Noted {
    /// Topics that nothing has come of yet.
    pub fn name<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.topics = names.into_iter().map(|name| (name.to_owned(), None)).collect();
    }

    /// Writes the line, or the lines: every topic of an order stands in one.
    pub fn log(
        &self,
        route: &Route,
        (who, subject): (Option<&Principal>, &str),
        is_dry: bool,
        done: &Result<Reply, Problem>,
    ) {
        if route.right == Right::Read {
            return;
        }
        let who = who.map_or("nobody", |who| &who.name);
        let (status, whole) = match done {
            Ok(Reply::Json(_)) => (200, ""),
            Ok(Reply::Nothing(status)) => (*status, ""),
            Err(problem) => (problem.status(), problem.text.as_str()),
        };
        let pattern = self.pattern.as_deref().map(shown).unwrap_or_default();
        // one that names no topic has a line too
        let is_bare = self.topics.is_empty();
        let mut lines: Vec<&[Topic]> = self.topics.chunks(TOPICS_MAX).collect();
        lines.extend(is_bare.then_some(&[] as &[Topic]));
        for some in lines {
            let topics: Vec<String> = some.iter().map(|(name, _)| plain(name)).collect();
            let topics = topics.join(",");
            let refusals = some.iter().filter_map(|(_, why)| why.as_deref());
            let refused = refusals.clone().count();
            let text: Vec<&str> = Some(whole).into_iter().chain(refusals).collect();
            let text = text.join(" ");
            let text = text.trim_start();
            let (order, dry) = (route.name, is_dry);
            tracing::info!(
                who, order, subject, topics, pattern, dry, status, refused, text, "an order"
            );
        }
    }
}

/// A name as it is, where it could be a topic's.
fn plain(name: &str) -> String {
    match crate::ids::TopicName::new(name) {
        Some(_) => name.to_owned(),
        None => shown(name),
    }
}
