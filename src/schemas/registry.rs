//! What a registry is asked, by name: subjects, versions, configs, modes; and one step taken.
//!
//! It never believes an answer that it can check: another id than the one sent is an error.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::control::schemas::Held;
use crate::control::schemas::Id;
use crate::control::schemas::Name;
use crate::control::schemas::Reference;
use crate::control::schemas::Schema;
use crate::control::schemas::Subject;
use crate::control::schemas::Version;
use crate::control::schemas::World;
use crate::control::schemas::plan::Step;

use super::client::Client;
use super::client::Failed;
use super::client::plain;

/// What may stand in a path as it is stays so: some registries compare names undecoded.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
/// The most subjects of one registry.
const SUBJECTS_MAX: usize = 200_000;
/// The most versions of one subject.
const VERSIONS_MAX: usize = 100_000;

/// How many questions are open at once.
const QUESTIONS_MAX: usize = 8;

/// A question that is being asked.
type Asking<T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send>>;

/// No such subject, in a registry's own words and not in a proxy's.
const GONE: i64 = 40401;
/// No such subject or version, or one that is deleted softly.
const ABSENT: &[i64] = &[404, 40401, 40402, 40403, 40404, 40406];
/// A subject that has no config, or no mode, of its own.
const NONE_OF_ITS_OWN: &[i64] = &[404, 40401, 40408, 40409];

/// One registry.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Client>);

impl Registry {
    /// Asks by `client`.
    pub fn new(client: Client) -> Registry {
        Registry(Arc::new(client))
    }

    /// Where it is, whatever the order in which its addresses are named.
    pub fn addresses(&self) -> String {
        self.0.addresses()
    }

    /// Everything that the registry holds of the subjects that `is_taken` takes, but modes: not
    /// every source has them. What does not
    /// come whole is an error: half a registry looks like one from which half was deleted.
    pub async fn look(&self, is_taken: impl Fn(&Name) -> bool) -> Result<World, Failed> {
        let mut world = World::default();
        let names = self.subjects().await?.into_iter().filter(|name| is_taken(name));
        let subjects =
            self.each(names, |one, name| Box::pin(async move { one.subject(&name).await }));
        world.subjects = subjects.await?;
        // a name that some registries keep of what is gone for good
        world.subjects.retain(|_, it| !it.versions.is_empty() || it.config.is_some());
        Ok(world)
    }

    /// Asks the same of each name, a few of them at a time; the first that fails ends it.
    async fn each<T: Send + 'static>(
        &self,
        mut names: impl Iterator<Item = Name>,
        ask: fn(Registry, Name) -> Asking<T>,
    ) -> Result<BTreeMap<Name, T>, Failed> {
        let (mut all, mut open) = (BTreeMap::new(), JoinSet::new());
        loop {
            while open.len() < QUESTIONS_MAX {
                let Some(name) = names.next() else { break };
                let asked = ask(self.clone(), name.clone());
                open.spawn(async move { (name, asked.await) });
            }
            match open.join_next().await {
                Some(Ok((name, found))) => drop(all.insert(name, found?)),
                Some(Err(error)) => return Err(nonsense("a question", &error.to_string())),
                None => return Ok(all),
            }
        }
    }

    /// The modes of those of these subjects and contexts that have one of their own.
    pub async fn own_modes(
        &self,
        names: impl Iterator<Item = Name>,
    ) -> Result<BTreeMap<Name, String>, Failed> {
        let all = self.each(names, |one, name| Box::pin(async move { one.own_mode(&name).await }));
        let all = all.await?;
        Ok(all.into_iter().filter_map(|(name, mode)| Some((name, mode?))).collect())
    }

    /// The compatibility that holds where no subject has one of its own, if it says one.
    pub async fn level(&self) -> Result<Option<String>, Failed> {
        match self.0.ask("GET", "/config", None).await {
            Ok(answer) => Ok(answer["compatibilityLevel"].as_str().map(plain)),
            Err(failed) if failed.is_absent(NONE_OF_ITS_OWN) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// All subjects, deleted ones too. By the wildcard come those of all contexts; not every
    /// registry knows it.
    pub async fn subjects(&self) -> Result<BTreeSet<Name>, Failed> {
        let mut names = BTreeSet::new();
        for path in ["/subjects?deleted=true", "/subjects?subjectPrefix=%3A*%3A&deleted=true"] {
            let answer = self.0.ask("GET", path, None).await?;
            let all = list(path, &answer, SUBJECTS_MAX)?;
            for name in all {
                let text = name.as_str().ok_or_else(|| nonsense(path, "a subject is no text"))?;
                names.insert(Name::parse(text));
            }
        }
        Ok(names)
    }

    /// The mode that holds where no subject and no context has one of its own.
    pub async fn whole_mode(&self) -> Result<String, Failed> {
        self.mode(None).await
    }

    /// The mode of a subject or a context, where it has one of its own; of the registry without.
    pub async fn own_mode(&self, name: &Name) -> Result<Option<String>, Failed> {
        match self.mode(Some(name)).await {
            Ok(mode) => Ok(Some(mode)),
            Err(failed) if failed.is_absent(NONE_OF_ITS_OWN) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    async fn mode(&self, name: Option<&Name>) -> Result<String, Failed> {
        let path = name.map_or("/mode".to_owned(), |name| format!("/mode/{}", encoded(name)));
        let answer = self.0.ask("GET", &path, None).await?;
        let mode = answer["mode"].as_str().ok_or_else(|| nonsense(&path, "there is no mode"))?;
        Ok(plain(mode))
    }

    /// Sets the mode of the registry, as a failover does.
    pub async fn set_mode(&self, mode: &str) -> Result<(), Failed> {
        let done = self.0.ask("PUT", "/mode", Some(&json!({ "mode": mode }))).await?;
        let now = self.mode(None).await?;
        let is_set = done["mode"].as_str() == Some(mode) && now == mode;
        let why = "the registry took the mode, and has another one";
        if is_set { Ok(()) } else { Err(nonsense("/mode", why)) }
    }

    async fn subject(&self, name: &Name) -> Result<Subject, Failed> {
        let path = format!("/subjects/{}/versions", encoded(name));
        let live = self.versions(&path).await?.unwrap_or_default();
        let path = format!("{path}?deleted=true");
        let why = "the subject is listed, and its versions are not found";
        let all = match self.versions(&path).await? {
            Ok(all) => all,
            // some registries keep the name of one whose last version was deleted for good
            Err(GONE) if encoded(name) == name.to_string() => BTreeSet::new(),
            Err(_) => return Err(nonsense(&path, why)),
        };
        let mut subject = Subject { config: self.config(name).await?, ..Subject::default() };
        for version in all {
            let mut held = self.held(name, version).await?;
            held.is_deleted = !live.contains(&version);
            subject.versions.insert(version, held);
        }
        Ok(subject)
    }

    /// The code where the registry knows none.
    async fn versions(&self, path: &str) -> Result<Result<BTreeSet<Version>, i64>, Failed> {
        let answer = match self.0.ask("GET", path, None).await {
            Err(failed) if failed.is_absent(ABSENT) => return Ok(Err(failed.code())),
            answer => answer?,
        };
        let all = list(path, &answer, VERSIONS_MAX)?.iter();
        all.map(|it| number(path, it).map(Version)).collect::<Result<_, _>>().map(Ok)
    }

    async fn held(&self, name: &Name, version: Version) -> Result<Held, Failed> {
        let path = format!("/subjects/{}/versions/{version}?deleted=true", encoded(name));
        let answer = self.0.ask("GET", &path, None).await?;
        held(&path, name, version, &answer)
    }

    async fn config(&self, name: &Name) -> Result<Option<Value>, Failed> {
        let answer = self.0.ask("GET", &format!("/config/{}", encoded(name)), None).await;
        match answer {
            Ok(Value::Object(mut all)) => {
                // read under another name than it is written
                if let Some(level) = all.remove("compatibilityLevel") {
                    all.insert("compatibility".to_owned(), level);
                }
                all.retain(|_, value| !value.is_null());
                Ok((!all.is_empty()).then_some(Value::Object(all)))
            }
            Ok(_) => Err(nonsense("/config", "the config is no object")),
            Err(failed) if failed.is_absent(NONE_OF_ITS_OWN) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Takes a step. One that was taken before is taken again without harm.
    pub async fn take(&self, step: &Step) -> Result<(), Failed> {
        let done = match step {
            Step::Register(name, version, id, schema) => {
                return self.register(name, *version, *id, schema).await;
            }
            Step::SoftDelete(name, version) => {
                let path = format!("/subjects/{}/versions/{version}", encoded(name));
                self.0.ask("DELETE", &path, None).await
            }
            Step::HardDelete(name, version) => {
                let name = encoded(name);
                let path = format!("/subjects/{name}/versions/{version}?permanent=true");
                self.0.ask("DELETE", &path, None).await
            }
            Step::Purge(name) => {
                let path = format!("/subjects/{}?permanent=true", encoded(name));
                self.0.ask("DELETE", &path, None).await
            }
            Step::PutConfig(name, config) => {
                let path = format!("/config/{}", encoded(name));
                self.0.ask("PUT", &path, Some(config)).await
            }
            Step::PutLevel(level) => {
                self.0.ask("PUT", "/config", Some(&json!({ "compatibility": level }))).await
            }
            Step::DeleteConfig(name) => {
                let path = format!("/config/{}", encoded(name));
                self.0.ask("DELETE", &path, None).await
            }
        };
        let is_deletion = !matches!(step, Step::PutConfig(..) | Step::PutLevel(_));
        match done {
            Err(failed) if is_deletion && failed.is_absent(ABSENT) => Ok(()),
            Err(failed) if is_deletion && failed.is_absent(NONE_OF_ITS_OWN) => Ok(()),
            done => done.map(drop),
        }
    }

    async fn register(
        &self,
        name: &Name,
        version: Version,
        id: Id,
        schema: &Schema,
    ) -> Result<(), Failed> {
        let path = format!("/subjects/{}/versions", encoded(name));
        let answer = self.0.ask("POST", &path, Some(&body(name, version, id, schema))).await?;
        let given = number(&path, &answer["id"])?;
        if given == id.0 {
            return Ok(());
        }
        let why = format!(
            "the registry gave id {given} where {id} was sent: it does not keep ids from outside, \
             or has this schema under that id already"
        );
        Err(nonsense(&path, &why))
    }
}

fn body(name: &Name, version: Version, id: Id, schema: &Schema) -> Value {
    let mut body = json!({ "schema": schema.text, "id": id.0, "version": version.0 });
    if schema.kind != "AVRO" {
        body["schemaType"] = json!(schema.kind);
    }
    if !schema.references.is_empty() {
        let references = schema.references.iter().map(|it| {
            let subject = it.subject.seen_from(&name.context);
            json!({ "name": it.name, "subject": subject, "version": it.version.0 })
        });
        body["references"] = references.collect();
    }
    if let Some(metadata) = &schema.metadata {
        body["metadata"] = metadata.clone();
    }
    if let Some(rules) = &schema.rules {
        body["ruleSet"] = rules.clone();
    }
    body
}

/// Reads a version; what is not of the one that was asked for is no answer.
fn held(path: &str, name: &Name, version: Version, answer: &Value) -> Result<Held, Failed> {
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    if number(path, &answer["version"])? != version.0 {
        return Err(nonsense(path, "the answer is about another version"));
    }
    let mut references = Vec::new();
    for it in answer["references"].as_array().into_iter().flatten() {
        let (Some(called), Some(subject)) = (it["name"].as_str(), it["subject"].as_str()) else {
            return Err(nonsense(path, "a reference has no name or subject"));
        };
        references.push(Reference {
            name: called.to_owned(),
            subject: Name::within(&name.context, subject),
            version: Version(number(path, &it["version"])?),
        });
    }
    let schema = Schema {
        kind: text("schemaType").unwrap_or_else(|| "AVRO".to_owned()),
        text: text("schema").ok_or_else(|| nonsense(path, "there is no schema in it"))?,
        references,
        metadata: metadata(answer),
        rules: Some(&answer["ruleSet"]).filter(|it| !it.is_null()).cloned(),
    };
    Ok(Held { id: Id(number(path, &answer["id"])?), schema, is_deleted: false })
}

/// Without what a registry writes into it by itself.
fn metadata(answer: &Value) -> Option<Value> {
    let mut metadata = answer["metadata"].as_object()?.clone();
    if let Some(Value::Object(properties)) = metadata.get_mut("properties") {
        properties.retain(|name, _| !name.starts_with("confluent:"));
    }
    let is_empty = |it: &Value| it.is_null() || it.as_object().is_some_and(|it| it.is_empty());
    metadata.retain(|_, value| !is_empty(value));
    (!metadata.is_empty()).then_some(Value::Object(metadata))
}

fn list<'a>(path: &str, answer: &'a Value, most: usize) -> Result<&'a [Value], Failed> {
    match answer {
        // some say so where a subject has a mode alone
        Value::Null => Ok(&[]),
        Value::Array(all) if all.len() <= most => Ok(all),
        Value::Array(all) => {
            Err(nonsense(path, &format!("{} entries, at most {most} are read", all.len())))
        }
        _ => Err(nonsense(path, "the answer is no list")),
    }
}

/// Ids and versions are numbers from 1.
fn number(path: &str, value: &Value) -> Result<i32, Failed> {
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    let number = number.filter(|number| *number > 0);
    number.ok_or_else(|| nonsense(path, "an id or version is no number above 0"))
}

fn nonsense(path: &str, why: &str) -> Failed {
    Failed::Nonsense { asked: path.to_owned(), why: why.to_owned() }
}

fn encoded(name: &Name) -> String {
    utf8_percent_encode(&name.to_string(), PLAIN).to_string()
}
