//! Version: who serves, and which version of the CRI.

use crate::node::Cri;
use crate::status::Result;
use cri_api::v1::{VersionRequest, VersionResponse};

/// The version of the answer's form, as all runtimes of the field give it.
const FORM: &str = "0.1.0";

pub(super) async fn serve(cri: &Cri, _request: VersionRequest) -> Result<VersionResponse> {
    Ok(VersionResponse {
        version: FORM.to_owned(),
        runtime_name: "podloom".to_owned(),
        runtime_version: cri.settings().version.clone(),
        runtime_api_version: "v1".to_owned(),
    })
}
