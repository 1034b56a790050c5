//! What an earlier process left: taken up, or undone.

use crate::plumbing::PREFIX;
use crate::record::{Record, Status};
use crate::sandbox::{RECORD, STATUS, Sandbox};
use crate::sandboxes::{Recovered, Request, Shared, blocking};
use crate::{Error, Kind, Result, disk, end, watch};
use shim_client::Shim;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

/// How many pods are looked at at a time.
const AT_ONCE: usize = 64;

/// How long the undoing of a pod may hold up the start.
const UNDO_WAIT: Duration = Duration::from_secs(5);

/// How long a shim may take to answer, all at a time. It does nothing else meanwhile.
const SHIM_WAIT: Duration = Duration::from_secs(10);

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
    let mut tasks = JoinSet::new();
    for id in ids {
        if !is_id(&id) {
            let subject = settings.state_dir.join("sandboxes").join(&id);
            let e = Error::new(Kind::Io, subject.display(), "is not the directory of a pod");
            recovered.errors.push(e.with_advice("remove it"));
            continue;
        }
        if tasks.len() >= AT_ONCE
            && let Some(outcome) = tasks.join_next().await
        {
            note(&mut recovered, outcome);
        }
        let shared = shared.clone();
        tasks.spawn(async move { one(&shared, &id).await });
    }
    while let Some(outcome) = tasks.join_next().await {
        note(&mut recovered, outcome);
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
        Ok((Some(pod), None)) if pod.id() == id => undo(shared, id, Some(pod)).await,
        broken => {
            if let Err(e) = &broken {
                tracing::warn!(pod = id, error = %e, "half made");
            }
            undo(shared, id, None).await
        }
    }
}

/// Undoes a pod that was half made; `None` if there is no usable record of it. A plugin or a shim
/// that hangs is waited for a little, and the undoing then goes on alone.
async fn undo(shared: &Arc<Shared>, id: &str, pod: Option<Sandbox>) -> Result<Found> {
    let (shared_, own) = (shared.clone(), id.to_owned());
    let work = shared.detach(async move {
        let done = match pod {
            Some(pod) => end::undo(&shared_, &Arc::new(pod)).await,
            None => {
                let netns = format!("{PREFIX}{}", &own[..16]);
                let netns = shared_.settings.netns_dir.join(netns);
                end::undo_unknown(&shared_, &own, Some(&netns)).await
            }
        };
        if let Err(e) = &done {
            tracing::warn!(pod = own, error = %e, "a pod that was half made is not undone");
        }
        shared_.stages.clear(&own);
        done
    });
    match timeout(UNDO_WAIT, work).await {
        Ok(Ok(done)) => done.map(|()| Found::Undone(id.to_owned())),
        Ok(Err(e)) => Err(Error::new(Kind::Internal, format!("pod {id}"), e)),
        Err(_) => {
            let stage = shared.stages.describe(id);
            let cause = format!("is still being undone, {stage}");
            Err(Error::new(Kind::Deadline, format!("pod {id}"), cause))
        }
    }
}

/// A pod that was complete.
async fn take_up(shared: &Arc<Shared>, pod: Arc<Sandbox>) -> Result<Found> {
    let id = pod.id().to_owned();
    let status = pod.status();
    let request = || Request { config: pod.config().clone(), handler: pod.handler().to_owned() };
    let of_use = status.ready && status.boot_id == shared.boot_id;
    shared.names.keep(&pod.name, &id, of_use.then(|| Arc::new(request())));
    shared.add(&pod);
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
    let reason = match timeout(SHIM_WAIT, Shim::connect(&pod.run_dir)).await {
        Ok(Ok(shim)) => {
            pod.set_shim(Some(shim));
            if !status.ready {
                return Ok(Found::NotReady(id));
            }
            watch::begin(shared, &pod);
            return Ok(Found::Ready(id));
        }
        Ok(Err(e)) => format!("its shim is lost: {e}"),
        Err(_) => format!("its shim gave no answer within {SHIM_WAIT:?}"),
    };
    if status.ready {
        lost(&pod, &reason).await?;
    }
    Ok(Found::NotReady(id))
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
