//! One connection against peers that lie, stall, dribble and hang up, in paused time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use isolog::cluster::backoff::Dice;
use isolog::cluster::conn::Answer;
use isolog::cluster::conn::Conn;
use isolog::cluster::conn::Limits;
use isolog::cluster::dial::Dial;
use isolog::cluster::dial::TcpDial;
use isolog::cluster::error::ClusterError;
use isolog::cluster::error::Kind;
use isolog::cluster::error::Peer;
use isolog::cluster::error::Phase;
use isolog::ids::Side;
use isolog::wire::error::Remedy;
use isolog::wire::error::WireError;
use isolog::wire::versions::ApiKey;
use protocol_tests::scripted::End;
use protocol_tests::scripted::MODERN;
use protocol_tests::scripted::MemStream;
use protocol_tests::scripted::frame;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio::time::sleep;

const LIMITS: Limits =
    Limits { frame_bytes_max: 1 << 20, kept_bytes_max: 1 << 20, slabs: 2, in_flight_max: 4 };
const WAIT: Duration = Duration::from_secs(5);

fn peer() -> Peer {
    Peer { side: Side::Source, broker: None, address: "kafka-1:9092".into() }
}

fn conn_over(stream: MemStream) -> Conn {
    Conn::new(Box::new(stream), peer(), &Arc::from("test"), LIMITS)
}

fn pair() -> (Conn, End) {
    let (near, far, _) = MemStream::pair(1 << 16);
    (conn_over(near), far)
}

fn ask(conn: &mut Conn, body: &'static [u8]) -> i32 {
    let body = [Bytes::from_static(body)];
    conn.send(ApiKey::Metadata, 12, body, Instant::now() + WAIT).unwrap()
}

/// A connection that has greeted, and its peer.
async fn greeted() -> (Conn, End) {
    let (mut conn, mut end) = pair();
    let (greeting, ()) = tokio::join!(conn.greet(Instant::now() + WAIT), end.greet(MODERN));
    greeting.unwrap();
    (conn, end)
}

/// How a greeting ends when the peer does `what` after it has read the question.
async fn greet<F>(what: impl FnOnce(End) -> F) -> ClusterError
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut conn, mut end) = pair();
    let began = Instant::now();
    let (greeting, ()) = tokio::join!(conn.greet(Instant::now() + WAIT), async {
        end.request().await.unwrap();
        tokio::spawn(what(end));
    });
    assert!(began.elapsed() <= WAIT, "within its deadline");
    let error = greeting.unwrap_err();
    let again = conn.turn().await.unwrap_err();
    assert_eq!(error.to_string(), again.to_string(), "a dead connection stays dead");
    assert!(conn.send(ApiKey::Metadata, 12, [], Instant::now() + WAIT).is_err());
    error
}

async fn says(bytes: &'static [u8]) -> ClusterError {
    greet(move |mut end| async move {
        end.send(bytes).await;
        sleep(WAIT * 2).await;
    })
    .await
}

#[track_caller]
fn tells(error: &ClusterError, remedy: Remedy, words: &[&str]) {
    assert_eq!(error.remedy(), remedy, "{error}");
    let text = error.to_string();
    for word in [&["source", "kafka-1:9092"], words].concat() {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn foreign_servers_are_named() {
    tells(&says(b"\x15\x03\x03\x00\x02\x02\x46").await, Remedy::Redial, &["TLS", "SASL_SSL"]);
    tells(&says(b"HTTP/1.1 400 Bad Request\r\n").await, Remedy::Redial, &["HTTP", "port"]);
    tells(&says(b"SSH-2.0-OpenSSH_9.9\r\n").await, Remedy::Redial, &["SSH"]);
}

#[tokio::test(start_paused = true)]
async fn lengths_out_of_bounds_end_it() {
    for bytes in [b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\x00\x00\x00\x03"] {
        let error = says(bytes).await;
        assert!(matches!(error.kind, Kind::Wire(_)), "{error}");
        tells(&error, Remedy::Redial, &["ApiVersions", "response size"]);
    }
    // a greeting has its own, small cap
    tells(&says(b"\x00\x10\x00\x00").await, Remedy::Redial, &["at most 65536"]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_at_once_may_want_tls() {
    let error = greet(|end| async move { drop(end) }).await;
    assert!(matches!(error.kind, Kind::Closed(Phase::Greeting)), "{error}");
    tells(&error, Remedy::Redial, &["ApiVersions", "closed", "TLS"]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_meets_the_deadline() {
    let began = Instant::now();
    let error = says(b"").await;
    assert_eq!(began.elapsed().as_secs(), WAIT.as_secs());
    assert!(matches!(error.kind, Kind::Deadline(_)), "{error}");
    tells(&error, Remedy::Redial, &["ApiVersions", "no answer within 5000 ms"]);
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_does_not_put_the_deadline_off() {
    let error = greet(|mut end| async move {
        for byte in [0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
            end.send(&[byte]).await;
            sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    assert!(matches!(error.kind, Kind::Deadline(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_and_garbage_bodies_end_it() {
    let error = greet(|mut end| async move { end.send(&[0, 0, 0, 9, 0, 0]).await }).await;
    assert!(matches!(error.kind, Kind::Closed(_)), "{error}");
    let error = says(&[0, 0, 0, 9, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]).await;
    assert!(matches!(error.kind, Kind::Wire(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_old_broker_is_told_the_version_it_needs() {
    // error 35 and version 0's shape: Metadata 0 to 8, as Kafka 2.3 has it
    let error = says(&[0, 0, 0, 16, 0, 0, 0, 0, 0, 35, 0, 0, 0, 1, 0, 3, 0, 0, 0, 8]).await;
    assert!(matches!(error.kind, Kind::Version(_)), "{error}");
    tells(&error, Remedy::Halt, &["Metadata", "9-13", "0-8", "Kafka 2.8"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_another_question_ends_it() {
    let (mut conn, mut end) = greeted().await;
    let correlation = ask(&mut conn, b"x");
    let (answer, ()) = tokio::join!(conn.turn(), async {
        let mut request = end.request().await.unwrap();
        request.correlation += 1;
        end.answer(&request, b"y").await;
    });
    let error = answer.unwrap_err();
    assert!(matches!(error.kind, Kind::Wire(WireError::Correlation { .. })), "{error}");
    assert!(conn.may_be_applied(correlation));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_asked_for_ends_it() {
    let (mut conn, mut end) = greeted().await;
    assert!(conn.is_alive().await);
    end.send(&[0, 0, 0, 5, 0, 0, 0, 0, 0]).await;
    assert!(!conn.is_alive().await);
    assert!(matches!(conn.turn().await.unwrap_err().kind, Kind::Wire(_)));
}

#[tokio::test(start_paused = true)]
async fn closed_after_the_greeting_may_want_a_login() {
    let (mut conn, mut end) = greeted().await;
    ask(&mut conn, b"x");
    let (answer, ()) = tokio::join!(conn.turn(), async move {
        end.request().await.unwrap();
    });
    let error = answer.unwrap_err();
    assert!(matches!(error.kind, Kind::Closed(Phase::Greeted)), "{error}");
    tells(&error, Remedy::Redial, &["Metadata", "SASL"]);
}

#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_counts_whatever_the_order() {
    let (mut conn, _end) = greeted().await;
    let began = Instant::now();
    for seconds in [30, 3, 60] {
        let deadline = began + Duration::from_secs(seconds);
        conn.send(ApiKey::Fetch, 12, [], deadline).unwrap();
    }
    let error = conn.turn().await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 3, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_no_deadline() {
    let (mut conn, mut end) = greeted().await;
    let idle = tokio::time::timeout(Duration::from_secs(1_000_000), conn.turn()).await;
    assert!(idle.is_err());
    let correlation = ask(&mut conn, b"x");
    let (answer, ()) = tokio::join!(conn.turn(), async {
        let request = end.request().await.unwrap();
        sleep(WAIT / 2).await;
        end.answer(&request, b"y").await;
    });
    assert_eq!(answer.unwrap().correlation, correlation);
}

#[tokio::test(start_paused = true)]
async fn more_in_flight_than_the_bound_is_refused() {
    let (mut conn, _end) = greeted().await;
    (0..LIMITS.in_flight_max).for_each(|_| {
        ask(&mut conn, b"x");
    });
    let error = conn.send(ApiKey::Metadata, 12, [], Instant::now() + WAIT).unwrap_err();
    assert!(matches!(error.kind, Kind::QueueFull { max: 4 }), "{error}");
    assert_eq!((error.remedy(), conn.in_flight()), (Remedy::Retry, 4));
}

#[tokio::test(start_paused = true)]
async fn only_a_request_that_left_whole_may_be_applied() {
    let (near, mut end, _) = MemStream::pair(200);
    let mut conn = conn_over(near);
    let (greeting, ()) = tokio::join!(conn.greet(Instant::now() + WAIT), end.greet(&MODERN[..9]));
    greeting.unwrap();
    let small = ask(&mut conn, b"x");
    let large = ask(&mut conn, &[0; 1000]);
    assert!(!conn.may_be_applied(small), "nothing was written yet");
    let turned = tokio::time::timeout(Duration::from_secs(1), conn.turn()).await;
    assert!(turned.is_err(), "the pipe is full");
    assert!(conn.may_be_applied(small) && !conn.may_be_applied(large));
    drop(end);
    assert!(matches!(conn.turn().await.unwrap_err().kind, Kind::Closed(_)));
    assert!(conn.may_be_applied(small) && !conn.may_be_applied(large));
}

/// Answers of all sizes in pieces of all sizes, while every turn is cancelled again and again.
async fn dribble(seed: u64) {
    let (mut conn, mut end) = greeted().await;
    let mut dice = Dice::new(seed);
    let sizes: Vec<usize> = (0..40)
        .map(|_| [3, 70, 4085, 4087, 4091, 30_000, 200_000][dice.below(7) as usize])
        .collect();
    let served = sizes.clone();
    tokio::spawn(async move {
        let mut dice = Dice::new(seed + 1);
        for (at, size) in served.into_iter().enumerate() {
            let request = end.request().await.unwrap();
            let bytes = frame(&request, &vec![at as u8; size]);
            let mut left = &bytes[..];
            while !left.is_empty() {
                let piece = (dice.below(9_000) as usize + 1).min(left.len());
                end.send(&left[..piece]).await;
                left = &left[piece..];
                if dice.below(3) == 0 {
                    sleep(Duration::from_millis(dice.below(20))).await;
                }
            }
        }
        sleep(WAIT).await;
    });
    let mut answers: Vec<Answer> = Vec::new();
    let mut asked = 0;
    while answers.len() < sizes.len() {
        while asked < sizes.len() && conn.in_flight() < LIMITS.in_flight_max {
            assert_eq!(ask(&mut conn, &[7; 5000]), asked as i32 + 1);
            asked += 1;
        }
        tokio::select! {
            answer = conn.turn() => answers.push(answer.unwrap()),
            () = sleep(Duration::from_millis(dice.below(3))) => {}
        }
    }
    for (at, (answer, size)) in answers.iter().zip(&sizes).enumerate() {
        assert_eq!((answer.correlation, answer.body.len()), (at as i32 + 1, *size), "seed {seed}");
        assert!(answer.body.iter().all(|byte| *byte == at as u8), "seed {seed}, answer {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_turn_loses_nothing() {
    for seed in 0..30 {
        dribble(seed * 1000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_buffer_is_used_again() {
    let (mut conn, mut end) = greeted().await;
    tokio::spawn(async move {
        while let Some(request) = end.request().await {
            end.answer(&request, &[1; 300_000]).await;
        }
    });
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..10 {
        assert_eq!(conn.free_slabs(), 2);
        ask(&mut conn, b"x");
        let first = conn.turn().await.unwrap().body;
        let slice = first.slice(1000..1010);
        places.insert(first.as_ptr() as usize);
        drop(first);
        assert_eq!(conn.free_slabs(), 1, "a slice keeps its buffer");
        ask(&mut conn, b"x");
        places.insert(conn.turn().await.unwrap().body.as_ptr() as usize);
        drop(slice);
    }
    assert_eq!(places.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_requests_in_flight_it_is_aborted_never_closed() {
    let run = async |in_flight: bool, end_it: fn(Conn)| {
        let (near, mut end, aborted) = MemStream::pair(1 << 16);
        let mut conn = conn_over(near);
        let (greeting, ()) = tokio::join!(conn.greet(Instant::now() + WAIT), end.greet(MODERN));
        greeting.unwrap();
        if in_flight {
            ask(&mut conn, b"x");
        }
        end_it(conn);
        aborted.load(Ordering::SeqCst)
    };
    assert!(!run(false, drop).await);
    assert!(!run(false, Conn::close).await);
    assert!(run(false, Conn::abort).await);
    assert!(run(true, drop).await);
    assert!(run(true, Conn::close).await);
}

fn tcp() -> TcpDial {
    TcpDial { timeout: Duration::from_secs(2) }
}

#[tokio::test]
async fn an_abort_is_an_rst_and_a_close_is_a_fin() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for aborts in [true, false] {
        let (near, far) =
            tokio::join!(async { tcp().dial("localhost", port).await.unwrap() }, async {
                listener.accept().await.unwrap().0
            });
        let (near, mut far) = (near, far);
        if aborts {
            near.abort()
        } else {
            drop(near)
        }
        let read = far.read(&mut [0; 8]).await;
        match aborts {
            true => assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset),
            false => assert_eq!(read.unwrap(), 0),
        }
    }
}

#[tokio::test]
async fn dials_fail_with_their_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = tcp().dial("127.0.0.1", port).await.err().unwrap().to_string();
    assert!(refused.contains("is the broker up"), "{refused}");
    let unknown = tcp().dial("no-such-host.invalid", 9092).await.err().unwrap().to_string();
    assert!(unknown.contains("DNS") || unknown.contains("no connection within"), "{unknown}");
}
