//! ListMetricDescriptors: which metrics there are, and which labels they have.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{ListMetricDescriptorsRequest, ListMetricDescriptorsResponse};

pub(super) async fn serve(
    cri: &Cri,
    _request: ListMetricDescriptorsRequest,
) -> Result<ListMetricDescriptorsResponse> {
    Ok(ListMetricDescriptorsResponse { descriptors: cri.stats().descriptors() })
}
