//! The registry client against registries that follow a script: good ones, and bad ones.
//!
//! It never asks a real registry.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use isolog::control::schemas::Name;
use isolog::http::url::Url;
use isolog::schemas::Choice;
use isolog::schemas::Contexts;
use isolog::schemas::client::Auth;
use isolog::schemas::client::Client;
use isolog::schemas::client::Options;
use isolog::schemas::copy::Nobody;
use isolog::schemas::copy::Pair;
use isolog::schemas::registry::Registry;
use isolog::secure::Secret;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

/// What was asked, in order: method and path, and the body.
type Asked = Arc<Mutex<Vec<(String, String)>>>;
type Script = Arc<dyn Fn(&str, usize) -> String + Send + Sync>;

/// A registry that answers by a script, which is told what is asked and how often that was.
struct Scripted {
    url: Url,
    asked: Asked,
}

impl Scripted {
    async fn open(script: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let asked = Asked::default();
        let (script, seen): (Script, Asked) = (Arc::new(script), asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, script.clone(), seen.clone()));
            }
        });
        Scripted { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }

    fn registry(&self) -> Registry {
        registry(vec![self.url.clone()], Auth::None)
    }
}

fn registry(urls: Vec<Url>, auth: Auth) -> Registry {
    let deadline = Duration::from_secs(5);
    Registry::new(Client::new(Options { urls, auth, tls: None, deadline }))
}

async fn answer(mut stream: TcpStream, script: Script, asked: Asked) {
    let mut bytes = Vec::new();
    let text = loop {
        let mut part = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut part).await else { return };
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |it| it.parse().unwrap()) {
            break text;
        }
    };
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let login = head.lines().find(|it| it.starts_with("authorization: ")).unwrap_or_default();
    let times = {
        let mut asked = asked.lock().unwrap();
        asked.push((line.clone(), format!("{login}{body}")));
        asked.iter().filter(|(it, _)| *it == line).count()
    };
    let reply = script(&line, times);
    if reply == "endless" {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").await;
        while stream.write_all(&[b' '; 65536]).await.is_ok() {}
    }
    let _ = stream.write_all(reply.as_bytes()).await;
}

fn reply(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn ok(body: Value) -> String {
    reply(200, &body.to_string())
}

fn absent(code: u32) -> String {
    reply(404, &json!({"error_code": code, "message": "not there"}).to_string())
}

/// A source with one subject, `s`, that has one version under id 7.
fn source(line: &str) -> String {
    match line {
        "GET /config/s" => absent(40408),
        _ if line.starts_with("GET /subjects?") => ok(json!(["s"])),
        _ if line.starts_with("GET /subjects/s/versions/1") => {
            ok(json!({"subject": "s", "version": 1, "id": 7, "schema": "\"string\""}))
        }
        _ if line.starts_with("GET /subjects/s/versions") => ok(json!([1])),
        _ => absent(404),
    }
}

/// A destination in IMPORT mode without subjects that gives what is registered `id`.
fn destination(line: &str, id: i32) -> String {
    match line {
        "GET /mode" => ok(json!({"mode": "IMPORT"})),
        "POST /subjects/s/versions" => ok(json!({"id": id})),
        _ if line.starts_with("GET /subjects?") => ok(json!([])),
        _ => absent(40401),
    }
}

/// How many steps were taken, and how many were missing behind them.
async fn copied(source: &Registry, destination: &Registry) -> Result<(usize, usize), String> {
    let choice = Choice::new(vec!["*".into()], Contexts::Same, None).unwrap();
    let mut steps = 0;
    let pair = Pair { source, destination, choice: &choice, keeper: &Nobody };
    let done = pair.copy(|_| steps += 1).await;
    done.map(|left| (steps, left)).map_err(|error| error.to_string())
}

/// What is said of a source that answers one question otherwise; nothing may be written then.
async fn bad_source(question: &'static str, bad: String) -> String {
    let script = move |line: &str, _| match line.starts_with(question) {
        true => bad.clone(),
        false => source(line),
    };
    let from = Scripted::open(script).await;
    let to = Scripted::open(|line, _| destination(line, 7)).await;
    let said = copied(&from.registry(), &to.registry()).await.unwrap_err();
    assert!(to.asked().iter().all(|line| line.starts_with("GET ")), "{:?}", to.asked());
    said
}

#[tokio::test]
async fn a_source_that_answers_nonsense_is_named_and_nothing_is_written() {
    let version = "GET /subjects/s/versions/1";
    let moved = "HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let one = |id: i64, version: i64| {
        ok(json!({"subject": "s", "version": version, "id": id, "schema": "\"string\""}))
    };
    for (question, bad, said) in [
        ("GET /subjects?", moved.to_owned(), "redirect (302), which is not followed"),
        ("GET /subjects?", reply(200, "<html>"), "is not JSON"),
        ("GET /subjects?", ok(json!({"a": 1})), "is no list"),
        ("GET /subjects?", ok(json!([1])), "a subject is no text"),
        ("GET /subjects?", "endless".to_owned(), "longer than 67108864 bytes"),
        ("GET /subjects/s/versions?", absent(404), "is listed, and its versions are not found"),
        ("GET /subjects/s/versions?", absent(40401), "no subject of the source is chosen"),
        (version, one(-7, 1), "no number above 0"),
        (version, one(1 << 40, 1), "no number above 0"),
        (version, one(7, 2), "about another version"),
        (version, ok(json!({"version": 1, "id": 7})), "there is no schema in it"),
        (version, absent(40402), "not there"),
        ("GET /subjects?", reply(401, "{}"), "401, code 401): no reason is given (check basic"),
        ("GET /subjects?", ok(json!([])), "no subject of the source is chosen"),
    ] {
        let told = bad_source(question, bad).await;
        assert!(told.contains(said), "{told}");
    }
}

#[tokio::test]
async fn a_message_is_cut_short_and_holds_nothing_that_a_terminal_obeys() {
    let message = format!("\u{1b}[2J{}", "x".repeat(10_000));
    let bad = reply(403, &json!({"error_code": 40301, "message": message}).to_string());
    let told = bad_source("GET /subjects?", bad).await;
    assert!(told.len() < 500 && !told.contains('\u{1b}'), "{told}");
}

#[tokio::test]
async fn a_storm_is_waited_out_and_one_without_end_is_told() {
    let storm = |line: &str, times: usize| match (line, times) {
        ("GET /subjects?deleted=true", 1) => reply(429, "{}"),
        ("GET /subjects?deleted=true", 2) => reply(503, "busy"),
        ("GET /subjects?deleted=true", 3) => String::new(),
        _ => source(line),
    };
    let from = Scripted::open(storm).await;
    let names = from.registry().look(|_| true).await.unwrap().subjects;
    assert_eq!(names.into_keys().collect::<Vec<_>>(), [Name::parse("s")]);
    let told = bad_source("GET /subjects?", reply(500, "{}")).await;
    assert!(told.contains("deleted=true failed at every URL") && told.contains("500"), "{told}");
}

#[tokio::test]
async fn another_url_answers_for_one_that_does_not_and_a_login_is_sent() {
    let dead = Scripted::open(|_, _| reply(502, "")).await;
    let well = Scripted::open(|line, _| source(line)).await;
    let login = Auth::Basic(Secret::new("user:hunter2".into()));
    let both = registry(vec![dead.url.clone(), well.url.clone()], login);
    assert_eq!(both.subjects().await.unwrap().len(), 1);
    assert_eq!((dead.asked().len(), well.asked().len()), (1, 2));
    let (_, sent) = well.asked.lock().unwrap()[0].clone();
    assert_eq!(sent, "authorization: Basic dXNlcjpodW50ZXIy");
}

#[tokio::test]
async fn a_destination_that_gives_another_id_or_forgets_is_no_copy() {
    let from = Scripted::open(|line, _| source(line)).await;
    let to = Scripted::open(|line, _| destination(line, 8)).await;
    let said = copied(&from.registry(), &to.registry()).await.unwrap_err();
    assert!(said.contains("gave id 8 where 7 was sent"), "{said}");
    let to = Scripted::open(|line, _| destination(line, 7)).await;
    let said = copied(&from.registry(), &to.registry()).await.unwrap_err();
    assert!(said.contains("took every step, and still differs: register s version 1"), "{said}");
    let sent = to.asked.lock().unwrap();
    let (_, body) = sent.iter().find(|(line, _)| line.starts_with("POST")).unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({"schema": "\"string\"", "id": 7, "version": 1}));
}

/// What a source has got while the rest was copied is the next copy's.
#[tokio::test]
async fn what_comes_meanwhile_comes_with_the_next_copy() {
    let from = Scripted::open(|line, times| match line {
        _ if line.starts_with("GET /subjects/s/versions/2") => {
            ok(json!({"subject": "s", "version": 2, "id": 8, "schema": "\"int\""}))
        }
        "GET /subjects/s/versions" | "GET /subjects/s/versions?deleted=true" if times > 1 => {
            ok(json!([1, 2]))
        }
        _ => source(line),
    });
    let from = from.await;
    let is_there = Arc::new(AtomicBool::new(false));
    let to = Scripted::open(move |line, _| {
        is_there.fetch_or(line.starts_with("POST"), Ordering::SeqCst);
        let asks_of_it = line.starts_with("GET /subjects");
        if asks_of_it && is_there.load(Ordering::SeqCst) {
            source(line)
        } else {
            destination(line, 7)
        }
    });
    let to = to.await;
    assert_eq!(copied(&from.registry(), &to.registry()).await, Ok((1, 0)));
    // the destination of this script has no second one, and says that it took it
    let said = copied(&from.registry(), &to.registry()).await.unwrap_err();
    assert!(
        said.contains("still differs: register s version 2") || said.contains("id 7"),
        "{said}"
    );
}

#[tokio::test]
async fn an_id_that_changes_its_schema_stops_everything() {
    let liar = |line: &str, _: usize| match line {
        _ if line.starts_with("GET /subjects?") => ok(json!(["s", "t"])),
        _ if line.starts_with("GET /subjects/t/versions/1") => {
            ok(json!({"subject": "t", "version": 1, "id": 7, "schema": "\"int\""}))
        }
        _ => source(&line.replace("/t", "/s")),
    };
    let from = Scripted::open(liar).await;
    let to = Scripted::open(|line, _| destination(line, 7)).await;
    let said = copied(&from.registry(), &to.registry()).await.unwrap_err();
    assert!(said.contains("the source says two things of id 7"), "{said}");
    assert!(to.asked().iter().all(|line| line.starts_with("GET ")));
}

/// A source needs no modes; a destination that does not say in which it is gets nothing.
#[tokio::test]
async fn a_destination_without_a_mode_gets_nothing() {
    for (bad, said) in [(ok(json!([])), "there is no mode"), (reply(401, "{}"), "401")] {
        let from = Scripted::open(|line, _| source(line)).await;
        let to = Scripted::open(move |line, _| match line {
            "GET /mode" => bad.clone(),
            _ => destination(line, 7),
        });
        let to = to.await;
        let told = copied(&from.registry(), &to.registry()).await.unwrap_err();
        assert!(told.contains("destination: ") && told.contains(said), "{told}");
        assert!(to.asked().iter().all(|line| line.starts_with("GET ")), "{:?}", to.asked());
    }
}

#[tokio::test]
async fn a_mode_that_was_not_set_is_told() {
    let to = Scripted::open(|line, _| match line {
        "PUT /mode" => ok(json!({"mode": "READWRITE"})),
        _ => destination(line, 7),
    });
    let said = to.await.registry().set_mode("READWRITE").await.unwrap_err().to_string();
    assert!(said.contains("took the mode, and has another one"), "{said}");
}

#[tokio::test]
async fn names_are_sent_as_they_are_where_a_path_may_hold_them() {
    let named = |line: &str, _: usize| match line {
        _ if line.starts_with("GET /subjects?") => ok(json!([":.eu:a-b_c.d~", "x/y z"])),
        _ if line.starts_with("GET /subjects/") => ok(json!([])),
        _ => source(line),
    };
    let from = Scripted::open(named).await;
    from.registry().look(|_| true).await.unwrap();
    let asked = from.asked();
    for path in ["/subjects/:.eu:a-b_c.d~/versions", "/subjects/x%2Fy%20z/versions"] {
        assert!(asked.contains(&format!("GET {path}")), "{asked:?}");
    }
}
