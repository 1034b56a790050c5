//! ListPodSandbox: pods by id, state, labels.

use crate::node::Cri;
use crate::status::Result;
use crate::{describe, filter};
use cri_api::v1::{ListPodSandboxRequest, ListPodSandboxResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: ListPodSandboxRequest,
) -> Result<ListPodSandboxResponse> {
    let pods = filter::pods(cri.pods().list(), request.filter);
    Ok(ListPodSandboxResponse { items: pods.iter().map(|pod| describe::pod_item(pod)).collect() })
}
