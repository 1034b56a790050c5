//! What an earlier process left: taken up, or undone.

use crate::plumbing::PREFIX;
use crate::record::{Record, Status};
use crate::sandbox::{RECORD, STATUS, Sandbox};
use crate::sandboxes::{Recovered, Shared, blocking};
use crate::{Error, Kind, Result, disk, end, watch};
use shim_client::Shim;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many pods are looked at at a time.
const AT_ONCE: usize = 64;

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
        if tasks.len() >= AT_ONCE {
            note(&mut recovered, tasks.join_next().await);
        }
        let shared = shared.clone();
        tasks.spawn(async move { one(&shared, &id).await });
    }
    while let Some(outcome) = tasks.join_next().await {
        note(&mut recovered, Some(outcome));
    }
    let later = shared.clone();
    shared.detach(async move {
        if let Err(e) = collect(&later).await {
            tracing::warn!(error = %e, "not everything could be freed");
        }
    });
    Ok(recovered)
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn note(recovered: &mut Recovered, outcome: Option<Result<Result<Found>, tokio::task::JoinError>>) {
    match outcome {
        None => {}
        Some(Ok(Ok(Found::Ready(id)))) => recovered.ready.push(id),
        Some(Ok(Ok(Found::NotReady(id)))) => recovered.not_ready.push(id),
        Some(Ok(Ok(Found::Undone(id)))) => recovered.undone.push(id),
        Some(Ok(Err(e))) => recovered.errors.push(e),
        Some(Err(e)) => recovered.errors.push(Error::new(Kind::Internal, "recovery", e)),
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
    let reason = match timeout(shared.settings.shim_deadline, Shim::connect(&pod.run_dir)).await {
        Ok(Ok(shim)) => {
            pod.set_shim(Some(shim));
            if status.ready {
                watch::begin(shared, &pod);
                return Ok(Found::Ready(id));
            }
            return Ok(Found::NotReady(id));
        }
        Ok(Err(e)) => format!("its shim is lost: {e}"),
        Err(_) => "its shim gives no answer".to_owned(),
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

/// Frees what no pod owns on any network, and namespaces of pods that are gone.
pub(crate) async fn collect(shared: &Arc<Shared>) -> Result<()> {
    let lives = |id: &str| shared.names.holds(id) || Path::new(&shared.state_dir(id)).exists();
    shared.plumbing.collect(&lives).await
}
