//! The counter over a real loopback socket, with a sight made up for it.
//!
//! It never starts a link.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

use crate::http::seats::Limits;

use super::view::Check;
use super::view::GroupView;
use super::view::LinkView;
use super::view::OffsetView;
use super::view::PartitionView;

struct Three;

impl Sight for Three {
    fn partitions(&self) -> Vec<PartitionView> {
        let view = |topic: &str, partition| PartitionView {
            link: "dr".into(),
            topic: topic.into(),
            partition,
            lag_records: Some(5),
            ..PartitionView::default()
        };
        vec![view("b", 0), view("a", 10), view("a", 9)]
    }

    fn links(&self) -> Vec<LinkView> {
        vec![LinkView { name: "dr".into(), ..LinkView::default() }]
    }

    fn groups(&self, name: Option<&str>, is_whole: bool) -> Vec<GroupView> {
        let view = |link: &str, group: &str| GroupView {
            link: link.into(),
            group: group.into(),
            offsets: is_whole.then(OffsetView::default).into_iter().collect(),
            ..GroupView::default()
        };
        let all = [view("dr", "b"), view("dr", "a"), view("west", "a")];
        all.into_iter().filter(|one| name.is_none_or(|name| one.group == name)).collect()
    }

    fn readiness(&self) -> Vec<Check> {
        let check = |name: &str, ok| Check { name: name.into(), ok, reason: "why".into() };
        vec![check("source", true), check("destination", false)]
    }
}

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    start_with(Arc::new(Three), Access::default(), Limits::PORT).await
}

async fn start_with(sight: Arc<dyn Sight>, access: Access, limits: Limits) -> Running {
    let listen = Listen::new("127.0.0.1:0".parse().unwrap(), access).unwrap();
    let options = Options::new(listen);
    let counter = Counter::open(&options).await.unwrap();
    let counter = Counter { door: counter.door.with(limits), ..counter };
    let (address, shutdown) = (counter.address(), CancellationToken::new());
    let task = tokio::spawn(counter.serve(sight, shutdown.clone()));
    Running { address, shutdown, task }
}

impl Running {
    /// Sends bytes and reads until the other side closes.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        answer
    }

    /// Sends bytes and keeps the connection.
    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn every_route_answers() {
    let running = start().await;
    assert_eq!(running.get("/health/live").await, (200, "{\"live\":true}".into()));
    let (status, body) = running.get("/health/ready").await;
    let right = "{\"ready\":false,\"checks\":[{\"name\":\"source\",\"ok\":true,\"reason\":\"why\"},\
                 {\"name\":\"destination\",\"ok\":false,\"reason\":\"why\"}]}";
    assert_eq!((status, body.as_str()), (503, right));
    let (status, body) = running.get("/metrics").await;
    assert_eq!(status, 200);
    let line = "isolog_partition_lag_records{link=\"dr\",topic=\"a\",partition=\"9\"} 5\n";
    assert!(body.contains(line), "{body}");
    let (_, links) = running.get("/v1/links").await;
    assert!(links.starts_with("[{\"name\":\"dr\""), "{links}");
    let (status, body) = running.get("/nothing").await;
    assert!(status == 404 && body.contains("\"error_code\":404") && body.contains("/v1/links"));
}

/// RFC 9112, 3.2; HTTP/1.0 has no such header.
#[tokio::test]
async fn a_request_names_its_host_once() {
    let running = start().await;
    let status = async |head: &str| {
        let answer = running.send(&format!("GET /health/live {head}\r\n\r\n")).await;
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let end = "Connection: close";
    assert_eq!(status(&format!("HTTP/1.1\r\nHost: localhost\r\n{end}")).await, 200);
    assert_eq!(status(&format!("HTTP/1.1\r\n{end}")).await, 400);
    assert_eq!(status(&format!("HTTP/1.1\r\nHost: localhost\r\nHost: a\r\n{end}")).await, 400);
    assert_eq!(status("HTTP/1.0").await, 200);
}

#[tokio::test]
async fn partitions_of_a_link_that_is_not_there_are_a_404() {
    let running = start().await;
    let (status, body) = running.get("/v1/partitions?link=xx").await;
    assert!(status == 404 && body.contains("/v1/links"), "{status} {body}");
    assert_eq!(running.get("/v1/partitions?link=dr&topic=none").await, (200, "[]".into()));
}

#[tokio::test]
async fn groups_are_sorted_chosen_and_told_by_partition_where_one_is_named() {
    let running = start().await;
    let groups = async |query: &str| {
        let (status, body) = running.get(&format!("/v1/groups{query}")).await;
        assert_eq!(status, 200, "{body}");
        let views: Vec<GroupView> = serde_json::from_str(&body).unwrap();
        let row = |one: GroupView| (one.link, one.group, one.offsets.len());
        views.into_iter().map(row).collect::<Vec<_>>()
    };
    let row = |link: &str, group: &str, offsets| (link.to_owned(), group.to_owned(), offsets);
    assert_eq!(groups("").await, [row("dr", "a", 0), row("dr", "b", 0), row("west", "a", 0)]);
    assert_eq!(groups("?group=a&link=west").await, [row("west", "a", 1)]);
    assert_eq!(groups("?link=west&offsets=true").await, [row("west", "a", 1)]);
    assert_eq!(groups("?group=%22").await, []);
    let (status, body) = running.get("/v1/groups?name=a").await;
    assert!(status == 400 && body.contains("group=NAME"), "{body}");
}

/// Clients that know no chunks read every answer, also over HTTP/1.1.
#[tokio::test]
async fn every_answer_says_how_long_it_is() {
    let running = start().await;
    for path in
        ["/metrics", "/health/live", "/health/ready", "/v1/links", "/v1/partitions", "/v1/groups"]
    {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = running.send(&ask).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{path}: {head}");
    }
}

#[tokio::test]
async fn partitions_are_sorted_and_chosen() {
    let running = start().await;
    let places = async |path: &str| -> Vec<String> {
        let (status, body) = running.get(path).await;
        assert_eq!(status, 200, "{path}");
        let views: Vec<PartitionView> = serde_json::from_str(&body).unwrap();
        views.iter().map(|view| format!("{}-{}", view.topic, view.partition)).collect()
    };
    assert_eq!(places("/v1/partitions").await, ["a-9", "a-10", "b-0"]);
    assert_eq!(places("/v1/partitions?topic=b&link=dr").await, ["b-0"]);
    assert_eq!(running.get("/v1/partitions?link=other").await.0, 404);
    assert_eq!(running.get("/v1/partitions?topik=b").await.0, 400);
}

#[tokio::test]
async fn what_is_not_a_plain_local_get_is_refused() {
    let running = start().await;
    let check = async |request: &str, status: &str| {
        let answer = running.send(request).await;
        assert!(answer.starts_with(status), "{request}: {answer}");
    };
    check("POST /metrics HTTP/1.0\r\n\r\n", "HTTP/1.0 405").await;
    check("GET /metrics HTTP/1.0\r\nHost: evil.example\r\n\r\n", "HTTP/1.0 403").await;
    check("GET /health/live HTTP/1.0\r\nHost: localhost:1\r\n\r\n", "HTTP/1.0 200").await;
    let long = "x".repeat(64 * 1024);
    check(&format!("GET /health/live HTTP/1.0\r\nX: {long}\r\n\r\n"), "HTTP/1.1 431").await;
    check("not http at all\r\n\r\n", "HTTP/1.1 400").await;
}

#[tokio::test]
async fn a_silent_client_is_shown_out_and_does_not_hold_up_the_stop() {
    let running = start().await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(b"GET /health").await.unwrap();
    assert_eq!(running.get("/health/live").await.0, 200);
    running.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let running = start().await;
    let listen = Listen::new(running.address, Access::default()).unwrap();
    let options = Options::new(listen);
    let said = Counter::open(&options).await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("cannot listen on {}: ", running.address)), "{said}");
}

/// Waits for a little of the answer.
async fn hear(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 12];
    let read = stream.read_exact(&mut bytes);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// H3: clients that are served, and those that begin to ask, hold no seat that others want.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stay_give_way_to_new_ones() {
    let running = start().await;
    for request in ["GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /health"] {
        let mut staying = Vec::new();
        for _ in 0..Limits::PORT.connections_max + 8 {
            let mut stream = running.open(request).await;
            if request.ends_with("\r\n\r\n") {
                assert_eq!(hear(&mut stream).await, "HTTP/1.1 200");
            }
            staying.push(stream);
        }
        assert_eq!(running.get("/health/live").await.0, 200);
    }
}

/// H3: who is not let in keeps no seat.
#[tokio::test(flavor = "multi_thread")]
async fn refused_clients_are_closed() {
    let token = Some(Secret::new("a token of sixteen bytes".to_owned()));
    let access = Access { token, ..Access::default() };
    let running = start_with(Arc::new(Three), access, Limits::PORT).await;
    let ask = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n";
    // read to the end: the other side closes
    let answer = running.send(&format!("{ask}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    let answer = running.send("GET /health/live HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("connection: close"), "{answer}");
    let known = "Authorization: Bearer a token of sixteen bytes\r\n\r\n";
    let mut stream = running.open(&format!("{ask}{known}")).await;
    assert_eq!(hear(&mut stream).await, "HTTP/1.1 200");
}

/// Rows so long that their text fits into no socket's buffer, and so few that they are prepared in
/// no time.
struct Many;

impl Sight for Many {
    fn partitions(&self) -> Vec<PartitionView> {
        let view = |partition| PartitionView {
            partition,
            reason: "long ".repeat(10_000),
            ..Three.partitions()[0].clone()
        };
        (0..120).map(view).collect()
    }

    fn links(&self) -> Vec<LinkView> {
        Vec::new()
    }

    fn readiness(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// H2: a client that does not read its answer holds neither its seat nor the answer for long.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_give_way_and_end() {
    let patience = Duration::from_millis(100);
    let ask = "GET /v1/partitions HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let limits = Limits { connections_max: 4, patience, ..Limits::PORT };
    let running = start_with(Arc::new(Many), Access::default(), limits).await;
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut stream = running.open(ask).await;
        assert_eq!(hear(&mut stream).await, "HTTP/1.1 200");
        deaf.push(stream);
    }
    assert_eq!(running.get("/health/live").await.0, 200);

    // nobody gives way here: the answer itself comes to its end
    let hour = Duration::from_secs(3600);
    let limits = Limits { connections_max: 1, patience: hour, flow_max: patience, ..Limits::PORT };
    let running = start_with(Arc::new(Many), Access::default(), limits).await;
    let mut deaf = running.open(ask).await;
    assert_eq!(hear(&mut deaf).await, "HTTP/1.1 200");
    assert_eq!(running.get("/health/live").await.0, 200);
}

/// Holds back its partitions until the other end is dropped.
struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl Sight for Slow {
    fn partitions(&self) -> Vec<PartitionView> {
        assert!(self.0.lock().unwrap().recv().is_err(), "nothing is ever sent");
        Vec::new()
    }

    fn links(&self) -> Vec<LinkView> {
        Vec::new()
    }

    fn readiness(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// However many large answers are asked for, health has seats, and is not behind them.
#[tokio::test(flavor = "multi_thread")]
async fn large_answers_leave_seats_for_health() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let running = start_with(
        Arc::new(Slow(std::sync::Mutex::new(released))),
        Access::default(),
        Limits::PORT,
    )
    .await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..=routes::LARGE_MAX {
        let mut stream =
            running.open("GET /v1/partitions HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        asked.spawn(async move { hear(&mut stream).await });
    }
    // only the one that is too many has an answer
    assert_eq!(asked.join_next().await.unwrap().unwrap(), "HTTP/1.1 429");
    assert_eq!(running.get("/health/ready").await.0, 200);
    assert_eq!(running.get("/health/live").await.0, 200);
    drop(release);
    for said in asked.join_all().await {
        assert_ne!(said, "HTTP/1.1 429");
    }
}

/// What a fault of isolog's own ends is not shown as if it went on.
#[tokio::test]
async fn a_task_that_ends_before_it_is_told_to_is_a_fault() {
    let stop = CancellationToken::new();
    let what = "the driver of links";
    let panicked = ended(what, async { panic!("on purpose") }, stop.clone()).await.unwrap();
    let early = ended(what, async {}, stop.clone()).await.unwrap();
    for text in [&panicked, &early] {
        assert!(
            text.contains("the driver of links has ended, which is a fault of isolog"),
            "{text}"
        );
    }
    assert!(panicked.contains("panicked"), "{panicked}");
    stop.cancel();
    assert_eq!(ended(what, async {}, stop).await, None);
}
