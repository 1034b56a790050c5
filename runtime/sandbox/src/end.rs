//! How a pod ends: stopped, removed, or undone because it was half made. Every step goes by what the
//! record names, and succeeds where nothing is left to do.

use crate::plumbing::Unrecorded;
use crate::record::{Planned, Status};
use crate::sandbox::Sandbox;
use crate::sandboxes::{Shared, blocking};
use crate::{Change, Error, Kind, Result, disk, space};
use shim_client::Shim;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a control group of our own may take to be empty.
const GROUP_WAIT: Duration = Duration::from_secs(2);

/// Stops a pod; success when it is stopped.
pub(crate) async fn stop(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    let _alone = pod.gate.lock().await;
    stop_held(shared, pod).await
}

async fn stop_held(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    if pod.status().stopped {
        return Ok(());
    }
    note(pod, |status| {
        status.ready = false;
        if status.reason.is_empty() {
            status.reason = "it is stopped".to_owned();
        }
    })
    .await;
    tracing::trace!(pod = pod.id(), step = "stopping");
    let outcome = halt(shared, pod).await;
    shared.stages.clear(pod.id());
    outcome?;
    note(pod, |status| {
        status.stopped = true;
        status.ips.clear();
        status.attachments.clear();
    })
    .await;
    tracing::trace!(pod = pod.id(), step = "stopped");
    shared.tell(pod.id(), Change::Stopped);
    Ok(())
}

/// Notes how far the end of a pod came. A disk that is full must not keep a pod from ending: without
/// the note, the next process finds a pod whose shim is gone, and does again what was done.
async fn note(pod: &Arc<Sandbox>, change: impl FnOnce(&mut Status) + Send + 'static) {
    let changed = pod.clone();
    if let Err(e) = blocking(move || changed.change(change)).await {
        tracing::warn!(pod = pod.id(), error = %e, "the pod's status was not written");
    }
}

/// Removes a pod; success when it is gone.
pub(crate) async fn remove(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    let _alone = pod.gate.lock().await;
    if shared.pod(pod.id()).is_none() {
        return Ok(());
    }
    stop_held(shared, pod).await?;
    forget(pod).await?;
    shared.drop_pod(pod);
    shared.tell(pod.id(), Change::Removed);
    Ok(())
}

/// Undoes a pod that nobody was told of.
pub(crate) async fn undo(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    halt(shared, pod).await?;
    forget(pod).await
}

/// Ends everything of the pod but its files.
async fn halt(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    // Side by side: neither needs the other, and both have deadlines of their own.
    let processes = async {
        let shim = end_shim(shared, pod).await;
        shim.err().into_iter().chain(unpin(pod).await.err()).collect::<Vec<_>>()
    };
    let network = async {
        // While a plugin still has to detach it, the namespace stays.
        detach(shared, pod).await?;
        let Some(path) = pod.record.netns() else { return Ok(()) };
        blocking(move || space::remove_net(&path)).await
    };
    let (mut errors, network) = tokio::join!(processes, network);
    pod.set_shim(None);
    tracing::trace!(pod = pod.id(), step = "halted");
    errors.extend(network.err());
    Error::join(errors)
}

/// Takes away what the shim pinned, and the pod's memory for `/dev/shm`.
async fn unpin(pod: &Sandbox) -> Result<()> {
    let (run_dir, shm) = (pod.run_dir.clone(), pod.record.shm.clone());
    let unpinned = blocking(move || {
        let unpinned = shim_client::unpin(&run_dir, None);
        let mut errors: Vec<_> =
            unpinned.err().map(|e| Error::new(Kind::Io, e.subject, e.cause)).into_iter().collect();
        if !shm.is_empty() {
            errors.extend(space::remove_shm(Path::new(&shm)).err());
        }
        Error::join(errors)
    });
    let unpinned = unpinned.await;
    tracing::trace!(pod = pod.id(), step = "unpinned");
    unpinned
}

async fn detach(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    if pod.record.planned.is_empty() {
        return Ok(());
    }
    shared.stages.set(pod.id(), "detaching its networks");
    let path = pod.record.netns();
    let netns = path.as_deref().filter(|path| space::is_net(path));
    let name = pod.name.to_string();
    let unrecorded = match pod.status().attachments.is_empty() {
        true => Unrecorded::Free,
        false => Unrecorded::Lost,
    };
    let planned = (pod.record.planned.as_slice(), unrecorded);
    let done = shared.plumbing.detach((pod.id(), &name), planned, netns).await;
    tracing::trace!(pod = pod.id(), step = "detached");
    done
}

async fn end_shim(shared: &Arc<Shared>, pod: &Arc<Sandbox>) -> Result<()> {
    let deadline = shared.settings.kill_deadline + shared.settings.shim_deadline;
    let shim = match pod.held_shim().filter(Shim::is_alive) {
        Some(shim) => Some(shim),
        None => reach(shared, &pod.run_dir).await?,
    };
    let Some(shim) = shim else { return Ok(()) };
    let ended = match timeout(deadline, shim.shutdown(true)).await {
        Ok(done) => done.map_err(|e| shared.shim_fault(&pod.name, &e)),
        Err(_) => {
            kill(&shim);
            let _ended = timeout(shared.settings.shim_deadline, shim.closed()).await;
            match shim.is_alive() {
                false => Ok(()),
                true => {
                    let cause = format!("its shim, process {}, cannot be ended", shim.about().pid);
                    Err(Error::new(Kind::Deadline, &pod.name, cause)
                        .with_advice("find out what holds it in the kernel"))
                }
            }
        }
    };
    tracing::trace!(pod = pod.id(), step = "shim ended");
    ended
}

/// The shim of a directory; `None` if there is none.
async fn reach(shared: &Shared, dir: &Path) -> Result<Option<Shim>> {
    match timeout(shared.settings.shim_deadline, Shim::connect(dir)).await {
        Ok(Ok(shim)) => Ok(Some(shim)),
        Ok(Err(e)) if e.kind == shim_client::Kind::Unavailable => Ok(None),
        Ok(Err(e)) => Err(shared.shim_fault(&dir.display(), &e)),
        Err(_) => {
            let cause = "a shim is there that gives no answer";
            Err(Error::new(Kind::Deadline, dir.display(), cause)
                .with_advice("end the process that listens on shim.sock there"))
        }
    }
}

/// Ends a shim that does not end by itself. Its connection is open, so that its number is its own.
fn kill(shim: &Shim) {
    let pid = rustix::process::Pid::from_raw(shim.about().pid);
    if let (Some(pid), true) = (pid, shim.is_alive()) {
        // One that has just ended is what is wanted.
        let _ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Removes the pod's directories, and its control group if it is ours.
async fn forget(pod: &Arc<Sandbox>) -> Result<()> {
    let pod = pod.clone();
    blocking(move || {
        if pod.record.cgroup_is_own {
            remove_group(pod.cgroup_parent())?;
        }
        disk::remove_dir(&pod.run_dir)?;
        tracing::trace!(pod = pod.id(), step = "run directory removed");
        disk::remove_dir(&pod.state_dir)
    })
    .await
}

fn remove_group(path: &str) -> Result<()> {
    let fault = |e: cgroup::Error| Error::new(Kind::Io, format!("control group {path}"), e);
    let request = cgroup::Request { path: Some(path), ..cgroup::Request::new("pod") };
    let mut paths = cgroup::Cgroup::intended(&request).map_err(fault)?;
    // Made by the pod's containers on their way, and so was the one above it, which goes with the last
    // pod: a group that is in use stays, and one that is needed again is made again.
    for place in &mut paths.places {
        place.made = 2;
    }
    cgroup::Cgroup::load(paths).destroy(GROUP_WAIT).map_err(fault)
}

/// Undoes a pod of which no usable record is left, by its id.
pub(crate) async fn undo_unknown(
    shared: &Arc<Shared>,
    id: &str,
    netns: Option<&Path>,
) -> Result<()> {
    let run_dir = shared.run_dir(id);
    if let Some(shim) = reach(shared, &run_dir).await? {
        let deadline = shared.settings.kill_deadline + shared.settings.shim_deadline;
        if timeout(deadline, shim.shutdown(true)).await.is_err() {
            kill(&shim);
        }
    }
    let planned: Vec<Planned> = shared.plumbing.recorded(id).await?;
    let living = netns.filter(|path| space::is_net(path));
    let planned = (planned.as_slice(), Unrecorded::Free);
    shared.plumbing.detach((id, &format!("pod {id}")), planned, living).await?;
    shared.stages.clear(id);
    let (state_dir, netns) = (shared.state_dir(id), netns.map(Path::to_owned));
    blocking(move || {
        if let Some(path) = netns {
            space::remove_net(&path)?;
        }
        let fault = |e: shim_client::Error| Error::new(Kind::Io, e.subject, e.cause);
        shim_client::unpin(&run_dir, None).map_err(fault)?;
        space::remove_shm(&run_dir.join("shm"))?;
        disk::remove_dir(&run_dir)?;
        disk::remove_dir(&state_dir)
    })
    .await
}
