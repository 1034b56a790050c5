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
    if let Some(asked) = update.resources {
        let asked = shared.settings.hooks.update(peer, asked).await?;
        limit(shared, container, &asked).await?;
    }
    container
        .change(|status| {
            let is_empty = update.annotations.is_empty();
            status.annotations.extend(update.annotations);
            !is_empty
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
    container.making.outcome().await?;
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

/// Sets limits without asking hooks, who are those that want it.
pub(crate) async fn set_limits(
    shared: &Arc<Shared>,
    id: &str,
    asked: &LinuxContainerResources,
) -> Result<()> {
    let container = shared.get(id)?;
    limit(shared, &container, asked).await
}

/// Sets limits and notes them; one after the other, so that none puts back what another changed.
async fn limit(
    shared: &Shared,
    container: &Arc<Container>,
    asked: &LinuxContainerResources,
) -> Result<()> {
    let _alone = container.limits.lock().await;
    let resources = apply(shared, container, asked).await?;
    let noted = container.change(|status| {
        status.resources = Some(resources);
        true
    });
    noted.await.map(drop)
}
