//! Stopping and removing containers, and undoing those that were half made.

use crate::container::Container;
use crate::events::Change;
use crate::hooks::Peer;
use crate::shared::Shared;
use crate::sources::{volume_name, volume_places};
use crate::{Error, Kind, Result, rootfs, signal, start, watch};
use cri_api::v1::ContainerState;
use sandbox::{blocking, disk};
use shim_client::Shim;
use shim_protocol::Whom;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the processes of a control group may take to end once they are killed.
const GROUP_WAIT: Duration = Duration::from_secs(5);

/// Stops a container, whatever becomes of the caller.
pub(crate) async fn stop(shared: &Arc<Shared>, id: &str, grace: Duration) -> Result<()> {
    let container = shared.get(id)?;
    let work = shared.clone();
    shared.detached(async move { stop_one(&work, &container, grace).await }).await
}

/// Kills the containers of a pod, all at once.
pub(crate) async fn stop_all(shared: &Arc<Shared>, sandbox_id: &str) -> Result<()> {
    let all = shared.of_pod(sandbox_id);
    let works = all.into_iter().map(|container| {
        let work = shared.clone();
        shared.detached(async move { stop_one(&work, &container, Duration::ZERO).await })
    });
    together(works).await
}

/// Removes the containers of a pod.
pub(crate) async fn remove_all(shared: &Arc<Shared>, sandbox_id: &str) -> Result<()> {
    let all = shared.of_pod(sandbox_id);
    let works = all.into_iter().map(|container| {
        let work = shared.clone();
        shared.detached(async move { remove_one(&work, &container).await })
    });
    together(works).await
}

async fn together(works: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    let mut works: Vec<_> = works.map(Box::pin).collect();
    let mut errors = Vec::new();
    // Each is a task that goes on by itself once it was looked at.
    std::future::poll_fn(|context| {
        works.retain_mut(|work| match work.as_mut().poll(context) {
            std::task::Poll::Ready(outcome) => {
                errors.extend(outcome.err());
                false
            }
            std::task::Poll::Pending => true,
        });
        if works.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    Error::join(errors)
}

async fn stop_one(shared: &Arc<Shared>, container: &Arc<Container>, grace: Duration) -> Result<()> {
    if container.state() == ContainerState::ContainerExited {
        return Ok(());
    }
    let Some(shim) = shim_of(shared, container) else {
        watch::lost(shared, container, 0).await;
        return Ok(());
    };
    if !settle_making(shared, container).await? {
        return Ok(());
    }
    let id = container.id();
    if !grace.is_zero() && container.state() == ContainerState::ContainerRunning {
        let asked = shared.ask(id, shim.kill(id, container.stop_signal(), Whom::First)).await;
        unless_ended(asked)?;
        if timeout(grace, container.ended()).await.is_ok() {
            return Ok(());
        }
    }
    match shared.ask(id, shim.kill(id, signal::KILL, Whom::All)).await {
        // The shim keeps what it made until that is removed: it never had this one, or is gone.
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Unavailable) => {
            watch::lost(shared, container, 0).await;
            return Ok(());
        }
        other => unless_ended(other)?,
    }
    if timeout(shared.settings.kill_deadline, container.ended()).await.is_ok() {
        return Ok(());
    }
    // The shim may have told before anybody listened.
    let state = shared.ask(id, shim.state(id)).await?;
    if let Some(exit) = state.exit {
        watch::exited(shared, container, &exit).await;
        return Ok(());
    }
    let cause = format!("runs {:?} after it was killed", shared.settings.kill_deadline);
    let e = Error::new(Kind::Deadline, container.name(), cause);
    Err(e.with_advice("a process may hang in the kernel: see `ps` for state D, and dmesg"))
}

/// Waits for the making of its process, which cannot be ended before it is there. Whether there is a
/// process to end, as far as is known.
async fn settle_making(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<bool> {
    let limit = shared.settings.kill_deadline;
    match timeout(limit, container.making.outcome()).await {
        Ok(Err(e)) if !start::leaves_open(&e) => {
            start::failed(shared, container, &e).await;
            Ok(false)
        }
        Ok(_) => Ok(true),
        Err(_) => {
            let e = Error::new(Kind::Deadline, container.name(), "is still being made");
            Err(e.with_advice("a hook or a file system may hang; ask again, or see shim.log"))
        }
    }
}

/// A signal to what has ended is none.
fn unless_ended(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Precondition | Kind::Unavailable) => {
            Ok(())
        }
        other => other,
    }
}

/// The way to the pod's shim, if it is there.
pub(crate) fn shim_of(shared: &Shared, container: &Container) -> Option<Shim> {
    let pod = shared.pods.get(container.sandbox_id()).ok()?;
    pod.shim().ok().filter(Shim::is_alive)
}

/// Kills what the first process of a container left in a PID namespace that it shares.
pub(crate) async fn kill_rest(shared: &Shared, container: &Container) {
    let Some(shim) = shim_of(shared, container) else { return };
    let id = container.id();
    let killed = shared.ask(id, shim.kill(id, signal::KILL, Whom::All)).await;
    if let Err(e) = unless_ended(killed) {
        tracing::warn!(container = id, error = %e, "processes that it left still run");
    }
}

/// Kills whatever is in the container's control group, without its shim.
///
/// # Errors
/// Something does not end.
pub(crate) async fn kill_group(shared: &Shared, container: &Container) -> Result<()> {
    let limit = shared.settings.kill_deadline;
    let (path, driver) = (container.cgroups_path().to_owned(), container.cgroup_driver());
    let id = container.id().to_owned();
    blocking(move || match group(&id, &path, driver)? {
        Some(group) => group.kill(limit).map_err(|e| of_group(&path, &e)),
        None => Ok(()),
    })
    .await
}

fn of_group(path: &str, e: &cgroup::Error) -> Error {
    Error::new(Kind::Io, format!("control group {path}"), e)
}

/// The container's control group, where it exists.
fn group(id: &str, path: &str, driver: cgroup::Driver) -> Result<Option<cgroup::Cgroup>> {
    let request = cgroup::Request { path: Some(path), driver, ..cgroup::Request::new(id) };
    let mut paths = cgroup::Cgroup::intended(&request).map_err(|e| of_group(path, &e))?;
    paths.places.retain(|place| place.dir().is_dir());
    for place in &mut paths.places {
        place.made = 1;
    }
    Ok((!paths.places.is_empty()).then(|| cgroup::Cgroup::load(paths)))
}

/// Removes a container, whatever becomes of the caller.
pub(crate) async fn remove(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let container = match shared.get(id) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    let work = shared.clone();
    shared.detached(async move { remove_one(&work, &container).await }).await
}

pub(crate) async fn remove_one(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<()> {
    let _alone = container.gate.lock().await;
    if shared.get(container.id()).is_err() {
        return Ok(());
    }
    stop_one(shared, container, Duration::ZERO).await?;
    if let Ok(pod) = shared.pods.get(container.sandbox_id())
        && let Err(e) = shared.settings.hooks.remove(Peer { pod: &pod, container }).await
    {
        tracing::warn!(container = container.id(), error = %e, "a hook before removal failed");
    }
    let shim = shim_of(shared, container);
    take_away(shared, container, shim.as_ref()).await?;
    shared.forget(container);
    shared.tell(container, Change::Deleted);
    Ok(())
}

/// Notes that a container is being removed, and takes it away.
async fn take_away(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    shim: Option<&Shim>,
) -> Result<()> {
    let note = async {
        // A full disk must not keep it: without the note the next process finds an ended container.
        let noted = container.change(|status| !std::mem::replace(&mut status.removing, true));
        if let Err(e) = noted.await {
            tracing::warn!(container = container.id(), error = %e, "its status was not written");
        }
    };
    let has_ended = container.state() == ContainerState::ContainerExited;
    // None of its processes is left, and nobody else looks at its file system.
    let is_free = !container.record.shares_pids && container.parts_freely.get() == Some(&true);
    if !has_ended || !is_free || shim.is_none() {
        note.await;
        return undo(shared, container, shim).await;
    }
    let (gone, work) = (Gone::of(container), shared.clone());
    let files = async {
        note.await;
        blocking(move || gone.files_from(&work)).await
    };
    let (deleted, files) = tokio::join!(delete(shared, container.id(), shim), files);
    deleted?;
    files?;
    let (gone, work) = (Gone::of(container), shared.clone());
    blocking(move || {
        gone.group_from()?;
        gone.records_from(&work)
    })
    .await
}

/// Has the shim forget a container.
async fn delete(shared: &Shared, id: &str, shim: Option<&Shim>) -> Result<()> {
    let Some(shim) = shim else { return Ok(()) };
    match shared.ask(id, shim.delete(id, true)).await {
        Err(e) if e.kind() != Kind::Unavailable && e.kind() != Kind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Takes away all that there is of a container, however far it came. Can be repeated.
///
/// # Errors
/// Something does not go away; its records stay then.
pub(crate) async fn undo(
    shared: &Arc<Shared>,
    container: &Container,
    shim: Option<&Shim>,
) -> Result<()> {
    delete(shared, container.id(), shim).await?;
    let (gone, shared) = (Gone::of(container), shared.clone());
    blocking(move || gone.from(&shared)).await
}

/// What is to be taken away.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) id: String,
    /// How many images it has mounted at least.
    pub(crate) volumes: usize,
    /// Its control group, where that is known.
    pub(crate) cgroup: Option<(String, cgroup::Driver)>,
}

impl Gone {
    fn of(container: &Container) -> Gone {
        Gone {
            id: container.id().to_owned(),
            volumes: usize::try_from(container.record.volumes).unwrap_or_default(),
            cgroup: Some((container.cgroups_path().to_owned(), container.cgroup_driver())),
        }
    }

    /// Takes it away. Blocks.
    ///
    /// # Errors
    /// Something does not go away; the records stay then.
    pub(crate) fn from(&self, shared: &Shared) -> Result<()> {
        self.group_from()?;
        self.files_from(shared)?;
        self.records_from(shared)
    }

    /// Kills what is in its control group, and removes that.
    fn group_from(&self) -> Result<()> {
        if let Some((path, driver)) = &self.cgroup
            && let Some(group) = group(&self.id, path, *driver)?
        {
            group.kill(GROUP_WAIT).map_err(|e| of_group(path, &e))?;
            group.destroy(GROUP_WAIT).map_err(|e| of_group(path, &e))?;
        }
        Ok(())
    }

    /// Takes away its file system, and its claim on the image.
    fn files_from(&self, shared: &Shared) -> Result<()> {
        let (id, run_dir) = (self.id.as_str(), shared.run_dir(&self.id));
        rootfs::unmount_all(&run_dir.join("rootfs"))?;
        for number in 0..self.volumes {
            for place in volume_places(&run_dir, number).iter().rev() {
                rootfs::unmount_all(place)?;
            }
            rootfs::remove(&shared.images, &volume_name(id, number))?;
        }
        rootfs::remove(&shared.images, id)?;
        // A full disk may not take it. The next start ends leases of containers that are not there.
        if let Err(e) = release(shared, id) {
            tracing::warn!(container = id, error = %e, "its claim on the image is not given up yet");
        }
        Ok(())
    }

    /// Removes its directories. What is in its state directory is the last to go.
    fn records_from(&self, shared: &Shared) -> Result<()> {
        disk::remove_dir(&shared.run_dir(&self.id))?;
        disk::remove_dir(&shared.state_dir(&self.id))
    }
}

pub(crate) fn release(shared: &Shared, id: &str) -> Result<()> {
    match shared.images.release(id) {
        Err(e) if e.kind() != image::Kind::NotFound => {
            Err(Error::new(Kind::Io, format!("lease of container {id:.12}"), e))
        }
        _ => Ok(()),
    }
}
