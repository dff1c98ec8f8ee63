//! Which subjects are copied, and what they are called at the destination.
//!
//! It never looks at schemas.

use serde::Deserialize;
use serde::Serialize;

use super::DEFAULT_CONTEXT;
use super::Name;

/// What stands for the subject's name in a rename format.
const SUBJECT: &str = "${subject}";

/// Where subjects go (`contextType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contexts {
    /// NONE: into the context they have.
    Same,
    /// CUSTOM, and AUTO with a name that was made up: into this one, their own behind it.
    Under(String),
    /// DEFAULT: into the default context, whatever they have.
    Default,
}

/// `contextType`, as it is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContextType {
    /// Into a context that is made up of the exporter's name.
    Auto,
    /// Into a named one.
    Custom,
    /// Into those that they have.
    None,
    /// Into the default one.
    Default,
}

impl ContextType {
    /// All of them.
    pub const ALL: [ContextType; 4] =
        [ContextType::Auto, ContextType::Custom, ContextType::None, ContextType::Default];

    /// The word of REST and of the config file.
    pub fn word(self) -> &'static str {
        match self {
            ContextType::Auto => "AUTO",
            ContextType::Custom => "CUSTOM",
            ContextType::None => "NONE",
            ContextType::Default => "DEFAULT",
        }
    }

    /// Reads that word, in letters of any case.
    pub fn parse(text: &str) -> Option<ContextType> {
        ContextType::ALL.into_iter().find(|one| one.word().eq_ignore_ascii_case(text))
    }

    /// The context that an exporter of that name puts subjects into; empty where there is no one
    /// such context. `custom` is what was named.
    pub fn context(self, exporter: &str, custom: Option<&str>) -> Result<String, NoChoice> {
        match (self, custom.filter(|name| !name.is_empty())) {
            (ContextType::Auto, None) => Ok(format!(".lsrc-{exporter}")),
            (ContextType::Custom, Some(name)) => Ok(name.to_owned()),
            (ContextType::Custom, None) => Err(NoChoice::NoName),
            (_, None) => Ok(String::new()),
            (_, Some(_)) => Err(NoChoice::NotCustom),
        }
    }

    /// Where subjects go, with the context that `context` gave.
    pub fn contexts(self, context: &str) -> Contexts {
        match self {
            ContextType::None => Contexts::Same,
            ContextType::Default => Contexts::Default,
            ContextType::Auto | ContextType::Custom => Contexts::Under(context.to_owned()),
        }
    }
}

/// Which subjects are copied, and under which names.
#[derive(Clone, Debug)]
pub struct Choice {
    subjects: Vec<String>,
    contexts: Contexts,
    format: String,
}

/// Why that is no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// Nothing would tell subjects apart.
    #[error("the rename format must hold ${{subject}}, or all subjects become one")]
    NoSubject,
    /// Not a context.
    #[error("a context's name begins with a dot and has no colon, such as .eu")]
    NoContext,
    /// CUSTOM without a name.
    #[error("is missing: the context type CUSTOM needs one, such as .eu")]
    NoName,
    /// A name that nobody would look at.
    #[error("goes with the context type CUSTOM alone")]
    NotCustom,
    /// No subject at all.
    #[error("name the subjects to be copied; * is all of the default context, :*: all of all")]
    Nothing,
}

impl Choice {
    /// `subjects` as of exporters: names, `prefix*`, `:.ctx:prefix*`, `:*:` for all contexts.
    pub fn new(
        subjects: Vec<String>,
        contexts: Contexts,
        format: Option<String>,
    ) -> Result<Choice, NoChoice> {
        let format = format.unwrap_or_else(|| SUBJECT.to_owned());
        if !format.contains(SUBJECT) {
            return Err(NoChoice::NoSubject);
        }
        if subjects.is_empty() {
            return Err(NoChoice::Nothing);
        }
        match &contexts {
            Contexts::Under(context) if !context.starts_with('.') || context.contains(':') => {
                Err(NoChoice::NoContext)
            }
            _ => Ok(Choice { subjects, contexts, format }),
        }
    }

    /// What a subject of the source is called at the destination; `None` where it stays.
    pub fn target(&self, source: &Name) -> Option<Name> {
        let is_taken = self.subjects.iter().any(|pattern| takes(pattern, source));
        (is_taken && !self.came_back(source)).then(|| self.renamed(source))
    }

    /// Whether it lies below the context that copies get, so that it is one which came back by a
    /// copy of the other way: each turn would make one more.
    fn came_back(&self, source: &Name) -> bool {
        match &self.contexts {
            Contexts::Under(context) if context != DEFAULT_CONTEXT => {
                format!("{}.", source.context).contains(&format!("{context}."))
            }
            _ => false,
        }
    }

    /// The name at the destination, of one that is referred to too.
    pub fn renamed(&self, source: &Name) -> Name {
        let context = match &self.contexts {
            Contexts::Same => source.context.clone(),
            Contexts::Default => DEFAULT_CONTEXT.to_owned(),
            Contexts::Under(context) if source.context == DEFAULT_CONTEXT => context.clone(),
            Contexts::Under(context) => {
                format!("{}{}", context.trim_end_matches('.'), source.context)
            }
        };
        Name { context, subject: self.format.replace(SUBJECT, &source.subject) }
    }

    /// Whether subjects go into a context of their own, beside what is there.
    pub fn sets_apart(&self) -> bool {
        matches!(&self.contexts, Contexts::Under(_))
    }

    /// Whether all that the source's default context holds goes into the default context, by its
    /// own name: then what holds for all subjects there holds here too.
    pub fn takes_all(&self) -> bool {
        let is_all = |pattern: &String| matches!(pattern.as_str(), "*" | ":*:" | ":*:*");
        let is_here = !matches!(&self.contexts, Contexts::Under(name) if name != DEFAULT_CONTEXT);
        is_here && self.format == SUBJECT && self.subjects.iter().any(is_all)
    }

    /// Whether schemas land where records that carry their ids do not find them.
    pub fn leaves_default(&self) -> bool {
        matches!(&self.contexts, Contexts::Under(context) if context != DEFAULT_CONTEXT)
    }
}

fn takes(pattern: &str, name: &Name) -> bool {
    let (is_any, pattern) = match pattern.strip_prefix(":*:") {
        Some(rest) => (true, Name { context: String::new(), subject: rest.to_owned() }),
        None => (false, Name::parse(pattern)),
    };
    let named = &pattern.subject;
    let by_prefix = named.strip_suffix('*').or(named.is_empty().then_some(""));
    (is_any || pattern.context == name.context)
        && by_prefix.map_or(*named == name.subject, |prefix| name.subject.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(subjects: &[&str], contexts: Contexts, format: Option<&str>) -> Choice {
        let subjects = subjects.iter().map(|&it| it.to_owned()).collect();
        Choice::new(subjects, contexts, format.map(str::to_owned)).unwrap()
    }

    fn target(choice: &Choice, name: &str) -> Option<String> {
        choice.target(&Name::parse(name)).map(|name| name.to_string())
    }

    #[test]
    fn subjects_are_taken_by_name_by_prefix_and_by_context() {
        let of = |pattern: &str| choice(&[pattern], Contexts::Same, None);
        for (pattern, taken, left) in [
            ("orders", "orders", "orders-value"),
            ("*", "orders", ":.eu:orders"),
            ("ord*", "orders", "payments"),
            (":.eu:*", ":.eu:orders", "orders"),
            (":.eu:", ":.eu:orders", ":.us:orders"),
            (":*:", ":.eu:orders", ":.eu"),
            (":*:ord*", "orders", ":.eu:payments"),
        ] {
            assert_eq!(target(&of(pattern), taken).as_deref(), Some(taken), "{pattern}");
            if pattern != ":*:" {
                assert_eq!(target(&of(pattern), left), None, "{pattern}");
            }
        }
    }

    #[test]
    fn contexts_and_names_are_changed_as_exporters_do() {
        let all = |contexts, format| choice(&[":*:"], contexts, format);
        let under = all(Contexts::Under(".dr".into()), Some("copy.${subject}"));
        assert_eq!(target(&under, "s").as_deref(), Some(":.dr:copy.s"));
        assert_eq!(target(&under, ":.eu:s").as_deref(), Some(":.dr.eu:copy.s"));
        assert!(under.leaves_default());
        // what came back from there is no news
        for (name, comes) in [(":.eu.dr:s", false), (":.dr:s", false), (":.drill:s", true)] {
            assert_eq!(target(&under, name).is_some(), comes, "{name}");
        }
        let default = all(Contexts::Default, None);
        assert!(default.takes_all() && !under.takes_all());
        assert!(choice(&["a", "*"], Contexts::Same, None).takes_all());
        assert!(!choice(&["a*"], Contexts::Same, None).takes_all());
        assert!(!all(Contexts::Same, Some("x.${subject}")).takes_all());
        assert_eq!(target(&default, ":.eu:s").as_deref(), Some("s"));
        assert!(!default.leaves_default());
    }

    #[test]
    fn context_types_are_read_by_their_words() {
        for one in ContextType::ALL {
            assert_eq!(ContextType::parse(&one.word().to_lowercase()), Some(one));
            let json = serde_json::to_value(one).unwrap();
            assert_eq!(json, one.word());
        }
        assert_eq!(ContextType::parse("OTHER"), None);
        let of = |one: ContextType, name| one.context("dr", name);
        assert_eq!(of(ContextType::Auto, Some("")), Ok(".lsrc-dr".into()));
        assert_eq!(of(ContextType::Custom, Some(".eu")), Ok(".eu".into()));
        assert_eq!(of(ContextType::Custom, None), Err(NoChoice::NoName));
        assert_eq!(of(ContextType::None, None), Ok(String::new()));
        assert_eq!(of(ContextType::Auto, Some(".eu")), Err(NoChoice::NotCustom));
        assert_eq!(ContextType::None.contexts(""), Contexts::Same);
        assert_eq!(ContextType::Custom.contexts(".eu"), Contexts::Under(".eu".into()));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let of = |subjects: &[&str], contexts, format: Option<&str>| {
            let subjects = subjects.iter().map(|&it| it.to_owned()).collect();
            Choice::new(subjects, contexts, format.map(str::to_owned)).err()
        };
        assert_eq!(of(&["*"], Contexts::Same, Some("x")), Some(NoChoice::NoSubject));
        assert_eq!(of(&[], Contexts::Same, None), Some(NoChoice::Nothing));
        assert_eq!(of(&["*"], Contexts::Under("x".into()), None), Some(NoChoice::NoContext));
    }
}
