//! The counter over a real loopback socket, with a sight made up for it.
//!
//! It never starts a link.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

use super::view::Check;
use super::view::LinkView;
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
    let listen = Listen::new("127.0.0.1:0".parse().unwrap(), Access::default()).unwrap();
    let options = Options { listen, log_json: false, log_level: "info".into() };
    let counter = Counter::open(&options).await.unwrap();
    let (address, shutdown) = (counter.address(), CancellationToken::new());
    let task = tokio::spawn(counter.serve(Arc::new(Three), shutdown.clone()));
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
    assert!(places("/v1/partitions?link=other").await.is_empty());
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
    let options = Options { listen, log_json: false, log_level: "info".into() };
    let said = Counter::open(&options).await.unwrap_err().to_string();
    assert!(said.starts_with(&format!("cannot listen on {}: ", running.address)), "{said}");
}
