//! What a link's settings say of ACLs.
//!
//! It never holds what is found at a cluster.

use crate::control::acls::AclFilter;
use crate::control::acls::Protection;

/// `acl.*` and `mirror.write.protection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclSync {
    /// `acl.sync.enable`.
    pub is_enabled: bool,
    /// `acl.sync.ms`.
    pub every_ms: i64,
    /// `acl.filters`.
    pub filter: AclFilter,
    /// `mirror.write.protection`.
    pub protection: Protection,
    /// `acl.sync.principal`: as the destination knows us; `None` is the user of our login.
    pub principal: Option<String>,
}

impl AclSync {
    /// Whether there is anything to do for it.
    pub fn is_configured(&self) -> bool {
        self.is_enabled || self.protection == Protection::DenyAll
    }
}

impl Default for AclSync {
    /// Nothing is copied.
    fn default() -> AclSync {
        AclSync {
            is_enabled: false,
            every_ms: 5_000,
            filter: AclFilter::default(),
            protection: Protection::Rights,
            principal: None,
        }
    }
}
