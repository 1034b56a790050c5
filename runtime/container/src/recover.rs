//! Taking up what an earlier process left.

use crate::container::Container;
use crate::containers::Recovered;
use crate::end::{self, Gone};
use crate::making::{self, Begun};
use crate::record::{RECORD, Record, STATUS, Stored};
use crate::shared::Shared;
use crate::{Error, Result, watch};
use cri_api::v1::ContainerState;
use sandbox::{Sandbox, blocking, disk};
use shim_client::Shim;
use shim_protocol::{ContainerState as Told, Phase};
use snapshot::SnapshotKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Exit status of what ended with its boot: the true one is not known.
const UNKNOWN: i32 = 255;

/// How long one shim may take to tell what it has: the others do not wait for it any longer.
const TELL_WAIT: Duration = Duration::from_secs(5);

/// Volumes of a container without a record that are looked for.
const VOLUMES_MAX: usize = 64;

/// What lies in the directories.
#[derive(Default)]
struct Lying {
    whole: Vec<Arc<Container>>,
    half: Vec<Arc<Container>>,
    /// Ids without a usable record.
    unknown: Vec<String>,
    errors: Vec<Error>,
}

/// Takes everything up.
///
/// # Errors
/// The directories cannot be made or listed.
pub(crate) async fn recover(shared: &Arc<Shared>) -> Result<Recovered> {
    let reader = shared.clone();
    let lying = blocking(move || read_all(&reader)).await?;
    let mut recovered = Recovered { errors: lying.errors, ..Recovered::default() };
    for container in &lying.whole {
        // One that was only created may have a creator who was never told.
        let fresh = container.state() == ContainerState::ContainerCreated;
        let request = fresh.then(|| Arc::new(container.config().clone()));
        shared.names.keep(&container.name(), container.id(), request);
        shared.add(container);
    }
    let mut of_pods: BTreeMap<&str, Vec<Arc<Container>>> = BTreeMap::new();
    for container in &lying.whole {
        of_pods.entry(container.sandbox_id()).or_default().push(container.clone());
    }
    let mut works = tokio::task::JoinSet::new();
    let pods = shared.pods.list().into_iter().map(|pod| pod.id().to_owned());
    let ids: BTreeSet<String> = pods.chain(of_pods.keys().map(|id| (*id).to_owned())).collect();
    for id in ids {
        let containers = of_pods.remove(id.as_str()).unwrap_or_default();
        let shared = shared.clone();
        works.spawn(async move { take_up(&shared, &id, containers).await });
    }
    while let Some(done) = works.join_next().await {
        if let Err(e) = done {
            recovered.errors.push(Error::new(crate::Kind::Internal, "recovery", e));
        }
    }
    undo_half(shared, &lying.half, &lying.unknown, &mut recovered).await;
    for container in &lying.whole {
        let list = match container.state() {
            ContainerState::ContainerExited => &mut recovered.exited,
            ContainerState::ContainerUnknown => continue,
            _ => &mut recovered.running,
        };
        list.push(container.id().to_owned());
    }
    let sweeper = shared.clone();
    let swept = blocking(move || Ok(sweep(&sweeper))).await?;
    recovered.errors.extend(swept);
    Ok(recovered)
}

fn read_all(shared: &Shared) -> Result<Lying> {
    let mut ids = BTreeSet::new();
    for dir in [shared.run_dir(""), shared.state_dir("")] {
        disk::make_dir(&dir)?;
        ids.extend(disk::names(&dir)?);
    }
    let mut lying = Lying::default();
    for id in ids {
        match read_one(shared, &id) {
            Ok(Some((container, true))) => lying.whole.push(container),
            Ok(Some((container, false))) => lying.half.push(container),
            Ok(None) => lying.unknown.push(id),
            Err(e) => {
                lying.errors.push(e);
                lying.unknown.push(id);
            }
        }
    }
    Ok(lying)
}

/// A container, and whether it is whole.
fn read_one(shared: &Shared, id: &str) -> Result<Option<(Arc<Container>, bool)>> {
    let dir = shared.state_dir(id);
    let record: Option<Record> = disk::read(&dir.join(RECORD))?;
    let Some(record) = record.filter(|record| record.id == id) else { return Ok(None) };
    let container = Arc::new(Container::new(record, dir.clone())?);
    let stored: Option<Stored> = disk::read(&dir.join(STATUS))?;
    let whole = stored.as_ref().is_some_and(|stored| !stored.removing);
    container.restore(stored.unwrap_or_default());
    Ok(Some((container, whole)))
}

/// The containers of one pod, as its shim knows them.
async fn take_up(shared: &Arc<Shared>, pod_id: &str, containers: Vec<Arc<Container>>) {
    let pod = shared.pods.get(pod_id).ok();
    let shim = pod.as_ref().and_then(|pod| pod.shim().ok()).filter(Shim::is_alive);
    let told = match (&pod, &shim) {
        (Some(pod), Some(shim)) => ask(shared, pod, shim).await,
        _ => Ok(Vec::new()),
    };
    let told = match told {
        Ok(told) => told,
        Err(cause) => {
            // Neither dead nor alive for us; its pod can be stopped, which kills it.
            for container in containers {
                let change = container.change(|status| {
                    let ended = status.state() == ContainerState::ContainerExited;
                    if !ended {
                        status.set_state(ContainerState::ContainerUnknown);
                        status.message.clone_from(&cause);
                    }
                    !ended
                });
                if let Err(e) = change.await {
                    tracing::error!(container = container.id(), error = %e, "status not written");
                }
            }
            return;
        }
    };
    for container in &containers {
        let known = told.iter().find(|told| told.id == container.id());
        settle(shared, container, known, shim.as_ref()).await;
    }
    let Some(shim) = shim else { return };
    for stray in told.iter().filter(|told| shared.get(&told.id).is_err()) {
        // Half made or half removed; its files go with its record.
        if let Err(e) = shared.ask(&stray.id, shim.delete(&stray.id, true)).await {
            tracing::warn!(container = stray.id, error = %e, "a stray container stays");
        }
    }
}

async fn ask(shared: &Arc<Shared>, pod: &Sandbox, shim: &Shim) -> Result<Vec<Told>, String> {
    watch::listen(shared, pod, shim);
    match timeout(TELL_WAIT, shim.list()).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(e)) => Err(format!("its shim fails: {e}")),
        Err(_) => Err(format!("its shim gave no answer in {TELL_WAIT:?}")),
    }
}

/// What became of a container meanwhile.
async fn settle(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    told: Option<&Told>,
    shim: Option<&Shim>,
) {
    let stored = container.stored();
    if stored.state() == ContainerState::ContainerExited {
        return;
    }
    if stored.boot_id != shared.node.boot_id {
        let message = "the node was booted while it ran".to_owned();
        return watch::end_without_exit(shared, container, (UNKNOWN, "Rebooted", message)).await;
    }
    let is_unmade = told.is_none_or(|told| told.phase == Phase::Creating);
    if let Some(shim) = shim.filter(|_| is_unmade && was_answered_for(&stored)) {
        return go_on(shared, container, shim);
    }
    let Some(told) = told else { return watch::lost(shared, container, 0).await };
    if let Some(exit) = &told.exit {
        if told.started_at != 0 {
            note(container, told, ContainerState::ContainerRunning).await;
        }
        return watch::exited(shared, container, exit).await;
    }
    let state = match told.phase {
        Phase::Creating | Phase::Created => ContainerState::ContainerCreated,
        Phase::Running | Phase::Paused => ContainerState::ContainerRunning,
        Phase::Stopped => return watch::lost(shared, container, 0).await,
    };
    note(container, told, state).await;
}

/// Whether its creator was told of a container, and nobody has heard of a process of it yet.
fn was_answered_for(stored: &Stored) -> bool {
    stored.state() == ContainerState::ContainerCreated && stored.pid == 0
}

/// Goes on with a making in the middle of which the earlier process ended.
fn go_on(shared: &Arc<Shared>, container: &Arc<Container>, shim: &Shim) {
    let begun = Begun::new(container);
    let (work, container, shim) = (shared.clone(), container.clone(), shim.clone());
    drop(shared.begin(async move { making::resume(&work, &container, &shim, begun).await }));
}

async fn note(container: &Arc<Container>, told: &Told, state: ContainerState) {
    let change = container.change(|status| {
        if status.state() == ContainerState::ContainerExited {
            return false;
        }
        let was = (status.state(), status.pid, status.started_at);
        status.set_state(state);
        status.pid = told.pid;
        if status.started_at == 0 {
            status.started_at = told.started_at;
        }
        was != (state, status.pid, status.started_at)
    });
    if let Err(e) = change.await {
        tracing::error!(container = container.id(), error = %e, "its status was not written");
    }
}

async fn undo_half(
    shared: &Arc<Shared>,
    half: &[Arc<Container>],
    unknown: &[String],
    recovered: &mut Recovered,
) {
    for container in half {
        let shim = end::shim_of(shared, container);
        match end::undo(shared, container, shim.as_ref()).await {
            Ok(()) => recovered.undone.push(container.id().to_owned()),
            Err(e) => recovered.errors.push(e),
        }
    }
    for id in unknown {
        let gone = Gone { id: id.clone(), volumes: VOLUMES_MAX, cgroup: None };
        let shared = shared.clone();
        match blocking(move || gone.from(&shared)).await {
            Ok(()) => recovered.undone.push(id.clone()),
            Err(e) => recovered.errors.push(e),
        }
    }
}

/// Removes file systems and leases of containers that are not there: of a directory in memory that
/// a boot emptied, or of records that were removed by hand.
fn sweep(shared: &Shared) -> Vec<Error> {
    let mut errors = Vec::new();
    let is_id = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let stray = |name: &str| {
        let id = name.split(".volume").next().unwrap_or(name);
        is_id(id) && shared.get(id).is_err() && !shared.state_dir(id).exists()
    };
    for info in shared.images.layers().list() {
        let name = info.name.as_str();
        if info.kind != SnapshotKind::Committed && stray(name) {
            errors.extend(crate::rootfs::remove(&shared.images, name).err());
        }
    }
    match shared.images.leases() {
        Ok(leases) => {
            for lease in leases.iter().filter(|lease| stray(&lease.id)) {
                errors.extend(end::release(shared, &lease.id).err());
            }
        }
        Err(e) => errors.push(Error::new(crate::Kind::Io, "leases", e)),
    }
    errors
}
