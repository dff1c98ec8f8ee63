//! `[schemas.NAME]`: checked sections become exporters of schemas.
//!
//! It never asks a registry, and repeats no value of a registry's file.

use std::path::Path;
use std::sync::Arc;

use crate::schemas::Choice;
use crate::schemas::ContextType;
use crate::schemas::Contexts;
use crate::schemas::client;
use crate::schemas::exporter::Options;
use crate::secure::FileError;
use crate::settings::check::Checked;
use crate::settings::exporters::Ordered;
use crate::settings::exporters::Tail;
use crate::settings::exporters::shown_of;
use crate::settings::problem::Problem;
use crate::settings::property::Scope;
use crate::settings::table;
use crate::settings::value::Value;

use super::file;
use super::providers::Local;
use super::registry_of;

/// What a section's name begins with.
pub const PREFIX: &str = "schemas.";

/// The exporters of a file, as far as they are whole; what is wrong goes to `problems`.
pub fn exporters(sections: &[Checked], dir: &Path, problems: &mut Vec<Problem>) -> Vec<Ordered> {
    let all = sections.iter().filter(|section| section.scope == Scope::Schemas);
    let made = |section: &Checked| {
        let tail = tail(section, dir, problems);
        Some(Ordered { options: exporter(section, dir, problems)?, tail })
    };
    all.filter_map(made).collect()
}

/// The topic of the source's registry, where a file says how its brokers are reached.
fn tail(section: &Checked, dir: &Path, problems: &mut Vec<Problem>) -> Option<Tail> {
    const FILE: &str = "source.kafka.properties.file";
    let path = dir.join(section.text(FILE)?);
    let said = |text: String| Problem::at(section.place(), Some(FILE), text);
    let (pairs, everybody) = file::pairs_seen(&path).map_err(|e| problems.push(said(e))).ok()?;
    // whoever writes it could have the login sent to an address of his own
    if everybody.writes && pairs.keys().any(|name| is_login(name)) {
        problems.push(said(FileError::WorldWritable(path).to_string()));
        return None;
    }
    let dir = path.parent().unwrap_or(Path::new(".")).to_owned();
    let topic = section.text("source.kafka.topic");
    let tail = Tail::parse(section.name.as_str(), &pairs, topic, Arc::new(Local { dir }));
    tail.map_err(|all| problems.extend(all.into_iter().map(said))).ok()
}

/// The registry that exporters copy from which are created by order, where the file names one.
pub fn source(
    sections: &[Checked],
    dir: &Path,
    problems: &mut Vec<Problem>,
) -> Option<client::Options> {
    const KEY: &str = "exporter.source.properties.file";
    let mut all = sections.iter().filter(|section| section.scope == Scope::Service);
    let section = all.find(|section| section.text(KEY).is_some())?;
    registry(section, KEY, dir, problems)
}

fn exporter(section: &Checked, dir: &Path, problems: &mut Vec<Problem>) -> Option<Options> {
    let name = section.name.strip_prefix(PREFIX)?;
    let source = registry(section, "source.properties.file", dir, problems);
    let destination = registry(section, "destination.properties.file", dir, problems);
    let context_type = ContextType::parse(section.text("context.type")?)?;
    let context = context_type.context(name, section.text("context.name"));
    let context = context.map_err(|why| {
        let place = section.place();
        problems.push(Problem::at(place, Some("context.name"), why.to_string()));
    });
    let context = context.ok()?;
    let contexts = context_type.contexts(&context);
    let subjects = match section.value("subjects")? {
        Value::Words(subjects) => subjects.clone(),
        _ if contexts == Contexts::Same => vec![":*:".to_owned()],
        _ => vec!["*".to_owned()],
    };
    let format = section.text("subject.rename.format")?.to_owned();
    let choice = Choice::new(subjects.clone(), contexts, Some(format.clone()));
    let choice = choice.map_err(|why| {
        problems.push(Problem::at(section.place(), None, why.to_string()));
    });
    let destination = destination?;
    Some(Options {
        name: name.to_owned(),
        source: source?,
        config: shown_of(&destination),
        destination,
        subjects,
        context_type,
        context,
        format,
        choice: choice.ok()?,
        poll: section.millis("poll.interval.ms")?,
        is_paused: section.is_true("paused"),
    })
}

/// Whether a Kafka client's property is part of a login.
fn is_login(name: &str) -> bool {
    name.starts_with("sasl.") || table::find(Scope::Commanded, name).is_some_and(|it| it.sensitive)
}

/// What is good to know of them.
pub fn notes(exporters: &[Ordered]) -> impl Iterator<Item = Problem> {
    let all = exporters.iter().map(|one| &one.options);
    let leaves = all.filter(|exporter| exporter.choice.leaves_default());
    leaves.map(|exporter| {
        let text = format!(
            "schemas go into the context {}: clients at the destination find the ids in records \
             only by that context",
            exporter.context
        );
        Problem::at(Some(&format!("{PREFIX}{}", exporter.name)), None, text)
    })
}

fn registry(
    section: &Checked,
    key: &str,
    dir: &Path,
    problems: &mut Vec<Problem>,
) -> Option<client::Options> {
    let path = dir.join(section.text(key)?);
    let wrong = |all: Vec<Problem>| {
        all.into_iter().map(|one| Problem::at(section.place(), Some(key), one.text))
    };
    registry_of(&path).map_err(|all| problems.extend(wrong(all))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    fn load(lines: &str) -> Result<Vec<Ordered>, String> {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("a"), "schema.registry.url=http://a:8081\n").unwrap();
        std::fs::write(dir.join("b"), "schema.registry.url=http://b:8081\n").unwrap();
        std::fs::write(dir.join("k"), "bootstrap.servers=k:9092\n").unwrap();
        std::fs::write(dir.join("bad"), "schema.registry.ulr=http://b:8081\n").unwrap();
        let text = format!(
            "[destination]\nbootstrap.servers = 'a:1'\n[schemas.dr]\n{lines}\n[schemas.eu]\n\
             source.properties.file = 'b'\ndestination.properties.file = 'a'\n"
        );
        let told = |all: Vec<Problem>| all.iter().map(|it| format!("{it}\n")).collect();
        load_text(&text, dir).map(|config| config.exporters).map_err(told)
    }

    const BOTH: &str = "source.properties.file = 'a'\ndestination.properties.file = 'b'\n";

    #[test]
    fn exporters_are_declared() {
        let all = load(BOTH).unwrap();
        let [dr, eu] = all.as_slice() else { panic!("{all:?}") };
        assert!(dr.tail.is_none());
        let (dr, eu) = (&dr.options, &eu.options);
        assert_eq!((&*dr.name, &*eu.name, dr.is_paused), ("dr", "eu", false));
        assert_eq!((&*dr.source.urls[0].host, &*dr.destination.urls[0].host), ("a", "b"));
        assert_eq!(
            (dr.subjects.as_slice(), &*dr.format),
            ([":*:".to_owned()].as_slice(), "${subject}")
        );
        assert!(!dr.choice.leaves_default() && notes(&all).count() == 0);
        let auto = load(&format!("{BOTH}context.type = 'auto'\npaused = true")).unwrap();
        let one = &auto[0].options;
        assert_eq!((&*one.context, one.is_paused), (".lsrc-dr", true));
        assert_eq!(one.subjects, ["*"]);
        let kafka = format!("{BOTH}source.kafka.properties.file = 'k'");
        let tail = load(&kafka).unwrap()[0].tail.clone().unwrap();
        assert_eq!((tail.topic.as_str(), &*tail.source.bootstrap[0].0), ("_schemas", "k"));
        let notes: Vec<String> = notes(&auto).map(|note| note.to_string()).collect();
        assert!(notes[0].contains("[schemas.dr]") && notes[0].contains(".lsrc-dr"), "{notes:?}");
    }

    #[test]
    fn the_file_names_the_source_of_exporters_that_are_ordered() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("a"), "schema.registry.url=http://a:8081\n").unwrap();
        let of = |file: &str| {
            let text = format!(
                "[destination]\nbootstrap.servers = 'a:1'\n[service]\n\
                 exporter.source.properties.file = '{file}'\n"
            );
            load_text(&text, dir)
        };
        let source = of("a").unwrap().exporting().defaults.source.unwrap();
        assert_eq!(&*source.urls[0].host, "a");
        let problems: Vec<String> = of("b").unwrap_err().iter().map(|it| it.to_string()).collect();
        let problems = problems.join("; ");
        assert!(
            problems.contains("[service]") && problems.contains("exporter.source"),
            "{problems}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let check = |lines: &str, said: &str| {
            let problems = load(lines).unwrap_err();
            assert!(problems.contains("[schemas.dr]") && problems.contains(said), "{problems}");
        };
        check("source.properties.file = 'a'", "destination.properties.file");
        check("source.properties.file = 'none'\ndestination.properties.file = 'b'", "none");
        check(
            "source.properties.file = 'a'\ndestination.properties.file = 'bad'",
            "url is missing",
        );
        check(&format!("{BOTH}context.type = 'CUSTOM'"), "needs one, such as .eu");
        check(&format!("{BOTH}context.name = '.eu'"), "goes with the context type");
        check(&format!("{BOTH}context.type = 'CUSTOM'\ncontext.name = 'eu'"), "begins with a dot");
        check(&format!("{BOTH}subject.rename.format = 'x'"), "must hold ${subject}");
        check(&format!("{BOTH}subjects = []"), "name the subjects");
        check(&format!("{BOTH}poll.interval.ms = 1"), "poll.interval.ms");
        check(&format!("{BOTH}colour = 1"), "colour");
        check(&format!("{BOTH}source.kafka.properties.file = 'a'"), "bootstrap.servers");
    }
}
