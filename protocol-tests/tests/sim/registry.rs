//! The registry over hands without a Kafka: orders are answered when their row was read back, what
//! is seen is what was answered, and nothing waits for ever.
//!
//! It never uses a real clock: time stands still unless everybody waits.

use isolog::control::link::LinkState;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Order;
use isolog::control::order::Outcome;
use isolog::control::order::Verb;
use isolog::control::task::TaskName;
use isolog::control::topic::Fault;
use isolog::control::topic::Status;
use isolog::ids::LinkName;
use isolog::ids::TopicName;
use isolog::link::registry::Counts;
use isolog::link::registry::Event;
use isolog::link::registry::Seen;
use protocol_tests::hands::Hands;
use protocol_tests::hands::Kind;
use protocol_tests::orders;

fn dr() -> LinkName {
    LinkName("dr".into())
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a legal name")
}

fn order(verb: Verb) -> Order {
    Order { link: dr(), verb, is_dry: false }
}

fn new_link(configs: &[(&str, &str)]) -> Verb {
    Verb::CreateLink(orders::new_link(configs))
}

fn new_mirror(name: &str) -> Verb {
    Verb::CreateMirror(orders::new_mirror(name))
}

async fn obeyed(hands: &Hands, verb: Verb) {
    let outcomes = hands.registry.order(order(verb.clone())).await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{verb:?}: {outcomes:?}");
}

async fn refused(hands: &Hands, verb: Verb) -> (u16, String) {
    told(&hands.registry.order(order(verb)).await)
}

fn told(outcomes: &[Outcome]) -> (u16, String) {
    let refusal = outcomes[0].result.clone().expect_err("a refusal");
    (refusal.status, refusal.text)
}

fn status(seen: &Seen, name: &str) -> Option<Status> {
    seen.mirrors.get(&(dr(), topic(name))).map(|mirror| mirror.status)
}

#[tokio::test(start_paused = true)]
async fn an_answer_stands_in_the_journal_and_is_seen_at_once() {
    let hands = Hands::start().await;
    hands.create_source("orders", 3);
    obeyed(&hands, new_link(&[("a", "b")])).await;
    let link = hands.registry.seen().links.get(&dr()).cloned().expect("the link is seen");
    assert_eq!(link.row.configs.get("a").map(String::as_str), Some("b"));
    assert!(hands.row("link/dr").is_some());
    assert_eq!(refused(&hands, new_link(&[])).await.0, 409);

    hands.until("active", |seen| seen.links[&dr()].state == LinkState::Active).await;
    obeyed(&hands, new_mirror("orders")).await;
    // answered when it is set up: the topic is there, and what is seen says so
    assert!(hands.has_mirror("orders"));
    let seen = hands.registry.seen();
    assert_eq!(status(&seen, "orders"), Some(Status::Active));
    assert_eq!(seen.counts(&dr()), Counts { active: 3, ..Counts::default() });

    obeyed(&hands, Verb::Mirrors(vec![topic("orders")], MirrorVerb::Pause)).await;
    assert_eq!(status(&hands.registry.seen(), "orders"), Some(Status::Paused));
    obeyed(&hands, Verb::PauseLink(true)).await;
    let seen = hands.registry.seen();
    assert_eq!(
        (&seen.links[&dr()].state, status(&seen, "orders")),
        (&LinkState::Paused, Some(Status::LinkPaused))
    );
    assert_eq!(seen.counts(&dr()), Counts { paused: 3, ..Counts::default() });
    obeyed(&hands, Verb::PauseLink(false)).await;
    obeyed(&hands, Verb::DeleteLink { is_forced: true }).await;
    hands.until("gone", |seen| seen.links.is_empty() && seen.mirrors.is_empty()).await;
    assert_eq!((hands.row("link/dr"), hands.row("mirror/dr/orders")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_answered_in_time_says_what_it_waits_for() {
    let hands = Hands::start_apart(200);
    hands.tell(Event::Role(true)).await;
    hands.until("with the role", |seen| seen.is_holder).await;
    let (status, text) = refused(&hands, new_link(&[])).await;
    assert!(status == 504 && text.contains("journal") && text.contains("to be read"), "{text}");
    hands.tell(Event::Level).await;
    // it was not taken back
    hands.until("there", |seen| seen.links.contains_key(&dr())).await;
    hands.create_source("a", 1);
    hands.until("active", |seen| seen.links[&dr()].state == LinkState::Active).await;

    hands.hold_back(Kind::Writes);
    let (status, text) = refused(&hands, Verb::PauseLink(true)).await;
    assert!(status == 504 && text.contains("read back") && text.contains("__isolog"), "{text}");
    hands.let_go(Kind::Writes).await;
    hands.until("paused", |seen| seen.links[&dr()].state == LinkState::Paused).await;
    obeyed(&hands, Verb::PauseLink(false)).await;

    hands.hold_back(Kind::Looks);
    let (status, text) = refused(&hands, new_mirror("a")).await;
    assert!(status == 504 && text.contains("asked about topic 'a'"), "{text}");
    hands.let_go(Kind::Looks).await;
    hands.until("active", |seen| seen.mirrors.len() == 1).await;

    hands.hold_back(Kind::Dos);
    hands.create_source("b", 1);
    let (status, text) = refused(&hands, new_mirror("b")).await;
    assert!(status == 504 && text.contains("'b' to be set up"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn orders_that_need_no_row_are_all_answered_behind_one_that_does() {
    let hands = Hands::start().await;
    obeyed(&hands, new_link(&[])).await;
    let give = |is_dry| {
        let (registry, verb) = (hands.registry.clone(), Verb::PauseLink(true));
        tokio::spawn(async move { registry.order(Order { link: dr(), verb, is_dry }).await })
    };
    hands.hold_back(Kind::Writes);
    let batches = hands.batches();
    let real = give(false);
    hands.until("on its way", |seen| seen.is_writing).await;
    // all about one row, and none of them written: one is no reason to keep the next one waiting
    let dry: Vec<_> = (0..50).map(|_| give(true)).collect();
    // time passes only when all of them are taken in
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    hands.let_go(Kind::Writes).await;
    for one in dry.into_iter().chain([real]) {
        let outcomes = one.await.expect("no panic");
        assert_eq!(outcomes, [Outcome { topic: None, result: Ok(()) }]);
    }
    assert_eq!(hands.batches(), batches + 1, "a dry run writes nothing");
}

#[tokio::test(start_paused = true)]
async fn what_the_journal_refuses_is_told_and_tried_no_further() {
    let hands = Hands::start().await;
    hands.refuse_writes("grant WRITE on topic __isolog to User:isolog");
    let (status, text) = refused(&hands, new_link(&[])).await;
    assert!(status == 503 && text.contains("grant WRITE on topic __isolog"), "{text}");
    assert!(hands.registry.seen().links.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_row_that_somebody_else_wrote_first_is_decided_on() {
    let hands = Hands::start().await;
    hands.hold_back(Kind::Writes);
    let registry = hands.registry.clone();
    let given = tokio::spawn(async move { registry.order(order(new_link(&[]))).await });
    hands.until("on its way", |seen| seen.is_writing).await;
    let theirs = r#"{"v":1,"id":"B","mode":"DESTINATION","origin":"commanded","source_cluster":null,
        "configs":{},"generation":0,"paused":false,"leaving":false}"#;
    hands.write_besides("link/dr", Some(theirs)).await;
    hands.let_go(Kind::Writes).await;
    let (status, text) = told(&given.await.expect("no panic"));
    assert_eq!((status, text.as_str()), (409, "Cluster link 'dr' already exists."));
    assert_eq!(hands.registry.seen().links[&dr()].row.id, "B");
}

/// Who cannot know what was written since says so of every link, and takes no order.
#[tokio::test(start_paused = true)]
async fn a_lost_journal_fails_every_link() {
    let hands = Hands::start().await;
    hands.create_source("orders", 1);
    obeyed(&hands, new_link(&[])).await;
    hands.until("active", |seen| seen.links[&dr()].state == LinkState::Active).await;
    obeyed(&hands, new_mirror("orders")).await;
    let (code, text) = ("JOURNAL_LOST".to_owned(), "the journal was made anew".to_owned());
    let fault = Fault { code, text };
    hands.tell(Event::Lost(fault.clone())).await;
    let failed = LinkState::Failed(fault);
    hands.until("failed", |seen| seen.links[&dr()].state == failed).await;
    let seen = hands.registry.seen();
    assert_eq!(status(&seen, "orders"), Some(Status::LinkFailed));
    let (code, text) = refused(&hands, new_mirror("orders")).await;
    assert!(code == 503 && text.contains("was made anew"), "{code}: {text}");
}

#[tokio::test(start_paused = true)]
async fn without_the_role_or_the_task_nobody_waits() {
    let hands = Hands::start().await;
    hands.tell(Event::Role(false)).await;
    hands.until("without the role", |seen| !seen.is_holder).await;
    let (status, text) = refused(&hands, new_link(&[])).await;
    assert!(status == 503 && text.contains("control role"), "{text}");
    hands.stop();
    let (status, text) = refused(&hands, new_link(&[])).await;
    assert!(status == 503 && text.contains("stopping"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn one_halted_partition_fails_the_topic_and_is_counted_alone() {
    let hands = Hands::start().await;
    hands.create_source("orders", 3);
    obeyed(&hands, new_link(&[])).await;
    hands.until("active", |seen| seen.links[&dr()].state == LinkState::Active).await;
    obeyed(&hands, new_mirror("orders")).await;
    let fault = Fault { code: "DIVERGED".into(), text: "at offset 4".into() };
    hands.halt("dr", "orders", 1, fault.clone()).await;
    hands.until("failed", |seen| status(seen, "orders") == Some(Status::Failed)).await;
    let seen = hands.registry.seen();
    assert_eq!(seen.mirrors[&(dr(), topic("orders"))].reason, Some(fault));
    assert_eq!(seen.counts(&dr()), Counts { active: 2, in_error: 1, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_cannot_have_stands_in_the_task_of_the_link() {
    let hands = Hands::start().await;
    hands.create_source("orders", 1);
    hands.create_source("taken", 1);
    hands.create_mirror("taken", 1, true);
    obeyed(&hands, new_link(&[("mirror.topics", "*,gone")])).await;
    hands
        .until("two mirrors or their troubles", |seen| {
            let tasks = seen.links.get(&dr()).map(|link| link.tasks.clone()).unwrap_or_default();
            tasks.iter().any(|task| task.errors.len() == 2) && status(seen, "orders").is_some()
        })
        .await;
    let seen = hands.registry.seen();
    let create = |task: &&isolog::link::registry::TaskSeen| task.name == TaskName::AutoCreateMirror;
    let task = seen.links[&dr()].tasks.iter().find(create).expect("the task").clone();
    let codes: Vec<&str> = task.errors.iter().map(|(_, fault)| fault.code.as_str()).collect();
    assert_eq!(
        (task.state, codes),
        ("IN_ERROR", vec!["UNKNOWN_TOPIC_OR_PARTITION_ERROR", "TOPIC_EXISTS_ERROR"])
    );
    assert_eq!(status(&seen, "taken"), None);
}

/// What a link of the file is said to mirror may be there already: it is compared, and is a mirror
/// or a trouble. Of a link that is created by order a pattern adopts nothing.
#[tokio::test(start_paused = true)]
async fn a_pattern_of_the_file_adopts_what_is_there() {
    let hands = Hands::start().await;
    hands.create_source("orders.eu", 1);
    hands.create_mirror("orders.eu", 1, true);
    let code = |seen: &Seen| {
        let tasks = seen.links.get(&dr())?.tasks.iter();
        let mut errors = tasks.flat_map(|task| task.errors.iter());
        errors.next().map(|(_, fault)| fault.code.clone())
    };
    hands.declare_with(&["dr"], &[("mirror.topics", "orders*")]).await;
    hands.until("compared", |seen| code(seen).as_deref() == Some("DIVERGED")).await;
    let hands = Hands::start().await;
    hands.create_source("orders.eu", 1);
    hands.create_mirror("orders.eu", 1, true);
    obeyed(&hands, new_link(&[("mirror.topics", "orders*")])).await;
    hands.until("refused", |seen| code(seen).as_deref() == Some("TOPIC_EXISTS_ERROR")).await;
}

/// Twice as many topics take about twice as much work, and nothing is asked of the machine while
/// nobody takes what it has said already.
#[tokio::test(start_paused = true)]
async fn a_thousand_topics_of_a_filter_are_set_up() {
    let hands = Hands::start().await;
    for at in 0..1_000 {
        hands.create_source(&format!("t{at:04}"), 1);
    }
    obeyed(&hands, new_link(&[("mirror.topics", "*")])).await;
    let all = |seen: &Seen| seen.counts(&dr()) == Counts { active: 1_000, ..Counts::default() };
    hands.until("all of them", all).await;
    let taken = hands.taken();
    let count = |kind: &str| taken.iter().filter(|one| *one == kind).count();
    assert_eq!((count("do"), count("Mirror")), (1_000, 1_000));
    assert!(count("write") <= 60, "{} writes", count("write"));
}
