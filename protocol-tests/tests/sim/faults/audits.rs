//! `isolog verify` where what isolog is meant to mirror is not whole: it never says equal.
//!
//! It never asserts what records differ: `real/verify` does.

use isolog::audit::survey::PartitionReport;
use isolog::audit::survey::Verdict;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::spec::Version;

use super::lab::BAD;
use super::lab::END;
use super::lab::Lab;
use crate::verified::audited_of;
use crate::verified::dials_of;
use crate::verified::verified_by;

/// What `verify` says of the bad topic, with what the running link remembers of it.
async fn verified(lab: &Lab) -> PartitionReport {
    let both = (lab.source(), lab.destination());
    let options = audited_of(both, ("dr", BAD.0));
    verified_by(&options, &dials_of(both), None).await
}

/// A4: both logs are sound, and what lies between them is nowhere any more.
#[tokio::test(start_paused = true)]
async fn a_copy_that_retention_has_overtaken_is_not_equal() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    lab.world.stop().await;
    lab.append(BAD, 5);
    lab.append(BAD, 5);
    lab.source().retain_from(BAD.0, BAD.1, END);
    let behind = verified(&lab).await;
    assert_eq!((behind.verdict, behind.lost), (Verdict::Equal, None), "{behind:?}");
    assert!(behind.note.contains("the destination is 10 behind"), "{}", behind.note);
    lab.source().retain_from(BAD.0, BAD.1, 15);
    let lost = verified(&lab).await;
    assert_eq!((lost.verdict, lost.lost), (Verdict::Unknown, Some((END, 15))), "{lost:?}");
    for part in [
        "the destination is 10 behind",
        "offsets 10 to 14 (5 of them)",
        "LOG_START_ABOVE_DESTINATION_END",
        "5 are left to be copied",
    ] {
        assert!(lost.note.contains(part), "{part}: {}", lost.note);
    }
    // as the running link says
    lab.world.start();
    lab.halts(BAD, "LOG_START_ABOVE_DESTINATION_END", &["starts at 15", "ends at 10"]).await;
    assert_eq!(lab.seen(BAD).unwrap().lag_records, Some(10));
}

/// A4 too: whatever the new topic holds, it is not the copy that was made.
#[tokio::test(start_paused = true)]
async fn a_mirror_topic_that_was_made_anew_is_not_equal() {
    let mut lab = Lab::single(Version::V4_3);
    let then = lab.now_ms();
    lab.begin().await;
    let before = verified(&lab).await;
    assert_eq!((before.verdict, before.fate.as_ref()), (Verdict::Equal, None), "{before:?}");
    lab.world.stop().await;
    lab.destination().recreate_topic(BAD.0);
    for (tag, count) in [("", 0), ("b1", 4), ("b2", 6)] {
        if count > 0 {
            lab.destination().append(BAD.0, BAD.1, &Build::plain(then, tag, count));
        }
        let anew = verified(&lab).await;
        assert_eq!(anew.verdict, Verdict::Unknown, "{anew:?}");
        assert_eq!(anew.tally.differences, 0, "{anew:?}");
        let part = "the destination topic was deleted and created anew";
        assert!(anew.note.contains(part), "{}", anew.note);
    }
    lab.world.start();
    lab.halts(BAD, "DESTINATION_TOPIC_ID_CHANGED", &["created anew"]).await;
}
