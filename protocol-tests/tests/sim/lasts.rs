//! What a promote takes over last, between two simulated clusters, with the real driver: configs of
//! the source before the seals, the offsets of its groups behind them.
//!
//! It never waits for real time; what real brokers say of the same is in `real/groups`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::task::last::LastSync;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::takeover::Act;
use protocol_tests::broker::takeover::Call;
use protocol_tests::broker::takeover::ControlId;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::groups::ALL;
use crate::groups::committed;
use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::mirror;
use crate::operated::of_mirror;

/// Nothing is followed again before any of these tests is over: a last turn is asked for, or there
/// is none.
const RARELY: &str = "86400000";
/// Where the topic ends.
const END: i64 = 20;
/// Share groups for which a last turn has no time, each taking seconds.
const GROUPS: u64 = 300;

impl Lab {
    /// A link that follows groups and configs once a day, and a mirror topic that is level with its
    /// source.
    async fn rarely() -> Lab {
        let lab = Lab::start(&[]).await;
        lab.source.create_topic("orders", 1, &[]);
        (0..END / 5).for_each(|_| lab.append("orders", 0));
        let more = [
            ("consumer.offset.sync.enable", "true"),
            ("consumer.offset.sync.ms", RARELY),
            ("consumer.offset.group.filters", ALL),
            ("topic.config.sync.ms", RARELY),
        ];
        lab.create_link("dr", &more).await;
        lab.obeyed("dr", mirror("orders")).await;
        lab.copied("orders", "orders", 0).await;
        // the first turns are over
        sleep(SECOND * 30).await;
        lab
    }

    fn commits(&self, group: &str, offset: i64) {
        self.source.commit_as_member(group, ("orders", 0), offset);
    }

    fn last_sync(&self) -> Option<LastSync> {
        self.seen("dr", "orders")?.row.last_sync.map(|last| *last)
    }

    /// A last turn hangs at the source until this is taken back.
    fn source_hangs(&self) -> ControlId {
        self.source.control_key(ApiKey::ListGroups, |_| Some(Act::Silence))
    }

    /// All of the topic is sealed, and it waits for its groups.
    async fn awaits_groups(&self) {
        let waits = |lab: &Lab| lab.seen("dr", "orders")?.awaits_groups.then_some(());
        self.wait("it is sealed and waits", waits).await;
    }
}

/// Who stops at the source, promotes and goes on at the destination reads no record again.
#[tokio::test(start_paused = true)]
async fn a_promote_takes_over_what_groups_committed_last() {
    let lab = Lab::rarely().await;
    lab.commits("billing", 13);
    lab.commits("done", END);
    // beyond what the source holds, so beyond the seal too
    lab.commits("far", 900);
    lab.commits("busy", 7);
    lab.destination.join_group("busy", "one");
    assert_eq!(committed(&lab.destination, "billing"), None, "no turn since");
    lab.stop(How::Promote).await;
    lab.stopped().await;
    for (group, offset) in [("billing", 13), ("done", END), ("far", END)] {
        assert_eq!(committed(&lab.destination, group), Some(offset), "{group}");
    }
    assert_eq!(committed(&lab.destination, "busy"), None, "it has members here");
    let last = lab.last_sync().unwrap();
    assert_eq!((last.synced, last.clamped, last.ahead, last.left_count()), (2, 1, 0, Some(1)));
    assert_eq!(last.left[0].subject, "busy");
    assert!(last.left[0].why.contains("has members at the destination"), "{last:?}");
    lab.end().await;
}

/// Others may write behind the seal before the groups are done: that is no offset of the source.
#[tokio::test(start_paused = true)]
async fn no_group_is_set_behind_the_seal() {
    let lab = Lab::rarely().await;
    lab.commits("far", 900);
    let hangs = lab.source_hangs();
    lab.stop(How::Promote).await;
    lab.awaits_groups().await;
    let now = lab.source.look(|state| state.now_ms());
    for _ in 0..3 {
        lab.destination.append("orders", 0, &Build::plain(now, "others", 5));
    }
    lab.source.drop_control(hangs);
    lab.stopped().await;
    assert_eq!(lab.destination.dump("orders", 0).end, END + 1 + 15);
    assert_eq!(committed(&lab.destination, "far"), Some(END));
    lab.end().await;
}

/// Killed between the seals and the last turn, and told of a source that comes back in time.
#[tokio::test(start_paused = true)]
async fn a_last_turn_is_made_again_after_a_kill() {
    let mut lab = Lab::rarely().await;
    lab.commits("billing", 13);
    let hangs = lab.source_hangs();
    lab.stop(How::Promote).await;
    lab.awaits_groups().await;
    lab.kill_and_start().await;
    lab.awaits_groups().await;
    assert_eq!(lab.seen("dr", "orders").unwrap().status, Status::PendingStopped);
    lab.source.drop_control(hangs);
    lab.stopped().await;
    assert_eq!(committed(&lab.destination, "billing"), Some(13));
    assert_eq!(lab.last_sync().unwrap().left_count(), Some(0));
    lab.end().await;
}

/// More than the time is enough for: the row counts those that are left, and they are what it says.
#[tokio::test(start_paused = true)]
async fn groups_that_there_was_no_time_for_are_counted() {
    let lab = Lab::rarely().await;
    let all: Vec<String> = (0..GROUPS).map(|number| format!("s-{number:03}")).collect();
    all.iter().for_each(|group| lab.source.share_to(group, ("orders", 0), 13));
    lab.commits("billing", 13);
    let slow = |_: &Call| Some(Act::Delay(SECOND * 4));
    lab.destination.control_key(ApiKey::AlterShareGroupOffsets, slow);
    lab.stop(How::Promote).await;
    lab.awaits_groups().await;
    let began = Instant::now();
    lab.stopped().await;
    assert!(began.elapsed() < SECOND * 90, "{:?}", began.elapsed());
    let last = lab.last_sync().unwrap();
    let is_there = |group: &&String| lab.destination.share_start(group, ("orders", 0)).is_some();
    let there = all.iter().filter(is_there).count() as u64;
    assert!((80..GROUPS - 80).contains(&there), "{there}");
    // the kind that is quick goes first
    assert_eq!(committed(&lab.destination, "billing"), Some(13));
    assert_eq!((last.synced, last.left_count()), (there + 1, Some(GROUPS - there)), "{last:?}");
    assert_eq!(last.shares, GROUPS - there);
    let text = last.trouble().unwrap();
    assert!(text.contains("has not read is skipped, unless"), "{text}");
    assert!(text.contains("the time of a promote's last turn was over"), "{text}");
    lab.end().await;
}

/// A coordinator at the destination that does not answer is no group without offsets.
#[tokio::test(start_paused = true)]
async fn groups_that_the_destination_did_not_tell_of_are_counted() {
    let lab = Lab::rarely().await;
    lab.commits("billing", 13);
    lab.commits("web", 7);
    lab.destination.control_key(ApiKey::OffsetFetch, |_| Some(Act::Close));
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let last = lab.last_sync().unwrap();
    assert_eq!((last.synced, last.left_count()), (0, Some(2)), "{last:?}");
    assert_eq!(last.left[1].subject, "web");
    lab.end().await;
}

/// A source that is silent behind the seals holds a promote up for a while only; the row says what
/// was not done, and so does whoever shows it, also after a restart. The time is the world's own.
#[tokio::test(start_paused = true)]
async fn a_silent_source_holds_no_promote_up_for_ever() {
    for is_dead in [false, true] {
        let mut lab = Lab::rarely().await;
        lab.commits("billing", 13);
        let _hangs = lab.source_hangs();
        lab.stop(How::Promote).await;
        lab.awaits_groups().await;
        let began = Instant::now();
        if is_dead {
            lab.source.kill(1);
        }
        lab.stopped().await;
        assert!(began.elapsed() < SECOND * 90, "{:?}", began.elapsed());
        lab.kill_and_start().await;
        lab.stopped().await;
        let last = lab.last_sync().unwrap();
        assert!(last.left_count().is_none(), "{last:?}");
        let told = last.trouble().unwrap();
        assert!(told.contains("consumer groups were not all synced"), "{told}");
        assert_eq!(committed(&lab.destination, "billing"), None);
        lab.end().await;
    }
}

/// Nobody can be asked, and nobody is waited for.
#[tokio::test(start_paused = true)]
async fn a_failover_takes_no_last_turn() {
    let lab = Lab::rarely().await;
    let _hangs = lab.source_hangs();
    lab.stop(How::Failover).await;
    let began = Instant::now();
    lab.stopped().await;
    assert!(began.elapsed() < SECOND * 8, "{:?}", began.elapsed());
    assert_eq!(lab.last_sync(), None);
    lab.end().await;
}

/// What was altered at the source a moment before the order is altered here.
#[tokio::test(start_paused = true)]
async fn a_promote_takes_over_configs_that_were_changed_last() {
    let lab = Lab::rarely().await;
    let changes = [("retention.ms", Some("777777")), ("max.message.bytes", Some("3000000"))];
    lab.source.configure("orders", &changes);
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let now = lab.destination.look(|state| state.meta.topics()["orders"].configs.clone());
    for (key, value) in changes {
        assert_eq!(now.get(key).map(String::as_str), value, "{key}: {now:?}");
    }
    lab.end().await;
}

/// What the destination refuses of them is kept in the row, also over a kill, and names the config.
#[tokio::test(start_paused = true)]
async fn a_promote_keeps_which_configs_the_destination_refused() {
    let mut lab = Lab::rarely().await;
    lab.destination.deny("orders", protocol_tests::broker::rights::Right::AlterConfigs);
    lab.source.configure("orders", &[("retention.ms", Some("777777"))]);
    lab.stop(How::Promote).await;
    lab.stopped().await;
    lab.kill_and_start().await;
    lab.stopped().await;
    let told = lab.seen("dr", "orders").unwrap().row.last_configs.clone().unwrap();
    assert!(told.contains("the destination does not take the source's retention.ms"), "{told}");
    lab.end().await;
}

/// A right that is missing is told, and holds no promote up.
#[tokio::test(start_paused = true)]
async fn configs_that_the_source_does_not_tell_hold_no_promote_up() {
    let lab = Lab::rarely().await;
    lab.source.deny("orders", protocol_tests::broker::rights::Right::DescribeConfigs);
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let told = lab.seen("dr", "orders").unwrap().row.last_configs.clone().unwrap();
    assert!(told.contains("the source does not tell its configs"), "{told}");
    lab.end().await;
}

/// Where a mirror has come to is known while it rests, and while a failover overtakes a promote.
#[tokio::test(start_paused = true)]
async fn where_it_has_come_to_is_known_while_nothing_is_copied() {
    let lab = Lab::rarely().await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    let ends = |lab: &Lab| {
        let seen = lab.seen("dr", "orders")?;
        seen.ends.values().next().map(|end| end.get())
    };
    assert_eq!(lab.wait("its end", ends).await, END);
    lab.end().await;
}
