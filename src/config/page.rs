//! `docs/CONFIG.md`, written from the table; tidy compares the file with it.
//!
//! It never says anything about a property that the table does not.

use std::fmt::Write;

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Property;
use crate::settings::property::Scope;
use crate::settings::table::of;

const HEAD: &str = "\
# Configuration

Written from the table in `src/settings/table`; mend the table, then run
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

On SIGHUP, and when it has changed, the file is read again: a mistake in it changes nothing, links
take what is theirs at once, and what belongs to the whole process waits for the next start; the log
says which. Key and trust stores are read again when their files change. What a change
of a property touches on a link that runs is said with each:

| change | what it touches |
| --- | --- |
| reconnect | the connections to the source are made anew |
| replan | which topics are mirrored, and how new ones are made, is decided again |
| reseat | the partitions leave their lanes and come back under the new value |
| task | a task of the link goes on at another pace, or with another filter |
| link | the link is another one to people: paused, or of another mode |
| never | it cannot be changed: not of a link that is there, or not without a restart |

A value may hold references, as Kafka's config providers have them: `${env:NAME}` is a variable of
the environment, `${file:PATH:KEY}` a property of a `.properties` file, `${directory:PATH:NAME}` a
whole file. What they lead to is never shown. A file with secrets that every user of the machine can
write is refused; one that every user can read is warned about.
";

const LINK_HEAD: &str =
    "\nThe source's client properties are those of `[destination]`. A link has also:\n";

const COMMANDED_HEAD: &str = "
It takes the client properties of `[destination]` and those of `[link.NAME]`, but for
`properties.file`, by the same names and with the same checks; of all these only `bootstrap.servers`
must be said. It may hold no reference and name no file of this machine: what comes over REST is not
trusted as the file is. A secret is taken where `secrets.key.file` of `[service]` names a key: then
it is sealed before it is written to the journal. Names of Cluster Linking and of Kafka's clients
that mean nothing here are taken with a note that says what governs instead.
";

const SCOPES: [Scope; 6] = [
    Scope::Process,
    Scope::Destination,
    Scope::Link,
    Scope::Commanded,
    Scope::Schemas,
    Scope::Service,
];

/// The whole page.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for scope in SCOPES {
        let heading = match scope {
            Scope::Process => "The top of the file, before the first section",
            Scope::Commanded => "A link that is created over REST",
            other => other.heading(),
        };
        put(&mut out, &format!("\n## {heading}\n"));
        match scope {
            Scope::Link => put(&mut out, LINK_HEAD),
            Scope::Commanded => put(&mut out, COMMANDED_HEAD),
            _ => {}
        }
        for property in rows(scope) {
            put(&mut out, &entry(property, scope));
        }
    }
    out
}

/// What the page tells under a heading: links do not repeat the client properties.
fn rows(scope: Scope) -> impl Iterator<Item = &'static Property> {
    let told = move |property: &&Property| match scope {
        Scope::Link => !property.scopes.contains(&Scope::Destination),
        Scope::Commanded => false,
        _ => true,
    };
    of(scope).filter(told)
}

fn entry(property: &Property, scope: Scope) -> String {
    let default = match property.default {
        Default::Required => "required".to_owned(),
        Default::None => "none by default".to_owned(),
        Default::Is("") => "empty by default".to_owned(),
        Default::Is(text) => format!("default `{text}`"),
    };
    let effect = if scope == Scope::Service { Effect::Never } else { property.effect }.word();
    let secret = if property.sensitive { " A secret: never shown." } else { "" };
    let Property { name, kind, doc, .. } = property;
    format!("\n### `{name}`\n\n{kind}; {default}; change: {effect}.{secret}\n\n{doc}\n")
}

fn put(out: &mut String, text: &str) {
    out.write_str(text).expect("a String takes any text");
}
