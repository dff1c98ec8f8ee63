//! Logins that fail, again and again: the process does not grow by them.
//!
//! It never asks why they fail: `pure/secure/login.rs` does.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use protocol_tests::secure::lab::connect;
use protocol_tests::secure::lab::options;
use protocol_tests::secure::lab::scram;
use protocol_tests::secure::peer::Manner;
use protocol_tests::secure::peer::PASSWORD;
use protocol_tests::secure::peer::Peer;

use super::alone;

/// A hundred failures of each kind leave no more memory behind than one.
#[test]
fn failures_leave_no_memory_behind() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(fail_often());
}

async fn fail_often() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let row = status.lines().find_map(|row| row.strip_prefix("VmRSS:")).unwrap();
        row.split_whitespace().next().unwrap().parse::<i64>().unwrap()
    };
    let mut before = 0;
    for round in 0..60 {
        for manner in [Manner::Garbage, Manner::HangUp, Manner::ForeignNonce, Manner::EarlyYes] {
            let peer = Peer::start(manner, None, 0).await;
            connect(&options(peer.port, scram(PASSWORD))).await.err().unwrap();
        }
        if round == 9 {
            before = resident();
        }
    }
    let grown = resident() - before;
    assert!(grown < 8 * 1024, "{grown} KiB more after 200 failures");
}
