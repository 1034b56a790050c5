//! RuntimeConfig: who makes control groups, for kubelet to do the same.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{LinuxRuntimeConfiguration, RuntimeConfigRequest, RuntimeConfigResponse};

pub(super) async fn serve(
    cri: &Cri,
    _request: RuntimeConfigRequest,
) -> Result<RuntimeConfigResponse> {
    let cgroup_driver = cri.settings().cgroup_driver as i32;
    Ok(RuntimeConfigResponse { linux: Some(LinuxRuntimeConfiguration { cgroup_driver }) })
}
