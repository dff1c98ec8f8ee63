//! Bodies of orders about exporters, and what is ordered by them.
//!
//! It never repeats a value of a body: it may be a secret.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::control::order::Refusal;
use crate::control::schemas::choice::ContextType;
use crate::control::schemas::order::BAD_CONFIG;
use crate::control::schemas::order::BAD_NAME;
use crate::control::schemas::order::BAD_SUBJECTS;
use crate::control::schemas::order::refusal;
use crate::control::schemas::row::ExporterName;
use crate::control::schemas::row::Wish;
use crate::settings::exporters::Defaults;
use crate::settings::exporters::HIDDEN;
use crate::settings::exporters::Wrong;

/// The longest name of an exporter: it becomes a label, and part of a context's name.
const NAME_BYTES_MAX: usize = 64;
/// The most subjects that one names; patterns take more.
const SUBJECTS_MAX: usize = 1_000;
/// How many bytes its row may have: it must stay far below a broker's default limit of a batch.
const WISH_BYTES_MAX: usize = 128 << 10;
/// What stands for a KEK's own name.
const SAME_KEK: &str = "${kek}";

/// What an exporter is to do; what is left out is as it was, or the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case, reason = "the documented names")]
pub struct Given {
    /// Its name, where it is new.
    #[serde(default)]
    pub name: Option<String>,
    /// `AUTO`, `CUSTOM`, `NONE` or `DEFAULT`.
    #[serde(default)]
    pub contextType: Option<String>,
    /// The context of CUSTOM.
    #[serde(default)]
    pub context: Option<String>,
    /// Which subjects.
    #[serde(default)]
    pub subjects: Option<Vec<String>>,
    /// What they are called at the destination.
    #[serde(default)]
    pub subjectRenameFormat: Option<String>,
    /// KEKs are not copied, so that they keep their names.
    #[serde(default)]
    pub kekRenameFormat: Option<String>,
    /// How the registries are asked.
    #[serde(default)]
    pub config: Option<BTreeMap<String, Option<String>>>,
}

/// The name of a new exporter.
pub fn name(given: Option<&str>) -> Result<ExporterName, Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_legal = |name: &&str| {
        (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(legal)
            && !matches!(*name, "." | "..")
    };
    let legal = given.filter(is_legal).map(|name| ExporterName(name.into()));
    legal.ok_or_else(|| {
        let text = format!(
            "Field 'name' of the body must be 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, '.', '_' and \
             '-', and not a dot alone."
        );
        refusal(BAD_NAME, text)
    })
}

/// What is to be written of it: `before` is what there is, and what is not given stays.
pub fn wish(
    defaults: &Defaults,
    name: &ExporterName,
    given: Given,
    before: Option<&Wish>,
) -> Result<Wish, Refusal> {
    let kek = given.kekRenameFormat.as_deref().filter(|format| !["", SAME_KEK].contains(format));
    if kek.is_some() {
        let text = "Field 'kekRenameFormat' has no meaning here: KEKs and DEKs are not copied.";
        return Err(refusal(BAD_CONFIG, text));
    }
    let context_type = given.contextType.as_deref().map(context_type).transpose()?;
    let asked = given.config.map(|config| replaced(config, before)).transpose()?;
    let before = before.cloned().unwrap_or_else(first);
    // the name of a context goes with CUSTOM alone
    let is_custom = context_type.is_none_or(|one| one == ContextType::Custom);
    let context = if is_custom { before.context } else { String::new() };
    let mut wish = Wish {
        context_type: context_type.unwrap_or(before.context_type),
        context: given.context.unwrap_or(context),
        subjects: given.subjects.unwrap_or(before.subjects),
        format: given.subjectRenameFormat.filter(|it| !it.is_empty()).unwrap_or(before.format),
        config: asked.unwrap_or(before.config),
    };
    bounded(&wish)?;
    let checked = defaults.options(name, &wish, true);
    checked.map_err(|wrong| match wrong {
        Wrong::Config(all) => refusal(BAD_CONFIG, sentence(&all.join("; "))),
        Wrong::Subjects(text) => refusal(BAD_SUBJECTS, sentence(&text)),
    })?;
    let kept = defaults.kept(&wish.config);
    wish.config = kept.map_err(|all| refusal(BAD_CONFIG, sentence(&all.join("; "))))?;
    Ok(wish)
}

/// What an exporter is as it is documented, where nothing is said.
fn first() -> Wish {
    Wish {
        subjects: vec!["*".to_owned()],
        format: "${subject}".to_owned(),
        context_type: ContextType::Auto,
        context: String::new(),
        config: BTreeMap::new(),
    }
}

fn context_type(word: &str) -> Result<ContextType, Refusal> {
    ContextType::parse(word).ok_or_else(|| {
        let all: Vec<&str> = ContextType::ALL.iter().map(|one| one.word()).collect();
        let text = format!("Field 'contextType' of the body must be one of {}.", all.join(", "));
        refusal(BAD_SUBJECTS, text)
    })
}

/// All properties, as they are sent; one that was shown hidden stays what it was.
fn replaced(
    config: BTreeMap<String, Option<String>>,
    before: Option<&Wish>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut all = BTreeMap::new();
    for (name, value) in config {
        let Some(value) = value else { continue };
        let known = before.and_then(|before| before.config.get(&name));
        match (value == HIDDEN, known) {
            (false, _) => drop(all.insert(name, value)),
            (true, Some(known)) => drop(all.insert(name, known.clone())),
            (true, None) => {
                let text = format!("A property of 'config' is {HIDDEN}: give its value.");
                return Err(refusal(BAD_CONFIG, text));
            }
        }
    }
    Ok(all)
}

fn bounded(wish: &Wish) -> Result<(), Refusal> {
    let texts = wish.subjects.iter().chain(wish.config.keys()).chain(wish.config.values());
    let bytes: usize =
        texts.map(String::len).sum::<usize>() + wish.format.len() + wish.context.len();
    if wish.subjects.len() <= SUBJECTS_MAX && bytes <= WISH_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "An exporter names at most {SUBJECTS_MAX} subjects, and has at most {WISH_BYTES_MAX} bytes \
         of texts: take patterns such as orders*, or several exporters."
    );
    Err(refusal(BAD_SUBJECTS, text))
}

/// A text of lower rooms, which begin with the name of what is wrong.
fn sentence(text: &str) -> String {
    format!("{text}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::trust::Remote;
    use std::sync::Arc;

    fn made(json: &str, before: Option<&Wish>) -> Result<Wish, (u32, String)> {
        let defaults = Defaults { source: None, trust: Arc::new(Remote::default()) };
        let given = serde_json::from_str(json).unwrap();
        let made = wish(&defaults, &ExporterName("dr".into()), given, before);
        made.map_err(|refusal| (refusal.code.unwrap(), refusal.text))
    }

    const CONFIG: &str =
        r#""config":{"schema.registry.url":"http://b","source.schema.registry.url":"http://a"}"#;

    #[test]
    fn what_is_left_out_is_the_documented_default_or_as_it_was() {
        let first = made(&format!("{{{CONFIG}}}"), None).unwrap();
        assert_eq!((first.context_type, &*first.format), (ContextType::Auto, "${subject}"));
        assert_eq!(first.subjects, ["*"]);
        let custom = r#"{"contextType":"custom","context":".eu","subjects":["a","b*"]}"#;
        let custom = made(custom, Some(&first)).unwrap();
        assert_eq!((&*custom.context, custom.subjects.len()), (".eu", 2));
        assert_eq!(custom.config, first.config);
        let same = made("{}", Some(&custom)).unwrap();
        assert_eq!(same, custom);
        let none = made(r#"{"contextType":"NONE"}"#, Some(&custom)).unwrap();
        assert_eq!((&*none.context, none.context_type), ("", ContextType::None));
    }

    #[test]
    fn mistakes_have_the_documented_codes() {
        let check = |json: &str, code: u32, said: &str| {
            let (found, text) = made(json, None).unwrap_err();
            assert!(found == code && text.contains(said), "{json}: {found} {text}");
        };
        check("{}", 40951, "schema.registry.url is missing");
        check(r#"{"config":{"schema.registry.url":"[hidden]"}}"#, 40951, "give its value");
        check(&format!(r#"{{"contextType":"X",{CONFIG}}}"#), 40952, "AUTO, CUSTOM, NONE, DEFAULT");
        check(&format!(r#"{{"contextType":"CUSTOM",{CONFIG}}}"#), 40952, "needs one");
        check(&format!(r#"{{"subjects":[],{CONFIG}}}"#), 40952, "name the subjects");
        check(&format!(r#"{{"subjectRenameFormat":"x",{CONFIG}}}"#), 40952, "${subject}");
        check(&format!(r#"{{"kekRenameFormat":"x",{CONFIG}}}"#), 40951, "not copied");
        let many = vec!["\"s\""; SUBJECTS_MAX + 1].join(",");
        check(&format!(r#"{{"subjects":[{many}],{CONFIG}}}"#), 40952, "at most 1000");
        for bad in [None, Some(""), Some("."), Some("a/b"), Some("ü")] {
            assert_eq!(name(bad).unwrap_err().code, Some(40950), "{bad:?}");
        }
        assert!(name(Some("dr-1")).is_ok());
    }
}
