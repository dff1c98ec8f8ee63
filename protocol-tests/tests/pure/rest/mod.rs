//! REST over a loopback socket, and behind it a registry with hands that need no Kafka.
//!
//! It never starts a broker; `real` has the same orders on real clusters.

mod bad_input;
mod cells;
mod command;
mod diff;
mod document;
mod events;
mod logged;
mod recorded;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isolog::ids::ClusterId;
use isolog::ids::LinkName;
use isolog::service::Access;
use isolog::service::Counter;
use isolog::service::Listen;
use isolog::service::Options;
use isolog::service::Secret;
use isolog::service::auth::Right;
use isolog::service::rest::Declared;
use isolog::service::rest::Orders;
use isolog::service::view::Check;
use isolog::service::view::GroupView;
use isolog::service::view::LinkView;
use isolog::service::view::OffsetView;
use isolog::service::view::PartitionView;
use isolog::service::view::Sight;
use isolog::settings::describe::ConfigEntry;
use isolog::settings::fill::Shared;
use isolog::settings::link::Defaults;
use isolog::settings::trust::Remote;
use protocol_tests::hands::Hands;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// The destination's id.
const CLUSTER: &str = "C1";
/// A link of the config file that runs without the registry.
const DECLARED: &str = "from-file";

/// What its file says of the declared link.
fn declared() -> Declared {
    let one = ConfigEntry {
        name: "bootstrap.servers".into(),
        value: Some("a:1".into()),
        is_default: false,
        is_read_only: true,
        is_sensitive: false,
        source: "STATIC_CLUSTER_LINK_CONFIG",
        synonyms: Vec::new(),
    };
    BTreeMap::from([(LinkName(DECLARED.into()), vec![one])])
}

/// What runs, as it is shown: the partitions of one mirror topic, and a declared link.
struct Shown;

impl Sight for Shown {
    fn partitions(&self) -> Vec<PartitionView> {
        let view = |link: &str, topic: &str, partition, lag, end| PartitionView {
            link: link.to_owned(),
            topic: topic.to_owned(),
            source_topic: topic.to_owned(),
            partition,
            state: "Mirroring".to_owned(),
            lag_records: lag,
            destination_end: end,
            ..PartitionView::default()
        };
        vec![
            view("l1", "t1", 1, None, None),
            view("l1", "t1", 0, Some(5), Some(100)),
            view(DECLARED, "orders", 0, Some(7), Some(40)),
        ]
    }

    fn links(&self) -> Vec<LinkView> {
        vec![LinkView {
            name: DECLARED.to_owned(),
            state: "Active".to_owned(),
            source_cluster_id: Some("S9".to_owned()),
            partitions: 1,
            ..LinkView::default()
        }]
    }

    fn groups(&self, name: Option<&str>, is_whole: bool) -> Vec<GroupView> {
        let view = |group: &str, verdict: &str, against: &[&str]| GroupView {
            link: DECLARED.to_owned(),
            group: group.to_owned(),
            mirror_group: group.to_owned(),
            verdict: verdict.to_owned(),
            against: against.iter().map(|one| (*one).to_owned()).collect(),
            mirror_lag: Some(0),
            offsets: is_whole.then(OffsetView::default).into_iter().collect(),
            ..GroupView::default()
        };
        let all = [
            view("billing", "MOVES", &[]),
            view("ledger", "NOT_YET", &["it has members", "it lags"]),
            view("unread", "UNKNOWN", &["it was not read"]),
        ];
        all.into_iter().filter(|one| name.is_none_or(|name| name == one.group)).collect()
    }

    fn readiness(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// What links get besides; the destination is somewhere else.
fn defaults() -> Defaults {
    let shared = Shared { memory_bytes: 256 << 20, reencode_threads: 1 };
    Defaults::remote(shared, vec![("east".to_owned(), 9092)], Remote::default())
}

/// A running service.
struct Rig {
    hands: Hands,
    address: String,
    /// Ends the service with the rig.
    _stop: DropGuard,
}

/// An answer.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The `error_code` and the text of a refusal.
    fn error(&self) -> (u64, String) {
        let json = self.json();
        let code = json["error_code"].as_u64().unwrap_or_default();
        (code, json["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Rig {
    async fn start() -> Rig {
        Rig::start_with(None).await
    }

    async fn start_with(token: Option<&str>) -> Rig {
        Rig::start_on(Hands::start().await, token).await
    }

    /// A service over a registry that may know nothing yet.
    async fn start_on(hands: Hands, token: Option<&str>) -> Rig {
        let secret = |token: &str| Secret::new(token.to_owned());
        // where there is a token, there are the lesser ones as well
        let lesser = [(Right::Read, "may-only-look-at-it"), (Right::Operate, "may-pause-things")];
        let lesser = lesser.into_iter().filter(|_| token.is_some());
        let tokens = lesser.map(|(right, text)| (right, secret(text))).collect();
        let access = Access { token: token.map(secret), tokens, ..Access::default() };
        let listen = Listen::new("127.0.0.1:0".parse().expect("an address"), access);
        let listen = listen.expect("loopback");
        let options = Options::new(listen);
        let counter = Counter::open(&options).await.expect("a free port");
        let (_known, cluster) = watch::channel(Some(ClusterId(CLUSTER.into())));
        let orders = Orders {
            registry: hands.registry.clone(),
            cluster,
            declared: watch::channel(Arc::new(declared())).1,
            defaults: Arc::new(defaults()),
            exporters: Arc::new(isolog::settings::exporters::Defaults {
                source: None,
                trust: defaults().trust,
            }),
            probe: None,
        };
        let address = counter.address().to_string();
        let stop = CancellationToken::new();
        tokio::spawn(counter.with_orders(orders).serve(Arc::new(Shown), stop.clone()));
        Rig { hands, address, _stop: stop.drop_guard() }
    }

    /// Sends bytes as they are, and reads until the other side closes.
    async fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.expect("the port is open");
        stream.write_all(request).await.expect("it is read");
        Rig::read(stream).await
    }

    async fn read(mut stream: TcpStream) -> Answer {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(120), read).await;
        read.expect("an answer").expect("it is readable");
        let text = String::from_utf8(answer).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Asks below the cluster's path.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_at(method, &format!("/kafka/v3/clusters/{CLUSTER}{path}"), body).await
    }

    async fn ask_at(&self, method: &str, path: &str, body: &str) -> Answer {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.send(request.as_bytes()).await
    }

    /// An order that must be obeyed.
    async fn must(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.ask(method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer
    }

    /// A link that mirrors, with these topics at its source.
    async fn create_link(&self, link: &str, topics: &[&str]) {
        for topic in topics {
            self.hands.create_source(topic, 2);
        }
        self.must("POST", &format!("/links?link_name={link}"), LINK).await;
    }

    /// A mirror topic of it.
    async fn create_mirror(&self, link: &str, topic: &str) {
        let body = format!("{{\"source_topic_name\":\"{topic}\"}}");
        self.must("POST", &format!("/links/{link}/mirrors"), &body).await;
    }
}

/// The body of a link that can be created.
const LINK: &str = r#"{"configs":[{"name":"bootstrap.servers","value":"127.0.0.1:9092"}]}"#;
