//! Links that are created and deleted by REST.
//!
//! It never knows what a property means; `configs` asks those who do.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::order::GroupVerb;
use crate::control::order::NewLink;
use crate::control::order::Verb;
use crate::control::row::KINDS;
use crate::control::row::LinkMode;
use crate::ids::ClusterId;
use crate::ids::GroupName;
use crate::ids::LinkName;
use crate::link::driver;

use super::Api;
use super::Reply;
use super::configs;
use super::error::Kind;
use super::error::Problem;
use super::noted::Noted;
use super::request::AlterGroups;
use super::request::Asked;
use super::request::CreateLink;
use super::request::shown;

/// The longest name of a link: it becomes a label, a client id and part of a writer's name.
const NAME_BYTES_MAX: usize = 64;
/// The longest id of a cluster or of a link.
const ID_BYTES_MAX: usize = 128;
/// The longest name of a consumer group: Kafka's protocol has no room for a longer one.
const GROUP_BYTES_MAX: usize = i16::MAX as usize;
/// For how long a new link's settings may take to be in force.
const SETTINGS_WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) async fn create(api: &Api, asked: &Asked) -> Result<Reply, Problem> {
    let body: CreateLink = asked.json()?;
    let name = link_name(asked.word("link_name").unwrap_or_default())?;
    if api.orders.declared.borrow().contains_key(&name) || api.is_there(&name) {
        let text = format!("Cluster link '{name}' already exists.");
        return Err(Problem::new(Kind::Conflict, text));
    }
    let given = configs::given(body.configs.as_deref().unwrap_or_default())?;
    let mode = mode(&given)?;
    let source = ids(&body, mode)?;
    let is_dry = asked.flag("validate_only", false);
    let kept = configs::checked(&api.orders.defaults, &name, &given)?;
    let source = match &api.orders.probe {
        Some(probe) if asked.flag("validate_link", true) => {
            let reached = probe.reach(&name, &given).await.map_err(Problem::of_link)?;
            Some(compared(api, reached, source)?)
        }
        _ => source,
    };
    let id = match body.cluster_link_id {
        Some(id) => id,
        None => driver::new_id().ok_or_else(|| {
            Problem::new(Kind::Broken, "The system gives no random bytes for the link's id.")
        })?,
    };
    let new = NewLink { id, mode, source, configs: kept, is_declared: false };
    api.order(name.clone(), Verb::CreateLink(new), is_dry).await?;
    if !is_dry {
        api.until_settled(&name).await;
    }
    Ok(Reply::Nothing(204))
}

pub(super) async fn delete(api: &Api, asked: &Asked) -> Result<Reply, Problem> {
    let link = api.known_link(asked)?;
    let is_dry = asked.flag("validate_only", false);
    let verb = Verb::DeleteLink { is_forced: asked.flag("force", false) };
    api.order(link, verb, is_dry).await?;
    Ok(Reply::Nothing(200))
}

/// Groups that a link forgets, or follows again.
pub(super) async fn groups(
    api: &Api,
    asked: &Asked,
    (verb, noted): (GroupVerb, &mut Noted),
) -> Result<Reply, Problem> {
    let link = api.known_link(asked)?;
    let body: AlterGroups = asked.json()?;
    noted.mention(&body.consumer_group_ids);
    if body.consumer_group_ids.is_empty() {
        return Err(Problem::malformed("Field 'consumer_group_ids' of the body names no group."));
    }
    if let Some(long) = body.consumer_group_ids.iter().find(|one| one.len() > GROUP_BYTES_MAX) {
        let name = shown(long);
        let text = format!("Consumer group {name} has more than {GROUP_BYTES_MAX} bytes.");
        return Err(Problem::malformed(text));
    }
    let groups = body.consumer_group_ids.iter().map(|name| GroupName::new(name)).collect();
    let is_dry = asked.flag("validate_only", false);
    api.order(link, Verb::Groups(groups, verb), is_dry).await?;
    Ok(Reply::Nothing(204))
}

impl Api {
    fn is_there(&self, name: &LinkName) -> bool {
        self.orders.registry.seen().links.contains_key(name)
    }

    /// What is ordered next of a new link needs its settings, which follow its row.
    async fn until_settled(&self, name: &LinkName) {
        let mut registry = self.orders.registry.clone();
        let settled = async {
            while registry.seen().links.get(name).is_none_or(|link| link.settings.is_none()) {
                if !registry.changed().await {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(SETTINGS_WAIT_MAX, settled).await;
    }
}

/// A name that a link may have; `-` stands for all of them in paths.
fn link_name(name: &str) -> Result<LinkName, Problem> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_legal = name.len() <= NAME_BYTES_MAX && name.bytes().all(legal);
    if is_legal && !matches!(name, "" | "-" | "." | "..") && !KINDS.contains(&name) {
        return Ok(LinkName(name.into()));
    }
    Err(Problem::malformed(format!(
        "Cluster link name {} is illegal: 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and \
         '-'; not a dot or dash alone, nor a word of the journal ({}).",
        shown(name),
        KINDS.join(", ")
    )))
}

/// `link.mode` and `connection.mode`, as far as an isolog beside the destination can be one.
fn mode(configs: &BTreeMap<String, String>) -> Result<LinkMode, Problem> {
    let word = |name: &str| configs.get(name).map(|word| word.to_ascii_uppercase());
    if word("connection.mode").is_some_and(|word| word == "INBOUND") {
        let text = "connection.mode=INBOUND is not there: isolog dials both clusters. Where only \
                    the source may dial, run isolog beside the source.";
        return Err(Problem::new(Kind::Refused, text));
    }
    match word("link.mode").as_deref() {
        None | Some("DESTINATION") => Ok(LinkMode::Destination),
        Some("BIDIRECTIONAL") => Ok(LinkMode::Bidirectional),
        Some("SOURCE") => {
            let text = "link.mode=SOURCE is not there: one isolog does both halves. Where only \
                        the source may dial, run isolog beside the source, with \
                        link.mode=DESTINATION.";
            Err(Problem::new(Kind::Refused, text))
        }
        Some(_) => {
            let text = "link.mode must be DESTINATION or BIDIRECTIONAL.";
            Err(Problem::new(Kind::Refused, text))
        }
    }
}

/// The source's id, where it is named; each mode has its own name for it.
fn ids(body: &CreateLink, mode: LinkMode) -> Result<Option<ClusterId>, Problem> {
    let legal = |id: &str| (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain);
    let all = [
        ("source_cluster_id", &body.source_cluster_id),
        ("destination_cluster_id", &body.destination_cluster_id),
        ("remote_cluster_id", &body.remote_cluster_id),
        ("cluster_link_id", &body.cluster_link_id),
    ];
    for (field, id) in all {
        if id.as_deref().is_some_and(|id| !legal(id)) {
            let text = format!(
                "Field '{field}' of the body must be 1 to {ID_BYTES_MAX} of a-z, A-Z, 0-9, '.', \
                 '_' and '-'."
            );
            return Err(Problem::malformed(text));
        }
    }
    let (field, mine, other) = match mode {
        LinkMode::Destination => {
            ("source_cluster_id", &body.source_cluster_id, &body.remote_cluster_id)
        }
        LinkMode::Bidirectional => {
            ("remote_cluster_id", &body.remote_cluster_id, &body.source_cluster_id)
        }
    };
    if body.destination_cluster_id.is_some() || other.is_some() {
        let word = if mode == LinkMode::Destination { "DESTINATION" } else { "BIDIRECTIONAL" };
        let text = format!("A link with link.mode={word} names the other cluster by {field} only.");
        return Err(Problem::malformed(text));
    }
    Ok(mine.as_deref().map(|id| ClusterId(id.into())))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The cluster that was reached must be the one that was named, and not the destination itself.
fn compared(api: &Api, reached: ClusterId, named: Option<ClusterId>) -> Result<ClusterId, Problem> {
    if named.as_ref().is_some_and(|named| *named != reached) {
        let text = format!(
            "bootstrap.servers lead to cluster '{reached}', and the order names another one: \
             correct either of them."
        );
        return Err(Problem::new(Kind::Refused, text));
    }
    if api.orders.cluster.borrow().as_ref() == Some(&reached) {
        let text = format!(
            "bootstrap.servers lead to cluster '{reached}', which is the destination itself: a \
             topic cannot be its own mirror."
        );
        return Err(Problem::new(Kind::Refused, text));
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_links_are_bounded_and_plain() {
        for good in ["l1", "a.b_c-D", "--", &"x".repeat(64)] {
            assert!(link_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            ".",
            "..",
            "link",
            "mirror",
            "group",
            "a b",
            "a/b",
            "ü",
            &"x".repeat(65),
            &"x".repeat(300),
        ] {
            let problem = link_name(bad).unwrap_err();
            assert!(problem.status() == 400 && problem.text.len() < 400, "{problem:?}");
        }
    }

    #[test]
    fn ids_are_thrown() {
        let (one, other) = (driver::new_id().unwrap(), driver::new_id().unwrap());
        assert!(one.len() == 22 && one != other, "{one} {other}");
    }

    #[test]
    fn a_mode_that_is_not_there_says_what_to_do() {
        let of = |name: &str, value: &str| mode(&BTreeMap::from([(name.into(), value.into())]));
        assert_eq!(mode(&BTreeMap::new()), Ok(LinkMode::Destination));
        assert_eq!(of("link.mode", "bidirectional"), Ok(LinkMode::Bidirectional));
        for (name, value) in [("link.mode", "SOURCE"), ("connection.mode", "INBOUND")] {
            assert!(of(name, value).unwrap_err().text.contains("beside the source"), "{value}");
        }
        assert!(of("link.mode", "x").is_err());
    }
}
