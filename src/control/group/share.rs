//! What members tell each other as they join, and what their leader gives each of them.
//!
//! It never takes the work from a member that holds it: who holds it gives it back, or is no
//! member any more.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::ids::TopicName;

/// `protocol_type` of the group: a group of consumers is another one.
pub const PROTOCOL_TYPE: &str = "isolog";
/// The one protocol that is spoken: one member has all the work.
pub const PROTOCOL: &str = "one-holder";
/// The version of what is told.
const VERSION: u32 = 1;
/// What a member tells is no longer than this.
const TOLD_BYTES_MAX: usize = 4096;

/// What a member tells as it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    v: u32,
    /// How people know it.
    pub name: String,
    /// It has the work now.
    pub holds: bool,
}

/// What the leader gives a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    v: u32,
    /// It has the work from now on.
    pub holds: bool,
    /// Who has it, by name; `None` while nobody has.
    pub holder: Option<String>,
}

impl Subscription {
    /// Of a member of that name.
    pub fn new(name: &str, holds: bool) -> Subscription {
        Subscription { v: VERSION, name: name.to_owned(), holds }
    }

    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` for what is none of this version's.
    pub fn parse(bytes: &[u8]) -> Option<Subscription> {
        let told: Subscription = parse(bytes)?;
        (told.v == VERSION && is_name(&told.name)).then_some(told)
    }
}

impl Assignment {
    /// As it goes over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` for what is none of this version's, and for none at all.
    pub fn parse(bytes: &[u8]) -> Option<Assignment> {
        let given: Assignment = parse(bytes)?;
        let is_named = given.holder.as_deref().is_none_or(is_name);
        (given.v == VERSION && is_named).then_some(given)
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let bytes = (bytes.len() <= TOLD_BYTES_MAX).then_some(bytes)?;
    serde_json::from_slice(bytes).ok()
}

/// What another one says of itself is shown to people: a `group.instance.id` has the letters of a
/// topic's name, as brokers ask for.
fn is_name(name: &str) -> bool {
    TopicName::new(name).is_some()
}

/// Gives the work to one member: who holds it keeps it; where nobody does, the leader takes it. Two
/// that say they hold it are given nothing, so that both let go before one of them is asked again.
/// A member whose words are not understood gets nothing, and may hold it.
pub fn assign(
    leader: &str,
    members: &BTreeMap<String, Option<Subscription>>,
) -> BTreeMap<String, Assignment> {
    let holds = |one: &Option<Subscription>| one.as_ref().is_some_and(|one| one.holds);
    let mut claims = members.iter().filter(|(_, one)| holds(one)).map(|(id, _)| id.as_str());
    let holder = match (claims.next(), claims.next()) {
        (None, _) if members.values().any(Option::is_none) => None,
        (None, _) => Some(leader),
        (Some(one), None) => Some(one),
        (Some(_), Some(_)) => None,
    };
    let named = holder.and_then(|id| Some(members.get(id)?.as_ref()?.name.clone()));
    let given = |id: &String| Assignment {
        v: VERSION,
        holds: named.is_some() && holder == Some(id.as_str()),
        holder: named.clone(),
    };
    members.keys().map(|id| (id.clone(), given(id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(all: &[(&str, Option<bool>)]) -> BTreeMap<String, Option<Subscription>> {
        let told = |(id, holds): &(&str, Option<bool>)| {
            let name = format!("host-{id}");
            ((*id).to_owned(), holds.map(|holds| Subscription::new(&name, holds)))
        };
        all.iter().map(told).collect()
    }

    fn holders(leader: &str, all: &[(&str, Option<bool>)]) -> Vec<String> {
        let given = assign(leader, &members(all));
        assert_eq!(given.len(), all.len());
        let held: Vec<String> =
            given.iter().filter(|(_, one)| one.holds).map(|(id, _)| id.clone()).collect();
        let named = held.first().map(|id| format!("host-{id}"));
        assert!(given.values().all(|one| one.holder == named), "{given:?}");
        held
    }

    #[test]
    fn the_work_stays_where_it_is() {
        assert_eq!(holders("a", &[("a", Some(false)), ("b", Some(false))]), ["a"]);
        assert_eq!(holders("a", &[("a", Some(false)), ("b", Some(true))]), ["b"]);
        assert_eq!(holders("b", &[("a", Some(true)), ("b", Some(false))]), ["a"]);
        assert!(holders("a", &[("a", Some(true)), ("b", Some(true))]).is_empty());
        assert_eq!(holders("a", &[("a", Some(true)), ("b", None)]), ["a"]);
        assert!(holders("a", &[("a", Some(false)), ("b", None)]).is_empty());
    }

    #[test]
    fn what_is_told_comes_back_and_strangers_say_nothing() {
        let told = Subscription::new("host-8080", true);
        assert_eq!(Subscription::parse(&told.to_bytes()), Some(told.clone()));
        let given = assign("a", &[("a".to_owned(), Some(told))].into());
        let one = &given["a"];
        assert_eq!(Assignment::parse(&one.to_bytes()).as_ref(), Some(one));
        for bytes in [&b""[..], b"{}", b"\0\x01topics", br#"{"v":2,"name":"x","holds":true}"#] {
            assert_eq!(Subscription::parse(bytes), None);
            assert_eq!(Assignment::parse(bytes), None);
        }
        let more = br#"{"v":1,"name":"a","holds":true,"later":[1]}"#;
        assert_eq!(Subscription::parse(more), Some(Subscription::new("a", true)));
        let steers = br#"{"v":1,"name":"a\u202eb","holds":true}"#;
        assert_eq!(Subscription::parse(steers), None, "it would be printed");
        let long = format!(r#"{{"v":1,"name":"{}","holds":true}}"#, "x".repeat(TOLD_BYTES_MAX));
        assert_eq!(Subscription::parse(long.as_bytes()), None);
    }
}
