//! Exec: a URL at which a client runs a command in a container, with streams.

use crate::node::Cri;
use crate::status::Result;
use crate::streaming::running;
use cri_api::v1::{ExecRequest, ExecResponse};
use streaming::{Exec, Streams};

pub(super) async fn serve(cri: &Cri, request: ExecRequest) -> Result<ExecResponse> {
    let container = running(cri, &request.container_id)?;
    let streams = Streams { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
    let (container, command, terminal) = (container.id().to_owned(), request.cmd, request.tty);
    let exec = Exec { container, command, terminal, streams };
    Ok(ExecResponse { url: cri.streaming().exec_url(exec)? })
}
