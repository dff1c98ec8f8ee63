//! What a peer may say, and how large it may claim to be: texts, hosts, brokers without end.
//!
//! It never leaves memory: the hosts follow scripts, and time is paused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::NewTopic;
use isolog::cluster::Options;
use isolog::cluster::Use;
use isolog::cluster::Wanted;
use isolog::ids::BrokerId;
use isolog::ids::TopicName;
use kafka_protocol::messages::CreateTopicsResponse;
use kafka_protocol::messages::DescribeClusterResponse;
use kafka_protocol::messages::DescribeConfigsResponse;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::scripted::End;
use protocol_tests::scripted::MODERN;
use protocol_tests::scripted::Net;
use protocol_tests::telling;
use protocol_tests::telling::BOOTSTRAP;
use protocol_tests::telling::BOOTSTRAP_ADDRESS;
use protocol_tests::telling::broker;
use protocol_tests::telling::metadata;
use tokio::time::Instant;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The most letters of a peer's text.
const CHARS_MAX: usize = 512;

fn options() -> Options {
    telling::options(REQUEST_TIMEOUT, DIAL_TIMEOUT)
}

/// ESC, a forged line, a text that runs backwards, and 12 MiB.
fn hostile() -> StrBytes {
    let head = "\u{1b}[2J\r\nERROR forged=line \u{202e}";
    StrBytes::from_string(head.to_owned() + &"\u{1b}x".repeat(6 << 20))
}

#[track_caller]
fn is_clean(text: &str) {
    let steers = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}');
    assert!(!text.chars().any(steers), "{:?}", &text[..text.len().min(80)]);
    assert!(text.chars().count() <= 2 * CHARS_MAX, "{} bytes", text.len());
}

/// A network where the bootstrap host tells this metadata, which may be changed.
fn telling(first: MetadataResponse) -> (Arc<Net>, Arc<Mutex<MetadataResponse>>) {
    let (net, told) = (Arc::new(Net::default()), Arc::new(Mutex::new(first)));
    let tells = told.clone();
    net.host(BOOTSTRAP_ADDRESS, move |end| {
        let tells = tells.clone();
        async move { serve(end, &tells).await }
    });
    (net, told)
}

async fn serve(mut end: End, told: &Mutex<MetadataResponse>) {
    end.greet(MODERN).await;
    while let Some(request) = end.request().await {
        match request.api {
            3 => {
                let answer = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
                end.answer_with(&request, &answer).await;
            }
            19 => end.answer_with(&request, &refused_topic()).await,
            32 => end.answer_with(&request, &hostile_configs()).await,
            60 => end.answer_with(&request, &refused_cluster()).await,
            _ => return,
        }
    }
}

fn refused_topic() -> CreateTopicsResponse {
    let topic = CreatableTopicResult::default()
        .with_name(StrBytes::from_static_str("orders").into())
        .with_error_code(42)
        .with_error_message(Some(hostile()));
    CreateTopicsResponse::default().with_topics(vec![topic])
}

fn refused_cluster() -> DescribeClusterResponse {
    DescribeClusterResponse::default().with_error_code(31).with_error_message(Some(hostile()))
}

fn hostile_configs() -> DescribeConfigsResponse {
    let config = |name: StrBytes, value: StrBytes| {
        DescribeConfigsResourceResult::default().with_name(name).with_value(Some(value))
    };
    let short = StrBytes::from_static_str("cleanup.policy");
    let configs = vec![config(short, hostile()), config(hostile(), "delete\u{1b}".into())];
    let topic = DescribeConfigsResult::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("orders"))
        .with_configs(configs);
    DescribeConfigsResponse::default().with_results(vec![topic])
}

/// H7.
#[tokio::test(start_paused = true)]
async fn no_text_of_a_peer_steers_a_terminal_or_forges_a_line() {
    let rack = broker(1, BOOTSTRAP.0, 9092).with_rack(Some(hostile()));
    let (net, _) = telling(metadata(vec![rack]).with_cluster_id(Some(hostile())));
    let cluster = Cluster::connect(options(), net, 1).await.unwrap();
    is_clean(&cluster.id().0);
    cluster.look(|metadata| {
        is_clean(metadata.broker(BrokerId(1)).unwrap().rack.as_deref().unwrap());
    });
    let orders = TopicName::new("orders").unwrap();
    let (partitions, configs) = (1, Default::default());
    let topic = NewTopic { name: orders.clone(), partitions, replicas: None, configs };
    let made = cluster.create_topics(&[topic], false).await.unwrap();
    is_clean(&made[&orders].as_ref().unwrap_err().to_string());
    let configs =
        cluster.describe_topic_configs(std::slice::from_ref(&orders), None).await.unwrap();
    let configs = configs[&orders].as_ref().unwrap();
    assert_eq!(configs.len(), 2);
    for (name, entry) in configs {
        is_clean(name);
        is_clean(entry.value.as_deref().unwrap());
    }
    is_clean(&cluster.describe_cluster().await.unwrap_err().to_string());
}

/// H7.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_no_name_and_no_address_is_not_dialled() {
    let long = "x".repeat(254);
    let bad = ["evil\u{1b}[2J", "a\nERROR forged", "a b", "", "a/../b", "a:9092", &long, "a@b"];
    let good = ["boot", "10.1.2.3", "::1", "fd00::7", "under_score.example", "x--y.example."];
    let all = bad.iter().chain(&good).enumerate();
    let all = all.map(|(at, host)| broker(at as i32 + 1, host, 9092));
    let (net, _) = telling(metadata(all.collect()));
    let cluster = Cluster::connect(options(), net.clone(), 1).await.unwrap();
    for id in 1..=bad.len() as i32 {
        let error = cluster.open(BrokerId(id), Use::Append).await.err().unwrap().to_string();
        assert!(error.ends_with("is not in the cluster's metadata"), "{error}");
    }
    let hosts: Vec<String> =
        cluster.look(|metadata| metadata.brokers().map(|one| one.host.to_string()).collect());
    assert_eq!(hosts, good);
    assert!(net.dials().iter().all(|(address, _)| address == BOOTSTRAP_ADDRESS));
}

fn dialled(net: &Net, from: usize) -> Vec<String> {
    net.dials()[from..].iter().map(|(address, _)| address.clone()).collect()
}

/// C4: once the metadata told of 300 hosts that swallow every packet, then the truth again.
#[tokio::test(start_paused = true)]
async fn unroutable_brokers_do_not_keep_us_from_the_bootstrap_address() {
    let lost = (1..=300).map(|id| broker(id, &format!("lost-{id}.example"), 9092));
    let (net, told) = telling(metadata(lost.collect()));
    for id in 1..=300 {
        net.host(&format!("lost-{id}.example:9092"), |_end| std::future::pending());
    }
    // the bootstrap host ends each connection after the first reading of the whole metadata
    let tells = told.clone();
    net.host(BOOTSTRAP_ADDRESS, move |mut end: End| {
        let tells = tells.clone();
        async move {
            end.greet(MODERN).await;
            for _ in 0..2 {
                let Some(request) = end.request().await else { return };
                let answer = tells.lock().unwrap_or_else(PoisonError::into_inner).clone();
                end.answer_with(&request, &answer).await;
            }
        }
    });
    let cluster = Cluster::connect(options(), net.clone(), 1).await.unwrap();
    *told.lock().unwrap() = metadata(vec![broker(1, BOOTSTRAP.0, 9092)]);
    let began = Instant::now();
    let mut rounds = 0;
    while cluster.look(|metadata| metadata.brokers().count()) != 1 {
        rounds += 1;
        let from = net.dials().len();
        let asked = Instant::now();
        let _late = cluster.refresh(Wanted::All).await;
        assert!(asked.elapsed() <= (REQUEST_TIMEOUT + DIAL_TIMEOUT) * 2, "{:?}", asked.elapsed());
        assert!(dialled(&net, from).len() <= 8 * 3, "{:?}", dialled(&net, from));
        assert!(rounds < 40, "the bootstrap address was never asked");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// C4: a thousand brokers at one dead address are one address.
#[tokio::test(start_paused = true)]
async fn many_brokers_at_one_address_are_one_address() {
    let all = (1..=999).map(|id| broker(id, "dead", 9092));
    let (net, _) = telling(metadata(all.collect()));
    let cluster = Cluster::connect(options(), net.clone(), 1).await.unwrap();
    net.kill(BOOTSTRAP_ADDRESS);
    // the one connection that is open is worn out, or closed, at some time
    let mut error = None;
    for _ in 0..20 {
        error = cluster.refresh(Wanted::All).await.err().or(error);
    }
    let error = error.expect("nobody is there").to_string();
    assert!(error.len() < 1_000, "{error}");
    let from = net.dials().len();
    cluster.refresh(Wanted::All).await.unwrap_err();
    let dials = dialled(&net, from);
    let distinct: BTreeSet<_> = dials.iter().collect();
    assert_eq!(distinct.len(), 2, "{dials:?}");
    assert!(dials.len() <= 6, "three rounds of two addresses: {dials:?}");
}

/// C4 and H5: a cluster of more brokers than anybody has is refused, in words that say what to do.
#[tokio::test(start_paused = true)]
async fn a_million_brokers_are_refused() {
    let all = (1..=1_000_000).map(|id| broker(id, "h", 9092));
    let (net, _) = telling(metadata(all.collect()));
    let error = Cluster::connect(options(), net, 1).await.err().unwrap().to_string();
    assert!(error.contains("it tells 1000000 brokers, metadata.brokers.max is 1000"), "{error}");
}
