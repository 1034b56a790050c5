//! Starting a container's process.

use crate::container::Container;
use crate::events::Change;
use crate::hooks::Peer;
use crate::shared::Shared;
use crate::{Error, Kind, Result, making, watch};
use cri_api::v1::ContainerState;
use std::sync::Arc;

/// Exit status of a container whose program could not be executed.
const NOT_STARTED: i32 = 128;

/// Starts the process, whatever becomes of the caller.
pub(crate) async fn start(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let container = shared.get(id)?;
    let work = shared.clone();
    shared.detached(async move { begin(&work, &container).await }).await
}

async fn begin(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<()> {
    let _alone = container.gate.lock().await;
    startable(container)?;
    let pod = shared.pods.get(container.sandbox_id())?;
    let shim = pod.shim()?;
    if let Err(e) = making::made(shared, container, &shim).await {
        failed(shared, container, &e).await;
        return Err(e);
    }
    // It may have ended meanwhile, with its shim.
    startable(container)?;
    let peer = Peer { pod: &pod, container };
    shared.settings.hooks.start(peer).await?;
    // An end that comes meanwhile is told after the start.
    let starting = container.starting.lock().await;
    let before = sandbox::now();
    if let Err(e) = shared.ask(container.id(), shim.start(container.id())).await {
        failed(shared, container, &e).await;
        return Err(e);
    }
    let written = container.change(|status| {
        status.started_at = before;
        status.set_state(ContainerState::ContainerRunning);
        true
    });
    let written = written.await;
    shared.tell(container, Change::Started);
    drop(starting);
    if let Err(e) = shared.settings.hooks.started(peer).await {
        tracing::warn!(container = container.id(), error = %e, "a hook after the start failed");
    }
    written.map(drop)
}

fn startable(container: &Container) -> Result<()> {
    let wrong = |cause: &str| Err(Error::new(Kind::Precondition, container.name(), cause));
    match container.state() {
        ContainerState::ContainerCreated => Ok(()),
        ContainerState::ContainerRunning => wrong("runs already"),
        ContainerState::ContainerExited => wrong("has ended; make a new one"),
        ContainerState::ContainerUnknown => wrong("is in no known state; remove it"),
    }
}

/// Whether a failure leaves open what became of a container: its shim gave no answer.
pub(crate) fn leaves_open(e: &Error) -> bool {
    matches!(e.kind(), Kind::Deadline | Kind::Unavailable)
}

/// Notes that the process was never executed. Of a shim that gives no answer that is not known.
pub(crate) async fn failed(shared: &Arc<Shared>, container: &Arc<Container>, e: &Error) {
    if !leaves_open(e) {
        let end = (NOT_STARTED, "StartError", e.to_string());
        watch::end_without_exit(shared, container, end).await;
    }
}
