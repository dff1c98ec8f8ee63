//! A flood of scrapes whose clients go at once: what the service port holds for them.
//!
//! It never starts a link: 9,000 partitions are made up.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use isolog::service::Access;
use isolog::service::Counter;
use isolog::service::Listen;
use isolog::service::Options;
use isolog::service::view::Check;
use isolog::service::view::LinkView;
use isolog::service::view::PartitionView;
use isolog::service::view::Sight;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::HEAP;
use super::alone;

const PARTITIONS: i32 = 9_000;
const CLIENTS: usize = 722;
/// The text of so many partitions is 15 MB, twice that while it grows, and its views another few.
/// Before there was a bound it was 4.8 GB.
const HEAP_BYTES_MAX: usize = 96 << 20;
/// So that most requests are read before their clients go; nothing depends on it.
const CLIENT_PAUSE: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Many {
    alive: AtomicUsize,
    most: AtomicUsize,
    looks: AtomicUsize,
}

impl Sight for Many {
    fn partitions(&self) -> Vec<PartitionView> {
        let alive = self.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(alive, Ordering::SeqCst);
        self.looks.fetch_add(1, Ordering::SeqCst);
        let view = |partition| PartitionView {
            link: "dr".into(),
            topic: "a-topic-with-a-name".into(),
            partition,
            state: "Mirroring".into(),
            source_end: Some(1 << 40),
            destination_end: Some(1 << 40),
            destination_hwm: Some(1 << 40),
            lag_records: Some(5),
            lag_bytes: Some(5),
            lag_ms: Some(5),
            ..PartitionView::default()
        };
        let views = (0..PARTITIONS).map(view).collect();
        self.alive.fetch_sub(1, Ordering::SeqCst);
        views
    }

    fn links(&self) -> Vec<LinkView> {
        Vec::new()
    }

    fn readiness(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// H2: 722 × (GET, then RST), of the metrics and of the JSON. Health answers meanwhile.
#[test]
fn clients_that_go_at_once_leave_nothing_behind() {
    let _alone = alone();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        for path in ["/metrics", "/v1/partitions", "/v1/partitions?topic=a-topic-with-a-name"] {
            flood(path).await;
        }
    });
    runtime.shutdown_background();
}

async fn flood(path: &str) {
    let listen = Listen::new("127.0.0.1:0".parse().expect("an address"), Access::default());
    let listen = listen.expect("loopback is safe");
    let options = Options::new(listen);
    let counter = Counter::open(&options).await.expect("a free port");
    let (address, shutdown) = (counter.address(), CancellationToken::new());
    let sight = Arc::new(Many::default());
    let served = tokio::spawn(counter.serve(sight.clone(), shutdown.clone()));
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("the request goes out");
        tokio::time::sleep(CLIENT_PAUSE).await;
        // closed by RST
        stream.set_zero_linger().expect("a socket option");
    }
    let mut health = TcpStream::connect(address).await.expect("a connection");
    health.write_all(b"GET /health/live HTTP/1.0\r\n\r\n").await.expect("the request goes out");
    let mut answer = String::new();
    let read = health.read_to_string(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    assert!(read.is_ok_and(|read| read.is_ok()) && answer.contains(" 200 "), "{answer}");
    // a whole answer still comes
    let mut last = TcpStream::connect(address).await.expect("a connection");
    let ask = format!("GET {path} HTTP/1.0\r\n\r\n");
    last.write_all(ask.as_bytes()).await.expect("the request goes out");
    let bytes = tokio::io::copy(&mut last, &mut tokio::io::sink()).await.expect("an answer");
    let peak = HEAP.peak_usage().saturating_sub(before);
    let (most, looks) = (sight.most.load(Ordering::SeqCst), sight.looks.load(Ordering::SeqCst));
    println!("{path}: {bytes} bytes, {looks} looks, {most} at once, heap {} MiB", peak >> 20);
    assert_eq!(most, 1, "{path}: prepared at once");
    assert!(peak < HEAP_BYTES_MAX, "{path}: {peak} bytes of heap for {CLIENTS} clients");
    shutdown.cancel();
    served.await.expect("it does not panic");
}
