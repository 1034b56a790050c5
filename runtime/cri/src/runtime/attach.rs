//! Attach: a URL at which a client is connected to a container's own process.

use crate::node::Cri;
use crate::status::Result;
use crate::streaming::attachable;
use cri_api::v1::{AttachRequest, AttachResponse};
use streaming::{Attach, Streams};

pub(super) async fn serve(cri: &Cri, request: AttachRequest) -> Result<AttachResponse> {
    let container = attachable(cri, &request.container_id)?;
    let streams = Streams { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    // Whether there is a terminal is the container's to say.
    let terminal = container.config().tty;
    let attach = Attach { container: container.id().to_owned(), terminal, streams };
    Ok(AttachResponse { url: cri.streaming().attach_url(attach)? })
}
