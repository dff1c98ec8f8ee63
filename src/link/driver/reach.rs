//! Reaches the destination, and the source of a link, as its row or the config file says, and asks
//! again and again whether that is there.
//!
//! It never copies: it hands a session to those who do, and takes it away when its settings are
//! others.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::audit::rights;
use crate::audit::rights::Grantee;
use crate::cluster;
use crate::cluster::Cluster;
use crate::cluster::Wanted;
use crate::cluster::dial::DialError;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::control::facts::Reach;
use crate::control::row::LinkRow;
use crate::control::row::Origin;
use crate::control::topic::Fault;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::driver::ctx::lock;
use crate::link::driver::file::Told;
use crate::link::driver::loops;
use crate::link::driver::rivals;
use crate::link::driver::tell;
use crate::link::driver::tell::Shown;
use crate::link::log;
use crate::link::registry::Event;
use crate::link::status::LinkState;
use crate::link::world::RECONNECT_MAX;
use crate::link::world::RECONNECT_MIN;
use crate::link::world::World;
use crate::settings::link::Defaults;
use crate::settings::link::diff;
use crate::settings::property::Effect;

/// What touches no connection and no lane: the control machine is told, and what is copied goes on.
const REPLANNED: [Effect; 3] = [Effect::Replan, Effect::Task, Effect::Link];

/// So many addresses of a source that does not answer are named.
const ADDRESSES_MAX: usize = 3;

/// For how long a check waits for an answer, however often it is asked.
const CHECK_WAIT_MIN: Duration = Duration::from_secs(3);

/// For how long a source may be reached for before there is a link.
const PROBE_MAX: Duration = Duration::from_secs(20);

/// Of so many topics that a new link names the rights are asked.
const RIGHTS_MAX: usize = 100;
/// For how long.
const RIGHTS_WAIT_MAX: Duration = Duration::from_secs(10);

/// Whether a link with these configs would reach its source: the id of the cluster that answers.
/// Tried once, for a while; nothing is remembered.
pub(super) async fn probe(
    (world, defaults): (&World, &Defaults),
    (link, configs): (&LinkName, &BTreeMap<String, String>),
    here: Option<ClusterId>,
) -> Result<ClusterId, Fault> {
    let parsed = LinkSettings::parse(link, configs, defaults);
    let (settings, _) = parsed.map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Fault { code: "INVALID_CONFIG".to_owned(), text: texts.join("; ") }
    })?;
    let (to, dial) = (settings.source, world.dial.source.clone());
    let connecting = Cluster::connect(to.clone(), dial, world.seed);
    let source = timeout(PROBE_MAX, connecting).await;
    let source = source.map_err(|_| too_late(&to, PROBE_MAX))?;
    let source = source.map_err(|error| fault_of(&error))?;
    let id = source.id();
    if here.as_ref() == Some(&id) {
        return Err(same_cluster(link, &id));
    }
    let named: Vec<TopicName> = settings.link.topics.literals().cloned().collect();
    if let Some(here) = here.filter(|_| !named.is_empty()) {
        loops::check(source.clone(), world.wall, &here, &named).await?;
    }
    rights(&source, &named).await?;
    Ok(id)
}

/// Whether the source lets us copy the topics that a new link names; the lines that grant what is
/// missing are in the fault.
async fn rights(source: &Cluster, named: &[TopicName]) -> Result<(), Fault> {
    let some = &named[..named.len().min(RIGHTS_MAX)];
    if some.is_empty() {
        return Ok(());
    }
    let asked = timeout(RIGHTS_WAIT_MAX, rights::ask(source, some, &[], false)).await;
    let told = asked.map_err(|_| too_late(source.options(), RIGHTS_WAIT_MAX))?;
    let told = told.map_err(|error| fault_of(&error))?;
    let lines = rights::grants(&told, &[], &Grantee::of(source.options()));
    if lines.is_empty() {
        return Ok(());
    }
    let text = format!("the source does not let us copy what the link names: {}", lines.join("; "));
    Err(Fault { code: "TOPIC_AUTHORIZATION_FAILED".to_owned(), text })
}

/// Who says something of a link.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Who {
    Row,
    File,
}

/// What may say something else of the link: its row, and the config file.
struct Said {
    rows: watch::Receiver<Option<LinkRow>>,
    file: Told,
}

impl Said {
    /// Waits until one of them does, and says which; `None` once nobody can say anything any more.
    async fn changed(&mut self) -> Option<Who> {
        tokio::select! {
            row = self.rows.changed() => row.ok().map(|()| Who::Row),
            file = self.file.changed() => file.ok().map(|()| Who::File),
        }
    }

    /// The row, once there is one.
    async fn row(&mut self) -> Option<LinkRow> {
        loop {
            self.file.mark_unchanged();
            if let Some(row) = self.rows.borrow_and_update().clone() {
                return Some(row);
            }
            self.rows.changed().await.ok()?;
        }
    }

    /// Waits until there are other configs than the row has, or the file was read again.
    async fn other_than(&mut self, row: &LinkRow) -> bool {
        let of = |row: &LinkRow| (row.id.clone(), row.origin, row.configs.clone());
        let is_same = |new: &LinkRow| of(new) == of(row);
        loop {
            let Some(who) = self.changed().await else { return false };
            let is_other = self.rows.borrow().as_ref().is_some_and(|new| !is_same(new));
            if who == Who::File || is_other {
                return true;
            }
        }
    }
}

/// Until it is dropped.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let mut said = Said { rows: ctx.row.subscribe(), file: ctx.file.clone() };
    for number in 1.. {
        let Some(row) = said.row().await else { return };
        match read(&ctx, &row) {
            Ok(settings) => {
                tell_settings(&ctx, Some(&settings)).await;
                serve_while_same(&ctx, &mut said, row, (number, settings)).await;
                ctx.session.send_replace(None);
            }
            Err(why) => {
                if let Some(text) = &why {
                    tracing::error!(link = %ctx.name, "the link's configs are no settings: {text}");
                }
                ctx.set_wrong(why);
                tell_settings(&ctx, None).await;
                if !said.other_than(&row).await {
                    return;
                }
            }
        }
    }
}

/// The settings of now; the error says why there are none, where that is a person's mistake.
fn read(ctx: &Ctx, row: &LinkRow) -> Result<LinkSettings, Option<String>> {
    match (&*ctx.file.borrow(), row.origin) {
        (Some(file), Origin::Declared) => return Ok(file.clone()),
        (Some(_), Origin::Commanded) => return Err(Some(rivals::namesake(&ctx.name))),
        // the file has it no more: it rests
        (None, Origin::Declared) => return Err(None),
        (None, Origin::Commanded) => {}
    }
    let parsed = LinkSettings::parse(&ctx.name, &row.configs, &ctx.defaults);
    let (settings, notes) = parsed.map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Some(texts.join("; "))
    })?;
    notes.iter().for_each(|note| tracing::info!(link = %ctx.name, "{note}"));
    Ok(settings)
}

async fn tell_settings(ctx: &Ctx, settings: Option<&LinkSettings>) {
    if settings.is_some() {
        ctx.set_wrong(None);
    }
    let settings = settings.map(LinkSettings::for_control);
    ctx.tell(Event::Settings(ctx.name.clone(), settings.map(Box::new))).await;
}

/// Until the settings are others, such that what runs must begin anew.
async fn serve_while_same(
    ctx: &Ctx,
    said: &mut Said,
    mut row: LinkRow,
    (number, settings): (u64, LinkSettings),
) {
    let (first, mut told) = (row.clone(), settings.clone());
    let mut serving = pin!(serve(ctx, &first, (number, &settings)));
    loop {
        let who = tokio::select! {
            () = &mut serving => return,
            who = said.changed() => who,
        };
        let Some(who) = who else { return };
        let Some(new) = said.rows.borrow_and_update().clone() else { continue };
        // another link by the same name, whose source may be another one
        let is_other = new.id != row.id;
        if new.configs == row.configs && who == Who::Row && !is_other {
            continue;
        }
        match read(ctx, &new) {
            // compared with what runs: several changes may have come since
            Ok(again) if !is_other && is_replanned(&diff(&settings, &again)) => {
                if !diff(&told, &again).is_empty() {
                    tracing::info!(link = %ctx.name, "other settings; what is copied goes on");
                }
                told = again.clone();
                tell_settings(ctx, Some(&again)).await;
                row = new;
            }
            _ => {
                tracing::info!(link = %ctx.name, "other settings; the link begins anew with them");
                said.rows.mark_changed();
                return;
            }
        }
    }
}

fn is_replanned(effects: &BTreeSet<Effect>) -> bool {
    effects.iter().all(|effect| REPLANNED.contains(effect))
}

async fn serve(ctx: &Ctx, row: &LinkRow, (number, settings): (u64, &LinkSettings)) {
    let source = connect(ctx, settings).await;
    let ids = (source.id(), ctx.destination.id());
    if ids.0 == ids.1 {
        let fault = same_cluster(&ctx.name, &ids.0);
        tracing::error!(link = %ctx.name, "{}", fault.text);
        ctx.tell(reach(ctx, Reach::Failed(fault))).await;
        return pending().await;
    }
    tracing::info!(link = %ctx.name, source = %ids.0, destination = %ids.1, "connected");
    ctx.link.set(|status| status.clusters = Some(ids.clone()));
    ctx.tell(reach(ctx, Reach::Available(ids.0.clone()))).await;
    // The machine says of another cluster that the link has failed.
    if row.source.as_ref().is_none_or(|was| *was == ids.0) {
        let session = Session { number, settings: settings.clone(), source: source.clone() };
        ctx.session.send_replace(Some(Arc::new(session)));
    }
    check(ctx, settings, &source).await;
}

/// A cluster cannot mirror itself.
fn same_cluster(link: &LinkName, id: &ClusterId) -> Fault {
    let text = format!(
        "source and destination are the same cluster ({id}): correct bootstrap.servers of link \
         {link}"
    );
    Fault { code: "MISCONFIGURATION_ERROR".to_owned(), text }
}

fn reach(ctx: &Ctx, reach: Reach) -> Event {
    Event::Reach(ctx.name.clone(), reach)
}

async fn connect(ctx: &Ctx, settings: &LinkSettings) -> Arc<Cluster> {
    let pause_max = RECONNECT_MAX.min(settings.link.availability_interval);
    let mut pause = RECONNECT_MIN.min(pause_max);
    let mut told = None;
    loop {
        let (options, dial) = (settings.source.clone(), ctx.world.dial.source.clone());
        match Cluster::connect(options, dial, ctx.world.seed).await {
            Ok(cluster) => return cluster,
            Err(error) => {
                let fault = fault_of(&error);
                if told.as_ref() != Some(&fault) {
                    tracing::warn!(link = %ctx.name, "{}", fault.text);
                    ctx.tell(reach(ctx, Reach::Unavailable(fault.clone()))).await;
                    told = Some(fault);
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
}

/// The destination, which all links share, once it is reached.
pub(super) async fn destination(
    options: &cluster::Options,
    world: &World,
    shown: &Shown,
) -> Arc<Cluster> {
    let mut pause = RECONNECT_MIN;
    loop {
        let (to, dial) = (options.clone(), world.dial.destination.clone());
        match Cluster::connect(to, dial, world.seed).await {
            Ok(cluster) => {
                shown.tell(tell::DESTINATION, None);
                return cluster;
            }
            Err(error) => {
                let text = format!("the destination cannot be reached: {error}");
                for link in lock(&shown.links).values() {
                    link.set(|status| status.state = LinkState::Unavailable(text.clone()));
                }
                let code = log::UNREACHABLE.to_owned();
                shown.tell(tell::DESTINATION, Some(Fault { code, text }));
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

/// Asks again and again, `availability.check.ms` apart, and waits as long for an answer, at least
/// [`CHECK_WAIT_MIN`]; so many failures in a row as
/// `availability.check.consecutive.failure.threshold` says are an unavailable source. It ends when
/// the link's own cluster is back in the place of another one.
async fn check(ctx: &Ctx, settings: &LinkSettings, source: &Cluster) {
    let options = &settings.link;
    // what a request may take at most is far more than a source that is there needs
    let within = options.availability_interval.max(CHECK_WAIT_MIN);
    let within = within.min(source.options().request_timeout);
    let mut failures = 0;
    loop {
        sleep(options.availability_interval).await;
        let fault = match timeout(within, source.refresh(Wanted::Topics(&[]))).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(fault_of(&error)),
            Err(_) => Some(too_late(source.options(), within)),
        };
        let halted = source.halted().or_else(|| ctx.destination.halted());
        if let Some(other) = halted.as_ref().and_then(other_cluster) {
            if is_own(ctx, &other) {
                return;
            }
            ctx.tell(reach(ctx, other)).await;
            continue;
        }
        match fault {
            None if failures >= options.availability_failures_max => {
                failures = 0;
                tracing::info!(link = %ctx.name, "the source answers again");
                ctx.tell(reach(ctx, Reach::Available(source.id()))).await;
            }
            None => failures = 0,
            Some(fault) => {
                failures += 1;
                if failures == options.availability_failures_max {
                    tracing::warn!(link = %ctx.name, failures, "{}", fault.text);
                    ctx.tell(reach(ctx, Reach::Unavailable(fault))).await;
                }
            }
        }
    }
}

/// Whether the link's own cluster answers where another one did: it is begun anew.
fn is_own(ctx: &Ctx, other: &Reach) -> bool {
    let row = ctx.row.borrow();
    let own = row.as_ref().and_then(|row| row.source.as_ref());
    matches!(other, Reach::OtherCluster { side: Side::Source, is, .. } if Some(is) == own)
}

/// What is told of a cluster that is another one by now.
fn other_cluster(error: &ClusterError) -> Option<Reach> {
    match &error.kind {
        Kind::ClusterIdChanged { expected, got } => {
            let (was, is) = (expected.clone(), got.clone());
            Some(Reach::OtherCluster { side: error.peer.side, was, is })
        }
        _ => None,
    }
}

/// Nobody answered in time.
fn too_late(source: &cluster::Options, within: Duration) -> Fault {
    let all = source.bootstrap.iter().take(ADDRESSES_MAX);
    let all: Vec<String> = all.map(|(host, port)| format!("{host}:{port}")).collect();
    let (at, seconds) = (all.join(", "), within.as_secs());
    let text = format!("the source (bootstrap.servers {at}) does not answer within {seconds} s");
    Fault { code: "TIMEOUT_ERROR".to_owned(), text }
}

/// Cluster Linking's word for why a source cannot be reached (`link_error`), and ours.
fn fault_of(error: &ClusterError) -> Fault {
    let text = format!("the source cannot be reached: {error}");
    Fault { code: word(error).to_owned(), text }
}

fn word(error: &ClusterError) -> &'static str {
    match &error.kind {
        Kind::Login(_) => "AUTHENTICATION_ERROR",
        Kind::Dial(DialError::Dns(_)) => "UNRESOLVABLE_BOOTSTRAP_ERROR",
        Kind::Dial(DialError::Timeout(_) | DialError::TlsTimeout(_)) | Kind::Deadline(_) => {
            "TIMEOUT_ERROR"
        }
        Kind::Dial(DialError::Tls(_)) | Kind::Tls(_) => "AUTHENTICATION_ERROR",
        Kind::Dial(_) | Kind::Closed(_) | Kind::Io(_) => "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR",
        Kind::Nobody(each) => each.first().map_or("UNKNOWN", word),
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_no_connection_begins_nothing_anew() {
        let check = |effects: &[Effect], is: bool| {
            assert_eq!(is_replanned(&effects.iter().copied().collect()), is, "{effects:?}");
        };
        check(&[], true);
        check(&[Effect::Replan, Effect::Task, Effect::Link], true);
        check(&[Effect::Replan, Effect::Reconnect], false);
        check(&[Effect::Reseat], false);
        check(&[Effect::Never], false);
    }
}
