//! A journal that went, or was made anew, while no isolog ran: what a start can know, and what not.
//!
//! It never waits for real time; what a running isolog says of it is in `faults::status`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::sync::trouble::Trouble;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_mirror;

const JOURNAL: &str = "__isolog";
/// What isolog makes it with.
const CONFIGS: [(&str, &str); 2] =
    [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")];

/// A link of the file goes on where both logs are equal, and takes nothing that was promoted; one
/// that was created by order is forgotten, and nothing happens to its topics until it is created
/// again.
#[tokio::test(start_paused = true)]
async fn a_start_without_a_journal_goes_on_by_the_logs_alone() {
    for is_made_anew in [false, true] {
        let mut lab = Lab::start(&[("file", "d.*")]).await;
        for topic in ["d.one", "d.two", "orders"] {
            lab.source.create_topic(topic, 1, &[]);
            lab.append(topic, 0);
        }
        for topic in ["d.one", "d.two"] {
            lab.copied(topic, topic, 0).await;
        }
        lab.create_link("dr", &[]).await;
        lab.obeyed("dr", mirror("orders")).await;
        lab.copied("orders", "orders", 0).await;
        let promote = MirrorVerb::Stop { how: How::Promote, deadline_ms: None };
        lab.obeyed("file", of_mirror("d.two", promote)).await;
        lab.wait_status("file", "d.two", Status::Stopped).await;
        lab.kill().await;
        lab.destination.change(|state| state.delete_topic(JOURNAL)).unwrap();
        if is_made_anew {
            lab.destination.create_topic(JOURNAL, 1, &CONFIGS);
        }
        let ends = |lab: &Lab| ["d.two", "orders"].map(|of| lab.destination.dump(of, 0).end);
        let before = ends(&lab);
        lab.start_again();
        let told = |lab: &Lab| {
            let links = lab.driver.links();
            let file = links.iter().find(|one| one.name == link("file"))?.status();
            let is_told = |one: &Trouble| (&*one.subject, one.kind.label()) == ("d.two", "SEALED");
            file.all_troubles().any(is_told).then_some(())
        };
        // its source has nothing at the offset of the seal yet
        lab.wait("that it was promoted is told", told).await;
        for topic in ["d.one", "d.two", "orders"] {
            lab.append(topic, 0);
        }
        lab.copied("d.one", "d.one", 0).await;
        sleep(SECOND * 60).await;
        assert_eq!(ends(&lab), before, "nothing is written into either");
        assert!(!lab.driver.registry.seen().links.contains_key(&link("dr")));
        lab.refused("dr", Verb::PauseLink(true), "does not exist").await;
        lab.create_link("dr", &[]).await;
        lab.obeyed("dr", mirror("orders")).await;
        lab.copied("orders", "orders", 0).await;
        assert_eq!(ends(&lab)[0], before[0]);
        lab.end().await;
    }
}
