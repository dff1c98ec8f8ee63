//! The ledgers of all links as the journal has them, and what is to be written into them.
//!
//! It never writes: the machine does, with its other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::acls::AclRow;
use crate::control::acls::Binding;
use crate::control::acls::Kind;
use crate::control::acls::Ledger;
use crate::control::acls::key_text;
use crate::control::row::Key;
use crate::control::row::Row;
use crate::ids::LinkName;

/// One link's.
#[derive(Clone, Debug, Default)]
struct Book {
    /// The bindings by what stands in their keys.
    keys: BTreeMap<String, Binding>,
    rows: Arc<Ledger>,
    /// What is to be written; `None` deletes.
    due: BTreeMap<Binding, Option<Kind>>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Books(BTreeMap<LinkName, Book>);

impl Books {
    /// A row was read.
    pub fn put(&mut self, link: &LinkName, key: String, row: AclRow) {
        let book = self.0.entry(link.clone()).or_default();
        Arc::make_mut(&mut book.rows).insert(row.binding.clone(), row.kind);
        book.keys.insert(key, row.binding);
    }

    /// A row is gone.
    pub fn remove(&mut self, link: &LinkName, key: &str) {
        let Some(book) = self.0.get_mut(link) else { return };
        if let Some(binding) = book.keys.remove(key) {
            Arc::make_mut(&mut book.rows).remove(&binding);
        }
        self.forget(link);
    }

    /// What is to be written from now on, in the place of what was to be written before.
    pub fn want(&mut self, link: &LinkName, rows: BTreeMap<Binding, Option<Kind>>) {
        self.0.entry(link.clone()).or_default().due = rows;
        self.forget(link);
    }

    fn forget(&mut self, link: &LinkName) {
        let is_empty = |book: &Book| book.keys.is_empty() && book.due.is_empty();
        if self.0.get(link).is_some_and(is_empty) {
            self.0.remove(link);
        }
    }

    /// Rows that are not as they are to be, `most` of them; what is as it is to be is due no more.
    pub fn due(&mut self, most: usize) -> Vec<(String, Option<String>)> {
        let mut rows = Vec::new();
        for (link, book) in &mut self.0 {
            let ledger = &book.rows;
            book.due.retain(|binding, kind| ledger.get(binding) != kind.as_ref());
            for (binding, kind) in book.due.iter().take(most - rows.len()) {
                let key = Key::Acl(link.clone(), key_text(binding));
                let row = kind.map(|kind| AclRow { binding: binding.clone(), kind });
                rows.push((key.to_string(), row.map(|row| Row::Acl(row).to_json())));
            }
        }
        rows
    }

    /// Nothing is to be written any more.
    pub fn want_nothing(&mut self) {
        self.0.values_mut().for_each(|book| book.due.clear());
        self.0.retain(|_, book| !book.keys.is_empty());
    }

    /// Whether a link's rows are those that they are to be.
    pub fn is_settled(&self, link: &LinkName) -> bool {
        let is_so =
            |book: &Book| book.due.iter().all(|(one, kind)| book.rows.get(one) == kind.as_ref());
        self.0.get(link).is_none_or(is_so)
    }

    /// Whether a link has no row, and is to have none.
    pub fn is_empty(&self, link: &LinkName) -> bool {
        let is_due = |book: &Book| book.due.values().any(Option::is_some);
        self.0.get(link).is_none_or(|book| book.keys.is_empty() && !is_due(book))
    }

    /// Every link with rows, and its ledger.
    pub fn ledgers(&self) -> impl Iterator<Item = (&LinkName, &Arc<Ledger>)> {
        let some = self.0.iter().filter(|(_, book)| !book.keys.is_empty());
        some.map(|(link, book)| (link, &book.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::acls::Operation;
    use crate::control::acls::PatternType;
    use crate::control::acls::Permission;
    use crate::control::acls::ResourceType;

    fn binding(name: &str) -> Binding {
        Binding {
            resource: ResourceType::Topic,
            pattern: PatternType::Literal,
            name: name.into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    /// As the journal would bring it.
    fn read(books: &mut Books, (key, json): (String, Option<String>)) {
        let parsed = Key::parse(&key).unwrap();
        let Key::Acl(link, text) = &parsed else { panic!("{key}") };
        match json.map(|json| Row::parse(&parsed, &json).unwrap()) {
            Some(Row::Acl(row)) => books.put(link, text.clone(), row),
            None => books.remove(link, text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_due_is_so_until_it_is_read_back() {
        let (link, mut books) = (LinkName("a/b".into()), Books::default());
        let all = ["x", "y", "z"].map(|name| (binding(name), Some(Kind::Copied)));
        books.want(&link, all.clone().into());
        assert!(!books.is_empty(&link) && books.ledgers().next().is_none());
        let rows = books.due(2);
        assert_eq!(rows.len(), 2, "as many as fit");
        assert_eq!(books.due(2), rows, "nothing was read back");
        rows.into_iter().for_each(|row| read(&mut books, row));
        let rows = books.due(2);
        assert_eq!(rows.len(), 1);
        rows.into_iter().for_each(|row| read(&mut books, row));
        assert_eq!(books.due(2), []);
        let (of, ledger) = books.ledgers().next().unwrap();
        assert_eq!((of, ledger.len()), (&link, 3));
        books.want(&link, all.map(|(binding, _)| (binding, None)).into());
        books.due(9).into_iter().for_each(|row| read(&mut books, row));
        assert!(books.is_empty(&link) && books.ledgers().next().is_none());
    }
}
