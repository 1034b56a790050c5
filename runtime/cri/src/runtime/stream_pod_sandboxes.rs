//! StreamPodSandboxes: ListPodSandbox in pieces.

use crate::node::Cri;
use crate::status::Result;
use crate::streams::{Chunks, pieces};
use crate::{describe, filter};
use cri_api::v1::{StreamPodSandboxesRequest, StreamPodSandboxesResponse};

pub(super) async fn serve(
    cri: &Cri,
    request: StreamPodSandboxesRequest,
) -> Result<Chunks<StreamPodSandboxesResponse>> {
    let pods = filter::pods(cri.pods().list(), request.filter);
    let items = pods.iter().map(|pod| describe::pod_item(pod)).collect();
    Ok(pieces(items, |pod_sandboxes| StreamPodSandboxesResponse { pod_sandboxes }))
}
