//! This instance in the group of all that serve its destination: asks the coordinator what
//! `control::group` says, and tells who must know whether it has the work.
//!
//! It never decides who has it, and guards no append: the log does. All else that is changed at the
//! destination goes out under the lease that is renewed here.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::member::Membership;
use crate::cluster::member::Terms;
use crate::cluster::member::lease::Lease;
use crate::cluster::member::lease::Moment;
use crate::control::group::member::Answer;
use crate::control::group::member::Ask;
use crate::control::group::member::Joined;
use crate::control::group::member::Member;
use crate::control::group::member::Next;
pub use crate::control::group::member::Options;
use crate::control::group::member::Refused;
use crate::control::group::member::Standing;
use crate::control::group::share::PROTOCOL;
use crate::control::group::share::PROTOCOL_TYPE;
use crate::control::topic::Fault;
use crate::flow::Wall;
use crate::ids::GroupName;
use crate::ids::TimestampMs;
use crate::link::registry::Event;
use crate::link::world::World;

/// For how long a process that ends waits until it has left the group: who stays waits for a
/// session's time otherwise.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(1);

/// What is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether this instance has the work.
    pub standing: Standing,
    /// What is wrong, for people.
    pub trouble: Option<Fault>,
}

/// The task.
struct Keeper {
    member: Member,
    line: Membership,
    lease: Lease,
    session: Duration,
    wall: Wall,
    told: watch::Sender<Told>,
    /// When the last question was sent.
    sent: Moment,
    leased_at: Option<TimestampMs>,
}

impl Told {
    /// Why this instance does not have the work, for people; `None` where it has it.
    pub fn stands_by(&self) -> Option<String> {
        let why = match (&self.standing, &self.trouble) {
            (Standing::Holds, _) => return None,
            (_, Some(trouble)) => trouble.text.clone(),
            (Standing::StandsBy(None), None) => "no instance has said yet who has the work".into(),
            (Standing::StandsBy(Some(holder)), None) => {
                format!("instance {holder} has the work: ask that one")
            }
        };
        Some(format!("this isolog stands by: {why}"))
    }
}

/// Whether this instance has the work of its destination, for those who show it or wait for it.
#[derive(Clone, Debug)]
pub struct WorkShare(Option<watch::Receiver<Told>>);

impl WorkShare {
    /// What is told of a member; `None` for an instance that is alone, and so has it.
    pub fn of(told: Option<watch::Receiver<Told>>) -> WorkShare {
        WorkShare(told)
    }

    /// Other instances may have it.
    pub fn is_shared(&self) -> bool {
        self.0.is_some()
    }

    /// Why this instance has it not, where another one may have it.
    pub fn stands_by(&self) -> Option<String> {
        self.0.as_ref()?.borrow().stands_by()
    }

    /// What is wrong with the group.
    pub fn trouble(&self) -> Option<String> {
        Some(self.0.as_ref()?.borrow().trouble.as_ref()?.text.clone())
    }

    /// Waits until it has it, or has it not.
    pub async fn wait(&self, has: bool) {
        let is_so = |told: &Told| told.stands_by().is_none() == has;
        match self.0.clone() {
            None if has => {}
            None => pending().await,
            Some(mut told) => {
                if told.wait_for(is_so).await.is_err() {
                    // nobody tells any more: it stays as it is
                    pending().await
                }
            }
        }
    }
}

/// What is told before anything is known.
pub fn untold() -> Told {
    Told { standing: Standing::StandsBy(None), trouble: None }
}

/// This instance in its group, where there is one.
pub(super) struct InGroup {
    tasks: JoinSet<()>,
    leave: CancellationToken,
}

impl InGroup {
    /// Joins; from now on the machine is told whether it has the work.
    pub fn begin(
        group: Option<(Options, watch::Sender<Told>)>,
        destination: &Arc<Cluster>,
        world: &World,
        events: &mpsc::Sender<Event>,
    ) -> InGroup {
        let (mut tasks, leave) = (JoinSet::new(), CancellationToken::new());
        if let Some((options, tell)) = group {
            let told = tell.subscribe();
            let keeper = Keeper::new(options, destination.clone(), world.wall, tell);
            tasks.spawn(keeper.run(leave.clone()));
            tasks.spawn(tell_role(told, events.clone()));
        }
        InGroup { tasks, leave }
    }

    /// Leaves the group: nothing of ours is on its way any more.
    pub async fn end(mut self) {
        self.leave.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Until nobody tells any more.
async fn tell_role(mut told: watch::Receiver<Told>, events: mpsc::Sender<Event>) {
    let mut had = false;
    while told.changed().await.is_ok() {
        let has = told.borrow_and_update().standing == Standing::Holds;
        if has != had && events.send(Event::Role(has)).await.is_err() {
            return;
        }
        had = has;
    }
}

impl Keeper {
    /// A member of the destination's group; from now on what changes something there is sent under
    /// its lease only.
    fn new(
        options: Options,
        destination: Arc<Cluster>,
        wall: Wall,
        told: watch::Sender<Told>,
    ) -> Keeper {
        let session_ms = u64::try_from(options.session_ms).unwrap_or(0);
        let session = Duration::from_millis(session_ms);
        let terms = Terms {
            group: GroupName::new(&options.group),
            instance: options.instance.clone(),
            protocol_type: PROTOCOL_TYPE,
            protocol: PROTOCOL,
            session,
        };
        let lease = Lease::default();
        destination.guard(lease.clone());
        Keeper {
            member: Member::new(options),
            line: Membership::new(destination, terms),
            lease,
            session,
            wall,
            told,
            sent: Moment::now(),
            leased_at: None,
        }
    }

    /// Until it is told to leave: by then nothing that it held may be on its way any more.
    async fn run(mut self, leave: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = leave.cancelled() => {}
        }
        leave.cancelled().await;
        self.lease.end();
        let Some(id) = self.member.id().map(str::to_owned) else { return };
        match timeout(LEAVE_WAIT_MAX, self.line.leave(&id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the group was not left"),
            Err(_) => tracing::info!("the group was not left within {LEAVE_WAIT_MAX:?}"),
        }
    }

    /// Until nothing is to be asked any more.
    async fn keep(&mut self) {
        loop {
            let ask = match self.member.poll(self.wall.now()) {
                Next::Ask(ask) => ask,
                Next::Wait(until) => {
                    let ms = until.0.saturating_sub(self.wall.now().0).max(1);
                    let pause = Duration::from_millis(u64::try_from(ms).unwrap_or(1));
                    sleep_until(Instant::now() + pause).await;
                    continue;
                }
                Next::Nothing => return,
            };
            let sent_at = self.wall.now();
            self.sent = Moment::now();
            let answer = self.ask(ask).await;
            self.member.handle(sent_at, self.wall.now(), answer);
            self.tell();
        }
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        let line = &mut self.line;
        let answer = match ask {
            Ask::Find => line.find().await.map(|()| Answer::Found),
            Ask::Join { member, told } => line.join(&member, told).await.map(|answer| {
                Answer::Joined(Joined {
                    member: answer.member,
                    leader: answer.leader,
                    generation: answer.generation,
                    keeps: answer.skips_assignment,
                    members: answer.members,
                })
            }),
            Ask::Sync { member, generation, given } => {
                let given = line.sync((&member, generation), given).await;
                given.map(|given| Answer::Synced(given.to_vec()))
            }
            Ask::Heartbeat { member, generation } => {
                line.heartbeat(&member, generation).await.map(|()| Answer::Beaten)
            }
        };
        answer.unwrap_or_else(|error| Answer::Refused(refused(&error)))
    }

    /// The lease first: who is told that the work is its may change something at once.
    fn tell(&mut self) {
        let leased_at = self.member.leased_at();
        match leased_at {
            Some(_) if leased_at != self.leased_at => self.lease.renew(self.sent, self.session),
            Some(_) => {}
            None => self.lease.end(),
        }
        self.leased_at = leased_at;
        let (standing, trouble) = (self.member.standing(), self.member.trouble().cloned());
        let now = Told { standing, trouble };
        self.told.send_if_modified(|told| {
            let is_news = *told != now;
            if told.standing != now.standing {
                say(&now.standing);
            }
            let code = |told: &Told| told.trouble.as_ref().map(|fault| fault.code.clone());
            match &now.trouble {
                Some(fault) if code(told) != code(&now) => {
                    tracing::warn!(code = fault.code, "{}", fault.text);
                }
                None if told.trouble.is_some() => {
                    tracing::info!("nothing is wrong with the group any more");
                }
                _ => {}
            }
            *told = now;
            is_news
        });
    }
}

fn say(standing: &Standing) {
    match standing {
        Standing::Holds => tracing::info!("this isolog has the work of its group"),
        Standing::StandsBy(Some(holder)) => {
            tracing::info!(holder, "this isolog stands by: another one has the work");
        }
        Standing::StandsBy(None) => tracing::info!("this isolog stands by"),
    }
}

fn refused(error: &ClusterError) -> Refused {
    match error.code() {
        Some(KafkaCode(14..=16)) | None => Refused::Away(error.to_string()),
        Some(KafkaCode(22)) => Refused::LeftBehind,
        Some(KafkaCode(25)) => Refused::Unknown,
        Some(KafkaCode(27)) => Refused::Rebalances,
        Some(KafkaCode(82)) => Refused::Fenced,
        Some(code) => {
            let cure = cure(code);
            let text = format!("{error}: this isolog stands by{cure}");
            Refused::Wrong(Fault { code: code.name().to_owned(), text })
        }
    }
}

fn cure(code: KafkaCode) -> &'static str {
    match code.0 {
        23 => {
            ": the group has members of another kind: give instances.group.id a name that no \
             consumers use"
        }
        26 => {
            ": let instances.session.timeout.ms lie between group.min.session.timeout.ms and \
             group.max.session.timeout.ms of the destination's brokers"
        }
        30 => {
            ": grant Read on that group at the destination (kafka-acls.sh --add --operation Read \
             --group ...), or take instances.group.id out of the config file where no other \
             instance runs"
        }
        81 => ": group.max.size of the destination's brokers lets in no more",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::error::Kind;
    use crate::cluster::error::Peer;
    use crate::ids::Side;

    fn of(kind: Kind) -> Refused {
        let peer = Peer { side: Side::Destination, broker: None, address: "b:9092".into() };
        refused(&ClusterError::new(&peer, "Heartbeat", kind))
    }

    #[test]
    fn each_code_has_its_meaning() {
        let code = |code| of(Kind::Refused { code: KafkaCode(code), message: None });
        assert_eq!(code(22), Refused::LeftBehind);
        assert_eq!(code(25), Refused::Unknown);
        assert_eq!(code(27), Refused::Rebalances);
        assert_eq!(code(82), Refused::Fenced);
        for away in [14, 15, 16] {
            assert!(matches!(code(away), Refused::Away(_)), "{away}");
        }
        let closed = of(Kind::Deadline(Duration::from_secs(1)));
        assert!(matches!(closed, Refused::Away(why) if why.contains("no answer within")));
        for (wrong, word) in [
            (23, "instances.group.id"),
            (26, "group.min.session.timeout.ms"),
            (30, "grant Read on that group"),
            (81, "group.max.size"),
        ] {
            let Refused::Wrong(fault) = code(wrong) else { panic!("{wrong}") };
            assert!(fault.text.contains(word), "{}", fault.text);
        }
    }
}
