//! What both clusters of a link hold of their clients, compared: users with SCRAM passwords, and
//! quotas. Both are asked once, when a person asks.
//!
//! It never changes anything at either, and never waits for long.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::timeout;

use crate::audit::rights::Grantee;
use crate::cluster::ClientQuotas;
use crate::cluster::Cluster;
use crate::cluster::ScramUsers;
use crate::cluster::Wanted;
use crate::cluster::error::Result;
use crate::ids::LinkName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::lock;

/// For how long the clusters are asked; a person waits.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Something that both clusters hold, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The destination has all of the source's: so many.
    Same(usize),
    /// What differs, one text each.
    Differs(Vec<String>),
    /// It is not known, and why.
    Unknown(String),
}

/// What both clusters hold of their clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Why the source does not answer, where it was asked now and did not.
    pub away: Option<String>,
    /// Users of the source with a SCRAM password who have none at the destination, each as
    /// `name (mechanism)`; isolog's own login at the source is none of them.
    pub users: Compared,
    /// Quotas that are not the same.
    pub quotas: Compared,
}

/// The links whose clusters can be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Reachable(Arc<Mutex<BTreeMap<LinkName, Weak<Ctx>>>>);

impl Reachable {
    /// One more; those of links that are gone go.
    pub fn add(&self, ctx: &Arc<Ctx>) {
        let mut links = lock(&self.0);
        links.retain(|_, one| one.strong_count() > 0);
        links.insert(ctx.name.clone(), Arc::downgrade(ctx));
    }

    /// What a link runs with, while it does.
    pub fn ctx(&self, link: &LinkName) -> Option<Arc<Ctx>> {
        lock(&self.0).get(link).and_then(Weak::upgrade)
    }

    /// What both clusters of a link hold of their clients now.
    pub async fn clients(&self, link: &LinkName) -> Clients {
        let ctx = self.ctx(link);
        let source = ctx.as_ref().and_then(|ctx| ctx.session.borrow().clone());
        let (Some(ctx), Some(session)) = (ctx, source) else {
            let why = "the source has not been reached".to_owned();
            let unknown = Compared::Unknown(why.clone());
            return Clients { away: Some(why), users: unknown.clone(), quotas: unknown };
        };
        ask(&session.source, &ctx.destination).await
    }
}

/// Both clusters are asked at once.
async fn ask(source: &Cluster, destination: &Cluster) -> Clients {
    let own = Grantee::of(source.options()).principal;
    let own = own.strip_prefix("User:").unwrap_or_default();
    let users = async { both(source.scram_users(), destination.scram_users()).await };
    let quotas = async { both(source.client_quotas(), destination.client_quotas()).await };
    let (users, quotas, away) = tokio::join!(users, quotas, away(source));
    Clients {
        away,
        users: users.map_or_else(Compared::Unknown, |(from, to)| missing(&from, &to, own)),
        quotas: quotas.map_or_else(Compared::Unknown, |(from, to)| other(&from, &to)),
    }
}

/// Why the source does not answer a question that everybody may ask.
async fn away(source: &Cluster) -> Option<String> {
    match timeout(ASK_MAX, source.refresh(Wanted::Topics(&[]))).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(late()),
    }
}

fn late() -> String {
    format!("no answer within {} s", ASK_MAX.as_secs())
}

/// What both answer, or why it is not known.
async fn both<T>(
    source: impl Future<Output = Result<T>>,
    destination: impl Future<Output = Result<T>>,
) -> std::result::Result<(T, T), String> {
    let asked = timeout(ASK_MAX, async { tokio::join!(source, destination) }).await;
    let (source, destination) = asked.map_err(|_| late())?;
    let said = |error: crate::cluster::error::ClusterError| error.to_string();
    Ok((source.map_err(said)?, destination.map_err(said)?))
}

fn missing(source: &ScramUsers, destination: &ScramUsers, own: &str) -> Compared {
    let none = BTreeSet::new();
    let others = source.iter().filter(|(user, _)| *user != own);
    let lacking = others.clone().flat_map(|(user, mechanisms)| {
        let there = destination.get(user).unwrap_or(&none);
        let gone = mechanisms.iter().filter(|one| !there.contains(*one));
        gone.map(move |mechanism| format!("{user} ({mechanism})"))
    });
    of(lacking.collect(), others.count())
}

fn other(source: &ClientQuotas, destination: &ClientQuotas) -> Compared {
    let none = BTreeMap::new();
    let entities: BTreeSet<&String> = source.keys().chain(destination.keys()).collect();
    let mut differing = Vec::new();
    for entity in &entities {
        let of = |quotas: &ClientQuotas| quotas.get(*entity).unwrap_or(&none).clone();
        let (from, to) = (of(source), of(destination));
        let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for key in keys.into_iter().filter(|key| from.get(*key) != to.get(*key)) {
            let shown = |value: Option<&f64>| value.map_or("none".to_owned(), f64::to_string);
            let (from, to) = (shown(from.get(key)), shown(to.get(key)));
            differing.push(format!("{entity}: {key} is {from} at the source, {to} here"));
        }
    }
    of(differing, entities.len())
}

fn of(differing: Vec<String>, count: usize) -> Compared {
    if differing.is_empty() { Compared::Same(count) } else { Compared::Differs(differing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(all: &[(&str, &[&'static str])]) -> ScramUsers {
        let each = all.iter().map(|(name, of)| (name.to_string(), of.iter().copied().collect()));
        each.collect()
    }

    #[test]
    fn a_user_is_missing_by_mechanism_and_ours_is_not() {
        let (weak, strong) = ("SCRAM-SHA-256", "SCRAM-SHA-512");
        let source = users(&[("alice", &[weak, strong]), ("bob", &[weak]), ("isolog", &[weak])]);
        let here = users(&[("alice", &[weak]), ("carol", &[weak])]);
        let lacks = ["alice (SCRAM-SHA-512)", "bob (SCRAM-SHA-256)"].map(str::to_owned);
        assert_eq!(missing(&source, &here, "isolog"), Compared::Differs(lacks.into()));
        assert_eq!(missing(&here, &source, ""), Compared::Differs(vec![format!("carol ({weak})")]));
        assert_eq!(missing(&source, &source, "isolog"), Compared::Same(2));
    }

    #[test]
    fn quotas_differ_by_whom_key_and_value_on_either_side() {
        let quotas = |all: &[(&str, &str, f64)]| {
            let mut quotas = ClientQuotas::new();
            for (entity, key, value) in all {
                quotas.entry((*entity).to_owned()).or_default().insert((*key).to_owned(), *value);
            }
            quotas
        };
        let source = quotas(&[("user=a", "producer_byte_rate", 1000.0), ("user=b", "k", 2.5)]);
        let here = quotas(&[("user=a", "producer_byte_rate", 500.0), ("user=c", "k", 1.0)]);
        let texts = [
            "user=a: producer_byte_rate is 1000 at the source, 500 here",
            "user=b: k is 2.5 at the source, none here",
            "user=c: k is none at the source, 1 here",
        ];
        assert_eq!(other(&source, &here), Compared::Differs(texts.map(str::to_owned).into()));
        assert_eq!(other(&source, &source), Compared::Same(2));
        assert_eq!(other(&ClientQuotas::new(), &ClientQuotas::new()), Compared::Same(0));
    }
}
