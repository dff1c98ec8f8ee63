//! What is sent that cannot be obeyed: each is told with a status, a code, and what is wrong.
//!
//! It never lets a value that was sent be repeated: it may be a secret.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::LINK;
use super::Rig;

/// A request: its method, its path below the cluster's, and its body.
type Asked = (&'static str, String, String);
/// The status, the code and a part of the text.
type Told = (u16, u64, &'static str);

fn asked(method: &'static str, path: &str, body: &str) -> Asked {
    (method, path.to_owned(), body.to_owned())
}

fn create(body: &str) -> Asked {
    asked("POST", "/links?link_name=l2", body)
}

fn mirror(body: &str) -> Asked {
    asked("POST", "/links/l1/mirrors", body)
}

fn alter(body: &str) -> Asked {
    asked("PUT", "/links/l1/configs:alter", body)
}

fn with_config(name: &str, value: &str) -> Asked {
    let configs = format!(
        "{{\"configs\":[{{\"name\":\"bootstrap.servers\",\"value\":\"a:1\"}},\
         {{\"name\":{name:?},\"value\":{value:?}}}]}}"
    );
    create(&configs)
}

fn stop(verb: &str, body: &str) -> Asked {
    asked("POST", &format!("/links/l1/mirrors:{verb}"), body)
}

fn pause(body: &str) -> Asked {
    asked("POST", "/links/l1/mirrors:pause", body)
}

fn pattern(text: &str) -> Asked {
    pause(&format!("{{\"mirror_topic_name_pattern\":{text:?}}}"))
}

fn get(path: &str) -> Asked {
    asked("GET", path, "")
}

fn of_links() -> Vec<(Asked, Told)> {
    let long = "x".repeat(300);
    let hunter = r#"{"configs":[{"name":"a","value":{"hunter2":1}}]}"#;
    let number = r#"{"configs":[{"name":"sasl.jaas.config","value":732532}]}"#;
    let twice = r#"{"configs":[{"name":"a","value":"1"},{"name":"a","value":"2"}]}"#;
    vec![
        (create("{"), (400, 400, "not valid JSON (line 1")),
        (create("[]"), (400, 400, "The body must be an object")),
        (
            create("{\"configs\":[[\"a\",\"1\"]]}"),
            (400, 400, "Field 'configs[0]' of the body must be an"),
        ),
        (create("{} {}"), (400, 400, "not valid JSON")),
        (create("{\"configs\":1}"), (400, 400, "Field 'configs' of the body must be an array")),
        (create(hunter), (400, 400, "Field 'configs[0].value' of the body must be a string")),
        (create(number), (400, 400, "Field 'configs[0].value' of the body must be a string")),
        (create("{\"configs\":[{}]}"), (400, 400, "Field 'configs[0]' of the body has a missing")),
        (create("{\"conifgs\":[]}"), (400, 400, "has a field 'conifgs' that is not known")),
        (create(twice), (400, 400, "Config 'a' stands twice.")),
        (create("{\"source_cluster_id\":\"a b\"}"), (400, 400, "Field 'source_cluster_id'")),
        (create("{\"remote_cluster_id\":\"r\"}"), (400, 400, "source_cluster_id only")),
        (asked("POST", "/links", LINK), (400, 400, "The query must have link_name")),
        (
            asked("POST", &format!("/links?link_name={long}"), LINK),
            (400, 400, "is illegal: 1 to 64"),
        ),
        (asked("POST", "/links?link_name=-", LINK), (400, 400, "is illegal")),
        (
            asked("POST", "/links?link_name=l2&validate_olny=true", LINK),
            (400, 400, "it has 'validate_olny'"),
        ),
        (
            asked("POST", "/links?link_name=l2&validate_only=yes", LINK),
            (400, 400, "validate_only of the query must be true or false"),
        ),
        (
            asked("DELETE", "/links/l1?force=true&force=false", ""),
            (400, 400, "The query has force twice."),
        ),
    ]
}

/// Values of configs that cannot be, at create and later.
fn of_configs() -> Vec<(Asked, Told)> {
    const FILTERS: [&str; 3] =
        ["auto.create.mirror.topics.filters", "consumer.offset.group.filters", "acl.filters"];
    let mut all = vec![
        (
            with_config("cluster.link.prefix", "much.too.long"),
            (400, 40002, "cluster.link.prefix = \"much.too.long\": must be 1 to 12 of"),
        ),
        (with_config("cluster.link.prefix", ""), (400, 40002, "cluster.link.prefix")),
        (with_config("cluster.link.prefix", "a b"), (400, 40002, "must be 1 to 12 of")),
    ];
    for name in FILTERS {
        for value in ["orders*", "{", "[]", "{\"topics\":[]}"] {
            all.push((with_config(name, value), (400, 40002, name)));
            let body = serde_json::json!({ "value": value }).to_string();
            let put = asked("PUT", &format!("/links/l1/configs/{name}"), &body);
            all.push((put, (400, 40002, name)));
        }
    }
    all
}

/// Topics and patterns of orders that stop mirrors.
fn of_stops() -> Vec<(Asked, Told)> {
    let both = r#"{"mirror_topic_names":["t1"],"mirror_topic_name_pattern":"t.*"}"#;
    let long = "x".repeat(300);
    let of_long = format!("{{\"source_topic_name\":\"{long}\"}}");
    let as_long = format!("{{\"source_topic_name\":\"t1\",\"mirror_topic_name\":\"{long}\"}}");
    let mut all = vec![
        (
            mirror(&of_long),
            (400, 400, "Field 'source_topic_name' of the body must be a topic name"),
        ),
        (
            mirror(&as_long),
            (400, 400, "Field 'mirror_topic_name' of the body must be a topic name"),
        ),
        (get(&format!("/links/l1/mirrors/{long}")), (404, 40403, "is not a mirror topic")),
        (get(&format!("/topics/{long}")), (404, 40403, "is not a mirror topic")),
        (asked("DELETE", &format!("/topics/{long}"), ""), (404, 40403, "is not a mirror topic")),
        (
            asked("DELETE", &format!("/links/l1/mirrors/{long}"), ""),
            (404, 40403, "is not a mirror topic"),
        ),
    ];
    for verb in ["promote", "failover", "truncate-and-restore"] {
        all.extend([
            (stop(verb, both), (400, 400, "Give either mirror_topic_names or")),
            (stop(verb, "{}"), (400, 400, "Give either mirror_topic_names or")),
            (stop(verb, "{\"mirror_topic_names\":[]}"), (400, 400, "must name a topic")),
            (
                stop(verb, "{\"mirror_topic_name_pattern\":\"(\"}"),
                (400, 400, "Field 'mirror_topic_name_pattern' of the body is no regular"),
            ),
        ]);
    }
    all
}

fn of_paths() -> Vec<(Asked, Told)> {
    vec![
        (get("/links/l9"), (404, 404, "Cluster link 'l9' does not exist.")),
        (get("/links/l1/configs/nothing"), (404, 404, "has no config 'nothing'")),
        (get("/links/l1/mirrors/t9"), (404, 40403, "Topic 't9' is not a mirror topic")),
        (get("/links/l1/mirrors?mirror_status=HAPPY"), (400, 400, "must be one of ACTIVE")),
        (get("/topics/t9"), (404, 40403, "Topic 't9' is not a mirror topic")),
        (get("/links/%ff"), (400, 400, "not UTF-8")),
        (get("/links/a%00b"), (400, 400, "control character")),
        (get("/brokers"), (404, 404, "/openapi.json has all")),
        (asked("PATCH", "/links/l1", ""), (405, 405, "takes GET, DELETE.")),
    ]
}

fn of_mirror_topics() -> Vec<(Asked, Told)> {
    let noon = r#"{"source_topic_name":"t1",
        "configs":[{"name":"mirror.start.offset.spec","value":"noon"}]}"#;
    let both = r#"{"mirror_topic_names":["t1"],"mirror_topic_name_pattern":"t.*"}"#;
    vec![
        (mirror("{}"), (400, 400, "missing field 'source_topic_name'")),
        (mirror("{\"source_topic_name\":\"a b\"}"), (400, 400, "must be a topic name")),
        (
            mirror("{\"source_topic_name\":\"t1\",\"replication_factor\":0}"),
            (400, 400, "Field 'replication_factor'"),
        ),
        (
            mirror("{\"source_topic_name\":\"t1\",\"replication_factor\":99999}"),
            (400, 400, "Field 'replication_factor' of the body must be a whole number"),
        ),
        (mirror("{\"source_topic_name\":\"t9\"}"), (404, 40403, "does not exist at the source")),
        (mirror(noon), (400, 40002, "mirror.start.offset.spec must be earliest")),
        (alter("{\"data\":[{\"name\":\"a\"}]}"), (400, 400, "Config 'a' is set and has no value.")),
        (
            alter("{\"data\":[{\"name\":\"a\",\"operation\":\"ADD\"}]}"),
            (400, 400, "Field 'data[0].operation' of the body must be SET or DELETE"),
        ),
        (pause("{}"), (400, 400, "either mirror_topic_names or")),
        (pause(both), (400, 400, "either mirror_topic_names or")),
        (pause("{\"mirror_topic_names\":[]}"), (400, 400, "must name a topic")),
        (pattern("("), (400, 400, "no regular expression")),
        (pattern("a)|(?:b"), (400, 400, "no regular expression")),
        (pattern("(a{1000}){1000}"), (400, 400, "too large")),
        (pattern(&"x".repeat(2_000)), (400, 400, "longer than 1000 bytes")),
    ]
}

#[tokio::test]
async fn malformed_requests_say_what_is_wrong() {
    let rig = Rig::start().await;
    rig.create_link("l1", &["t1"]).await;
    let cases = of_links().into_iter().chain(of_paths()).chain(of_mirror_topics());
    let cases = cases.chain(of_configs()).chain(of_stops());
    for ((method, path, body), (status, code, text)) in cases {
        let answer = rig.ask(method, &path, &body).await;
        let (told_code, told) = answer.error();
        assert_eq!(
            (answer.status, told_code),
            (status, code),
            "{method} {path} {body}: {answer:?}"
        );
        assert!(told.contains(text), "{method} {path} {body}: {told}");
        assert!(!told.contains("hunter2") && !told.contains("732532"), "{told}");
        assert!(told.len() < 600, "{told}");
    }
    // nothing of all that was done
    assert_eq!(
        rig.must("GET", "/links", "").await.json()["data"].as_array().map(Vec::len),
        Some(2)
    );
}

/// What came of each topic of an order, by name: 0 where it was obeyed, and what was said.
async fn each(rig: &Rig, verb: &str, body: &str) -> Vec<(String, u64, String)> {
    let path = format!("/links/l1/mirrors:{verb}");
    let told = rig.must("POST", &path, body).await.json();
    let text = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
    let item = |one: &serde_json::Value| {
        let code = one["error_code"].as_u64().unwrap_or_default();
        (text(&one["mirror_topic_name"]), code, text(&one["error_message"]))
    };
    told["data"].as_array().expect("a list").iter().map(item).collect()
}

/// A pattern finds whole names of mirror topics that have not stopped: none, or each of them.
#[tokio::test]
async fn a_pattern_of_a_stop_finds_none_or_all() {
    for verb in ["promote", "failover"] {
        let rig = Rig::start().await;
        rig.create_link("l1", &["t1", "t2"]).await;
        for topic in ["t1", "t2"] {
            rig.create_mirror("l1", topic).await;
        }
        let of = |pattern: &str| format!("{{\"mirror_topic_name_pattern\":{pattern:?}}}");
        let batches = rig.hands.batches();
        for nothing in ["t", "x.*", "", "t1t2"] {
            assert_eq!(each(&rig, verb, &of(nothing)).await, [], "{verb} {nothing:?}");
        }
        let long = "x".repeat(300);
        let told = each(&rig, verb, &format!("{{\"mirror_topic_names\":[\"{long}\"]}}")).await;
        assert_eq!((told[0].1, told.len()), (404, 1), "{told:?}");
        assert!(told[0].2.contains("is not a mirror topic") && told[0].2.len() < 600, "{told:?}");
        assert_eq!(rig.hands.batches(), batches, "nothing was written");
        let all = each(&rig, verb, &of(".*")).await;
        let obeyed = |name: &str| (name.to_owned(), 0, String::new());
        assert_eq!(all, [obeyed("t1"), obeyed("t2")], "{verb}");
        let is_stopped = |seen: &isolog::link::registry::Seen| {
            let status = isolog::control::topic::Status::Stopped;
            seen.mirrors.values().all(|one| one.status == status)
        };
        rig.hands.until("all are stopped", is_stopped).await;
        assert_eq!(each(&rig, verb, &of(".*")).await, [], "{verb}: nothing is left to stop");
    }
}

#[tokio::test]
async fn paths_outside_of_the_cluster_that_is_served() {
    let rig = Rig::start().await;
    let answer = rig.ask_at("GET", "/kafka/v3/clusters/C2/links", "").await;
    assert_eq!((answer.status, answer.error().0), (404, 404));
    assert!(answer.error().1.contains("the destination of this isolog is 'C1'"), "{answer:?}");
    let answer = rig.ask_at("GET", "/kafka/v3/dance", "").await;
    assert_eq!(answer.status, 404, "{answer:?}");
    let answer = rig.ask_at("GET", "/kafka/v3/clusters", "").await;
    assert_eq!(answer.json()["data"][0]["cluster_id"], "C1");
    let own = format!("http://{}/kafka/v3/clusters/C1", rig.address);
    assert_eq!(answer.json()["data"][0]["metadata"]["self"], own.as_str());
}

#[tokio::test]
async fn a_body_that_is_no_json_by_its_type_is_not_read_as_such() {
    let rig = Rig::start().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let request = format!(
            "POST /kafka/v3/clusters/C1/links?link_name=l1 HTTP/1.1\r\nHost: {}\r\n\
             Connection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{LINK}",
            rig.address,
            LINK.len()
        );
        let answer = rig.send(request.as_bytes()).await;
        assert_eq!((answer.status, answer.error().0), (415, 415), "{kind}: {answer:?}");
    }
    let request = format!(
        "POST /kafka/v3/clusters/C1/links?link_name=l1 HTTP/1.1\r\nHost: {}\r\n\
         Connection: close\r\nContent-Type: Application/JSON; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{LINK}",
        rig.address,
        LINK.len()
    );
    assert_eq!(rig.send(request.as_bytes()).await.status, 204);
}

/// A body of 100 MB: who sends all of it hears why it is refused, and who asks first need not.
#[tokio::test]
async fn a_body_that_is_too_long_is_told_so() {
    let rig = Rig::start().await;
    let head = |expect: &str| {
        format!(
            "POST /kafka/v3/clusters/C1/links?link_name=l1 HTTP/1.1\r\nHost: {}\r\n{expect}\
             Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n",
            rig.address
        )
    };
    let mut stream = TcpStream::connect(&rig.address).await.expect("the port");
    stream.write_all(head("").as_bytes()).await.expect("sent");
    let piece = vec![b' '; 1_000_000];
    for _ in 0..100 {
        stream.write_all(&piece).await.expect("it is read");
    }
    let answer = Rig::read(stream).await;
    assert_eq!((answer.status, answer.error().0), (413, 413), "{answer:?}");
    assert!(answer.error().1.contains("1048576 bytes"), "{answer:?}");

    let answer = rig.send(head("Expect: 100-continue\r\n").as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

/// Half a body, and then nothing: the answer comes when the wait is over. Real time: ten seconds.
#[tokio::test]
async fn half_a_body_is_not_waited_for_for_ever() {
    let rig = Rig::start().await;
    let head = format!(
        "POST /kafka/v3/clusters/C1/links?link_name=l1 HTTP/1.1\r\nHost: {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"configs\":",
        rig.address
    );
    let answer = rig.send(head.as_bytes()).await;
    assert_eq!((answer.status, answer.error().0), (408, 408), "{answer:?}");
    // one that goes away in the middle of it leaves nothing behind
    let mut stream = TcpStream::connect(&rig.address).await.expect("the port");
    stream.write_all(head.as_bytes()).await.expect("sent");
    drop(stream);
    let links = rig.must("GET", "/links", "").await.json();
    assert_eq!(links["data"].as_array().map(Vec::len), Some(1), "{links}");
}

#[tokio::test]
async fn a_wrong_or_missing_token_is_told_and_nothing_is_done() {
    let rig = Rig::start_with(Some("0123456789abcdef")).await;
    let ask = async |heads: &str| {
        let request = format!(
            "POST /kafka/v3/clusters/C1/links?link_name=l1 HTTP/1.1\r\nHost: {}\r\n{heads}\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n\
             {LINK}",
            rig.address,
            LINK.len()
        );
        rig.send(request.as_bytes()).await
    };
    for heads in ["", "Authorization: Bearer 0123456789abcdeX\r\n", "Authorization: Basic eA==\r\n"]
    {
        let answer = ask(heads).await;
        let (code, text) = answer.error();
        assert_eq!((answer.status, code), (401, 40101), "{heads}: {answer:?}");
        assert!(text.contains("Bearer") && answer.head.contains("www-authenticate"), "{answer:?}");
    }
    let page = "Authorization: Bearer 0123456789abcdef\r\nOrigin: http://evil.example\r\n";
    let answer = ask(page).await;
    assert_eq!((answer.status, answer.error().0), (403, 40301), "{answer:?}");
    assert_eq!(rig.hands.batches(), 0, "nothing was written");
    assert_eq!(ask("Authorization: Bearer 0123456789abcdef\r\n").await.status, 204);
}

/// Each order takes its right; who lacks it is told which, and nothing is done.
#[tokio::test]
async fn who_may_only_look_or_operate_does_no_more() {
    let rig = Rig::start_with(Some("0123456789abcdef")).await;
    let ask = async |token: &str, method: &str, path: &str, body: &str| {
        let request = format!(
            "{method} /kafka/v3/clusters/C1{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            rig.address,
            body.len()
        );
        let answer = rig.send(request.as_bytes()).await;
        (answer.status, answer.error())
    };
    let (all, looks, operates) = ("0123456789abcdef", "may-only-look-at-it", "may-pause-things");
    rig.hands.create_source("t1", 1);
    assert_eq!(ask(all, "POST", "/links?link_name=l1", LINK).await.0, 204);
    let mirror = "{\"source_topic_name\":\"t1\"}";
    assert_eq!(ask(all, "POST", "/links/l1/mirrors", mirror).await.0, 204);
    let names = "{\"mirror_topic_names\":[\"t1\"]}";
    let batches = rig.hands.batches();
    for (token, method, path, body, right) in [
        (looks, "POST", "/links?link_name=l2", LINK, "administer"),
        (looks, "DELETE", "/links/l1?force=true", "", "administer"),
        (looks, "POST", "/links/l1/mirrors:pause", names, "operate"),
        (looks, "POST", "/links/l1/mirrors:promote", names, "operate"),
        (operates, "DELETE", "/topics/t1", "", "administer"),
        (operates, "PUT", "/links/l1/configs/availability.check.ms", "{}", "administer"),
    ] {
        let (status, (code, text)) = ask(token, method, path, body).await;
        assert_eq!((status, code), (403, 40301), "{token} {method} {path}: {text}");
        assert!(text.contains(&format!("the right '{right}'")), "{text}");
    }
    assert_eq!(rig.hands.batches(), batches, "nothing was written");
    for token in [looks, operates] {
        assert_eq!(ask(token, "GET", "/links/l1/mirrors", "").await.0, 200);
    }
    assert_eq!(ask(operates, "POST", "/links/l1/mirrors:pause", names).await.0, 200);
    let pause = "/links/l1/configs/cluster.link.paused";
    assert_eq!(ask(operates, "PUT", pause, "{\"value\":\"true\"}").await.0, 204);
}
