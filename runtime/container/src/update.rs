//! Changing limits of a container that is there.

use crate::container::Container;
use crate::containers::Update;
use crate::hooks::Peer;
use crate::shared::Shared;
use crate::{Error, Kind, Result, end, spec};
use cri_api::v1::{ContainerState, LinuxContainerResources};
use std::sync::Arc;

/// Changes limits and annotations, whatever becomes of the caller.
pub(crate) async fn update(shared: &Arc<Shared>, id: &str, update: Update) -> Result<()> {
    let container = shared.get(id)?;
    let work = shared.clone();
    shared.detached(async move { change(&work, &container, update).await }).await
}

async fn change(shared: &Arc<Shared>, container: &Arc<Container>, update: Update) -> Result<()> {
    let _alone = container.gate.lock().await;
    let pod = shared.pods.get(container.sandbox_id())?;
    let peer = Peer { pod: &pod, container };
    let resources = match update.resources {
        None => None,
        Some(asked) => {
            let asked = shared.settings.hooks.update(peer, asked).await?;
            Some(apply(shared, container, &asked).await?)
        }
    };
    container
        .change(|status| {
            if resources.is_some() {
                status.resources = resources;
            }
            status.annotations.extend(update.annotations);
            true
        })
        .await?;
    if let Err(e) = shared.settings.hooks.updated(peer).await {
        tracing::warn!(container = container.id(), error = %e, "a hook after the update failed");
    }
    Ok(())
}

/// Sets the limits, and tells which are in force.
async fn apply(
    shared: &Shared,
    container: &Container,
    asked: &LinuxContainerResources,
) -> Result<LinuxContainerResources> {
    let status = container.status();
    if !matches!(status.state, ContainerState::ContainerCreated | ContainerState::ContainerRunning)
    {
        return Err(Error::new(Kind::Precondition, container.name(), "has ended"));
    }
    let merged = spec::merged(&status.resources.unwrap_or_default(), asked);
    let limits = spec::resources(&merged, shared.node.limits)?;
    let json = serde_json::to_value(&limits)
        .map_err(|e| Error::new(Kind::Internal, container.name(), e))?;
    let Some(shim) = end::shim_of(shared, container) else {
        return Err(Error::new(Kind::Unavailable, container.name(), "its pod has no shim"));
    };
    shared.ask(container.id(), shim.update(container.id(), json)).await?;
    Ok(merged)
}

/// Sets limits that hooks want for other containers. That one fails is told, no more: what made
/// the hooks want it has happened.
pub(crate) async fn of_hooks(
    shared: &Arc<Shared>,
    updates: Vec<(String, LinuxContainerResources)>,
) {
    for (id, asked) in updates {
        let outcome = async {
            let container = shared.get(&id)?;
            let resources = apply(shared, &container, &asked).await?;
            container
                .change(|status| {
                    status.resources = Some(resources);
                    true
                })
                .await
        };
        if let Err(e) = outcome.await {
            tracing::warn!(container = id, error = %e, "limits that a hook wants were not set");
        }
    }
}
