//! Mirror topics by REST: created, paused, resumed, promoted, failed over, forgotten, deleted.
//!
//! It never swaps the roles of two clusters at once: this version of isolog cannot, and says so.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use regex::RegexBuilder;
use serde_json::Value;
use serde_json::json;

use crate::control::order::MirrorVerb;
use crate::control::order::NewMirror;
use crate::control::order::Outcome;
use crate::control::order::Verb;
use crate::control::start::StartSpec;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::link::registry::Seen;
use crate::link::restore::Parted;
use crate::link::restore::RestoreFrom;
use crate::service::view::GroupView;

use super::Api;
use super::Reply;
use super::answers::Place;
use super::configs;
use super::error::Kind;
use super::error::Problem;
use super::noted::Noted;
use super::request::AlterMirrors;
use super::request::Asked;
use super::request::CreateMirror;
use super::request::shown;
use super::shown::Everything;
use super::table::Call;
use super::table::Route;
use super::text_of;

/// The longest pattern, and the memory that it may become.
const PATTERN_BYTES_MAX: usize = 1_000;
const PATTERN_SIZE_MAX: usize = 1 << 20;
/// How many topics one order names.
const NAMES_MAX: usize = 10_000;
/// The config of a new mirror topic that is no topic's config.
const START: &str = "mirror.start.offset.spec";
/// The longest `timeout_ms`: 30 days.
const TIMEOUT_MS_MAX: u64 = 30 * 86_400_000;

pub(super) async fn create(api: &Api, asked: &Asked, noted: &mut Noted) -> Result<Reply, Problem> {
    let body: CreateMirror = asked.json()?;
    noted.name([body.mirror_topic_name.as_deref().unwrap_or(&body.source_topic_name)]);
    let link = api.known_link(asked)?;
    let source = topic("source_topic_name", &body.source_topic_name)?;
    let mirror = body.mirror_topic_name.as_deref();
    let mirror = mirror.map(|name| topic("mirror_topic_name", name)).transpose()?;
    if body.replication_factor.is_some_and(|factor| factor < 1) {
        let text = "Field 'replication_factor' of the body must be 1 or more.";
        return Err(Problem::malformed(text));
    }
    let mut given = configs::given(body.configs.as_deref().unwrap_or_default())?;
    let start = given.remove(START).map(|spec| {
        StartSpec::parse(&spec).ok_or_else(|| {
            Problem::new(
                Kind::Refused,
                format!(
                    "{START} must be earliest, latest, or a time with its zone such as \
                     2026-11-21T09:30:00Z."
                ),
            )
        })
    });
    let new = NewMirror {
        source,
        mirror,
        start: start.transpose()?,
        replicas: body.replication_factor,
        configs: given,
        restore: None,
    };
    let is_dry = asked.flag("validate_only", false);
    whole(api.outcomes(link, Verb::CreateMirror(new), is_dry).await)?;
    Ok(Reply::Nothing(204))
}

pub(super) async fn forget(api: &Api, asked: &Asked) -> Result<Reply, Problem> {
    let link = api.known_link(asked)?;
    let name = asked.param("mirror_topic_name");
    let topic = TopicName::new(name).ok_or_else(|| no_mirror(&link, name))?;
    let verb = Verb::Mirrors(vec![topic], MirrorVerb::Delete { topic: false });
    whole(api.outcomes(link, verb, asked.flag("validate_only", false)).await)?;
    Ok(Reply::Nothing(204))
}

pub(super) async fn delete_topic(api: &Api, asked: &Asked) -> Result<Reply, Problem> {
    let name = asked.param("topic_name");
    let other = || {
        let text = format!(
            "Topic {} is not a mirror topic of any link here: isolog deletes no other.",
            shown(name)
        );
        Problem::new(Kind::UnknownTopic, text)
    };
    let topic = TopicName::new(name).ok_or_else(other)?;
    let seen = api.orders.registry.seen();
    let link = match asked.word("link_name") {
        Some(link) => named(&seen, link, &topic)?,
        None => owner(&seen, &topic).ok_or_else(other)?,
    };
    let verb = Verb::Mirrors(vec![topic], MirrorVerb::Delete { topic: true });
    whole(api.outcomes(link, verb, false).await)?;
    Ok(Reply::Nothing(204))
}

/// The link of that name, where the topic is a mirror topic of it.
fn named(seen: &Seen, link: &str, topic: &TopicName) -> Result<LinkName, Problem> {
    let key = (LinkName(link.into()), topic.clone());
    if !seen.links.contains_key(&key.0) {
        return Err(super::no_link(link));
    }
    match seen.mirrors.contains_key(&key) {
        true => Ok(key.0),
        false => Err(no_mirror(&key.0, topic.as_str())),
    }
}

/// The link that a topic is a mirror of: of several, the one that has not stopped.
fn owner(seen: &Seen, topic: &TopicName) -> Option<LinkName> {
    let own = seen.mirrors.iter().filter(|((_, name), _)| name == topic);
    let stopped = |stage: Stage| matches!(stage, Stage::Stopped(_));
    own.min_by_key(|(_, mirror)| stopped(mirror.row.stage)).map(|((link, _), _)| link.clone())
}

pub(super) async fn alter(
    api: &Api,
    asked: &Asked,
    (call, place): (Call, Place),
    noted: &mut Noted,
) -> Result<Reply, Problem> {
    let body: AlterMirrors = asked.json()?;
    noted.pattern.clone_from(&body.mirror_topic_name_pattern);
    noted.name(body.mirror_topic_names.iter().flatten().map(String::as_str));
    let link = api.known_link(asked)?;
    let (word, verb) = verb_of(call, asked)?;
    let names = chosen(&body, &api.orders.registry.seen(), &link)?;
    noted.name(names.iter().map(String::as_str));
    let topics: Vec<TopicName> = names.iter().filter_map(|name| TopicName::new(name)).collect();
    let is_dry = asked.flag("validate_only", false);
    let mut done = Vec::new();
    if !topics.is_empty() {
        done = api.outcomes(link.clone(), Verb::Mirrors(topics, verb), is_dry).await;
    }
    let refused = |outcome: &Outcome| outcome.topic.is_none().then(|| outcome.result.clone().err());
    if let Some(refusal) = done.iter().filter_map(refused).flatten().next() {
        return Err(Problem::of_link(refusal));
    }
    let results = results(names, &done, &link);
    noted.topics = results.iter().map(|(name, result)| (name.clone(), refusal(result))).collect();
    // what is to be known before a stop is asked for with a dry order
    let checked = match verb {
        MirrorVerb::Stop { how, .. } if is_dry => Some(how),
        MirrorVerb::Abandon { .. } | MirrorVerb::Reverse { .. } if is_dry => Some(How::Promote),
        _ => None,
    };
    let clients = match (checked, &api.orders.probe) {
        (Some(_), Some(probe)) => Some(probe.clients(&link).await),
        _ => None,
    };
    let text = api.aside(move |api| {
        let all = api.everything();
        let groups = match checked {
            Some(_) => groups(api, &all, &link),
            None => Vec::new(),
        };
        let away = clients.as_ref().and_then(|clients| clients.away.clone());
        let around = match checked {
            Some(_) => all.around(&link, clients, api.sight.exporters()),
            None => Vec::new(),
        };
        let now = TimestampMs(i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX));
        let shown = results.into_iter().map(|(name, result)| {
            let mirror = match checked {
                Some(how) => {
                    all.checked((&link.0, &name), how, (&groups, &around), (away.as_deref(), now))
                }
                None => all.mirror(&link.0, &name),
            };
            (name, result, mirror)
        });
        text_of(&place.altered(&link.0, word, &shown.collect::<Vec<_>>()))
    });
    text.await?.map(Reply::Json)
}

/// The groups that a link follows; what one of its mirror topics was made of is none that they
/// read beside, whatever has become of it.
fn groups(api: &Api, all: &Everything, link: &LinkName) -> Vec<GroupView> {
    let sources = all.sources(link);
    let own = api.sight.groups(None, false).into_iter().filter(|one| *one.link == *link.0);
    let mut groups: Vec<GroupView> = own.collect();
    groups.iter_mut().for_each(|group| group.not_mirrored.retain(|one| !sources.contains(one)));
    groups
}

/// What came of each of the topics that an order names.
fn results(
    names: Vec<String>,
    done: &[Outcome],
    link: &LinkName,
) -> Vec<(String, Result<(), Problem>)> {
    let by_name: BTreeMap<&str, &Outcome> =
        done.iter().filter_map(|one| Some((one.topic.as_ref()?.as_str(), one))).collect();
    let each = names.into_iter().map(|name| {
        let result = match by_name.get(name.as_str()) {
            Some(outcome) => outcome.result.clone().map_err(Problem::of_topic),
            None => Err(no_mirror(link, &name)),
        };
        (name, result)
    });
    each.collect()
}

fn refusal(result: &Result<(), Problem>) -> Option<String> {
    let problem = result.as_ref().err()?;
    Some(format!("{}: {}", problem.status(), problem.text))
}

fn verb_of(call: Call, asked: &Asked) -> Result<(&'static str, MirrorVerb), Problem> {
    let stop = |how, deadline_ms| MirrorVerb::Stop { how, deadline_ms };
    let reverse = |is_paused| {
        let deadline_ms = deadline_ms(asked)?;
        Ok(MirrorVerb::Reverse { is_paused, deadline_ms })
    };
    Ok(match call {
        Call::Pause => ("pause", MirrorVerb::Pause),
        Call::Promote if asked.flag("abandon_open_transactions", false) => {
            ("promote", MirrorVerb::Abandon { deadline_ms: deadline_ms(asked)? })
        }
        Call::Promote => ("promote", stop(How::Promote, deadline_ms(asked)?)),
        Call::Failover => ("failover", stop(How::Failover, None)),
        Call::ReverseAndStart => ("reverse-and-start-mirror", reverse(false)?),
        Call::ReverseAndPause => ("reverse-and-pause-mirror", reverse(true)?),
        _ => ("resume", MirrorVerb::Resume),
    })
}

/// When a promote that is not level gives up, in ms since 1970.
fn deadline_ms(asked: &Asked) -> Result<Option<i64>, Problem> {
    let Some(text) = asked.word("timeout_ms") else { return Ok(None) };
    let timeout = text.parse::<u64>().ok().filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms));
    let Some(timeout) = timeout else {
        let text = format!("timeout_ms of the query must be 1 to {TIMEOUT_MS_MAX}.");
        return Err(Problem::malformed(text));
    };
    let at = since_1970().saturating_add(Duration::from_millis(timeout)).as_millis();
    Ok(i64::try_from(at).ok())
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Topics here become mirrors of what was their own mirror. What each loses by that is told before
/// anything is deleted.
pub(super) async fn restore(
    api: &Api,
    asked: &Asked,
    (route, place): (&Route, Place),
    noted: &mut Noted,
) -> Result<Reply, Problem> {
    let body: AlterMirrors = asked.json()?;
    noted.pattern.clone_from(&body.mirror_topic_name_pattern);
    noted.name(body.mirror_topic_names.iter().flatten().map(String::as_str));
    let link = api.known_link(asked)?;
    chosen(&body, &api.orders.registry.seen(), &link)?;
    let from = restored_from(asked)?;
    let Some(probe) = &api.orders.probe else { return later(api, asked, route).await };
    let parted = probe.parted(&link).await;
    let parted = parted.map_err(|why| {
        let text = format!(
            "Where the topics and their former mirrors part is not known ({why}): nothing was done."
        );
        Problem::new(Kind::Unavailable, text)
    })?;
    let mut results = Vec::new();
    for name in restored(&body, &parted)? {
        let result = match TopicName::new(&name).and_then(|topic| parted.get_key_value(&topic)) {
            Some((topic, of)) => restore_one(api, asked, (&link, topic), (of, from)).await,
            None => Err(no_former_mirror(&link, &name)),
        };
        results.push((name, result));
    }
    noted.topics = results.iter().map(|(name, result)| (name.clone(), refusal(result))).collect();
    let is_whole = asked.flag("include_partition_level_truncation_data", false);
    let text = api.aside(move |api| {
        let all = api.everything();
        let shown: Vec<_> = results
            .into_iter()
            .map(|(name, result)| {
                let mirror = all.mirror(&link.0, &name);
                (name, result, mirror)
            })
            .collect();
        let mut value = place.altered(&link.0, "truncate-and-restore", &shown);
        let each = value.get_mut("data").and_then(Value::as_array_mut);
        for (one, (name, ..)) in each.into_iter().flatten().zip(&shown) {
            let of = TopicName::new(name).and_then(|topic| parted.get(&topic));
            of.into_iter().for_each(|of| tell_truncated(one, of, is_whole));
        }
        text_of(&value)
    });
    text.await?.map(Reply::Json)
}

/// From where topics that are made anew are copied.
fn restored_from(asked: &Asked) -> Result<RestoreFrom, Problem> {
    let Some(text) = asked.word("from") else { return Ok(RestoreFrom::Earliest) };
    RestoreFrom::parse(text).ok_or_else(|| {
        let text = format!(
            "from of the query must be earliest, divergence or a time such as \
             2026-11-21T09:30:00Z, not {}.",
            shown(text)
        );
        Problem::malformed(text)
    })
}

/// What the order names; a pattern finds topics of which there is a former mirror.
fn restored(
    body: &AlterMirrors,
    parted: &BTreeMap<TopicName, Parted>,
) -> Result<Vec<String>, Problem> {
    let Some(pattern) = &body.mirror_topic_name_pattern else {
        let mut known = BTreeSet::new();
        let names = body.mirror_topic_names.iter().flatten();
        return Ok(names.filter(|name| known.insert(*name)).cloned().collect());
    };
    let fits = whole_names(pattern)?;
    let names = parted.keys().filter(|name| fits.is_match(name.as_str()));
    Ok(names.map(TopicName::to_string).collect())
}

async fn restore_one(
    api: &Api,
    asked: &Asked,
    (link, topic): (&LinkName, &TopicName),
    (of, from): (&Parted, RestoreFrom),
) -> Result<(), Problem> {
    let in_the_way = of.in_the_way();
    if !in_the_way.is_empty() {
        let text = format!("Topic '{topic}' is not restored: {}.", in_the_way.join("; "));
        return Err(Problem::new(Kind::Conflict, text));
    }
    let beyond = of.all_beyond();
    if beyond > 0 && !asked.flag("discard_tail", false) {
        let text = format!(
            "Topic '{topic}' has {beyond} offsets that its former mirror never got, and no client \
             can cut a log: it would be deleted and copied anew, and they would be lost. Save them \
             (`isolog mirror tail export`), then give the order with discard_tail=true \
             (--discard-tail)."
        );
        return Err(Problem::new(Kind::Conflict, text));
    }
    let order = if beyond > 0 { of.order_anew(topic, from) } else { of.order(topic, None) };
    let is_dry = asked.flag("validate_only", false);
    whole(api.outcomes(link.clone(), order, is_dry).await)
}

fn no_former_mirror(link: &LinkName, topic: &str) -> Problem {
    let text = format!(
        "The journal at the source of cluster link '{link}' knows of no promote or failover of a \
         mirror of topic {}, or the topic was made anew since: nothing tells where the two part. \
         Delete the topic here, then create its mirror.",
        shown(topic)
    );
    Problem::new(Kind::UnknownTopic, text)
}

/// Cluster Linking's fields: how much is lost, and where each partition parts.
fn tell_truncated(one: &mut Value, of: &Parted, is_whole: bool) {
    let each = of.partitions.iter().map(|(partition, parting)| {
        json!({
            "partition_id": partition.0,
            "offset_truncated_to": parting.next.get(),
            "messages_truncated": Parted::beyond(parting),
        })
    });
    let each: Vec<Value> = if is_whole { each.collect() } else { Vec::new() };
    if let Some(object) = one.as_object_mut() {
        object.insert("messages_truncated".to_owned(), json!(of.all_beyond()));
        object.insert("partition_level_truncation_data".to_owned(), json!(each));
    }
}

/// What this version cannot do is refused whole, after all that is wrong with the request.
pub(super) async fn later(api: &Api, asked: &Asked, route: &Route) -> Result<Reply, Problem> {
    let body: AlterMirrors = asked.json()?;
    let link = api.known_link(asked)?;
    chosen(&body, &api.orders.registry.seen(), &link)?;
    let verb = route.path.rsplit_once(':').map_or("", |(_, verb)| verb);
    let text = format!(
        "'{verb}' is not available in this version of isolog: nothing was changed. To write into \
         a mirror topic of link {link}, promote it (mirrors:promote), or fail it over when its \
         source is gone (mirrors:failover)."
    );
    Err(Problem::new(Kind::NotYet, text))
}

/// The topics that an order names, or whose whole names fit its pattern.
fn chosen(body: &AlterMirrors, seen: &Seen, link: &LinkName) -> Result<Vec<String>, Problem> {
    let either = "Give either mirror_topic_names or mirror_topic_name_pattern.";
    match (&body.mirror_topic_names, &body.mirror_topic_name_pattern) {
        (Some(names), None) if names.is_empty() => {
            Err(Problem::malformed("Field 'mirror_topic_names' of the body must name a topic."))
        }
        (Some(names), None) if names.len() > NAMES_MAX => {
            let text = format!("One order names {NAMES_MAX} topics at most: use a pattern.");
            Err(Problem::malformed(text))
        }
        (Some(names), None) => {
            let mut known = BTreeSet::new();
            Ok(names.iter().filter(|name| known.insert(*name)).cloned().collect())
        }
        (None, Some(pattern)) => {
            let fits = whole_names(pattern)?;
            let alive = seen.mirrors_of(link).filter(|(name, mirror)| {
                !matches!(mirror.row.stage, Stage::Stopped(_)) && fits.is_match(name.as_str())
            });
            Ok(alive.map(|(name, _)| name.to_string()).collect())
        }
        _ => Err(Problem::malformed(either)),
    }
}

/// The names that a pattern chooses: whole ones, in RE2's syntax.
pub fn whole_names(pattern: &str) -> Result<regex::Regex, Problem> {
    let wrong = |why: &str| {
        let text = format!("Field 'mirror_topic_name_pattern' of the body {why}.");
        Problem::malformed(text)
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(wrong(&format!("is longer than {PATTERN_BYTES_MAX} bytes")));
    }
    let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_SIZE_MAX).build();
    // by itself first: a bracket too many must not close the one around it
    build(pattern)
        .and_then(|_| build(&format!("^(?:{pattern})$")))
        .map_err(|_| wrong("is no regular expression, or too large a one"))
}

/// The refusal of an order about one topic, or of the order as a whole.
fn whole(outcomes: Vec<Outcome>) -> Result<(), Problem> {
    for outcome in outcomes {
        let is_of_topic = outcome.topic.is_some();
        outcome.result.map_err(|refusal| match is_of_topic {
            true => Problem::of_topic(refusal),
            false => Problem::of_link(refusal),
        })?;
    }
    Ok(())
}

fn topic(field: &str, name: &str) -> Result<TopicName, Problem> {
    TopicName::new(name).ok_or_else(|| {
        Problem::malformed(format!(
            "Field '{field}' of the body must be a topic name: 1 to 249 of a-z, A-Z, 0-9, '.', \
             '_' and '-'."
        ))
    })
}

fn no_mirror(link: &LinkName, topic: &str) -> Problem {
    let text = format!("Topic {} is not a mirror topic of cluster link '{link}'.", shown(topic));
    Problem::new(Kind::UnknownTopic, text)
}
