//! What the link would change of the configs of mirror topics that are there.
//!
//! It never changes one.

use crate::audit::judge::Finding;
use crate::audit::judge::TopicFacts;
use crate::control::row::Changes;
use crate::control::task::configs;
use crate::control::task::configs::ConfigSync;
use crate::sync::configs::entries;

/// What would be changed of a topic that is there, in one line; nothing where nothing would be. Of
/// one that isolog did not make what it keeps longer than its source stays.
pub(super) fn finding(sync: &ConfigSync, facts: &TopicFacts, is_made: bool) -> Option<Finding> {
    facts.destination_partitions?;
    let source = entries(facts.source_configs.as_ref()?);
    let mirror = entries(facts.destination_configs.as_ref()?);
    let plan = configs::plan(sync, (&source, &mirror), &Changes::new(), is_made);
    let shown = |(key, to): (&String, &Option<String>)| {
        let is = mirror.get(key).and_then(|is| is.value.as_deref()).unwrap_or("?");
        match to {
            Some(to) => format!("{key} from {is} to {to}"),
            None => format!("{key} from {is} to the broker's default"),
        }
    };
    let changes: Vec<String> = plan.changes.iter().map(shown).collect();
    let text = format!("configs that the link changes at the destination: {}", changes.join(", "));
    (!changes.is_empty()).then(|| Finding::note(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ConfigEntries;
    use crate::cluster::ConfigEntry;

    fn told(rows: &[(&str, &str, bool)]) -> Option<ConfigEntries> {
        let entry = |(key, value, is_override): &(&str, &str, bool)| {
            let value = Some((*value).to_owned());
            let entry = ConfigEntry { value, is_override: *is_override, is_sensitive: false };
            ((*key).to_owned(), entry)
        };
        Some(rows.iter().map(entry).collect())
    }

    fn facts(mirror: &[(&str, &str, bool)], there: Option<usize>) -> TopicFacts {
        TopicFacts {
            source_partitions: 1,
            destination_partitions: there,
            source_configs: told(&[
                ("retention.ms", "1000", true),
                ("segment.ms", "604800000", false),
                ("flush.messages", "7", true),
            ]),
            destination_configs: told(mirror),
            partitions: Vec::new(),
        }
    }

    #[test]
    fn what_would_change_is_said_with_both_values() {
        let sync = ConfigSync::default();
        let mirror = [
            ("retention.ms", "2000", true),
            ("segment.ms", "5", true),
            ("flush.messages", "9", true),
        ];
        let told = finding(&sync, &facts(&mirror, Some(1)), true).unwrap();
        assert_eq!(
            told.text,
            "configs that the link changes at the destination: retention.ms from 2000 to 1000, \
             segment.ms from 5 to the broker's default"
        );
        assert_eq!(finding(&sync, &facts(&mirror, None), true), None, "it is yet to be made");
        let kept = finding(&sync, &facts(&[("retention.ms", "2000", true)], Some(1)), false);
        assert_eq!(kept, None, "it may be counted on");
        let same = [("retention.ms", "1000", true), ("segment.ms", "604800000", false)];
        assert_eq!(finding(&sync, &facts(&same, Some(1)), true), None);
    }
}
