//! The partition manager by itself, between two simulated clusters, ordered by hand: what is let go
//! and wanted again, and when.
//!
//! It never starts a link: what is wanted is what a test says.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::flow::Wall;
use isolog::flow::entry::Fact;
use isolog::flow::entry::How;
use isolog::flow::entry::PartitionSpec;
use isolog::flow::entry::Released;
use isolog::flow::entry::ToManager;
use isolog::flow::lane::pace::Pace;
use isolog::flow::lane::works::Pool;
use isolog::flow::manager::PartitionManager;
use isolog::flow::producer_id;
use isolog::flow::shared::Shared;
use isolog::flow::stats::Board;
use isolog::flow::stats::Gauge;
use isolog::ids::Incarnation;
use isolog::ids::LinkName;
use isolog::ids::MirrorPartition;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::mirror::facts::Limits;
use isolog::mirror::facts::Policy;
use isolog::mirror::facts::Takes;
use isolog::mirror::halt::Halt;
use isolog::mirror::lag::Snapshot;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::check::assert_copied;
use protocol_tests::net::Link;
use protocol_tests::net::Net;
use protocol_tests::net::Way;
use protocol_tests::net_dial::NetDial;
use protocol_tests::world::CLIENT;
use protocol_tests::world::instance::options;
use protocol_tests::world::instance::small_flow;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);
/// How long anything may take, in the world's own time.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// What the source calls the topic.
const TOPIC: &str = "orders";
/// What the destination calls its mirror.
const MIRROR: &str = "west.orders";

/// A manager and the clusters on both sides.
struct Flow {
    net: Net,
    source: TestCluster,
    destination: TestCluster,
    board: Arc<Board>,
    wall: Wall,
    orders: mpsc::Sender<ToManager>,
    released: mpsc::Receiver<Fact>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    spec: PartitionSpec,
    written: usize,
}

impl Flow {
    /// One broker on each side, one topic of one partition, with a name on each side, of which
    /// nothing is wanted yet.
    async fn start() -> Flow {
        Flow::of(1).await
    }

    /// The same, which has copied so many records.
    async fn copying(count: usize) -> Flow {
        let mut flow = Flow::start().await;
        flow.append(count);
        flow.want(&[&flow.spec]).await;
        flow.level().await;
        flow
    }

    async fn of(partitions: i32) -> Flow {
        let net = Net::new(7);
        let source = TestCluster::start(&net, Spec::single("source", 1));
        let destination = TestCluster::start(&net, Spec::single("destination", 2));
        source.create_topic(TOPIC, partitions, &[]);
        destination.create_topic(MIRROR, partitions, &[]);
        // another one by the name of the other side: nothing is read or written there
        source.create_topic(MIRROR, partitions, &[]);
        destination.create_topic(TOPIC, partitions, &[]);
        let stop = CancellationToken::new();
        let wall = Wall::new(TimestampMs(source.look(|state| state.now_ms())));
        let sides =
            (connect(Side::Source, &source).await, connect(Side::Destination, &destination).await);
        let name = |text: &str| TopicName::new(text).expect("a legal name");
        let names = (name(TOPIC), name(MIRROR));
        let id = |cluster: &Cluster, name| cluster.topic(name).expect("it is there").id;
        let spec = PartitionSpec {
            name: MirrorPartition {
                link: LinkName("dr".into()),
                source_topic: names.0.clone(),
                mirror_topic: names.1.clone(),
                partition: PartitionId(0),
            },
            incarnation: Incarnation(1),
            generation: 0,
            source_id: id(&sides.0, &names.0),
            destination_id: id(&sides.1, &names.1),
            takes: Takes {
                batch_bytes_max: Some(1 << 20),
                is_compacted: Some(false),
                leaves_batches: Some(true),
                ..Takes::default()
            },
            start: Offset::ZERO,
            halt: None,
        };
        let (back, reports) = mpsc::channel(2);
        let (facts, released) = mpsc::channel(1);
        let shared = Shared {
            writer: producer_id::of(&sides.0.id(), &sides.1.id(), &LinkName("dr".into())),
            source: sides.0,
            destination: sides.1,
            options: small_flow(),
            committed_only: true,
            wall,
            lanes: Arc::new(Gauge::default()),
            pool: Arc::new(Pool::inline()),
            pace: Arc::new(Pace::new(&LinkName("dr".into()), None)),
            back,
            stop: stop.clone(),
        };
        let board = Arc::new(Board::default());
        let manager = PartitionManager::new(shared, reports, facts, board.clone(), limits());
        let (orders, taken) = mpsc::channel(16);
        let task = tokio::spawn(manager.run(taken));
        Flow {
            net,
            source,
            destination,
            board,
            wall,
            orders,
            released,
            stop,
            task,
            spec,
            written: 0,
        }
    }

    async fn want(&self, specs: &[&PartitionSpec]) {
        let mut topics = BTreeMap::from([(self.spec.name.mirror_topic.clone(), Vec::new())]);
        for spec in specs {
            let of_topic = topics.entry(spec.name.mirror_topic.clone()).or_default();
            of_topic.push((*spec).clone());
        }
        self.orders.send(ToManager::Wanted(topics)).await.expect("the manager runs");
    }

    /// A batch at the source.
    fn append(&mut self, count: usize) {
        self.written += 1;
        let now = self.source.look(|state| state.now_ms());
        self.source.append(TOPIC, 0, &Build::plain(now, &format!("b{}", self.written), count));
    }

    fn seen(&self) -> Option<Snapshot> {
        self.board.read(self.wall.now()).pop().map(|(_, seen)| seen)
    }

    fn state(&self) -> &'static str {
        self.seen().map_or("", |seen| seen.state)
    }

    async fn wait(&self, what: &str, holds: impl Fn(&Flow) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < WAIT_MAX, "{what} never came: {:#?}", self.seen());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the copy is complete, and checks it.
    async fn level(&self) {
        let both =
            |flow: &Flow| (flow.source.dump(TOPIC, 0).end, flow.destination.dump(MIRROR, 0).end);
        let acked = |flow: &Flow| flow.seen().and_then(|seen| seen.destination_end);
        self.wait("the end", |flow| {
            let (source, copy) = both(flow);
            source == copy && acked(flow).is_some_and(|end| end.get() == copy)
        })
        .await;
        let source = self.source.dump(TOPIC, 0);
        assert_copied(&source, &self.destination.dump(MIRROR, 0), source.end);
    }

    /// The lane's own connection to the destination: the newest one.
    fn append_line(&self) -> Arc<Link> {
        let links = self.net.links(CLIENT, &self.destination.host(1));
        links.into_iter().max_by_key(|link| link.id()).expect("a lane is open")
    }

    async fn order(&self, order: ToManager) {
        self.orders.send(order).await.expect("the manager runs");
    }

    async fn release(&self, how: How) {
        self.order(ToManager::Release(self.spec.name.clone(), how)).await;
    }

    /// What was told of a partition that was let go, in any time.
    async fn told(&mut self) -> Released {
        match self.fact().await {
            Fact::Released(released) => released,
            other => panic!("{other:?}"),
        }
    }

    async fn fact(&mut self) -> Fact {
        let told = timeout(WAIT_MAX, self.released.recv()).await;
        told.expect("it is told in time").expect("the manager runs")
    }

    /// It is level with the source now, or no more.
    async fn told_level(&mut self, is_level: bool) {
        match self.fact().await {
            Fact::Level(level) => {
                assert_eq!((&level.name, level.is_level), (&self.spec.name, is_level));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is told for so long.
    async fn silent(&mut self, pause: Duration) {
        let told = timeout(pause, self.released.recv()).await;
        assert!(told.is_err(), "{told:?}");
    }

    /// Let go under this number, with both logs at this offset.
    fn at(&self, incarnation: u64, end: i64) -> Released {
        let end = Offset::new(end);
        let incarnation = Incarnation(incarnation);
        Released { name: self.spec.name.clone(), incarnation, end, last_source_offset: end }
    }

    /// The same, wanted under another number.
    fn anew(&self, incarnation: u64) -> PartitionSpec {
        PartitionSpec { incarnation: Incarnation(incarnation), ..self.spec.clone() }
    }

    async fn end(self) {
        let strangers = (self.source.dump(MIRROR, 0), self.destination.dump(TOPIC, 0));
        assert_eq!((strangers.0.end, strangers.1.end), (0, 0));
        self.stop.cancel();
        self.task.await.expect("the manager ends without a panic");
    }
}

async fn connect(side: Side, cluster: &TestCluster) -> Arc<Cluster> {
    let (net, client) = (cluster.net().clone(), CLIENT.to_owned());
    let dial = Arc::new(NetDial { net, client, timeout: SECOND * 10 });
    Cluster::connect(options(side, cluster), dial, 1).await.expect("it answers")
}

fn limits() -> Limits {
    Limits {
        waiting_bytes_max: 64 << 10,
        fetch_bytes_max: 64 << 10,
        append_bytes_max: 1 << 20,
        unpacked_bytes_max: 1 << 20,
        held_bytes_max: 1 << 20,
        light_bytes_max: 1 << 10,
        producer_age_ms_max: 86_400_000,
        policy: Policy::default(),
    }
}

/// A partition has one machine: what was let go comes back before it is begun anew.
#[tokio::test(start_paused = true)]
async fn wanted_again_before_it_came_back_it_waits_for_what_is_in_flight() {
    let mut flow = Flow::copying(5).await;
    let line = flow.append_line();
    line.hold(true);
    flow.append(5);
    sleep(SECOND).await;
    flow.want(&[]).await;
    flow.want(&[&flow.anew(2)]).await;
    for _ in 0..20 {
        sleep(SECOND / 10).await;
        assert_ne!(flow.state(), "Mirroring", "a second one while the first one's append is out");
    }
    flow.silent(SECOND).await;
    line.hold(false);
    assert_eq!(flow.told().await, flow.at(1, 10));
    flow.append(5);
    flow.level().await;
    assert_eq!(flow.append_line().id(), line.id(), "the lane had no reason to end");
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_under_another_number_is_begun_anew_after_the_old_one_was_let_go() {
    let mut flow = Flow::copying(5).await;
    for number in 2..6 {
        flow.want(&[&flow.anew(number)]).await;
        let end = 5 * (number as i64 - 1);
        assert_eq!(flow.told().await, flow.at(number - 1, end));
        flow.append(5);
        flow.level().await;
    }
    // an older one is no news
    flow.want(&[&flow.anew(2)]).await;
    flow.silent(SECOND * 60).await;
    flow.append(5);
    flow.level().await;
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_let_go_stays_so_until_it_is_wanted_under_another_number() {
    let mut flow = Flow::copying(5).await;
    flow.release(How::Leave).await;
    assert_eq!(flow.told().await, flow.at(1, 5));
    flow.append(5);
    flow.want(&[&flow.spec]).await;
    flow.silent(SECOND * 60).await;
    assert_eq!(flow.destination.dump(MIRROR, 0).end, 5, "nobody holds it");
    // asked once more it says so once more
    flow.release(How::Drain).await;
    assert_eq!(flow.told().await, flow.at(1, 5));
    flow.want(&[&flow.anew(2)]).await;
    flow.level().await;
    flow.end().await;
}

/// What was sent and never answered may still arrive: nobody is told before that is over.
#[tokio::test(start_paused = true)]
async fn after_a_lost_connection_it_is_let_go_behind_a_barrier_and_the_end_counts_what_landed() {
    for source_is_away in [false, true] {
        let mut flow = Flow::copying(5).await;
        let line = flow.append_line();
        // the request arrives, its answer never does
        line.cut_after(Way::ToClient, 1);
        flow.append(5);
        flow.wait("the append", |flow| flow.destination.dump(MIRROR, 0).end == 10).await;
        if source_is_away {
            flow.source.kill(1);
        }
        flow.release(How::Leave).await;
        assert_eq!(flow.told().await, flow.at(1, 10), "{source_is_away}");
        flow.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_whose_destination_topic_is_gone_is_let_go_without_an_end() {
    let mut flow = Flow::copying(5).await;
    let line = flow.append_line();
    line.hold(true);
    flow.append(5);
    sleep(SECOND).await;
    flow.destination.change(|state| state.delete_topic(MIRROR)).expect("it was there");
    line.reset_now();
    flow.release(How::Leave).await;
    let told = flow.told().await;
    assert_eq!((told.end, told.last_source_offset), (None, None));
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_is_level_when_both_logs_are_and_stay_so() {
    let mut flow = Flow::copying(5).await;
    flow.release(How::Drain).await;
    // never for as long as it takes to be found level twice
    for _ in 0..10 {
        flow.silent(SECOND * 3 / 2).await;
        flow.append(5);
    }
    flow.told_level(true).await;
    flow.silent(SECOND * 60).await;
    // it is copied on, whatever was said
    flow.append(5);
    flow.told_level(false).await;
    flow.told_level(true).await;
    assert_copied(&flow.source.dump(TOPIC, 0), &flow.destination.dump(MIRROR, 0), 60);
    // what cannot be asked about is level no more
    flow.source.kill(1);
    flow.told_level(false).await;
    flow.source.restart(1);
    flow.told_level(true).await;
    flow.release(How::Leave).await;
    assert_eq!(flow.told().await, flow.at(1, 60));
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_waits_for_an_open_transaction_and_fills_the_hole_at_the_end() {
    let mut flow = Flow::copying(5).await;
    let now = flow.source.look(|state| state.now_ms());
    flow.source.append_txn(TOPIC, 0, (7, 0, 0), Build::plain(now, "open", 3));
    flow.release(How::Drain).await;
    flow.silent(SECOND * 60).await;
    flow.source.end_txn(TOPIC, 0, (7, 0), true);
    flow.told_level(true).await;
    flow.release(How::Leave).await;
    assert_eq!(flow.told().await, flow.at(1, 9), "three records and the marker");
    flow.end().await;

    let mut flow = Flow::start().await;
    flow.append(5);
    flow.append(5);
    flow.source.remove_batch(TOPIC, 0, 5);
    let spec = flow.spec.clone();
    flow.want(&[&spec]).await;
    flow.release(How::Drain).await;
    flow.told_level(true).await;
    flow.release(How::Leave).await;
    assert_eq!(flow.told().await, flow.at(1, 10));
    assert_copied(&flow.source.dump(TOPIC, 0), &flow.destination.dump(MIRROR, 0), 10);
    flow.end().await;
}

#[tokio::test(start_paused = true)]
async fn leave_overtakes_a_drain_that_waits_and_a_halt_is_waited_for() {
    let mut flow = Flow::copying(5).await;
    let halt = Halt::Deleted { side: Side::Source };
    flow.release(How::Drain).await;
    flow.order(ToManager::Halt(halt)).await;
    flow.silent(SECOND * 60).await;
    assert_eq!(flow.state(), "Halted");
    flow.release(How::Leave).await;
    assert_eq!(flow.told().await, flow.at(1, 5));
    flow.end().await;
}

/// A halt that reaches a lane when the partition has just left it is not lost.
#[tokio::test(start_paused = true)]
async fn a_halt_that_crosses_a_partition_on_its_way_out_holds() {
    for pause_ms in 0..8 {
        let mut flow = Flow::copying(5).await;
        let takes = Takes { batch_bytes_max: Some(1 << 19), ..flow.spec.takes.clone() };
        flow.want(&[&PartitionSpec { takes, ..flow.spec.clone() }]).await;
        sleep(Duration::from_millis(pause_ms)).await;
        flow.order(ToManager::Halt(Halt::Deleted { side: Side::Source })).await;
        flow.append(5);
        sleep(SECOND * 60).await;
        assert_eq!(flow.state(), "Halted", "{pause_ms} ms");
        assert_eq!(flow.destination.dump(MIRROR, 0).end, 5, "{pause_ms} ms");
        flow.end().await;
    }
}

/// Nobody waits for ever for somebody else's room: more partitions than any channel holds.
#[tokio::test(start_paused = true)]
async fn more_partitions_than_a_lane_takes_orders_come_and_go() {
    const COUNT: i32 = 300;
    let mut flow = Flow::of(COUNT).await;
    for partition in 0..COUNT {
        let now = flow.source.look(|state| state.now_ms());
        flow.source.append(TOPIC, partition, &Build::plain(now, &format!("b{partition}"), 5));
    }
    let spec = |flow: &Flow, partition, number| {
        let name = MirrorPartition { partition: PartitionId(partition), ..flow.spec.name.clone() };
        PartitionSpec { name, ..flow.anew(number) }
    };
    for number in 1..4 {
        let specs: Vec<_> = (0..COUNT).map(|partition| spec(&flow, partition, number)).collect();
        flow.want(&specs.iter().collect::<Vec<_>>()).await;
        let mut left: BTreeSet<i32> = (0..COUNT).collect();
        while number > 1 && !left.is_empty() {
            let told = flow.told().await;
            assert_eq!(told.incarnation, Incarnation(number - 1));
            assert!(left.remove(&told.name.partition.0), "told twice");
        }
        flow.wait("all", |flow| {
            let rows = flow.board.read(flow.wall.now());
            let level = |seen: &Snapshot| seen.destination_end == Offset::new(5);
            rows.len() == COUNT as usize && rows.iter().all(|(_, seen)| level(seen))
        })
        .await;
    }
    flow.end().await;
}
