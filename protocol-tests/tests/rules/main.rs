//! The broker rules that isolog leans on: each is one function, run on simulated and real brokers.
//!
//! Their names begin with those of broker-facts.md. What that paper tells of others than brokers
//! has no rule here: of readers (M9, H10 to H12) `real/gallery` tells, of producers behind us (M12)
//! `real/promoted.rs`, of us behind a proxy (H14, H15) `real/proxy.rs`; H16 is the sum of the
//! rules a03. H13 is about a tool, and rates are no rules. M10 is a part of a09, and M8 and
//! M11 of m02 and m01. Of part B what isolog leans on is here (b07, b11, b12, b13; one request at
//! a time is p18).
//!
//! Share groups are younger than that paper: their rules are called by their KIP.
//!
//! It never uses isolog itself: the rules are about brokers. A test that needs Kafka fails when
//! it cannot start; it never skips.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(missing_docs, reason = "the names of the rules say what they are")]

mod cleaned;
mod fetch;
mod groups;
mod high;
mod lab;
mod left;
mod produce;
mod quota;
mod replicas;
mod resetting;
mod rights;
mod shares;
mod state;
mod txn;

use std::pin::Pin;
use std::sync::Arc;

use protocol_tests::broker::Version;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::room;

use crate::lab::Lab;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
type Rule = (&'static str, fn(Arc<Lab>) -> Running);

/// A list of rules for clusters of one size, and one test per rule on the simulation.
macro_rules! rules {
    ($module:ident, $list:ident, $brokers:expr, $($room:ident::$rule:ident,)+) => {
        const $list: &[Rule] = &[$((stringify!($rule), |lab| {
            Box::pin(async move { crate::$room::$rule(&lab).await })
        }),)+];

        mod $module {
            $(
                #[tokio::test(start_paused = true)]
                async fn $rule() {
                    for version in super::VERSIONS {
                        println!("as {version:?}");
                        let lab = crate::lab::Lab::sim(version, $brokers);
                        crate::$room::$rule(&lab).await;
                    }
                }
            )+
        }
    };
}

const VERSIONS: [Version; 3] = [Version::V2_8, Version::V3_9, Version::V4_3];

rules! { simulated, SINGLE, 1,
    produce::p01_unknown_id_any_sequence,
    produce::p01_id_without_sequence_is_refused,
    produce::p02_repeat_answers_the_original_offset,
    produce::p03_older_overlap_gap,
    produce::p04_epochs_fence,
    produce::p05_sequence_wraps,
    produce::p06_malformed_batches,
    produce::p06_record_count_lies,
    produce::p07_the_last_of_two_entries_wins,
    produce::p08_null_records_are_never_answered,
    produce::p08_bytes_behind_the_batch_are_ignored,
    produce::p09_transactional_bit_without_an_id,
    produce::p10_log_append_time_bit,
    produce::p10_log_append_time_topic,
    produce::p11_unknown_attribute_bits_are_stored,
    produce::p12_timestamps_ahead,
    produce::p13_a_wrong_max_timestamp_is_corrected,
    produce::p14_corrupt_batches,
    produce::p14_garbage_records,
    produce::p15_what_is_stored_is_what_was_sent,
    produce::p15_another_codec_on_the_topic_recompresses,
    produce::p16_sizes,
    produce::p16_larger_than_a_segment,
    produce::p17_five_in_flight,
    produce::p17_the_first_of_a_chain_goes_alone,
    produce::p20_recreated_topics,
    produce::p21_an_unsupported_version_closes,
    produce::p22_null_keys_on_a_compacted_topic,
    produce::h01_hidden_fillers,
    produce::h05_a_compressing_topic_shows_fillers,
    produce::h05_compressed_fillers_are_refused,
    fetch::b07_the_whole_batch_that_holds_the_offset,
    fetch::b07_the_first_batch_is_whole_the_last_is_cut,
    fetch::b07_the_second_partition_gets_nothing_that_does_not_fit,
    fetch::b07_out_of_range,
    fetch::b07_leader_epochs,
    fetch::b07_diverging_epoch,
    fetch::b07_aborted_list_only_for_read_committed,
    fetch::b07_long_poll,
    fetch::b07_sessions,
    fetch::b07_unknown_topics,
    quota::b12_a_throttled_append_is_done_and_its_connection_mute,
    quota::b12_a_throttled_fetch_brings_nothing,
    quota::b12_a_fetch_is_cut_to_its_quota,
    quota::b12_a_batch_larger_than_the_quota_never_comes,
    quota::b12_a_request_above_100_mib_closes,
    state::s01_producers_are_described,
    state::s02_old_records_are_forgotten,
    state::s05_delete_records_keeps_the_state,
    state::a03_refusals_append_nothing_whatever_is_known,
    state::a04_ends_and_epochs,
    state::a04_lookup_by_time,
    state::a06_delete_records,
    state::a08_advertised_versions,
    state::a08_unknown_api_versions,
    state::a08_clients_must_name_themselves,
    state::b11_configs,
    state::b11_small_segments,
    txn::m01_a_marker_of_an_invented_id,
    txn::m02_as_many_offsets_as_entries,
    txn::m03_codes_prove_nothing,
    txn::m04_a_partition_twice_in_a_marker_is_never_answered,
    txn::m05_a_chain_goes_on_behind_its_own_marker,
    txn::m06_behind_a_marker_alone_a_chain_begins_at_zero,
    txn::m07_a_marker_of_a_higher_epoch_seals,
    txn::b07_read_committed_ends_at_the_open_transaction,
    txn::b07_the_aborted_list_reaches_back,
    txn::b07_read_committed_gets_every_batch,
    cleaned::a09_cleaning_keeps_places,
    cleaned::a09_tombstones_get_a_horizon,
    cleaned::a09_cleaned_transactions,
    cleaned::h03_the_cleaner_removes_hidden_fillers,
    cleaned::h05_the_brokers_time_leaves_fillers_hidden,
    cleaned::h06_times_of_fillers,
    cleaned::h08_delete_records_into_fillers,
    cleaned::h09_ninety_five_thousand_in_a_batch,
    cleaned::a06_the_way_around_a_compacted_topic,
    groups::a07_offsets_set_from_outside_are_stored_as_they_are,
    groups::a07_an_active_group_refuses,
    shares::kip932_starts_set_from_outside_are_stored_as_they_are,
    shares::kip932_an_active_share_group_refuses,
    shares::kip932_groups_of_other_kinds_refuse,
    high::h02_fillers_at_any_offset_of_a_delete_topic,
    high::h04_the_last_place_of_hidden_fillers,
    high::h04_the_cleaner_and_fillers_above_two_to_the_31,
    state::s03_a_restart_thins_the_state,
    cleaned::a06_a_crash_forgets_delete_records,
}

rules! { simulated_replicas, TRIPLE, 3,
    replicas::s01_what_followers_answer,
    replicas::a04_the_true_end_with_a_frozen_follower,
    left::s04_an_elected_leader_knows_the_last_batches,
    left::p18_one_request_at_a_time,
    left::p19_timed_out_is_in_the_log,
    left::a03_closed_with_requests_queued,
    left::a03_aborted_with_requests_queued,
    left::a03_repeated_before_the_thaw,
    replicas::b13_too_few_replicas,
}

rules! { simulated_rights, RIGHTS, 1,
    rights::a11_codes_of_missing_rights,
}

/// Runs every rule, one after the other, on one real cluster; tells all that do not hold.
/// `ISOLOG_RULES=part` runs those whose names have that part.
fn on_real_brokers(number: &str, version: Version, brokers: u8, rules: &[Rule]) {
    on_real_cluster(RealSpec::new(number, brokers), version, rules);
}

fn on_real_cluster(spec: RealSpec, version: Version, rules: &[Rule]) {
    let _room = room(u32::from(spec.brokers));
    let number = spec.version.clone();
    let spec = spec
        .prop("auto.create.topics.enable", "false")
        .prop("producer.id.expiration.check.interval.ms", "2000")
        .prop("transaction.partition.verification.enable", "false")
        .prop("log.cleaner.backoff.ms", "200")
        .prop("log.retention.check.interval.ms", "3600000")
        // written only at an ordered stop: a crash then forgets the log starts
        .prop("log.flush.start.offset.checkpoint.interval.ms", "3600000")
        .prop("log.initial.task.delay.ms", "3600000");
    let cluster = Arc::new(RealCluster::start(spec).unwrap());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let lab = Arc::new(Lab::real(version, cluster));
    let mut broken = Vec::new();
    let only = std::env::var("ISOLOG_RULES").unwrap_or_default();
    let chosen: Vec<_> = rules.iter().filter(|(name, _)| name.contains(&only)).collect();
    assert!(!chosen.is_empty(), "no rule is called {only}");
    for (name, rule) in chosen {
        if runtime.block_on(runtime.spawn(rule(lab.clone()))).is_err() {
            println!("not so on {number}: {name}");
            broken.push(*name);
        }
    }
    assert!(broken.is_empty(), "not so on {number}: {broken:#?}");
}

#[test]
fn real_4_3_1() {
    on_real_brokers("4.3.1", Version::V4_3, 1, SINGLE);
}

#[test]
fn real_3_9_1() {
    on_real_brokers("3.9.1", Version::V3_9, 1, SINGLE);
}

#[test]
fn real_4_3_1_three_brokers() {
    on_real_brokers("4.3.1", Version::V4_3, 3, TRIPLE);
}

#[test]
fn real_3_9_1_three_brokers() {
    on_real_brokers("3.9.1", Version::V3_9, 3, TRIPLE);
}

/// A11: the same broker with an authorizer, and everybody allowed what no ACL denies.
#[test]
fn real_4_3_1_rights() {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let spec = RealSpec::new("4.3.1", 1)
        .prop("authorizer.class.name", authorizer)
        .prop("allow.everyone.if.no.acl.found", "true");
    on_real_cluster(spec, Version::V4_3, RIGHTS);
}
