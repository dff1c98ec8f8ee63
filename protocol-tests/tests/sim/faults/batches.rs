//! What one odd batch of the source causes, by what it is or by what the destination takes.
//!
//! It never lets a halt pass where there is an answer, nor a copy that is not exact.

use isolog::mirror::facts::GapFill;
use isolog::mirror::facts::Merge;
use isolog::mirror::facts::OldFormat;
use protocol_tests::broker::batch::LOG_APPEND_TIME;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::Version;
use protocol_tests::check::prefix_equal;
use tokio::time::Duration;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::END;
use super::lab::Lab;

/// The log behind the copied records is made odd, once while isolog runs and once while it is
/// away: the copy becomes exact, so many offsets are filled and so many batches encoded anew.
async fn answered(filled: u64, reencoded: u64, spoil: impl Fn(&mut Lab)) {
    for is_down in [false, true] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        if is_down {
            lab.world.stop().await;
        }
        spoil(&mut lab);
        if is_down {
            lab.world.start();
        }
        lab.level(BAD).await;
        let copied = lab.seen(BAD).expect("the partition is watched").copied;
        assert_eq!((copied.filled, copied.reencoded), (filled, reencoded), "{copied:?}");
        lab.append(BAD, 3);
        lab.level(BAD).await;
        lab.others_go_on().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_is_filled() {
    answered(3, 0, |lab| {
        let base = lab.append(BAD, 3);
        lab.append(BAD, 3);
        lab.source().remove_batch(BAD.0, BAD.1, base);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hole_halts_with_both_of_its_ends_where_the_link_fills_nothing() {
    let mut lab = Lab::single(Version::V4_3);
    lab.world.policy.gap_fill = GapFill::Halt;
    lab.begin().await;
    let base = lab.append(BAD, 3);
    lab.append(BAD, 3);
    lab.source().remove_batch(BAD.0, BAD.1, base);
    lab.halts(BAD, "HOLE", &["no record at 10", "goes on at 13"]).await;
    lab.exact_to(BAD, END);
}

#[tokio::test(start_paused = true)]
async fn a_thinned_batch_is_encoded_anew_around_its_holes() {
    answered(2, 2, |lab| {
        lab.append(BAD, 5);
        lab.append(BAD, 5);
        lab.source().compact(BAD.0, BAD.1, false, |offset, _| !(11..13).contains(&offset));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_emptied_by_compaction_is_filled() {
    answered(2, 0, |lab| {
        lab.append(BAD, 2);
        lab.append(BAD, 5);
        lab.source().compact(BAD.0, BAD.1, true, |offset, _| !(10..12).contains(&offset));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_marker_is_filled() {
    answered(1, 0, |lab| {
        lab.source().end_txn(BAD.0, BAD.1, (77, 0), true);
        lab.append(BAD, 5);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_marker_at_the_end_is_filled_at_once() {
    answered(1, 0, |lab| {
        lab.source().end_txn(BAD.0, BAD.1, (77, 0), false);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn committed_records_are_copied_and_aborted_ones_filled() {
    for (commit, filled) in [(true, 1), (false, 4)] {
        answered(filled, 0, |lab| {
            let build = lab.batch(3);
            lab.source().append_txn(BAD.0, BAD.1, (77, 0, 0), build);
            lab.source().end_txn(BAD.0, BAD.1, (77, 0), commit);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_transaction_holds_back_what_follows_and_says_so() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let build = lab.batch(3);
    lab.source().append_txn(BAD.0, BAD.1, (77, 0, 0), build);
    lab.append(BAD, 5);
    // longer than any transaction may be open (transaction.max.timeout.ms)
    sleep(Duration::from_secs(1_200)).await;
    let seen = lab.seen(BAD).unwrap();
    assert_eq!((seen.state, seen.lag_records, seen.lag_bytes()), ("Mirroring", Some(0), Some(0)));
    assert_eq!(seen.held_records, Some(8));
    lab.exact_to(BAD, END);
    lab.source().end_txn(BAD.0, BAD.1, (77, 0), false);
    lab.level(BAD).await;
    let seen = lab.seen(BAD).unwrap();
    assert_eq!((seen.held_records, seen.copied.filled), (Some(0), 4));
}

#[tokio::test(start_paused = true)]
async fn the_brokers_own_time_becomes_each_records_time() {
    answered(0, 1, |lab| {
        let build = lab.batch(3).flags(LOG_APPEND_TIME);
        lab.append_bad(&build);
        lab.append(BAD, 5);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn old_formats_are_converted_or_halt_with_their_number() {
    for magic in [0, 1] {
        answered(0, 1, |lab| {
            lab.source().append_old(BAD.0, BAD.1, magic, "old");
            lab.append(BAD, 5);
        })
        .await;
        let mut lab = Lab::single(Version::V4_3);
        lab.world.policy.old_format = OldFormat::Halt;
        lab.begin().await;
        lab.source().append_old(BAD.0, BAD.1, magic, "old");
        let format = format!("format {magic}");
        lab.halts(BAD, "UNSUPPORTED_MESSAGE_FORMAT", &["at 10", &format]).await;
        lab.exact_to(BAD, END);
    }
}

#[tokio::test(start_paused = true)]
async fn small_batches_that_wait_become_one_where_the_link_lets_them() {
    let mut lab = Lab::single(Version::V4_3);
    lab.world.policy.merge = Merge::Auto;
    lab.begin().await;
    lab.world.stop().await;
    for _ in 0..40 {
        lab.append(BAD, 2);
    }
    lab.world.start();
    lab.wait("the end", |lab| lab.is_level(BAD)).await;
    let (source, copy) = (lab.source_dump(BAD), lab.copy(BAD));
    assert_eq!(prefix_equal(&source, &copy, source.end), Vec::<String>::new());
    assert!(copy.batches.len() < 10, "{}", copy.batches.len());
    assert!(lab.seen(BAD).unwrap().copied.merged > 30);
    lab.append(BAD, 3);
    lab.wait("the end", |lab| lab.is_level(BAD)).await;
}

#[tokio::test(start_paused = true)]
async fn a_config_that_breaks_fillers_halts_that_partition_until_it_is_mended() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().configure(BAD.0, &[("compression.type", Some("zstd"))]);
    sleep(Duration::from_secs(10)).await; // isolog reads the configs
    lab.source().end_txn(BAD.0, BAD.1, (77, 0), true);
    lab.append(BAD, 5);
    lab.halts(BAD, "DESTINATION_CONFIG", &["compression.type"]).await;
    lab.exact_to(BAD, END);
    lab.destination().configure(BAD.0, &[("compression.type", Some("producer"))]);
    lab.level(BAD).await;
    lab.others_go_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_epoch_that_goes_back_inside_the_log_halts() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    let old = lab.source().leader(BAD.0, BAD.1);
    lab.source().move_leader(BAD.0, BAD.1, old % 3 + 1);
    lab.append(BAD, 2);
    let base = lab.append(BAD, 3);
    // the epoch is not under the checksum
    lab.source().corrupt(BAD.0, BAD.1, base, |batch| batch[12..16].fill(0));
    sleep(Duration::from_secs(1)).await;
    lab.world.start();
    let words = ["from 1 to 0", "at 12"];
    lab.halts(BAD, "NON_MONOTONIC_SOURCE_EPOCH", &words).await;
    lab.exact_to(BAD, 12);
}

/// Who may change configs raises the limit by itself.
#[tokio::test(start_paused = true)]
async fn a_limit_that_was_lowered_is_raised_again_where_we_may() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.destination().configure(BAD.0, &[("max.message.bytes", Some("1000"))]);
    let build = lab.large(2_000);
    lab.append_bad(&build);
    lab.append(BAD, 5);
    let took = lab.level(BAD).await;
    assert!(took < Duration::from_secs(60), "{took:?}");
    lab.others_go_on().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_too_large_halts_with_both_numbers_until_the_limit_is_raised() {
    let mut lab = Lab::single(Version::V4_3);
    lab.destination().deny(BAD.0, Right::AlterConfigs);
    lab.begin().await;
    lab.destination().configure(BAD.0, &[("max.message.bytes", Some("1000"))]);
    sleep(Duration::from_secs(10)).await; // isolog reads the configs
    let build = lab.large(2_000);
    let bytes = format!("{} bytes", build.bytes().len());
    lab.append_bad(&build);
    lab.append(BAD, 5);
    let words = ["at 10", bytes.as_str(), "topic is 1000", "raise"];
    lab.halts(BAD, "BATCH_TOO_LARGE", &words).await;
    lab.exact_to(BAD, END);
    lab.destination().configure(BAD.0, &[("max.message.bytes", Some("5000"))]);
    let took = lab.level(BAD).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_lowered_just_now_is_met_at_the_broker() {
    let mut lab = Lab::single(Version::V4_3);
    lab.destination().deny(BAD.0, Right::AlterConfigs);
    lab.begin().await;
    lab.destination().configure(BAD.0, &[("max.message.bytes", Some("1000"))]);
    let build = lab.large(2_000);
    lab.append_bad(&build);
    lab.append(BAD, 5);
    lab.halts(BAD, "BATCH_TOO_LARGE", &["at 10"]).await;
    lab.exact_to(BAD, END);
    lab.destination().configure(BAD.0, &[("max.message.bytes", None)]);
    lab.level(BAD).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_destination_refuses_for_good_halts_with_its_code() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    // a compacted topic takes no records without a key
    lab.destination().configure(BAD.0, &[("cleanup.policy", Some("compact"))]);
    let mut build = lab.batch(3);
    build.records[1].key = None;
    lab.append_bad(&build);
    lab.append(BAD, 5);
    lab.halts(BAD, "REFUSED_BY_DESTINATION", &["at 10", "INVALID_RECORD (87)"]).await;
    lab.exact_to(BAD, END);
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_that_the_destination_does_not_take_halts_until_the_limit_is_raised() {
    let (hour, day) = (Some("3600000"), Some("86400000"));
    let cases = [
        ("message.timestamp.after.max.ms", hour, 86_400_000),
        ("message.timestamp.before.max.ms", day, -365 * 86_400_000),
    ];
    for (key, limit, shift_ms) in cases {
        let mut lab = Lab::single(Version::V4_3);
        lab.destination().deny(BAD.0, Right::AlterConfigs);
        lab.begin().await;
        lab.destination().configure(BAD.0, &[(key, limit)]);
        sleep(Duration::from_secs(10)).await; // isolog reads the configs
        let mut build = lab.batch(3);
        build.base_timestamp += shift_ms;
        lab.append_bad(&build);
        let is = format!("{key} is {}", limit.unwrap());
        lab.halts(BAD, "INVALID_TIMESTAMP", &["at 10", &is, "raise"]).await;
        lab.exact_to(BAD, END);
        lab.destination().configure(BAD.0, &[(key, Some("9223372036854775807"))]);
        let took = lab.level(BAD).await;
        assert!(took < Duration::from_secs(30), "{key}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_a_time_when_the_source_took_more_is_copied() {
    let mut lab = Lab::single(Version::V4_3);
    lab.source().configure(BAD.0, &[("max.message.bytes", Some("4000000"))]);
    let build = lab.large(3_000_000);
    lab.append_bad(&build);
    lab.source().configure(BAD.0, &[("max.message.bytes", Some("1000000"))]);
    lab.begin().await;
    assert!(lab.seen(BAD).unwrap().reason.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_gap_longer_than_the_link_allows_halts_and_says_how_to_allow_it() {
    let mut lab = Lab::single(Version::V4_3);
    lab.world.policy.gap_offsets_max = 40;
    lab.begin().await;
    lab.world.stop().await;
    let base = lab.append(BAD, 50);
    lab.append(BAD, 3);
    lab.source().remove_batch(BAD.0, BAD.1, base);
    lab.world.start();
    let words = ["from 10 up to 60", "50 offsets", "gap.offsets.max, which is 40"];
    lab.halts(BAD, "GAP_TOO_LONG", &words).await;
    lab.exact_to(BAD, END);
    lab.world.stop().await;
    lab.world.policy.gap_offsets_max = 50;
    lab.world.start();
    lab.level(BAD).await;
}

fn flip(batch: &mut [u8]) {
    let last = batch.len() - 1;
    batch[last] ^= 0x40;
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_batch_is_not_copied_and_halts_until_the_source_heals() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    let base = lab.append(BAD, 3);
    lab.append(BAD, 5);
    lab.source().corrupt(BAD.0, BAD.1, base, flip);
    lab.world.start();
    lab.halts(BAD, "CORRUPT_BATCH", &["at 10", "checksum"]).await;
    lab.exact_to(BAD, END);
    lab.source().corrupt(BAD.0, BAD.1, base, flip);
    lab.level(BAD).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_corrupt_for_a_moment_is_fetched_again_and_never_halts() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    let base = lab.append(BAD, 3);
    lab.source().corrupt(BAD.0, BAD.1, base, flip);
    lab.world.start();
    let reason = |lab: &Lab| lab.seen(BAD).and_then(|seen| seen.reason);
    let label = |lab: &Lab| reason(lab).is_some_and(|reason| reason.0.starts_with("CORRUPT"));
    lab.wait("the first refetch", label).await;
    assert!(!lab.is_halted(BAD));
    lab.source().corrupt(BAD.0, BAD.1, base, flip);
    let took = lab.level(BAD).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}
