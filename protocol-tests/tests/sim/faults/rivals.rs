//! Two at once: one link mirrored by two processes, old ones that come back, forgotten writers.
//!
//! It never asserts who wins: whoever writes, the log is as one writer would have left it.

use protocol_tests::broker::spec::Version;
use protocol_tests::check::assert_copied;
use protocol_tests::net::Proxy;
use protocol_tests::net::Rule;
use protocol_tests::world::CLIENT;
use tokio::time::Duration;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::GOOD;
use super::lab::Lab;

/// Whatever the processes show, the destination is a prefix of the source.
fn is_prefix(lab: &Lab) {
    for place in [BAD, GOOD[0], GOOD[1]] {
        let copy = lab.copy(place);
        assert_copied(&lab.source_dump(place), &copy, copy.end);
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_on_one_link_leave_the_log_of_one() {
    for version in [Version::V2_8, Version::V4_3] {
        let mut lab = Lab::triple(version);
        lab.begin().await;
        let rival = lab.world.instance("rival");
        for round in 0..40 {
            for place in [BAD, GOOD[0], GOOD[1], BAD] {
                lab.append(place, 1 + round % 5);
            }
            sleep(Duration::from_millis(17 * round as u64)).await;
            is_prefix(&lab);
        }
        sleep(Duration::from_secs(60)).await;
        is_prefix(&lab);
        rival.kill().await;
        // the one that is left may have stood still for a rival's batch: a new one takes over
        lab.world.kill().await;
        lab.world.start();
        for place in [BAD, GOOD[0], GOOD[1]] {
            lab.level(place).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_from_the_beginning_leave_the_log_of_one() {
    for version in [Version::V2_8, Version::V4_3] {
        let mut lab = Lab::single(version);
        for _ in 0..50 {
            lab.append(BAD, 3);
        }
        lab.world.start();
        let rival = lab.world.instance("rival");
        sleep(Duration::from_secs(120)).await;
        is_prefix(&lab);
        rival.stop().await;
        lab.world.kill().await;
        lab.world.start();
        lab.level(BAD).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_cut_off_finds_its_place_again() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let host = lab.destination().host(1);
    // what the old one has sent is held, a new one takes over, then the old one's bytes arrive
    let late = Rule { delay_ms: (3_000, 3_000), proxy: Proxy::DeliversAlways, ..Rule::default() };
    lab.world.net.set_rule(CLIENT, &host, late);
    for _ in 0..30 {
        lab.append(BAD, 3);
    }
    sleep(Duration::from_secs(2)).await;
    let rival = lab.world.instance("rival");
    for _ in 0..30 {
        lab.append(BAD, 3);
        sleep(Duration::from_millis(300)).await;
        is_prefix(&lab);
    }
    lab.world.net.clear_rule(CLIENT, &host);
    sleep(Duration::from_secs(30)).await;
    is_prefix(&lab);
    rival.kill().await;
    lab.world.kill().await;
    lab.world.start();
    lab.level(BAD).await;
}

/// Records so old that a broker forgets their writer at every check and restart.
#[tokio::test(start_paused = true)]
async fn old_records_are_copied_exactly_though_their_writer_is_forgotten_again_and_again() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let days_3 = 3 * 86_400_000;
    for round in 0..25 {
        for _ in 0..12 {
            let mut build = lab.batch(3);
            build.base_timestamp -= days_3;
            lab.append_bad(&build);
        }
        sleep(Duration::from_millis(2 + round % 9)).await;
        lab.destination().expire_producers_now(BAD.0, BAD.1);
        match round % 5 {
            1 => {
                lab.destination().kill(1);
                sleep(Duration::from_secs(12)).await;
                lab.destination().restart(1);
            }
            3 => {
                lab.world.kill().await;
                lab.destination().expire_producers_now(BAD.0, BAD.1);
                lab.world.start();
            }
            _ => {}
        }
        is_prefix(&lab);
        sleep(Duration::from_millis(500)).await;
        lab.destination().expire_producers_now(BAD.0, BAD.1);
    }
    lab.level(BAD).await;
    lab.others_go_on().await;
}
