//! Exporters of schemas: orders about them, and their rows.
//!
//! It never decides what becomes of an order; `schemas::order` does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::machine::Control;
use crate::control::machine::Intent;
use crate::control::machine::ORDERS_MAX;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Ticket;
use crate::control::schemas::Name;
use crate::control::schemas::book::Book;
use crate::control::schemas::order;
use crate::control::schemas::order::ExporterOrder;
use crate::control::schemas::order::ExporterVerb;
use crate::control::schemas::row::ExporterKey;
use crate::control::schemas::row::ExporterName;
use crate::control::schemas::row::ExporterRow;
use crate::control::schemas::row::Remembered;
use crate::ids::TimestampMs;

/// What is gathered about exporters for one write.
#[derive(Default)]
pub(super) struct Gathered {
    /// Keys and values; `None` deletes.
    pub(super) rows: BTreeMap<ExporterKey, Option<String>>,
    /// Those that orders of the write are about: one order of each at a time.
    pub(super) touched: BTreeSet<ExporterName>,
}

/// How many rows an order changes.
pub(super) fn rows(order: &ExporterOrder) -> usize {
    match &order.verb {
        ExporterVerb::Remember { rows, .. } => rows.len().max(1),
        _ => 1,
    }
}

impl Control {
    /// An order about an exporter; its answer comes by `poll_answer` under the same ticket.
    pub fn handle_exporter_order(
        &mut self,
        now: TimestampMs,
        ticket: Ticket,
        order: ExporterOrder,
    ) {
        if !self.is_holder {
            self.refuse_role(ticket);
        } else if self.intents.len() >= ORDERS_MAX {
            let text = "Too many orders wait: try again in a moment.".to_owned();
            self.answer(ticket, Err(Refusal { code: None, status: 429, text }));
        } else {
            self.intents.push_back(Intent::Exporter(ticket, order));
        }
        self.look_through(now);
    }

    /// The exporters that the journal has.
    pub fn exporters(&self) -> &Book {
        &self.exporters
    }

    fn answer(&mut self, ticket: Ticket, result: Result<(), Refusal>) {
        self.answers.push_back((ticket, vec![Outcome { topic: None, result }]));
    }

    /// Whether that key is an exporter's, and then it is read again.
    pub(super) fn reload_exporter(&mut self, text: &str) -> bool {
        let key = ExporterKey::parse(text);
        let is_own = key.is_some();
        if let Some(key) = key {
            self.exporters.reload(key, self.fold.get(text));
        }
        is_own
    }

    /// Decides on an order; `None` where it is answered, and nothing is to be written.
    pub(super) fn gather_exporter(
        &mut self,
        (ticket, order): (Ticket, ExporterOrder),
        gathered: &mut Gathered,
    ) -> Option<(Ticket, ExporterOrder)> {
        let unread = self.exporters.unread(&order.name);
        let decided = match unread.map(ToString::to_string) {
            Some(why) => Err(Refusal::unavailable(why)),
            None => order::decide(&self.exporters, &order),
        };
        let rows = match decided {
            Ok(row) => self.rows_of(&order, row),
            Err(refusal) => {
                self.answer(ticket, Err(refusal));
                return None;
            }
        };
        if rows.is_empty() || order.is_dry {
            self.answer(ticket, Ok(()));
            return None;
        }
        gathered.touched.insert(order.name.clone());
        gathered.rows.extend(rows);
        Some((ticket, order))
    }

    fn rows_of(
        &self,
        ExporterOrder { name, verb, .. }: &ExporterOrder,
        row: Option<ExporterRow>,
    ) -> Vec<(ExporterKey, Option<String>)> {
        if let ExporterVerb::Remember { rows, .. } = verb {
            let row = |(subject, row): (&Name, &Option<Remembered>)| {
                let key = ExporterKey::Subject(name.clone(), subject.clone());
                (key, row.as_ref().map(Remembered::to_json))
            };
            let is_readable = |(key, _): &(ExporterKey, _)| {
                !self.exporters.unreadable().contains_key(&key.to_string())
            };
            return rows.iter().map(row).filter(is_readable).collect();
        }
        let key = ExporterKey::Exporter(name.clone());
        row.map(|row| (key, Some(row.to_json()))).into_iter().collect()
    }

    /// What exporters that are being deleted leave.
    pub(super) fn gather_leaving(&self, rows: &mut Vec<(String, Option<String>)>) {
        let room = self.rows_max.saturating_sub(rows.len());
        let keys = self.exporters.leaving(room);
        let free = keys.into_iter().filter(|key| rows.iter().all(|(taken, _)| taken != key));
        let free: Vec<_> = free.map(|key| (key, None)).collect();
        rows.extend(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::facts::WriteId;
    use crate::control::journal::Stamp;
    use crate::control::journal::TailBatch;
    use crate::control::journal::TailRecord;
    use crate::control::journal::WriterTag;
    use crate::control::machine::Write;
    use crate::control::schemas::Version;
    use crate::control::schemas::choice::ContextType;
    use crate::control::schemas::row::Wish;
    use crate::ids::Offset;

    const NOW: TimestampMs = TimestampMs(1_000);

    fn control(rows_max: usize) -> Control {
        let mut control = Control::new(WriterTag(1), rows_max);
        control.handle_role(NOW, true);
        control.handle_level(NOW);
        control
    }

    fn wish(subject: &str) -> Wish {
        Wish {
            subjects: vec![subject.into()],
            format: "${subject}".into(),
            context_type: ContextType::None,
            context: String::new(),
            config: BTreeMap::new(),
        }
    }

    fn dr() -> ExporterName {
        ExporterName("dr".into())
    }

    fn remember(subjects: &[&str]) -> ExporterVerb {
        let row = |name: &&str| {
            let versions = BTreeSet::from([Version(1)]);
            let row = Remembered { from: Name::parse(name), of: "m".into(), versions };
            (Name::parse(name), Some(row))
        };
        ExporterVerb::Remember { rows: subjects.iter().map(row).collect(), is_declared: false }
    }

    fn read_back(control: &mut Control, write: Write) {
        let base = control.fold().end();
        let next = Offset::new(base.get() + write.rows.len() as i64).unwrap();
        let stamp = Some(write.stamp);
        let records = write.rows.into_iter().map(|(key, value)| {
            let key = Some(key);
            TailRecord { key, value, stamp }
        });
        control.handle_batch(NOW, TailBatch { base, next, records: records.collect() });
    }

    /// The order's status, with its code; nothing is answered before its row was read back.
    fn order(control: &mut Control, verb: ExporterVerb, is_dry: bool) -> Result<(), u32> {
        let order = ExporterOrder { name: dr(), verb, is_dry };
        control.handle_exporter_order(NOW, Ticket(1), order);
        let mut answer = None;
        while let Some(write) = control.poll_write(NOW) {
            assert!(control.poll_answer().is_none(), "answered before it is written");
            read_back(control, write);
            answer = answer.or_else(|| control.poll_answer());
        }
        let (_, outcomes) = answer.or_else(|| control.poll_answer()).expect("an answer");
        outcomes[0].result.clone().map_err(|refusal| refusal.code.unwrap_or(refusal.status.into()))
    }

    #[test]
    fn an_exporter_lives_by_its_orders_and_each_is_read_back_before_it_is_answered() {
        let mut control = control(2);
        let all = |control: &Control| control.exporters().exporters().get(&dr()).cloned();
        for verb in [ExporterVerb::Pause(true), ExporterVerb::Delete, remember(&["s"])] {
            assert_eq!(order(&mut control, verb, false), Err(40450));
        }
        assert_eq!(order(&mut control, ExporterVerb::Create(wish("a")), true), Ok(()));
        assert_eq!(all(&control), None, "a dry order writes nothing");
        assert_eq!(order(&mut control, ExporterVerb::Create(wish("a")), false), Ok(()));
        assert_eq!(order(&mut control, ExporterVerb::Create(wish("a")), false), Err(40960));
        for verb in [ExporterVerb::Reset, ExporterVerb::Delete] {
            assert_eq!(order(&mut control, verb, false), Err(40963), "it runs");
        }
        assert_eq!(order(&mut control, ExporterVerb::Update(wish("b"), 7), false), Err(409));
        assert_eq!(order(&mut control, ExporterVerb::Update(wish("b"), 0), false), Ok(()));
        assert_eq!(order(&mut control, remember(&["s", "t", "u"]), false), Ok(()));
        assert_eq!(control.exporters().memories()[&dr()].len(), 3);
        for verb in [ExporterVerb::Pause(true), ExporterVerb::Pause(true), ExporterVerb::Reset] {
            assert_eq!(order(&mut control, verb, false), Ok(()));
        }
        let row = all(&control).unwrap();
        assert_eq!((row.generation, row.resets, row.is_paused), (1, 1, true));
        // two rows a write: what it remembers goes first, its own row last
        assert_eq!(order(&mut control, ExporterVerb::Delete, false), Ok(()));
        assert_eq!(all(&control), None);
        assert!(control.exporters().memories().is_empty() && control.fold().rows().is_empty());
    }

    #[test]
    fn what_was_decided_on_older_rows_is_decided_again_and_a_kill_loses_nothing() {
        let mut control = control(10);
        let order = |verb| ExporterOrder { name: dr(), verb, is_dry: false };
        control.handle_exporter_order(NOW, Ticket(1), order(ExporterVerb::Create(wish("a"))));
        let ours = control.poll_write(NOW).unwrap();
        // somebody else creates it first
        let mut theirs = ours.clone();
        theirs.stamp.writer = WriterTag(9);
        read_back(&mut control, theirs);
        assert_eq!(control.poll_write(NOW), None);
        let (_, outcomes) = control.poll_answer().unwrap();
        assert_eq!(outcomes[0].result.as_ref().unwrap_err().code, Some(40960));
        // what another process reads is what this one knows
        let mut other = Control::new(WriterTag(2), 10);
        for (key, value) in control.fold().rows().clone() {
            let stamp = Stamp { at: other.fold().end(), writer: WriterTag(1), number: 1 };
            let write = Write { id: ours.id, stamp, rows: vec![(key, Some(value))] };
            read_back(&mut other, write);
        }
        assert_eq!(other.exporters().exporters(), control.exporters().exporters());
    }

    #[test]
    fn a_row_of_a_later_isolog_is_not_written_over() {
        let mut control = control(10);
        let stamp = Stamp { at: control.fold().end(), writer: WriterTag(9), number: 1 };
        let rows = vec![("exporter/dr".to_owned(), Some("{\"v\":2}".to_owned()))];
        read_back(&mut control, Write { id: WriteId(1), stamp, rows });
        assert_eq!(order(&mut control, ExporterVerb::Create(wish("a")), false), Err(503));
        assert_eq!(control.fold().get("exporter/dr"), Some("{\"v\":2}"));
    }
}
