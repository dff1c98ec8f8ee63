//! `docs/CONFIG.md`, written from the table; tidy compares the file with it.
//!
//! It never says anything about a property that the table does not.

use std::fmt::Write;

use super::table::Default;
use super::table::Property;
use super::table::Scope;
use super::table::of;

const HEAD: &str = "\
# Configuration

Written from the table in `src/config/table.rs`; mend the table, then run
`ISOLOG_BLESS=1 cargo test -p protocol-tests --test tidy`.

The file is TOML. Nested tables and dotted or quoted keys flatten to Kafka's own property names, so
`bootstrap.servers = \"…\"`, `\"bootstrap.servers\" = \"…\"` and `[link.dr.bootstrap]` with
`servers = \"…\"` are the same. Numbers may be written as text, as in a `.properties` file. All
mistakes are reported at once; `isolog config --config isolog.toml` prints the effective settings,
secrets masked.

```toml
[destination]                          # the cluster isolog sits beside
bootstrap.servers = \"127.0.0.1:29092\"

[service]
listen = \"127.0.0.1:8472\"              # metrics, health, JSON

[link.dr]                              # any number of links; each names its source
bootstrap.servers = \"127.0.0.1:19092\"
mirror.topics = [\"orders\", \"payments.*\"]
```

A running isolog takes no new values yet: change the file and start it again. Key and trust stores
are read again when their files change.

A value may hold references, as Kafka's config providers have them: `${env:NAME}` is a variable of
the environment, `${file:PATH:KEY}` a property of a `.properties` file, `${directory:PATH:NAME}` a
whole file. What they lead to is never shown. A file with secrets that every user of the machine can
write is refused; one that every user can read is warned about.
";

const LINK_HEAD: &str =
    "\nThe source's client properties are those of `[destination]`. A link has also:\n";

/// The whole page.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for scope in [Scope::Process, Scope::Destination, Scope::Link, Scope::Service] {
        let heading = match scope {
            Scope::Process => "The top of the file, before the first section",
            other => other.heading(),
        };
        put(&mut out, &format!("\n## {heading}\n"));
        if scope == Scope::Link {
            put(&mut out, LINK_HEAD);
        }
        for property in rows(scope) {
            put(&mut out, &entry(property));
        }
    }
    out
}

/// What the page tells under a heading: links do not repeat the client properties.
fn rows(scope: Scope) -> impl Iterator<Item = &'static Property> {
    let told = move |property: &&Property| {
        let repeated = scope == Scope::Link && property.scopes.contains(&Scope::Destination);
        !repeated
    };
    of(scope).filter(told)
}

fn entry(property: &Property) -> String {
    let default = match property.default {
        Default::Required => "required".to_owned(),
        Default::None => "none by default".to_owned(),
        Default::Is("") => "empty by default".to_owned(),
        Default::Is(text) => format!("default `{text}`"),
    };
    let changeable = if property.changeable { " Can be changed while running." } else { "" };
    let secret = if property.sensitive { " A secret: never shown." } else { "" };
    let Property { name, kind, doc, .. } = property;
    format!("\n### `{name}`\n\n{kind}; {default}.{secret}{changeable}\n\n{doc}\n")
}

fn put(out: &mut String, text: &str) {
    out.write_str(text).expect("a String takes any text");
}
