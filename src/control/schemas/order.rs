//! What people order of exporters, and what becomes of the rows as they are.
//!
//! It never acts; the codes are those that Schema Linking documents.

use std::collections::BTreeMap;

use crate::control::order::Refusal;

use super::Name;
use super::book::Book;
use super::row::ExporterName;
use super::row::ExporterRow;
use super::row::Remembered;
use super::row::Wish;

/// The most exporters that orders may create.
pub const EXPORTERS_MAX: usize = 100;

/// There is no such exporter.
pub const NOT_FOUND: u32 = 40450;
/// A name that is none, or stands in the config file.
pub const BAD_NAME: u32 = 40950;
/// Properties that are none.
pub const BAD_CONFIG: u32 = 40951;
/// Subjects, contexts or names that are none.
pub const BAD_SUBJECTS: u32 = 40952;
/// There is one of that name.
pub const EXISTS: u32 = 40960;
/// It runs, and must not.
pub const NOT_PAUSED: u32 = 40963;
/// There are too many.
pub const TOO_MANY: u32 = 40964;

/// An order, with `is_dry` for one that only asks what would come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterOrder {
    /// Which exporter.
    pub name: ExporterName,
    /// What is to be done.
    pub verb: ExporterVerb,
    /// Nothing is written.
    pub is_dry: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExporterVerb {
    /// Create it; it begins at once.
    Create(Wish),
    /// Copy something else, or elsewhere; decided on that generation of its row.
    Update(Wish, u64),
    /// Do nothing until it is resumed, or go on.
    Pause(bool),
    /// Begin anew.
    Reset,
    /// Forget it; what it copied stays.
    Delete,
    /// Remember what is about to be copied; `is_declared` is one of the config file.
    Remember {
        /// By the names at the destination; `None` forgets.
        rows: BTreeMap<Name, Option<Remembered>>,
        /// It has no row of its own.
        is_declared: bool,
    },
}

/// A refusal with a code of Schema Linking's.
pub fn refusal(code: u32, text: impl Into<String>) -> Refusal {
    let status = u16::try_from(code / 100).unwrap_or(500);
    Refusal { status, code: Some(code), text: text.into() }
}

/// An exporter that is not there; `name` is shown as it is.
pub fn unknown(name: &str) -> Refusal {
    refusal(NOT_FOUND, format!("Exporter '{name}' does not exist; GET /exporters has all that do."))
}

/// The exporter's own row after the order; `None` where it is so already.
pub fn decide(book: &Book, order: &ExporterOrder) -> Result<Option<ExporterRow>, Refusal> {
    let name = &order.name;
    let leaving =
        || refusal(EXISTS, format!("Exporter '{name}' is being deleted: try again in a moment."));
    let row = match (book.exporters().get(name), &order.verb) {
        (Some(row), ExporterVerb::Create(_)) if row.is_leaving => return Err(leaving()),
        (Some(_), ExporterVerb::Create(_)) => {
            let text = format!("Exporter '{name}' already exists: update it, or delete it first.");
            return Err(refusal(EXISTS, text));
        }
        (None, ExporterVerb::Create(wish)) => return create(book, wish).map(Some),
        (_, ExporterVerb::Remember { is_declared: true, .. }) => return Ok(None),
        (Some(row), ExporterVerb::Delete) if row.is_leaving => return Ok(None),
        (Some(row), _) if !row.is_leaving => row,
        _ => return Err(unknown(&name.0)),
    };
    changed(name, row, &order.verb)
}

fn create(book: &Book, wish: &Wish) -> Result<ExporterRow, Refusal> {
    if book.exporters().len() >= EXPORTERS_MAX {
        let text = format!("There are {EXPORTERS_MAX} exporters, and no more may be: delete some.");
        return Err(refusal(TOO_MANY, text));
    }
    let wish = wish.clone();
    Ok(ExporterRow { wish, generation: 0, resets: 0, is_paused: false, is_leaving: false })
}

fn changed(
    name: &ExporterName,
    row: &ExporterRow,
    verb: &ExporterVerb,
) -> Result<Option<ExporterRow>, Refusal> {
    let running = |what: &str| {
        refusal(
            NOT_PAUSED,
            format!(
                "Exporter '{name}' is not paused, and only a paused one is {what}: pause it first \
                 (PUT /exporters/{name}/pause, isolog schema exporter pause {name})."
            ),
        )
    };
    let generation = row.generation + 1;
    let new = match verb {
        ExporterVerb::Update(_, checked) if *checked != row.generation => {
            let text = format!("Exporter '{name}' was changed meanwhile: look at it, then again.");
            return Err(Refusal::conflict(text));
        }
        ExporterVerb::Update(wish, _) if *wish == row.wish => return Ok(None),
        ExporterVerb::Update(wish, _) => {
            ExporterRow { wish: wish.clone(), generation, ..row.clone() }
        }
        ExporterVerb::Pause(is_paused) if *is_paused == row.is_paused => return Ok(None),
        ExporterVerb::Pause(is_paused) => ExporterRow { is_paused: *is_paused, ..row.clone() },
        ExporterVerb::Reset if !row.is_paused => return Err(running("reset")),
        ExporterVerb::Reset => ExporterRow { resets: row.resets + 1, ..row.clone() },
        ExporterVerb::Delete if !row.is_paused => return Err(running("deleted")),
        ExporterVerb::Delete => ExporterRow { is_leaving: true, ..row.clone() },
        ExporterVerb::Create(_) | ExporterVerb::Remember { .. } => return Ok(None),
    };
    Ok(Some(new))
}
