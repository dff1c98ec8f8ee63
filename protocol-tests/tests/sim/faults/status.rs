//! What is wanted and not copied is shown, with the reason, and with its lag or as unknown.
//!
//! It never asserts what is copied: the other scenes do.

use isolog::ids::Side;
use isolog::link::status::LinkState;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Version;
use protocol_tests::net::Rule;
use protocol_tests::world::CLIENT;
use tokio::time::Duration;
use tokio::time::sleep;

use crate::faults::lab::BAD;
use crate::faults::lab::END;
use crate::faults::lab::GOOD;
use crate::faults::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

fn is_told(lab: &Lab, subject: &str, code: &str) -> bool {
    let is_it = |one: &isolog::sync::trouble::Trouble| {
        one.subject == subject && one.kind.label() == code && !one.text.is_empty()
    };
    lab.troubles().iter().any(is_it)
}

fn is_unready(lab: &Lab, subject: &str) -> bool {
    let unready = lab.unready();
    let names =
        |(name, reason): &(String, String)| name == "topics of link dr" && reason.contains(subject);
    unready.len() == 1 && unready.iter().all(names)
}

/// S1: what a process showed before it ended, the next one shows too.
#[tokio::test(start_paused = true)]
async fn a_topic_that_went_while_isolog_was_down_is_shown_and_halts() {
    for side in [Side::Source, Side::Destination] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        lab.world.stop().await;
        let cluster = match side {
            Side::Source => lab.source(),
            Side::Destination => lab.destination(),
        };
        cluster.change(|state| state.delete_topic(BAD.0)).unwrap();
        lab.world.start();
        lab.wait("the link is active", |lab| lab.link_state() == LinkState::Active).await;
        let seen = lab.seen(BAD).expect("a row from the first look on");
        assert_eq!(seen.lag_records, None, "{seen:?}");
        assert!(is_unready(&lab, BAD.0), "{:?}", lab.unready());
        let code = match side {
            Side::Source => "SOURCE_TOPIC_DELETED",
            Side::Destination => "DESTINATION_TOPIC_DELETED",
        };
        lab.wait("the halt", |lab| lab.is_halted(BAD)).await;
        lab.halts(BAD, code, &["topic is gone"]).await;
        let seen = lab.seen(BAD).unwrap();
        assert_eq!(seen.lag_records, None, "{seen:?}");
        assert_eq!(lab.words(BAD.0), Some(("FAILED", "ACTIVE")));
        assert!(is_told(&lab, BAD.0, code), "{:?}", lab.troubles());
        assert!(is_unready(&lab, BAD.0), "{:?}", lab.unready());
    }
}

/// S1 too: while the source is away, what the journal remembers has rows all the same.
#[tokio::test(start_paused = true)]
async fn what_was_mirrored_has_rows_while_the_source_is_away() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    let host = lab.source().host(1);
    lab.world.start();
    lab.wait("the link is connected", |lab| lab.world.isolog().link().status().clusters.is_some())
        .await;
    lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
    lab.world.net.cut(CLIENT, &host);
    sleep(SECOND * 60).await;
    for place in [BAD, GOOD[0]] {
        let seen = lab.seen(place).expect("a row");
        assert_eq!((seen.lag_records, seen.source_end), (None, None), "{seen:?}");
        assert!(seen.reason.is_some());
    }
}

/// S1 too: the source is dead when isolog starts, and a prefix alone takes the topics.
#[tokio::test(start_paused = true)]
async fn what_was_mirrored_has_rows_when_the_source_is_dead_at_the_start() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    assert_eq!(lab.words(BAD.0), Some(("ACTIVE", "ACTIVE")));
    lab.world.stop().await;
    let host = lab.source().host(1);
    lab.world.net.set_rule(CLIENT, &host, Rule { refuse: true, ..Rule::default() });
    lab.world.start();
    lab.wait("rows", |lab| lab.seen(BAD).is_some() && lab.seen(GOOD[0]).is_some()).await;
    sleep(SECOND * 60).await;
    for place in [BAD, GOOD[0]] {
        let seen = lab.seen(place).expect("a row");
        assert_eq!((seen.lag_records, seen.source_end), (None, None), "{seen:?}");
        let (_, text) = seen.reason.expect("a reason");
        assert!(text.contains("the source cannot be reached"), "{text}");
        assert_eq!(lab.words(place.0), Some(("SOURCE_UNAVAILABLE", "UNAVAILABLE")));
    }
    assert!(!lab.unready().is_empty());
    lab.world.net.clear_rule(CLIENT, &host);
    lab.append(BAD, 3);
    lab.level(BAD).await;
    lab.wait("readiness", |lab| lab.unready().is_empty()).await;
}

/// S2: names and prefixes that match nothing.
#[tokio::test(start_paused = true)]
async fn what_matches_nothing_is_told_until_it_matches() {
    let mut lab = Lab::single(Version::V4_3);
    lab.world.patterns = vec!["good", "bad", "never.there", ".*", "good.*"];
    lab.begin().await;
    assert!(is_told(&lab, "never.there", "SOURCE_TOPIC_NOT_FOUND"), "{:?}", lab.troubles());
    let hint = |subject: &str| {
        let troubles = lab.troubles();
        troubles.into_iter().find(|one| one.subject == subject).expect("it is told").text
    };
    assert!(hint(".*").contains("write * for every topic"), "{}", hint(".*"));
    assert!(hint("good.*").contains("write good* for"), "{}", hint("good.*"));
    let seen = lab.seen(("never.there", 0)).expect("a row");
    assert_eq!(seen.reason.map(|(code, _)| code), Some("SOURCE_TOPIC_NOT_FOUND"));
    assert_eq!((seen.state, seen.lag_records), ("Preparing", None));
    for subject in ["never.there", ".*", "good.*"] {
        assert!(is_unready(&lab, subject), "{subject}: {:?}", lab.unready());
    }
    for name in ["never.there", "good.x", ".x"] {
        lab.source().create_topic(name, 1, &[]);
    }
    lab.append(("never.there", 0), 3);
    lab.level(("never.there", 0)).await;
    lab.wait("readiness", |lab| lab.unready().is_empty() && lab.troubles().is_empty()).await;
}

/// S3: a halted partition's lag goes on, and is unknown when nobody can be asked.
#[tokio::test(start_paused = true)]
async fn the_lag_of_what_stands_still_goes_on_or_is_unknown() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    let foreign = Build::plain(lab.now_ms(), "foreign", 1);
    lab.destination().append(BAD.0, BAD.1, &foreign);
    lab.append(BAD, 1);
    lab.wait("the halt", |lab| lab.is_halted(BAD)).await;
    lab.append(BAD, 100);
    let end = END as u64 + 101;
    sleep(SECOND * 11).await; // a pause and an answer
    let seen = lab.seen(BAD).unwrap();
    assert_eq!(seen.source_end.map(|end| end.get() as u64), Some(end), "{seen:?}");
    assert_eq!(seen.lag_records, Some(101), "{seen:?}");
    assert!(seen.lag_ms.is_some_and(|ms| ms >= 5_000), "{seen:?}");
    for broker in 1..=3 {
        let host = lab.source().host(broker);
        lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
        lab.world.net.cut(CLIENT, &host);
    }
    lab.append(BAD, 7);
    lab.append(GOOD[0], 7);
    sleep(SECOND * 21).await;
    for place in [BAD, GOOD[0]] {
        let seen = lab.seen(place).unwrap();
        assert_eq!((seen.lag_records, seen.source_end), (None, None), "{seen:?}");
    }
    for broker in 1..=3 {
        let host = lab.source().host(broker);
        lab.world.net.clear_rule(CLIENT, &host);
    }
    lab.wait("the lag", |lab| lab.seen(BAD).unwrap().lag_records == Some(108)).await;
}

/// S6: what is refused is told, holds nothing else up, and ends when it is mended.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_refused_holds_no_other_and_is_told() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().deny("late.refused", Right::Create);
    for name in ["late.fine", "late.refused"] {
        lab.source().create_topic(name, 2, &[]);
        lab.append((name, 1), 3);
    }
    lab.level(("late.fine", 1)).await;
    let code = "TOPIC_AUTHORIZATION_FAILED";
    lab.wait("the trouble", |lab| is_told(lab, "late.refused", code)).await;
    let seen = lab.seen(("late.refused", 0)).expect("a row");
    assert_eq!(seen.reason.map(|(code, _)| code), Some(code));
    assert_eq!(seen.lag_records, None);
    assert!(is_unready(&lab, "late.refused"), "{:?}", lab.unready());
    lab.destination().grant("late.refused", Right::Create);
    lab.level(("late.refused", 1)).await;
    lab.wait("readiness", |lab| lab.unready().is_empty()).await;
}

/// A right that is missing is told by the topic's trouble, steadily, and ends when it is there.
#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_told_until_it_is_there() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().deny(BAD.0, Right::Write);
    lab.append(BAD, 3);
    let is_known = |lab: &Lab| is_told(lab, BAD.0, "TOPIC_AUTHORIZATION_FAILED");
    lab.wait("the trouble", is_known).await;
    for _ in 0..120 {
        sleep(SECOND / 2).await;
        assert!(is_known(&lab) && is_unready(&lab, "refuses us Write"), "{:?}", lab.unready());
        let seen = lab.seen(BAD).unwrap();
        let label = seen.reason.as_ref().map(|(label, _)| *label);
        assert_eq!(label, Some("TOPIC_AUTHORIZATION_FAILED"), "{seen:?}");
        assert_eq!(seen.lag_records, Some(3), "{seen:?}");
    }
    lab.others_go_on().await;
    lab.destination().grant(BAD.0, Right::Write);
    lab.level(BAD).await;
    lab.wait("readiness", |lab| lab.unready().is_empty() && lab.troubles().is_empty()).await;
}

/// A topic that the source no longer shows us has no leader in its list, and the word is the right
/// that is missing all the same, whoever reads the list in between.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_hidden_names_the_right_and_no_leader() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    [Right::Describe, Right::Read].iter().for_each(|right| lab.source().deny(BAD.0, *right));
    lab.append(BAD, 3);
    let label = |lab: &Lab| lab.seen(BAD)?.reason.map(|(label, _)| label);
    let is_named = |lab: &Lab| label(lab) == Some("TOPIC_AUTHORIZATION_FAILED");
    lab.wait("the right is named", is_named).await;
    for _ in 0..120 {
        sleep(SECOND / 2).await;
        assert!(is_named(&lab), "{:?}", lab.seen(BAD));
    }
    [Right::Describe, Right::Read].iter().for_each(|right| lab.source().grant(BAD.0, *right));
    lab.level(BAD).await;
}

/// What a source that refuses us said before is not shown from then on, to the record: its end is
/// unknown, or what it says since.
#[tokio::test(start_paused = true)]
async fn a_source_that_refuses_us_is_unknown_at_once() {
    let hidden = [Right::Describe, Right::Read];
    for denied in [&hidden[..], &hidden[1..]] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        denied.iter().for_each(|right| lab.source().deny(BAD.0, *right));
        lab.append(BAD, 3);
        let label = |lab: &Lab| lab.seen(BAD)?.reason.map(|(label, _)| label);
        lab.wait("the right is named", |lab| label(lab) == Some("TOPIC_AUTHORIZATION_FAILED"))
            .await;
        for _ in 0..600 {
            let seen = lab.seen(BAD).unwrap();
            let is_true = match (seen.lag_records, denied.len()) {
                (None, _) => seen.source_end.is_none() && seen.held_records.is_none(),
                // it may be asked where it ends
                (Some(lag), 1) => lag == 3,
                _ => false,
            };
            assert!(is_true, "{denied:?}: {seen:?}");
            sleep(SECOND / 10).await;
        }
        denied.iter().for_each(|right| lab.source().grant(BAD.0, *right));
        lab.level(BAD).await;
        lab.wait("readiness", |lab| lab.unready().is_empty()).await;
    }
}

/// The same of a partition that nobody fetches: the source is asked every 5 s, and its refusal is
/// an answer.
#[tokio::test(start_paused = true)]
async fn the_refused_end_of_what_stands_still_is_unknown_at_the_next_question() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let foreign = Build::plain(lab.now_ms(), "foreign", 1);
    lab.destination().append(BAD.0, BAD.1, &foreign);
    lab.append(BAD, 1);
    lab.wait("the halt", |lab| lab.is_halted(BAD)).await;
    sleep(SECOND * 30).await;
    assert_eq!(lab.seen(BAD).unwrap().lag_records, Some(1));
    [Right::Describe, Right::Read].iter().for_each(|right| lab.source().deny(BAD.0, *right));
    let is_unknown = |lab: &Lab| lab.seen(BAD).is_some_and(|seen| seen.lag_records.is_none());
    let took = lab.wait("the lag is unknown", is_unknown).await;
    assert!(took < SECOND * 11, "{took:?} of the world's own time: a pause and an answer");
    [Right::Describe, Right::Read].iter().for_each(|right| lab.source().grant(BAD.0, *right));
    lab.wait("the lag", |lab| lab.seen(BAD).unwrap().lag_records == Some(1)).await;
}

/// A destination that is away makes the lag unknown, and the link says so.
#[tokio::test(start_paused = true)]
async fn a_destination_that_is_away_is_told_and_its_ends_are_unknown() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    for broker in 1..=3 {
        let host = lab.destination().host(broker);
        lab.world.net.set_rule(CLIENT, &host, Rule { refuse: true, ..Rule::default() });
        lab.world.net.cut(CLIENT, &host);
    }
    sleep(SECOND * 21).await;
    for place in [BAD, GOOD[0]] {
        let seen = lab.seen(place).unwrap();
        let there = (seen.destination_end, seen.destination_hwm);
        assert_eq!((seen.lag_records, there), (None, (None, None)), "{seen:?}");
    }
    let LinkState::Unavailable(why) = lab.link_state() else { panic!("{:?}", lab.link_state()) };
    assert!(why.contains("the destination does not answer"), "{why}");
    assert_eq!(lab.unready().len(), 1, "{:?}", lab.unready());
    for broker in 1..=3 {
        let host = lab.destination().host(broker);
        lab.world.net.clear_rule(CLIENT, &host);
    }
    let is_well = |lab: &Lab| {
        lab.unready().is_empty() && lab.seen(BAD).is_some_and(|seen| seen.lag_records == Some(0))
    };
    lab.wait("readiness", is_well).await;
    lab.others_go_on().await;
}

/// A record that somebody else writes into a mirror at rest is noticed without one of ours.
#[tokio::test(start_paused = true)]
async fn a_foreign_record_in_a_quiet_mirror_halts() {
    for version in [Version::V2_8, Version::V4_3] {
        let mut lab = Lab::triple(version);
        lab.begin().await;
        sleep(SECOND * 60).await;
        let foreign = Build::plain(lab.now_ms(), "foreign", 2);
        lab.destination().append(BAD.0, BAD.1, &foreign);
        let took = lab.wait("the halt", |lab| lab.is_halted(BAD)).await;
        assert!(took < SECOND * 30, "{took:?} of the world's own time");
        lab.halts(BAD, "UNEXPECTED_WRITER", &["10", "12"]).await;
        lab.append(BAD, 7);
        lab.destination().append(BAD.0, BAD.1, &foreign);
        sleep(SECOND * 11).await; // a pause and an answer
        let seen = lab.seen(BAD).unwrap();
        let end = seen.destination_end.map(|end| end.get());
        assert_eq!((end, seen.lag_records), (Some(END + 4), Some(7)), "{seen:?}");
        assert_eq!(seen.destination_hwm, seen.destination_end, "what readers get");
    }
}

/// Where the destination holds no copy, nobody knows how much of the source is in it.
#[tokio::test(start_paused = true)]
async fn the_lag_of_what_is_no_copy_is_unknown() {
    for (count, code) in [(END as usize, "DIVERGED"), (END as usize + 5, "DESTINATION_AHEAD")] {
        let mut lab = Lab::single(Version::V4_3);
        lab.destination().create_topic(BAD.0, 1, &[]);
        let other = Build::plain(lab.now_ms(), "other", count);
        lab.destination().append(BAD.0, BAD.1, &other);
        lab.world.start();
        let label = |lab: &Lab| lab.seen(BAD).and_then(|seen| seen.reason).map(|(label, _)| label);
        while label(&lab) != Some(code) {
            let lag = lab.seen(BAD).and_then(|seen| seen.lag_records);
            assert_eq!(lag, None, "while it is doubted");
            sleep(SECOND / 20).await;
        }
        lab.refused(BAD, code, &[]).await;
        let seen = lab.seen(BAD).unwrap();
        assert_eq!((seen.lag_records, seen.lag_ms, seen.lag_bytes()), (None, None, None));
        assert!(is_unready(&lab, BAD.0), "{:?}", lab.unready());
    }
}

/// One partition that halts needs a person; a topic of which all is halted is not what was asked
/// for. What is not in hand of the lag is not counted as no bytes.
#[tokio::test(start_paused = true)]
async fn a_topic_of_which_all_is_halted_is_not_ready() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let foreign = Build::plain(lab.now_ms(), "foreign", 1);
    for (at, place) in GOOD.into_iter().enumerate() {
        assert_eq!(lab.unready(), [], "{at} of 2 are halted");
        lab.destination().append(place.0, place.1, &foreign);
        lab.append(place, 4);
        lab.wait("the halt", |lab| lab.is_halted(place)).await;
        sleep(SECOND * 11).await; // a pause and an answer
        let seen = lab.seen(place).unwrap();
        assert_eq!((seen.lag_records, seen.lag_bytes()), (Some(4), None), "{seen:?}");
    }
    assert!(is_unready(&lab, "all of it is halted"), "{:?}", lab.unready());
    assert!(is_told(&lab, GOOD[0].0, "UNEXPECTED_WRITER"), "{:?}", lab.troubles());
}

const JOURNAL: &str = "__isolog";

/// A journal that went is told, and nothing is gone on with that it does not remember any more: a
/// topic that was stopped since would be written into. A new start makes a new one and compares
/// what is there.
#[tokio::test(start_paused = true)]
async fn a_journal_that_went_is_told_and_nothing_goes_on_without_it() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().change(|state| state.delete_topic(JOURNAL)).unwrap();
    lab.source().create_topic("late", 1, &[]);
    lab.append(("late", 0), 3);
    lab.wait("the trouble", |lab| is_told(lab, JOURNAL, "JOURNAL_MISSING")).await;
    let is_halted = |lab: &Lab| matches!(lab.link_state(), LinkState::Halted(_));
    lab.wait("it stands still", is_halted).await;
    let LinkState::Halted(why) = lab.link_state() else { unreachable!() };
    assert!(why.contains("start isolog again"), "{why}");
    assert!(
        lab.unready().iter().any(|(_, reason)| reason.contains(JOURNAL)),
        "{:?}",
        lab.unready()
    );
    let before = lab.copy(BAD).end;
    lab.append(BAD, 3);
    sleep(SECOND * 30).await;
    assert_eq!(lab.copy(BAD).end, before);
    let seen = lab.seen(BAD).expect("a row");
    assert_eq!(seen.lag_records, None, "{seen:?}");
    let is_there = |lab: &Lab, name: &str| {
        lab.destination().look(|state| state.meta.topics().contains_key(name))
    };
    assert!(!is_there(&lab, "late") && !is_there(&lab, JOURNAL));
    lab.world.stop().await;
    lab.world.start();
    lab.level(("late", 0)).await;
    lab.level(BAD).await;
    lab.wait("readiness", |lab| lab.unready().is_empty()).await;
    assert!(is_there(&lab, JOURNAL));
    lab.others_go_on().await;
}

/// A journal that is not shown any more is told by the right that is missing.
#[tokio::test(start_paused = true)]
async fn a_journal_that_is_hidden_is_told_until_it_is_shown() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().deny(JOURNAL, Right::Describe);
    lab.wait("the trouble", |lab| is_told(lab, JOURNAL, "TOPIC_AUTHORIZATION_FAILED")).await;
    assert!(is_unready(&lab, JOURNAL), "{:?}", lab.unready());
    lab.others_go_on().await;
    lab.destination().grant(JOURNAL, Right::Describe);
    lab.wait("readiness", |lab| lab.unready().is_empty()).await;
}
