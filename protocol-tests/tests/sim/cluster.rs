//! The cluster room over a scripted network in paused time: dead addresses, lost answers, moved
//! controllers, another cluster under the same name.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::EndKind;
use isolog::cluster::NewTopic;
use isolog::cluster::Options;
use isolog::cluster::Use;
use isolog::cluster::Wanted;
use isolog::cluster::error::ClusterError;
use isolog::cluster::error::Kind;
use isolog::cluster::error::Result;
use isolog::ids::BrokerId;
use isolog::ids::LeaderEpoch;
use isolog::ids::PartitionId;
use isolog::ids::Side;
use isolog::ids::TopicName;
use isolog::ids::TopicPartition;
use isolog::wire::error::Remedy;
use kafka_protocol::messages::CreateTopicsResponse;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::scripted::End;
use protocol_tests::scripted::MODERN;
use protocol_tests::scripted::Net;
use protocol_tests::scripted::Request;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

const METADATA: i16 = 3;
const CREATE_TOPICS: i16 = 19;

fn options(bootstrap: &[&str]) -> Options {
    Options {
        side: Side::Destination,
        bootstrap: bootstrap.iter().map(|host| ((*host).to_owned(), 9092)).collect(),
        client_id: "test".into(),
        request_timeout: Duration::from_secs(30),
        dial_timeout: Duration::from_secs(10),
        metadata_age_max: Duration::from_secs(300),
        redial_pause: Duration::from_millis(50),
        redial_pause_max: Duration::from_secs(10),
        retry_pause: Duration::from_millis(100),
        retry_pause_max: Duration::from_secs(1),
        rack: String::new(),
        size_max: Default::default(),
        security: Default::default(),
    }
}

/// What the scripted brokers tell, and what was asked of them.
struct World {
    net: Net,
    told: Mutex<MetadataResponse>,
    /// Requests beyond the greetings: host and API.
    asked: Mutex<Vec<(String, i16)>>,
    /// What to do with a request before it is answered.
    trouble: Mutex<BTreeMap<i16, Trouble>>,
    creates_refused: AtomicU32,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Trouble {
    /// Hang up this many times after reading the request.
    HangUp(u32),
    /// Answer this much later.
    Late(Duration),
}

fn broker(id: i32, host: &'static str) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(id.into())
        .with_host(StrBytes::from_static_str(host))
        .with_port(9092)
}

fn topic(name: &'static str, leader: i32, epoch: i32) -> MetadataResponseTopic {
    let partition =
        MetadataResponsePartition::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
    MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_static_str(name).into()))
        .with_partitions(vec![partition])
}

impl World {
    /// Brokers 1 and 2 at `one` and `two`, controller 2, topic `a` led by 1 in epoch 5.
    fn new() -> Arc<World> {
        let told = MetadataResponse::default()
            .with_cluster_id(Some(StrBytes::from_static_str("blue")))
            .with_controller_id(2.into())
            .with_brokers(vec![broker(1, "one"), broker(2, "two")])
            .with_topics(vec![topic("a", 1, 5)]);
        let world = Arc::new(World {
            net: Net::default(),
            told: Mutex::new(told),
            asked: Mutex::default(),
            trouble: Mutex::default(),
            creates_refused: AtomicU32::new(0),
        });
        world.revive("one");
        world.revive("two");
        world
    }

    fn revive(self: &Arc<World>, host: &'static str) {
        let world = self.clone();
        self.net.host(&format!("{host}:9092"), move |end| world.clone().serve(host, end));
    }

    async fn serve(self: Arc<World>, host: &'static str, mut end: End) {
        end.greet(MODERN).await;
        while let Some(request) = end.request().await {
            let greets = request.api == METADATA && self.topics_asked(&request) == Some(0);
            if !greets {
                self.asked.lock().unwrap().push((host.to_owned(), request.api));
                let trouble = self.trouble.lock().unwrap().get(&request.api).copied();
                match trouble {
                    Some(Trouble::HangUp(times)) if times > 0 => {
                        let left = Trouble::HangUp(times - 1);
                        self.trouble.lock().unwrap().insert(request.api, left);
                        return;
                    }
                    Some(Trouble::Late(by)) => sleep(by).await,
                    _ => {}
                }
            }
            match request.api {
                METADATA => {
                    let told = self.told.lock().unwrap().clone();
                    end.answer_with(&request, &told).await;
                }
                CREATE_TOPICS => end.answer_with(&request, &self.create(host)).await,
                other => panic!("{other} is not in the script"),
            }
        }
    }

    fn topics_asked(&self, request: &Request) -> Option<usize> {
        let decoded = MetadataRequest::decode(&mut request.body.clone(), request.version).unwrap();
        assert!(!decoded.allow_auto_topic_creation, "asking must not make topics");
        decoded.topics.map(|topics| topics.len())
    }

    /// Only the controller that the metadata names makes a topic.
    fn create(&self, host: &str) -> CreateTopicsResponse {
        let told = self.told.lock().unwrap();
        let controller = told.brokers.iter().find(|one| one.node_id == told.controller_id).unwrap();
        let is_controller = controller.host.as_str() == host;
        if !is_controller {
            self.creates_refused.fetch_add(1, Ordering::SeqCst);
        }
        let made = CreatableTopicResult::default()
            .with_name(StrBytes::from_static_str("new").into())
            .with_error_code(if is_controller { 0 } else { 41 });
        CreateTopicsResponse::default().with_topics(vec![made])
    }

    fn asked(&self, api: i16) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|row| row.1 == api).map(|row| row.0.clone()).collect()
    }

    fn trouble(&self, api: i16, trouble: Trouble) {
        self.trouble.lock().unwrap().insert(api, trouble);
    }
}

/// The network, as the cluster is given it.
struct OfWorld(Arc<World>);

impl isolog::cluster::dial::Dial for OfWorld {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> isolog::cluster::dial::Dialling<'a> {
        self.0.net.dial(host, port)
    }
}

async fn connect(world: &Arc<World>, bootstrap: &[&str]) -> Result<Arc<Cluster>> {
    Cluster::connect(options(bootstrap), Arc::new(OfWorld(world.clone())), 1).await
}

fn new_topic() -> [NewTopic; 1] {
    let name = TopicName::new("new").unwrap();
    [NewTopic { name, partitions: 1, replicas: None, configs: BTreeMap::new() }]
}

fn a() -> TopicPartition {
    TopicPartition { topic: TopicName::new("a").unwrap(), partition: PartitionId(0) }
}

#[tokio::test(start_paused = true)]
async fn dead_bootstrap_addresses_are_passed_over() {
    let world = World::new();
    let cluster = connect(&world, &["dead", "gone", "two"]).await.unwrap();
    assert_eq!(cluster.id().0.as_ref(), "blue");
    assert_eq!(cluster.partition(&a()).unwrap().leader, Some(BrokerId(1)));
    // all bootstrap addresses are dead now, a broker that is known is not
    world.net.kill("two:9092");
    cluster.refresh(Wanted::All).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_nobody_there_every_address_is_named_and_the_tries_end() {
    let world = World::new();
    let began = Instant::now();
    let error = connect(&world, &["dead", "gone"]).await.err().unwrap();
    assert_eq!(error.remedy(), Remedy::Redial);
    let text = error.to_string();
    for word in ["destination", "dead:9092", "gone:9092", "is the broker up"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert_eq!(world.net.dials().len(), 6, "three rounds");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(began.elapsed() > Duration::from_millis(100), "with pauses");
}

#[tokio::test(start_paused = true)]
async fn another_cluster_under_the_same_address_halts_for_good() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    world.told.lock().unwrap().cluster_id = Some(StrBytes::from_static_str("green"));
    let changed = |error: ClusterError| {
        assert_eq!(error.remedy(), Remedy::Halt, "{error}");
        assert!(matches!(error.kind, Kind::ClusterIdChanged { .. }), "{error}");
        assert!(error.to_string().contains("cluster id is green, it was blue"), "{error}");
    };
    changed(cluster.open(BrokerId(2), Use::Append).await.err().unwrap());
    world.told.lock().unwrap().cluster_id = Some(StrBytes::from_static_str("blue"));
    changed(cluster.refresh(Wanted::All).await.unwrap_err());
    changed(cluster.create_topics(&new_topic(), false).await.unwrap_err());
    changed(cluster.halted().unwrap());
    assert!(world.asked(CREATE_TOPICS).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_answer_is_lost_is_asked_again() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    world.trouble(METADATA, Trouble::HangUp(2));
    cluster.refresh(Wanted::All).await.unwrap();
    assert_eq!(world.asked(METADATA).len(), 1 + 3);
    world.trouble(METADATA, Trouble::HangUp(9));
    let error = cluster.refresh(Wanted::All).await.unwrap_err();
    assert_eq!((error.remedy(), error.is_unknown()), (Remedy::Redial, false), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_answer_is_lost_is_not_given_again() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    for trouble in [Trouble::HangUp(1), Trouble::Late(Duration::from_secs(31))] {
        world.asked.lock().unwrap().clear();
        world.trouble(CREATE_TOPICS, trouble);
        let error = cluster.create_topics(&new_topic(), false).await.unwrap_err();
        assert!(error.is_unknown(), "{error}");
        assert!(error.to_string().contains("may have been applied"), "{error}");
        assert_eq!(world.asked(CREATE_TOPICS), ["two"], "once, at the controller");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_never_left_is_given_again() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    cluster.create_topics(&new_topic(), false).await.unwrap();
    // the idle connection dies; then the controller is away for one dial
    world.net.kill("two:9092");
    world.trouble(CREATE_TOPICS, Trouble::HangUp(1));
    cluster.create_topics(&new_topic(), false).await.unwrap_err();
    let later = world.clone();
    tokio::spawn(async move {
        sleep(Duration::from_millis(40)).await;
        later.revive("two");
    });
    cluster.create_topics(&new_topic(), false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_moved_is_looked_up() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    world.told.lock().unwrap().controller_id = 1.into();
    let made = cluster.create_topics(&new_topic(), false).await.unwrap();
    assert!(made.values().all(|one| one.is_ok()), "{made:?}");
    assert_eq!(world.asked(CREATE_TOPICS), ["two", "one"]);
    assert_eq!(world.creates_refused.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_together_is_served_by_one_reading() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    world.trouble(METADATA, Trouble::Late(Duration::from_secs(2)));
    let before = world.asked(METADATA).len();
    let lanes: Vec<_> = (0..20)
        .map(|at| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(at * 10)).await;
                cluster.refresh(Wanted::All).await
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap().unwrap();
    }
    // the first reads; all others came while it was reading and are served by the second
    assert_eq!(world.asked(METADATA).len() - before, 2);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_no_answer_for_the_next() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    world.trouble(METADATA, Trouble::Late(Duration::from_secs(5)));
    let given_up = timeout(Duration::from_secs(1), cluster.refresh(Wanted::All)).await;
    assert!(given_up.is_err());
    world.told.lock().unwrap().topics = vec![topic("a", 2, 6)];
    cluster.refresh(Wanted::All).await.unwrap();
    assert_eq!(cluster.partition(&a()).unwrap().leader, Some(BrokerId(2)));
}

#[tokio::test(start_paused = true)]
async fn a_dead_broker_is_dialled_with_pauses_however_many_lanes_want_it() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    world.net.kill("two:9092");
    let dials_before = world.net.dials().len();
    let end = Instant::now() + Duration::from_secs(60);
    let lanes: Vec<_> = (0..5)
        .map(|_| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                while Instant::now() < end {
                    let error = cluster.open(BrokerId(2), Use::Append).await.err().unwrap();
                    assert_eq!(error.remedy(), Remedy::Redial);
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let dials = world.net.dials().len() - dials_before;
    assert!((5 * 8..5 * 25).contains(&dials), "{dials} dials in a minute");
    world.revive("two");
    cluster.open(BrokerId(2), Use::Append).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_of_leaders_ring() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    let mut news = cluster.news();
    assert!(!news.has_changed().unwrap());
    cluster.refresh(Wanted::All).await.unwrap();
    assert!(!cluster.note_leader(&a(), BrokerId(2), LeaderEpoch(5)));
    assert!(!news.has_changed().unwrap(), "nothing new");
    assert!(cluster.note_leader(&a(), BrokerId(2), LeaderEpoch(6)));
    assert!(news.has_changed().unwrap());
    news.borrow_and_update();
    // broker one still believes in epoch 5
    cluster.refresh(Wanted::All).await.unwrap();
    assert!(!news.has_changed().unwrap());
    assert_eq!(cluster.partition(&a()).unwrap().leader, Some(BrokerId(2)));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_dials_at_the_same_times() {
    let run = async || {
        let began = Instant::now();
        let world = World::new();
        world.net.kill("one:9092");
        connect(&world, &["dead", "one"]).await.err().unwrap();
        let dials = world.net.dials();
        dials.into_iter().map(|dial| (dial.0, dial.1 - began)).collect::<Vec<_>>()
    };
    assert_eq!(run().await, run().await);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_unknown_wants_a_refresh() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    let asked = [(a(), LeaderEpoch(5))];
    let error = cluster.list_offsets(BrokerId(9), &asked, EndKind::Start).await.unwrap_err();
    assert!(matches!(error.kind, Kind::NoBroker(BrokerId(9))), "{error}");
    assert_eq!(error.remedy(), Remedy::Refresh);
}

/// A broker that is cut off from its cluster tells old news for ever; so nobody is asked for ever.
#[tokio::test(start_paused = true)]
async fn any_broker_is_not_always_the_same_one() {
    let world = World::new();
    let cluster = connect(&world, &["one"]).await.unwrap();
    for _ in 0..200 {
        cluster.refresh(Wanted::All).await.unwrap();
    }
    let asked = world.asked(METADATA);
    for host in ["one", "two"] {
        let count = asked.iter().filter(|asked| *asked == host).count();
        assert!(count >= 16, "{host} was asked {count} times");
    }
    assert!(world.net.dials().len() < 20, "but not a new one each time");
}
