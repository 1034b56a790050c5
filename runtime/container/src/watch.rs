//! What shims tell of containers, and what becomes of those whose shim is gone.

use crate::container::Container;
use crate::events::Change;
use crate::hooks::Peer;
use crate::shared::Shared;
use crate::{Result, end};
use cri_api::v1::ContainerState;
use sandbox::{Sandbox, blocking};
use shim_client::Shim;
use shim_protocol::{Event, Exit};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use tokio::task::JoinSet;

/// Exit status of a container whose shim was lost: it was killed.
const KILLED: i32 = 137;

/// Listens to the shim of a pod, once.
pub(crate) fn listen(shared: &Arc<Shared>, pod: &Sandbox, shim: &Shim) {
    let id = pod.id().to_owned();
    let mut heard = shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
    if !heard.insert(id.clone()) {
        return;
    }
    drop(heard);
    let mut events = shim.events();
    let (weak, process) = (Arc::downgrade(shared), shim.about().pid);
    tokio::spawn(async move {
        let mut noting = JoinSet::new();
        while let Some(event) = events.next().await {
            let Some(shared) = weak.upgrade() else { return };
            if let Event::Exited(exit) = event
                && exit.exec_id.is_none()
                && let Ok(container) = shared.get(&exit.id)
            {
                // Its own task: one that is being started must not hold up others.
                noting.spawn(async move { exited(&shared, &container, &exit).await });
            }
            while noting.try_join_next().is_some() {}
        }
        // What the shim told counts, also when it is gone before that is noted.
        while noting.join_next().await.is_some() {}
        let Some(shared) = weak.upgrade() else { return };
        shared.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        for container in shared.of_pod(&id) {
            lost(&shared, &container, process).await;
        }
    });
}

/// Notes the end of a container's process, once.
pub(crate) async fn exited(shared: &Arc<Shared>, container: &Arc<Container>, exit: &Exit) {
    let _after_its_start = container.starting.lock().await;
    let changed = container.change(|status| {
        if status.state() == ContainerState::ContainerExited {
            return false;
        }
        status.set_state(ContainerState::ContainerExited);
        status.pid = 0;
        status.finished_at = exit.at;
        status.exit_code = exit.code;
        status.reason = reason(exit).to_owned();
        true
    });
    match changed.await {
        Ok(false) => return,
        Ok(true) => {}
        Err(e) => {
            tracing::error!(container = container.id(), error = %e, "its status was not written");
        }
    }
    tracing::debug!(container = container.id(), code = exit.code, oom = exit.oom, "ended");
    shared.tell(container, Change::Stopped);
    if container.record.shares_pids {
        end::kill_rest(shared, container).await;
    }
    after_the_end(shared, container).await;
}

fn reason(exit: &Exit) -> &'static str {
    match (exit.oom, exit.code) {
        (_, 0) => "Completed",
        (true, _) => "OOMKilled",
        (false, _) => "Error",
    }
}

async fn after_the_end(shared: &Arc<Shared>, container: &Arc<Container>) {
    let Ok(pod) = shared.pods.get(container.sandbox_id()) else { return };
    if let Err(e) = shared.settings.hooks.stopped(Peer { pod: &pod, container }).await {
        tracing::warn!(container = container.id(), error = %e, "a hook after the end failed");
    }
}

/// Finds out the end of a container whose shim is gone, or brings it about.
pub(crate) async fn lost(shared: &Arc<Shared>, container: &Arc<Container>, shim: i32) {
    if container.state() == ContainerState::ContainerExited {
        return;
    }
    match recorded(container).await {
        Ok(Some(exit)) => return exited(shared, container, &exit).await,
        Ok(None) => {}
        Err(e) => {
            tracing::warn!(container = container.id(), error = %e, "recorded exits are not read");
        }
    }
    if let Err(e) = end::kill_group(shared, container).await {
        tracing::error!(container = container.id(), error = %e, "what its shim left still runs");
    }
    let told = match shim {
        0 => "the pod's shim is gone".to_owned(),
        pid => format!("the pod's shim, process {pid}, ended by itself"),
    };
    end_without_exit(shared, container, (KILLED, "ShimLost", told)).await;
}

/// Notes an end of which only the circumstances are known.
pub(crate) async fn end_without_exit(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    (code, reason, message): (i32, &str, String),
) {
    let changed = container.change(|status| {
        if status.state() == ContainerState::ContainerExited {
            return false;
        }
        status.set_state(ContainerState::ContainerExited);
        status.pid = 0;
        status.finished_at = sandbox::now();
        status.exit_code = code;
        status.reason = reason.to_owned();
        status.message = message;
        true
    });
    match changed.await {
        Ok(false) => return,
        Ok(true) => {}
        Err(e) => {
            tracing::error!(container = container.id(), error = %e, "its status was not written");
        }
    }
    shared.tell(container, Change::Stopped);
    after_the_end(shared, container).await;
}

/// The exit that the pod's shim recorded.
pub(crate) async fn recorded(container: &Container) -> Result<Option<Exit>> {
    let (dir, id) = (PathBuf::from(&container.record.shim_dir), container.id().to_owned());
    blocking(move || {
        let exits = shim_client::exits(&dir).map_err(|e| crate::shared::of_shim(&id, &e))?;
        Ok(exits.into_iter().find(|exit| exit.id == id && exit.exec_id.is_none()))
    })
    .await
}
