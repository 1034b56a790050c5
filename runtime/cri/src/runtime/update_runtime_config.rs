//! UpdateRuntimeConfig: the address range of the node's pods, which networks have from their own
//! configuration here.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse};

pub(super) async fn serve(
    _cri: &Cri,
    request: UpdateRuntimeConfigRequest,
) -> Result<UpdateRuntimeConfigResponse> {
    let network = request.runtime_config.and_then(|config| config.network_config);
    if let Some(range) = network.map(|network| network.pod_cidr).filter(|range| !range.is_empty()) {
        tracing::info!(
            range,
            "the range of pod addresses was told; networks have theirs configured"
        );
    }
    Ok(UpdateRuntimeConfigResponse {})
}
