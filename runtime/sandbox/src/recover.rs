//! What an earlier process left: taken up, or undone.

use crate::plumbing::PREFIX;
use crate::record::{Record, Status};
use crate::sandbox::{RECORD, STATUS, Sandbox};
use crate::sandboxes::{Recovered, Shared, blocking};
use crate::{Change, Error, Kind, Result, disk, end, watch};
use shim_client::Shim;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout, timeout_at};

/// How many pods are looked at at a time.
const AT_ONCE: usize = 64;

/// How long pods may hold up the start; what takes longer goes on beside it.
const OPEN_WAIT: Duration = Duration::from_secs(5);

/// How long a shim may hold up the start.
const SHIM_WAIT: Duration = Duration::from_secs(2);

/// What became of one pod.
enum Found {
    Ready(String),
    NotReady(String),
    Undone(String),
}

/// Takes up all pods, and begins to collect what none of them owns.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<Recovered> {
    let settings = &shared.settings;
    let dirs = [settings.state_dir.join("sandboxes"), settings.run_dir.join("sandboxes")];
    let ids = blocking(move || {
        let mut ids = BTreeSet::new();
        for dir in &dirs {
            disk::make_dir(dir)?;
            ids.extend(disk::names(dir)?);
        }
        Ok(ids)
    })
    .await?;
    let mut recovered = Recovered::default();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for id in ids {
        if !is_id(&id) {
            let subject = settings.state_dir.join("sandboxes").join(&id);
            let e = Error::new(Kind::Io, subject.display(), "is not the directory of a pod");
            recovered.errors.push(e.with_advice("remove it"));
            continue;
        }
        let (shared_, places, own) = (shared.clone(), places.clone(), id.clone());
        let work = shared.detach(async move {
            let _place = places.acquire().await;
            one(&shared_, &own).await
        });
        tasks.push((id, work));
    }
    // A plugin or a shim that hangs is waited for so long, and then goes on alone.
    let deadline = Instant::now() + OPEN_WAIT;
    for (id, work) in tasks {
        match timeout_at(deadline, work).await {
            Ok(outcome) => note(&mut recovered, outcome),
            Err(_) => {
                let stage = shared.stages.describe(&id);
                let cause = format!("is still being undone, {stage}");
                recovered.errors.push(Error::new(Kind::Deadline, format!("pod {id}"), cause));
            }
        }
    }
    let later = shared.clone();
    shared.detach(async move {
        if let Err(e) = collect_networks(&later).await {
            tracing::warn!(error = %e, "not everything could be freed");
        }
    });
    Ok(recovered)
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn note(recovered: &mut Recovered, outcome: Result<Result<Found>, JoinError>) {
    match outcome {
        Ok(Ok(Found::Ready(id))) => recovered.ready.push(id),
        Ok(Ok(Found::NotReady(id))) => recovered.not_ready.push(id),
        Ok(Ok(Found::Undone(id))) => recovered.undone.push(id),
        Ok(Err(e)) => recovered.errors.push(e),
        Err(e) => recovered.errors.push(Error::new(Kind::Internal, "recovery", e)),
    }
}

async fn one(shared: &Arc<Shared>, id: &str) -> Result<Found> {
    let dir = shared.state_dir(id);
    let read = blocking(move || {
        let record: Option<Record> = disk::read(&dir.join(RECORD))?;
        let status: Option<Status> = disk::read(&dir.join(STATUS))?;
        let pod = record.map(|record| Sandbox::new(record, dir)).transpose()?;
        Ok((pod, status))
    });
    match read.await {
        Ok((Some(pod), Some(status))) if pod.id() == id => {
            pod.restore(status);
            take_up(shared, Arc::new(pod)).await
        }
        Ok((Some(pod), None)) if pod.id() == id => {
            let pod = Arc::new(pod);
            end::undo(shared, &pod).await?;
            shared.stages.clear(id);
            Ok(Found::Undone(id.to_owned()))
        }
        broken => {
            if let Err(e) = &broken {
                tracing::warn!(pod = id, error = %e, "half made");
            }
            let netns = shared.settings.netns_dir.join(format!("{PREFIX}{}", &id[..16]));
            end::undo_unknown(shared, id, Some(&netns)).await?;
            Ok(Found::Undone(id.to_owned()))
        }
    }
}

/// A pod that was complete.
async fn take_up(shared: &Arc<Shared>, pod: Arc<Sandbox>) -> Result<Found> {
    let id = pod.id().to_owned();
    shared.names.keep(&pod.name, &id);
    shared.add(&pod);
    let status = pod.status();
    if status.stopped {
        return Ok(Found::NotReady(id));
    }
    if status.boot_id != shared.boot_id {
        lost(&pod, "the node has been booted since").await?;
        let (shared_, pod) = (shared.clone(), pod.clone());
        // Nothing of it runs; its addresses are free as soon as the plugins are done.
        shared.detach(async move {
            if let Err(e) = end::stop(&shared_, &pod).await {
                tracing::warn!(pod = pod.id(), error = %e, "pod of an earlier boot not stopped");
            }
        });
        return Ok(Found::NotReady(id));
    }
    match timeout(SHIM_WAIT, Shim::connect(&pod.run_dir)).await {
        Ok(outcome) => reached(shared, &pod, outcome.map_err(|e| e.to_string())).await,
        Err(_) => {
            // A node that has just been started is busy: the shim gets its full time, but holds up
            // nobody else.
            let later = shared.clone();
            shared.detach(async move { wait_for_shim(&later, &pod).await });
            Ok(Found::NotReady(id))
        }
    }
}

/// The pod's shim answered or is lost.
async fn reached(
    shared: &Arc<Shared>,
    pod: &Arc<Sandbox>,
    shim: Result<Shim, String>,
) -> Result<Found> {
    let (id, ready) = (pod.id().to_owned(), pod.status().ready);
    match shim {
        Ok(shim) => pod.set_shim(Some(shim)),
        Err(e) if ready => lost(pod, &format!("its shim is lost: {e}")).await?,
        Err(_) => {}
    }
    if pod.held_shim().is_none() || !ready {
        return Ok(Found::NotReady(id));
    }
    watch::begin(shared, pod);
    Ok(Found::Ready(id))
}

async fn wait_for_shim(shared: &Arc<Shared>, pod: &Arc<Sandbox>) {
    let answer = timeout(shared.settings.shim_deadline, Shim::connect(&pod.run_dir)).await;
    let answer = answer.unwrap_or_else(|_| {
        let cause = "gives no answer";
        Err(shim_client::Error::new(shim_client::Kind::Deadline, "shim", cause))
    });
    // Whoever stops the pod meanwhile deals with its shim.
    let _alone = pod.gate.lock().await;
    if pod.status().stopped {
        return;
    }
    match reached(shared, pod, answer.map_err(|e| e.to_string())).await {
        Ok(Found::Ready(id)) => shared.tell(&id, Change::Ready),
        Ok(_) => shared.tell(pod.id(), Change::ShimLost(pod.reason())),
        Err(e) => tracing::warn!(pod = pod.id(), error = %e, "the pod's status was not written"),
    }
}

async fn lost(pod: &Arc<Sandbox>, reason: &str) -> Result<()> {
    let (pod, reason) = (pod.clone(), reason.to_owned());
    blocking(move || {
        pod.change(|status| {
            status.ready = false;
            status.reason = reason;
        })
    })
    .await
}

/// Frees what no pod owns: pods that could not be undone before, and what there is on networks.
pub(crate) async fn collect(shared: &Arc<Shared>) -> Result<()> {
    let dir = shared.settings.state_dir.join("sandboxes");
    let mut errors = Vec::new();
    for id in blocking(move || disk::names(&dir)).await? {
        // A name is held from before a directory is made until after it is removed.
        if is_id(&id) && !shared.names.holds(&id) && shared.pod(&id).is_none() {
            errors.extend(one(shared, &id).await.err());
        }
    }
    errors.extend(collect_networks(shared).await.err());
    Error::join(errors)
}

async fn collect_networks(shared: &Arc<Shared>) -> Result<()> {
    let lives = |id: &str| shared.names.holds(id) || shared.state_dir(id).exists();
    shared.plumbing.collect(&lives).await
}
