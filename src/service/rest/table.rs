//! The one table of REST v3: every path, what it takes and what it answers. The router and the
//! OpenAPI document are both made from it.
//!
//! It never obeys anything.

use crate::service::auth::Right;

/// What is called.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The clusters: one, the destination.
    ListClusters,
    /// The destination.
    GetCluster,
    /// All links.
    ListLinks,
    /// A new link.
    CreateLink,
    /// One link.
    GetLink,
    /// A link that goes.
    DeleteLink,
    /// Its configs.
    ListConfigs,
    /// Several of them change.
    AlterConfigs,
    /// One config.
    GetConfig,
    /// One changes.
    PutConfig,
    /// One goes back to its default.
    ResetConfig,
    /// Consumer groups that are followed no more.
    ForgetGroups,
    /// Consumer groups that are followed again.
    FollowGroups,
    /// The mirror topics of all links.
    ListAllMirrors,
    /// The mirror topics of one link.
    ListMirrors,
    /// A new mirror topic.
    CreateMirror,
    /// One mirror topic.
    GetMirror,
    /// A mirror topic that is let go of and forgotten.
    ForgetMirror,
    /// Mirror topics that rest.
    Pause,
    /// Mirror topics that go on.
    Resume,
    /// Mirror topics that become ordinary ones, level with their source.
    Promote,
    /// The same without the source.
    Failover,
    /// Topics that become mirrors of what was their own mirror.
    Restore,
    /// Swap roles.
    ReverseAndStart,
    /// Swap roles, and pause what becomes the mirror.
    ReverseAndPause,
    /// A mirror topic as a topic.
    GetTopic,
    /// A mirror topic that is deleted.
    DeleteTopic,
}

/// A word of the query.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its name.
    pub name: &'static str,
    /// `true` or `false`; else it is text.
    pub is_flag: bool,
    /// The call is nothing without it.
    pub is_required: bool,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

/// One method of one path.
#[derive(Copy, Clone, Debug)]
pub struct Route {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// With parameters in braces.
    pub path: &'static str,
    /// What it calls.
    pub call: Call,
    /// Its operation id, as the published SDKs name it.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Who may.
    pub right: Right,
    /// What the query takes.
    pub query: &'static [Word],
    /// The schema of the body, where one is taken.
    pub body: Option<&'static str>,
    /// The status of success, and the schema of its body, where there is one.
    pub success: (u16, Option<&'static str>),
}

const fn flag(name: &'static str, doc: &'static str) -> Word {
    Word { name, is_flag: true, is_required: false, doc }
}

const DRY: Word = flag("validate_only", "Nothing is written and nothing is done.");
const EACH: Word = flag("include_partition_level_truncation_data", "Tell it of each partition.");
const DISCARD: Word = flag(
    "discard_tail",
    "A topic that has more than its former mirror got is deleted and copied anew: what it had \
     beyond is lost. An addition of isolog.",
);
const FROM: Word = Word {
    name: "from",
    is_flag: false,
    is_required: false,
    doc: "From where a topic that is deleted is copied anew: earliest, divergence (what came since \
          the two parted) or an ISO-8601 time; without it the earliest. An addition of isolog.",
};
const TIMEOUT: Word = Word {
    name: "timeout_ms",
    is_flag: false,
    is_required: false,
    doc: "A topic that is not level within so many milliseconds is mirrored on; without it a \
          promote waits for as long as that takes. An addition of isolog.",
};
const ABANDON: Word = flag(
    "abandon_open_transactions",
    "Wait for no open transaction of the source: the topic ends where the first one begins, and \
     what is held back is left behind. An addition of isolog.",
);
const STATUS: Word = Word {
    name: "mirror_status",
    is_flag: false,
    is_required: false,
    doc: "Only mirror topics in this state.",
};
const LINK_NAME: Word =
    Word { name: "link_name", is_flag: false, is_required: true, doc: "The new link's name." };
const OF_LINK: Word = Word {
    name: "link_name",
    is_flag: false,
    is_required: false,
    doc: "Only as a mirror topic of this link. An addition of isolog.",
};

const CLUSTERS: &str = "/kafka/v3/clusters";
const CLUSTER: &str = "/kafka/v3/clusters/{cluster_id}";
const LINKS: &str = "/kafka/v3/clusters/{cluster_id}/links";
const LINK: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}";
const CONFIGS: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/configs";
const ALTER: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/configs:alter";
const CONFIG: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/configs/{config_name}";
const FORGET_GROUPS: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/groups:forget";
const FOLLOW_GROUPS: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/groups:follow";
const ALL_MIRRORS: &str = "/kafka/v3/clusters/{cluster_id}/links/-/mirrors";
const MIRRORS: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors";
const MIRROR: &str =
    "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors/{mirror_topic_name}";
const PAUSE: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:pause";
const RESUME: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:resume";
const PROMOTE: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:promote";
const FAILOVER: &str = "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:failover";
const REVERSE_START: &str =
    "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:reverse-and-start-mirror";
const REVERSE_PAUSE: &str =
    "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:reverse-and-pause-mirror";
const RESTORE: &str =
    "/kafka/v3/clusters/{cluster_id}/links/{link_name}/mirrors:truncate-and-restore";
const TOPIC: &str = "/kafka/v3/clusters/{cluster_id}/topics/{topic_name}";

const fn reads(
    path: &'static str,
    call: Call,
    name: &'static str,
    doc: &'static str,
    schema: &'static str,
) -> Route {
    Route {
        method: "GET",
        path,
        call,
        name,
        doc,
        right: Right::Read,
        query: &[],
        body: None,
        success: (200, Some(schema)),
    }
}

const fn orders(
    method: &'static str,
    path: &'static str,
    call: Call,
    name: &'static str,
    doc: &'static str,
) -> Route {
    Route {
        method,
        path,
        call,
        name,
        doc,
        right: Right::Administer,
        query: &[],
        body: None,
        success: (204, None),
    }
}

const fn moves(path: &'static str, call: Call, name: &'static str, doc: &'static str) -> Route {
    Route {
        right: Right::Operate,
        query: &[DRY],
        body: Some("AlterMirrors"),
        success: (200, Some("KafkaAlterMirrorStatusDataList")),
        ..orders("POST", path, call, name, doc)
    }
}

const fn groups(path: &'static str, call: Call, name: &'static str, doc: &'static str) -> Route {
    Route {
        right: Right::Operate,
        query: &[DRY],
        body: Some("AlterGroups"),
        ..orders("POST", path, call, name, doc)
    }
}

/// All routes; of two that fit a path the first one counts.
pub const ROUTES: &[Route] = &[
    reads(
        CLUSTERS,
        Call::ListClusters,
        "ListKafkaClusters",
        "The destination.",
        "KafkaClusterList",
    ),
    reads(CLUSTER, Call::GetCluster, "GetKafkaCluster", "The destination.", "KafkaCluster"),
    reads(LINKS, Call::ListLinks, "ListKafkaLinks", "All links.", "KafkaLinkDataList"),
    Route {
        query: &[
            LINK_NAME,
            DRY,
            flag("validate_link", "Reach the source first, and compare its cluster id."),
        ],
        body: Some("CreateLink"),
        ..orders("POST", LINKS, Call::CreateLink, "CreateKafkaLink", "Create a link.")
    },
    Route {
        query: &[flag("include_tasks", "With the link's tasks.")],
        ..reads(LINK, Call::GetLink, "GetKafkaLink", "One link.", "KafkaLinkData")
    },
    Route {
        query: &[flag("force", "Although it has mirror topics: they are let go of."), DRY],
        success: (200, None),
        ..orders("DELETE", LINK, Call::DeleteLink, "DeleteKafkaLink", "Delete a link.")
    },
    reads(
        CONFIGS,
        Call::ListConfigs,
        "ListKafkaLinkConfigs",
        "The configs of a link.",
        "KafkaLinkConfigDataList",
    ),
    Route {
        query: &[DRY],
        body: Some("AlterConfigs"),
        ..orders(
            "PUT",
            ALTER,
            Call::AlterConfigs,
            "UpdateKafkaLinkConfigBatch",
            "Change several configs of a link at once.",
        )
    },
    reads(
        CONFIG,
        Call::GetConfig,
        "GetKafkaLinkConfigs",
        "One config of a link.",
        "KafkaLinkConfigData",
    ),
    Route {
        body: Some("PutConfig"),
        ..orders(
            "PUT",
            CONFIG,
            Call::PutConfig,
            "UpdateKafkaLinkConfig",
            "Change a config of a link.",
        )
    },
    orders(
        "DELETE",
        CONFIG,
        Call::ResetConfig,
        "DeleteKafkaLinkConfig",
        "Give a config of a link its default back.",
    ),
    groups(
        FORGET_GROUPS,
        Call::ForgetGroups,
        "ForgetConsumerGroups",
        "Sync the offsets of consumer groups no more, whatever the filters say; what they have \
         at the destination stays. An addition of isolog.",
    ),
    groups(
        FOLLOW_GROUPS,
        Call::FollowGroups,
        "FollowConsumerGroups",
        "Sync the offsets of forgotten consumer groups again, as the filters say. An addition of \
         isolog.",
    ),
    Route {
        query: &[STATUS],
        ..reads(
            ALL_MIRRORS,
            Call::ListAllMirrors,
            "ListKafkaMirrorTopics",
            "The mirror topics of all links.",
            "KafkaMirrorDataList",
        )
    },
    Route {
        query: &[STATUS],
        ..reads(
            MIRRORS,
            Call::ListMirrors,
            "ListKafkaMirrorTopicsUnderLink",
            "The mirror topics of a link.",
            "KafkaMirrorDataList",
        )
    },
    Route {
        query: &[DRY],
        body: Some("CreateMirror"),
        ..orders(
            "POST",
            MIRRORS,
            Call::CreateMirror,
            "CreateKafkaMirrorTopic",
            "Make a topic a mirror; answered when it is set up.",
        )
    },
    Route {
        query: &[flag("include_state_transition_errors", "With what a stop waits for.")],
        ..reads(
            MIRROR,
            Call::GetMirror,
            "ReadKafkaMirrorTopic",
            "One mirror topic.",
            "KafkaMirrorData",
        )
    },
    Route {
        query: &[DRY],
        ..orders(
            "DELETE",
            MIRROR,
            Call::ForgetMirror,
            "ForgetKafkaMirrorTopic",
            "Stop mirroring and forget the mirror; its topic stays. An addition of isolog.",
        )
    },
    moves(PAUSE, Call::Pause, "UpdateKafkaMirrorTopicsPause", "Pause mirror topics."),
    moves(RESUME, Call::Resume, "UpdateKafkaMirrorTopicsResume", "Resume mirror topics."),
    Route {
        query: &[DRY, EACH, TIMEOUT, ABANDON],
        ..moves(
            PROMOTE,
            Call::Promote,
            "UpdateKafkaMirrorTopicsPromote",
            "Make mirror topics ordinary ones once they have all that their source has.",
        )
    },
    Route {
        query: &[DRY, EACH],
        ..moves(
            FAILOVER,
            Call::Failover,
            "UpdateKafkaMirrorTopicsFailover",
            "Make mirror topics ordinary ones at once, without their source.",
        )
    },
    Route {
        right: Right::Administer,
        query: &[DRY, EACH, TIMEOUT],
        ..moves(
            REVERSE_START,
            Call::ReverseAndStart,
            "UpdateKafkaMirrorTopicsReverseAndStartMirror",
            "Swap roles: mirror topics become ordinary ones once they have all that their source \
             has, and the source's topics mirrors of them, without a byte that is copied again.",
        )
    },
    Route {
        right: Right::Administer,
        query: &[DRY, EACH, TIMEOUT],
        ..moves(
            REVERSE_PAUSE,
            Call::ReverseAndPause,
            "UpdateKafkaMirrorTopicsReverseAndPauseMirror",
            "Swap roles, and leave the new mirror topics paused.",
        )
    },
    Route {
        right: Right::Administer,
        query: &[DRY, EACH, DISCARD, FROM],
        ..moves(
            RESTORE,
            Call::Restore,
            "UpdateKafkaMirrorTopicsTruncateAndRestoreMirror",
            "Make topics mirrors of what was their own mirror: gone on with where they are a \
             prefix of it; else, with discard_tail, deleted and made anew.",
        )
    },
    reads(TOPIC, Call::GetTopic, "GetKafkaTopic", "A mirror topic as a topic.", "KafkaTopic"),
    Route {
        query: &[OF_LINK],
        ..orders(
            "DELETE",
            TOPIC,
            Call::DeleteTopic,
            "DeleteKafkaTopic",
            "Delete a mirror topic: the mirror is forgotten and its topic deleted.",
        )
    },
];

/// What stands in the braces of a path, in order.
pub type Params = Vec<(&'static str, String)>;

/// What a path and a method lead to.
#[derive(Debug)]
pub enum Led {
    /// To a route.
    To(&'static Route, Params),
    /// The path is there with these methods.
    Methods(Vec<&'static str>),
    /// Nowhere.
    Nowhere,
}

/// Follows a path whose segments are decoded already.
pub fn lead(method: &str, segments: &[String]) -> Led {
    let mut methods = Vec::new();
    let mut template = None;
    for route in ROUTES {
        // the first template that fits a path is the one that counts, for every method
        if template.is_some_and(|path| path != route.path) {
            continue;
        }
        let Some(params) = fits(route.path, segments) else { continue };
        template = Some(route.path);
        if route.method == method {
            return Led::To(route, params);
        }
        methods.push(route.method);
    }
    if methods.is_empty() { Led::Nowhere } else { Led::Methods(methods) }
}

fn fits(template: &'static str, segments: &[String]) -> Option<Params> {
    let mut params = Params::new();
    let mut parts = template.split('/').skip(1);
    for segment in segments {
        let part = parts.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if !segment.is_empty() => params.push((name, segment.clone())),
            None if part == segment => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(method: &str, path: &str) -> String {
        let segments: Vec<String> = path.split('/').map(str::to_owned).collect();
        match lead(method, &segments) {
            Led::To(route, params) => {
                let params: Vec<String> = params.into_iter().map(|(_, value)| value).collect();
                format!("{:?} {}", route.call, params.join(" "))
            }
            Led::Methods(methods) => methods.join(","),
            Led::Nowhere => "nowhere".to_owned(),
        }
    }

    #[test]
    fn paths_lead_where_the_catalogue_says() {
        let check = |method: &str, path: &str, want: &str| {
            assert_eq!(led(method, &format!("kafka/v3/clusters{path}")), want, "{method} {path}");
        };
        check("GET", "", "ListClusters ");
        check("GET", "/C1/links/-/mirrors", "ListAllMirrors C1");
        check("GET", "/C1/links/l1/mirrors", "ListMirrors C1 l1");
        check("POST", "/C1/links/l1/mirrors", "CreateMirror C1 l1");
        check("POST", "/C1/links/l1/mirrors:pause", "Pause C1 l1");
        check("PUT", "/C1/links/l1/configs:alter", "AlterConfigs C1 l1");
        check("GET", "/C1/links/a b/ü", "nowhere");
        check("POST", "/C1/links/-/mirrors", "GET");
        check("PATCH", "/C1/links/l1", "GET,DELETE");
        check("GET", "/C1/links/l1/mirrors:dance", "nowhere");
        check("GET", "/C1/links//mirrors", "nowhere");
        check("GET", "/C1/links/l1/", "nowhere");
    }

    #[test]
    fn every_route_stands_once() {
        for (at, route) in ROUTES.iter().enumerate() {
            let same = |other: &&Route| {
                other.name == route.name
                    || (other.method == route.method && other.path == route.path)
            };
            assert!(!ROUTES[at + 1..].iter().any(|other| same(&other)), "{}", route.name);
        }
    }
}
