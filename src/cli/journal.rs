//! `isolog journal`: the rows in which links and mirror topics are remembered, listed, copied out,
//! put back and deleted.
//!
//! It never writes a row by itself: `link::log` does, as a running isolog does.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use clap::Subcommand;
use clap::ValueEnum;
use serde::Deserialize;
use serde::Serialize;

use crate::config::Config;
use crate::service::journal::EditError;
use crate::service::journal::Editor;
use crate::service::journal::ExporterKey;
use crate::service::journal::Key;
use crate::service::journal::Row;
use crate::service::journal::Stage;
use crate::service::journal::check_row;

use super::ConfigFile;
use super::Failure;
use super::complain;
use super::grid::Grid;
use super::load;
use super::plain;
use super::say;

/// The largest file that is imported, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What `isolog journal` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the rows that count: of links, and of mirror topics that were ordered
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// How they are shown
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Output,
    },
    /// Print the rows that count, a JSON object a line, to be kept beside the cluster
    Export {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Write rows back that `export` printed; rows that are there already stay as they are
    ///
    /// A row that is there with another value is newer than the export, and is kept: a topic that
    /// was stopped since would be taken for a mirror again. --overwrite replaces it all the same.
    Import {
        #[command(flatten)]
        config: ConfigFile,
        /// Replace rows that are there with another value
        #[arg(long)]
        overwrite: bool,
        /// The file; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Delete one row; what it remembers is forgotten, no topic is touched
    ///
    /// The row of a link (link/NAME) is not deleted while rows of its mirror topics
    /// (mirror/NAME/TOPIC) are there: a link that is created anew under that name would take them
    /// up again. --with-mirrors deletes them along with it. `isolog link delete NAME --force` does
    /// the same with a running isolog, and lets go of what it copies.
    Delete {
        #[command(flatten)]
        config: ConfigFile,
        /// As `list` shows it
        #[arg(value_name = "KEY")]
        key: String,
        /// With the row of a link, delete those of its mirror topics
        #[arg(long)]
        with_mirrors: bool,
    },
}

#[derive(Copy, Clone, ValueEnum)]
enum Output {
    /// Columns
    Table,
    /// An array of objects
    Json,
}

/// One row, as it is printed and read.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: String,
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Does what was asked for.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::List { config, output } => {
            let rows = read(&load(&config.path)?)?;
            say(&match output {
                Output::Table => table(&rows),
                Output::Json => json(&lines(&rows)) + "\n",
            })
        }
        Verb::Export { config } => {
            let rows = read(&load(&config.path)?)?;
            say(&lines(&rows).iter().map(|line| json(line) + "\n").collect::<String>())
        }
        Verb::Import { config, file, overwrite } => import(&load(&config.path)?, file, *overwrite),
        Verb::Delete { config, key, with_mirrors } => {
            delete(&load(&config.path)?, key, *with_mirrors)
        }
    }
}

/// No journal has no rows.
fn read(config: &Config) -> Result<BTreeMap<String, String>, Failure> {
    with_stop(async || match Editor::read(&config.links).await {
        Ok(editor) => {
            if editor.rows().is_empty() {
                complain("the journal has no row of a link or mirror topic");
            }
            Ok(editor.rows().clone())
        }
        Err(none @ EditError::None) => {
            complain(&none.to_string());
            Ok(BTreeMap::new())
        }
        Err(error) => Err(error.into()),
    })
}

fn with_stop<T>(work: impl AsyncFnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    super::wait(async |stop| {
        tokio::select! {
            done = work() => done,
            () = stop.cancelled() => Err(Failure::Failed("it was stopped".to_owned())),
        }
    })
}

fn import(config: &Config, file: &Path, overwrite: bool) -> Result<(), Failure> {
    let given = parse(&text_of(file)?)?;
    if given.is_empty() {
        let text = format!("{} holds no row: see that the export ended well", file.display());
        return Err(Failure::Failed(text));
    }
    let (written, kept) = with_stop(async || {
        let mut editor = Editor::open(&config.links).await?;
        let (rows, kept) = missing(editor.rows(), &given, overwrite);
        if let Some(text) = shared(editor.rows(), &rows) {
            return Err(Failure::Failed(text));
        }
        let rows: Vec<_> = rows.into_iter().map(|(key, value)| (key, Some(value))).collect();
        editor.put(&rows).await?;
        Ok((rows.len(), kept))
    })?;
    let count = given.len();
    let more = match kept {
        0 => String::new(),
        kept => format!(
            "; {kept} are there with another value, which stays (--overwrite replaces it, should \
             the export be right)"
        ),
    };
    say(&format!("{written} of {count} rows were written, the others were there{more}\n"))
}

/// The rows to be written, and how many are there with another value that stays.
fn missing(
    rows: &BTreeMap<String, String>,
    given: &[Line],
    overwrite: bool,
) -> (BTreeMap<String, String>, usize) {
    let is_other = |line: &&Line| rows.get(&line.key).is_some_and(|value| *value != line.value);
    let kept = if overwrite { 0 } else { given.iter().filter(is_other).count() };
    let is_wanted = |line: &&Line| match rows.get(&line.key) {
        Some(value) => overwrite && *value != line.value,
        None => true,
    };
    let new = given.iter().filter(is_wanted).map(|line| (line.key.clone(), line.value.clone()));
    (new.collect(), kept)
}

/// Why rows must not be written: no two links have one mirror topic.
fn shared(rows: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Option<String> {
    let owner = |text: &String, value: &String| {
        let key = Key::parse(text)?;
        let Row::Mirror(row) = Row::parse(&key, value).ok()? else { return None };
        let Key::Mirror(link, topic) = key else { return None };
        let is_idle = matches!(row.stage, Stage::Stopped(_) | Stage::LetGo);
        (!is_idle).then_some((topic, link))
    };
    let after = rows.iter().filter(|(key, _)| !new.contains_key(*key)).chain(new);
    let mut owners = BTreeMap::new();
    for (topic, link) in after.filter_map(|(key, value)| owner(key, value)) {
        if let Some(other) = owners.insert(topic.clone(), link.clone()) {
            return Some(format!(
                "nothing was written: topic {topic} would be a mirror topic of link {other} and of \
                 link {link} (rows mirror/{other}/{topic} and mirror/{link}/{topic}): leave one of \
                 them out, or delete the one that is there"
            ));
        }
    }
    None
}

fn delete(config: &Config, key: &str, with_mirrors: bool) -> Result<(), Failure> {
    let gone = with_stop(async || {
        let mut editor = Editor::read(&config.links).await?;
        let gone = doomed(editor.rows(), key, with_mirrors).map_err(Failure::Failed)?;
        let rows: Vec<_> = gone.iter().map(|key| (key.clone(), None)).collect();
        editor.put(&rows).await?;
        Ok(gone)
    })?;
    say(&match gone.len() {
        0 | 1 => format!("row {} was deleted\n", plain(key)),
        more => format!("row {} was deleted, and {} that belong to it\n", plain(key), more - 1),
    })
}

/// The keys that go with one, it being the last.
fn doomed(
    rows: &BTreeMap<String, String>,
    key: &str,
    with_mirrors: bool,
) -> Result<Vec<String>, String> {
    if !rows.contains_key(key) {
        return Err(format!("there is no row {key}: `isolog journal list` shows those there are"));
    }
    if let Some(ExporterKey::Exporter(_)) = ExporterKey::parse(key) {
        // what it has copied says nothing without it
        let is_own = |row: &&String| row.strip_prefix(key).is_some_and(|it| it.starts_with('/'));
        let mut own: Vec<String> = rows.keys().filter(is_own).cloned().collect();
        own.push(key.to_owned());
        return Ok(own);
    }
    let link = match Key::parse(key) {
        Some(Key::Link(link)) => link,
        _ => return Ok(vec![key.to_owned()]),
    };
    let is_own = |key: &&String| matches!(Key::parse(key), Some(Key::Mirror(of, _)) if of == link);
    let mut own: Vec<String> = rows.keys().filter(is_own).cloned().collect();
    match own.first() {
        Some(first) if !with_mirrors => Err(format!(
            "{} rows of its mirror topics are there ({first}{}), and a link that is created anew \
             as {link} would take them up again: delete them first, or all of it by --with-mirrors",
            own.len(),
            if own.len() > 1 { ", …" } else { "" }
        )),
        _ => {
            own.push(key.to_owned());
            Ok(own)
        }
    }
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let cannot =
        |error: std::io::Error| Failure::Failed(format!("cannot read {}: {error}", file.display()));
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)),
    };
    let bytes = read.map_err(cannot)?;
    if u64::try_from(bytes).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        let text = format!("{} is larger than {FILE_BYTES_MAX} bytes", file.display());
        return Err(Failure::Failed(text));
    }
    Ok(text)
}

/// Every line, or what is wrong with the first one that is no row: then nothing is written.
fn parse(text: &str) -> Result<Vec<Line>, Failure> {
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong =
            |why: String| Failure::Failed(format!("line {number}: {why}; nothing was written"));
        let line: Line = serde_json::from_str(line).map_err(|error| {
            wrong(format!("no row of `isolog journal export` (column {})", error.column()))
        })?;
        check_row(&line.key, &line.value).map_err(|error| wrong(error.to_string()))?;
        all.push(line);
    }
    Ok(all)
}

fn lines(rows: &BTreeMap<String, String>) -> Vec<Line> {
    rows.iter().map(|(key, value)| Line { key: key.clone(), value: value.clone() }).collect()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("rows are plain text")
}

fn table(rows: &BTreeMap<String, String>) -> String {
    let mut grid = Grid::new(&["KEY", "VALUE"], &[]);
    rows.iter().for_each(|(key, value)| grid.row([plain(key), plain(value)]));
    grid.draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = concat!(
        r#"{"v":1,"id":"A","mode":"DESTINATION","origin":"commanded","s"#,
        r#"ource_cluster":null,"configs":{},"generation":0,"paused":fal"#,
        r#"se,"leaving":false}"#
    );

    #[test]
    fn a_link_does_not_go_without_its_mirror_topics() {
        let keys = ["link/dr", "link/dr2", "mirror/dr/a", "mirror/dr/b", "mirror/dr2/c"];
        let rows = keys.map(|key| (key.to_owned(), String::new())).into();
        let of = |key: &str, all: bool| doomed(&rows, key, all);
        let told = of("link/dr", false).unwrap_err();
        assert!(told.starts_with("2 rows") && told.contains("--with-mirrors"), "{told}");
        assert_eq!(of("link/dr", true).unwrap(), ["mirror/dr/a", "mirror/dr/b", "link/dr"]);
        assert_eq!(of("mirror/dr/a", false).unwrap(), ["mirror/dr/a"]);
        assert!(of("link/none", true).unwrap_err().contains("there is no row link/none"));
        let alone = [("link/dr".to_owned(), String::new())].into();
        assert_eq!(doomed(&alone, "link/dr", false).unwrap(), ["link/dr"]);
    }

    #[test]
    fn what_is_exported_is_imported() {
        let rows = BTreeMap::from([("link/dr".to_owned(), LINK.to_owned())]);
        let text: String = lines(&rows).iter().map(|line| json(line) + "\n").collect();
        assert_eq!(parse(&format!("\n{text}\n")).unwrap(), lines(&rows));
        let drawn = table(&rows);
        assert!(drawn.contains("KEY") && drawn.contains("link/dr"), "{drawn}");
        assert_eq!(table(&BTreeMap::new()), "");
    }

    #[test]
    fn rows_by_which_two_links_have_one_topic_are_refused() {
        let row = |stage: &str| {
            let ids = r#""source_id":"01010101010101010101010101010101","mirror_id":null"#;
            let more = r#""since_ms":1,"paused":false,"made_by":"order","adopted":null"#;
            let owed = r#""starts":{},"owed":{},"configs":{},"replicas":null,"sealed":{}"#;
            let count = r#""partitions":1,"generation":0,"deadline_ms":null"#;
            format!(r#"{{"v":1,"source_topic":"a",{ids},{count},"stage":{stage},{more},{owed}}}"#)
        };
        let of = |link: &str, stage: &str| (format!("mirror/{link}/a"), row(stage));
        let check = |is: &str, new: &str| shared(&[of("x", is)].into(), &[of("y", new)].into());
        let text = check(r#""mirroring""#, r#""setup""#).unwrap();
        assert!(text.contains("topic a would be a mirror topic of link x and of link y"), "{text}");
        let (key, value) = of("x", r#""let_go""#);
        assert!(Row::parse(&Key::parse(&key).unwrap(), &value).is_ok());
        assert_eq!(check(r#""let_go""#, r#""mirroring""#), None);
        let again = [of("x", r#""mirroring""#)].into();
        assert_eq!(shared(&again, &again), None);
    }

    #[test]
    fn a_line_that_is_no_row_is_named_and_nothing_is_written() {
        let told = |text: &str| match parse(text) {
            Err(Failure::Failed(text)) => text,
            other => panic!("{other:?}"),
        };
        for bad in ["x", "{}", r#"{"key":"link/a","value":"{}"}"#, r#"{"key":"a","value":"{}"}"#] {
            let text = told(&format!("\n{bad}\n"));
            assert!(
                text.starts_with("line 2: ") && text.ends_with("nothing was written"),
                "{text}"
            );
        }
    }
}
