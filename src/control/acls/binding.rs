//! One ACL binding in Kafka's words, and what it speaks of.
//!
//! It never knows who created it.

use std::fmt;

/// The principal of a binding that is about everybody.
pub const EVERYONE: &str = "User:*";
/// Any host, and as a literal name any resource of the type.
pub const ANY: &str = "*";
/// What bindings on the cluster itself call it.
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// Words of one kind: Kafka's number, the word of its JSON and tools in upper case, and the word
/// that `kafka-acls` takes.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$what:meta])* $one:ident = $number:literal, $word:literal, $tool:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$what])* $one),* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$one),*];

            /// The number on the wire.
            pub fn number(self) -> i8 {
                match self { $($name::$one => $number),* }
            }

            /// Of a number; `None` for one that this isolog does not know.
            pub fn of_number(number: i8) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| one.number() == number)
            }

            /// In upper case, as Kafka's own JSON has it.
            pub fn word(self) -> &'static str {
                match self { $($name::$one => $word),* }
            }

            /// Of a word, whatever its case; a hyphen counts as an underscore.
            pub fn of_word(word: &str) -> Option<$name> {
                let plain = word.replace('-', "_");
                $name::ALL.iter().copied().find(|one| one.word().eq_ignore_ascii_case(&plain))
            }

            /// As `kafka-acls` takes it.
            pub fn tool_word(self) -> &'static str {
                match self { $($name::$one => $tool),* }
            }
        }
    };
}

words! {
    /// What a binding is about.
    ResourceType {
        /// Topics.
        Topic = 2, "TOPIC", "--topic";
        /// Consumer groups.
        Group = 3, "GROUP", "--group";
        /// The cluster itself.
        Cluster = 4, "CLUSTER", "--cluster";
        /// Transactional ids.
        TransactionalId = 5, "TRANSACTIONAL_ID", "--transactional-id";
        /// Delegation tokens.
        DelegationToken = 6, "DELEGATION_TOKEN", "--delegation-token";
        /// Users, whose tokens others may make.
        User = 7, "USER", "--user-principal";
    }
}

words! {
    /// How a binding names its resources.
    PatternType {
        /// By the whole name; `*` is every one.
        Literal = 3, "LITERAL", "literal";
        /// By how names begin.
        Prefixed = 4, "PREFIXED", "prefixed";
    }
}

words! {
    /// What is done.
    Operation {
        /// Everything.
        All = 2, "ALL", "All";
        /// Fetch; read and commit a group's offsets.
        Read = 3, "READ", "Read";
        /// Produce.
        Write = 4, "WRITE", "Write";
        /// CreateTopics.
        Create = 5, "CREATE", "Create";
        /// DeleteTopics, DeleteRecords, DeleteGroups.
        Delete = 6, "DELETE", "Delete";
        /// CreatePartitions; on the cluster, ACLs.
        Alter = 7, "ALTER", "Alter";
        /// Metadata.
        Describe = 8, "DESCRIBE", "Describe";
        /// What brokers do among themselves.
        ClusterAction = 9, "CLUSTER_ACTION", "ClusterAction";
        /// DescribeConfigs.
        DescribeConfigs = 10, "DESCRIBE_CONFIGS", "DescribeConfigs";
        /// IncrementalAlterConfigs.
        AlterConfigs = 11, "ALTER_CONFIGS", "AlterConfigs";
        /// InitProducerId.
        IdempotentWrite = 12, "IDEMPOTENT_WRITE", "IdempotentWrite";
        /// CreateDelegationToken for others.
        CreateTokens = 13, "CREATE_TOKENS", "CreateTokens";
        /// DescribeDelegationToken of others.
        DescribeTokens = 14, "DESCRIBE_TOKENS", "DescribeTokens";
        /// Transactions that outlive their producer (Kafka 4).
        TwoPhaseCommit = 15, "TWO_PHASE_COMMIT", "TwoPhaseCommit";
    }
}

words! {
    /// Which of the two.
    Permission {
        /// It is forbidden, whatever allows it.
        Deny = 2, "DENY", "deny";
        /// It is allowed, unless something forbids it.
        Allow = 3, "ALLOW", "allow";
    }
}

impl Operation {
    /// What somebody changes a topic with: its records, itself, or how it is kept.
    pub fn changes_topic(self) -> bool {
        use Operation::*;
        matches!(self, All | Write | Delete | Alter | AlterConfigs)
    }

    /// What an ALLOW of a changing operation gives beside the change itself.
    pub fn leaves(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            All => &[Read, Describe, DescribeConfigs],
            Write | Delete | Alter => &[Describe],
            AlterConfigs => &[DescribeConfigs],
            _ => &[],
        }
    }

    /// The changes that it is or holds.
    pub fn changes(self) -> &'static [Operation] {
        use Operation::*;
        match self {
            All => &[Write, Delete, Alter, AlterConfigs],
            Write => &[Write],
            Delete => &[Delete],
            Alter => &[Alter],
            AlterConfigs => &[AlterConfigs],
            _ => &[],
        }
    }

    /// Whether an ALLOW of it allows `asked`: as Kafka's authorizers imply (AclAuthorizer,
    /// StandardAuthorizer), for ALLOW alone.
    pub fn allows(self, asked: Operation) -> bool {
        use Operation::*;
        let implied = match asked {
            Describe => matches!(self, Read | Write | Delete | Alter),
            DescribeConfigs => self == AlterConfigs,
            _ => false,
        };
        implied || self.denies(asked)
    }

    /// Whether a DENY of it forbids `asked`: nothing is implied.
    pub fn denies(self, asked: Operation) -> bool {
        self == asked || self == Operation::All
    }

    /// Whether a DENY of it takes something of an ALLOW of `allowed` away.
    pub fn blunts(self, allowed: Operation) -> bool {
        self == Operation::All || allowed.allows(self)
    }
}

/// One ACL binding. Two are the same only if all of it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// What it is about.
    pub resource: ResourceType,
    /// How its resources are named.
    pub pattern: PatternType,
    /// Their name, or how it begins.
    pub name: String,
    /// Who, such as `User:alice`.
    pub principal: String,
    /// From where: an address, or `*`.
    pub host: String,
    /// What is done.
    pub operation: Operation,
    /// Whether it is allowed.
    pub permission: Permission,
}

impl Binding {
    /// Whether more than one name may be meant.
    pub fn is_broad(&self) -> bool {
        self.pattern == PatternType::Prefixed || self.name == ANY
    }

    /// Whether it speaks of the resource of its type with that name.
    pub fn covers(&self, name: &str) -> bool {
        match self.pattern {
            PatternType::Literal => self.name == name || self.name == ANY,
            PatternType::Prefixed => name.starts_with(self.name.as_str()),
        }
    }

    /// Whether there may be a resource that both speak of.
    pub fn meets(&self, other: &Binding) -> bool {
        let is_any = |one: &Binding| one.pattern == PatternType::Literal && one.name == ANY;
        let names = match (self.pattern, other.pattern) {
            _ if is_any(self) || is_any(other) => true,
            (PatternType::Literal, _) => other.covers(&self.name),
            (_, PatternType::Literal) => self.covers(&other.name),
            _ => self.name.starts_with(&other.name) || other.name.starts_with(&self.name),
        };
        let hosts = self.host == other.host || self.host == ANY || other.host == ANY;
        self.resource == other.resource && names && hosts
    }

    /// Whether this DENY takes something of an ALLOW away.
    pub fn narrows(&self, allow: &Binding) -> bool {
        let is_any = |one: &Binding| one.principal == EVERYONE;
        let who = self.principal == allow.principal || is_any(self) || is_any(allow);
        who && self.operation.blunts(allow.operation) && self.meets(allow)
    }

    /// Whether it allows.
    pub fn is_allow(&self) -> bool {
        self.permission == Permission::Allow
    }

    /// The same for one name alone.
    #[must_use]
    pub fn on(&self, name: &str) -> Binding {
        Binding { pattern: PatternType::Literal, name: name.to_owned(), ..self.clone() }
    }

    /// The same of another operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Binding {
        Binding { operation, ..self.clone() }
    }
}

/// For people: `ALLOW WRITE on TOPIC LITERAL orders to User:alice from *`.
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, operation) = (self.resource.word(), self.operation.word());
        let (permission, pattern) = (self.permission.word(), self.pattern.word());
        let Binding { name, principal, host, .. } = self;
        write!(f, "{permission} {operation} on {what} {pattern} {name} to {principal} from {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(pattern: PatternType, name: &str) -> Binding {
        Binding {
            resource: ResourceType::Topic,
            pattern,
            name: name.to_owned(),
            principal: "User:a".to_owned(),
            host: ANY.to_owned(),
            operation: Operation::Write,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn words_and_numbers_lead_back() {
        for one in Operation::ALL {
            assert_eq!(Operation::of_number(one.number()), Some(*one));
            assert_eq!(Operation::of_word(&one.word().to_lowercase()), Some(*one));
        }
        for one in ResourceType::ALL {
            assert_eq!(ResourceType::of_number(one.number()), Some(*one));
            assert_eq!(ResourceType::of_word(&one.word().replace('_', "-")), Some(*one));
        }
        let (patterns, permissions) = (PatternType::ALL, Permission::ALL);
        assert!(patterns.iter().all(|one| PatternType::of_number(one.number()) == Some(*one)));
        assert!(permissions.iter().all(|one| Permission::of_word(one.word()) == Some(*one)));
        assert_eq!(Operation::of_number(1), None, "ANY is no operation of a binding");
        assert_eq!(Operation::of_number(99), None);
    }

    #[test]
    fn a_binding_covers_and_meets_as_kafka_matches() {
        use PatternType::*;
        let check = |one: (PatternType, &str), two: (PatternType, &str), meets: bool| {
            let (one, two) = (topic(one.0, one.1), topic(two.0, two.1));
            assert_eq!((one.meets(&two), two.meets(&one)), (meets, meets), "{one} / {two}");
        };
        check((Literal, "a"), (Literal, "a"), true);
        check((Literal, "a"), (Literal, "b"), false);
        check((Literal, "*"), (Prefixed, "b"), true);
        check((Literal, "ab"), (Prefixed, "a"), true);
        check((Literal, "a"), (Prefixed, "ab"), false);
        check((Prefixed, "ab"), (Prefixed, "a"), true);
        check((Prefixed, "ab"), (Prefixed, "ac"), false);
        // a prefix of one star is a prefix, not the wildcard
        check((Prefixed, "*"), (Literal, "a"), false);
        assert!(topic(Literal, "*").covers("x") && !topic(Prefixed, "*").covers("x"));
        let elsewhere = Binding { host: "h".into(), ..topic(Literal, "a") };
        assert!(elsewhere.meets(&topic(Literal, "a")));
        let third = Binding { host: "i".into(), ..topic(Literal, "a") };
        assert!(!elsewhere.meets(&third));
    }

    #[test]
    fn what_is_implied_is_implied_for_allow_alone() {
        use Operation::*;
        for by in [Read, Write, Delete, Alter, Describe, All] {
            assert!(by.allows(Describe), "{by:?}");
            assert_eq!(by.denies(Describe), matches!(by, Describe | All), "{by:?}");
        }
        assert!(AlterConfigs.allows(DescribeConfigs) && !AlterConfigs.allows(Describe));
        assert!(!Create.allows(Describe) && !Write.allows(Read));
        assert!(Describe.blunts(Write) && !Write.blunts(Describe) && Write.blunts(All));
    }

    /// What stands in the place of a changing binding changes nothing and is part of it.
    #[test]
    fn what_is_left_is_part_of_what_was_and_changes_nothing() {
        for one in Operation::ALL {
            assert_eq!(one.changes_topic(), !one.leaves().is_empty(), "{one:?}");
            assert_eq!(one.changes_topic(), !one.changes().is_empty(), "{one:?}");
            let is_part = |left: &Operation| one.allows(*left) && !left.changes_topic();
            assert!(one.leaves().iter().all(is_part), "{one:?}");
        }
    }
}
