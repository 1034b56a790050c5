//! `podloom stop` and `podloom rm`.

use super::args::{Rm, Stop};
use super::daemon::{Daemon, Named, fault};
use crate::fault::{Fault, Result};
use crate::print;
use cri_api::v1::{
    ContainerState, RemoveContainerRequest, RemovePodSandboxRequest, StopContainerRequest,
    StopPodSandboxRequest,
};
use serde_json::json;

pub(super) async fn stop(daemon: &Daemon, wanted: &Stop) -> Result<()> {
    let mut faults = Vec::new();
    for name in &wanted.names {
        match stop_one(daemon, name, wanted.timeout).await {
            Ok(id) => daemon.print(&json!({ "stopped": id }), || format!("{id}\n"))?,
            Err(fault) => faults.push(fault),
        }
    }
    Fault::join(faults).map_or(Ok(()), Err)
}

async fn stop_one(daemon: &Daemon, name: &str, timeout: i64) -> Result<String> {
    match daemon.named(name).await? {
        Named::Container(container) => {
            stop_container(daemon, &container.id, timeout).await?;
            Ok(container.id)
        }
        Named::Pod(pod) => {
            stop_pod(daemon, &pod.id).await?;
            Ok(pod.id)
        }
    }
}

async fn stop_container(daemon: &Daemon, id: &str, timeout: i64) -> Result<()> {
    let request = StopContainerRequest { container_id: id.to_owned(), timeout };
    daemon.runtime().stop_container(request).await.map_err(|status| fault(id, &status))?;
    Ok(())
}

pub(super) async fn stop_pod(daemon: &Daemon, id: &str) -> Result<()> {
    let request = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    daemon.runtime().stop_pod_sandbox(request).await.map_err(|status| fault(id, &status))?;
    Ok(())
}

/// Removes a pod that is stopped, with its containers.
pub(super) async fn remove_pod(daemon: &Daemon, id: &str) -> Result<()> {
    let request = RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
    daemon.runtime().remove_pod_sandbox(request).await.map_err(|status| fault(id, &status))?;
    Ok(())
}

pub(super) async fn remove(daemon: &Daemon, wanted: &Rm) -> Result<()> {
    let mut faults = Vec::new();
    for name in &wanted.names {
        match remove_one(daemon, name, wanted.force).await {
            Ok(id) => daemon.print(&json!({ "removed": id }), || format!("{id}\n"))?,
            Err(fault) => faults.push(fault),
        }
    }
    Fault::join(faults).map_or(Ok(()), Err)
}

async fn remove_one(daemon: &Daemon, name: &str, force: bool) -> Result<String> {
    let runs = |name: &str, what: &str| {
        let advice = "'podloom stop' stops it; --force removes it all the same";
        Fault::new(4, name, format!("the {what} runs")).advise(advice)
    };
    match daemon.named(name).await? {
        Named::Container(container) => {
            if container.state == ContainerState::ContainerRunning as i32 {
                if !force {
                    return Err(runs(name, "container"));
                }
                stop_container(daemon, &container.id, 0).await?;
            }
            let request = RemoveContainerRequest { container_id: container.id.clone() };
            let removed = daemon.runtime().remove_container(request).await;
            removed.map_err(|status| fault(name, &status))?;
            Ok(container.id)
        }
        Named::Pod(pod) => {
            if pod.state == cri_api::v1::PodSandboxState::SandboxReady as i32 {
                if !force {
                    return Err(runs(name, "pod"));
                }
                stop_pod(daemon, &pod.id).await?;
            }
            remove_pod(daemon, &pod.id).await?;
            Ok(pod.id)
        }
    }
}

/// Tells that a pod which was to go with this command is still there.
pub(super) fn left(id: &str, fault: &Fault) {
    print::note(&format!("podloom: pod {id} could not be removed\n{}", fault.text().trim_end()));
}
