//! Which topics of the destination links of the config file mirror into: no commanded link may.
//!
//! It never changes while the process lives: the file is read at the start.

use std::sync::Arc;

use crate::control::filter::TopicFilter;
use crate::ids::LinkName;
use crate::ids::TopicName;

/// What each declared link takes; their mirrors have the names of their sources.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Vec<(LinkName, TopicFilter)>>);

impl Claims {
    /// The filters of the declared links.
    pub fn new(declared: Vec<(LinkName, TopicFilter)>) -> Claims {
        Claims(Arc::new(declared))
    }

    /// Whether the config file has a link of that name.
    pub fn has(&self, link: &LinkName) -> bool {
        self.0.iter().any(|(name, _)| name == link)
    }

    /// The declared link that mirrors, or would mirror, into a topic of that name.
    pub fn declared(&self, mirror: &TopicName) -> Option<&LinkName> {
        let one = self.0.iter().find(|(_, filter)| filter.matches(mirror))?;
        Some(&one.0)
    }
}
