//! CreateContainer: make a container in a pod; it does not run yet.

use crate::node::Cri;
use crate::status::{Refusal, Result};
use cri_api::v1::{CreateContainerRequest, CreateContainerResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse> {
    let Some(config) = request.config else {
        return Err(Refusal::invalid("config", "is missing"));
    };
    let (pod, known) = (request.pod_sandbox_id, request.sandbox_config);
    let container_id = cri.containers().create(&pod, config, known).await?;
    Ok(CreateContainerResponse { container_id })
}
