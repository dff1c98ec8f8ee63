//! `isolog group diff`, the real binary, against groups whose verdicts are made up.
//!
//! It never gives a verdict: `control` and `real` do.

use serde_json::Value;
use serde_json::json;

use super::Rig;
use super::command::isolog;

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_whether_all_groups_move() {
    let rig = Rig::start().await;
    let check = async |words: &[&str], code: i32, text: &str| {
        let told = isolog(&rig, &[&["group", "diff"], words].concat()).await;
        assert_eq!(told.code, Some(code), "{words:?}: {told:?}");
        assert!(told.out.contains(text), "{words:?}: {told:?}");
        told
    };
    check(&["billing"], 0, "MOVES").await;
    check(&["billing", "--link", "from-file", "--wait"], 0, "MOVES").await;
    check(&["billing", "ledger"], 7, "it has members; it lags").await;
    check(&["billing", "unread"], 4, "it was not read").await;
    check(&["billing", "nobody"], 4, "no link follows it now").await;
    check(&["billing", "--link", "other"], 4, "no link follows it now").await;
    // what a link does not say of its tasks is not known
    check(&["--all"], 7, "ConsumerOffsetSync is").await;
    let late = check(&["ledger", "--wait", "--timeout", "1"], 6, "NOT_YET").await;
    assert!(late.err.contains("not in time: ledger"), "{late:?}");
    let told = check(&["billing", "ledger", "-o", "json"], 7, "").await;
    let all: Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!((&all[1]["link_name"], &all[1]["mirror_lag"]), (&json!("from-file"), &json!(0)));
    assert_eq!(all[1]["against"], json!(["it has members", "it lags"]));
    assert_eq!(all[1]["offsets"].as_array().map(Vec::len), Some(1));
    check(&["billing", "-o", "yaml"], 0, "verdict: \"MOVES\"").await;
    check(&[], 2, "").await;
}
