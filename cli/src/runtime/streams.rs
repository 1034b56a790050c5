//! `podloom exec` and `podloom attach`.

use super::args::{Attach, Exec};
use super::daemon::{Daemon, fault};
use super::session::{Local, Session};
use crate::fault::Result;
use cri_api::v1::{AttachRequest, ExecRequest};
use std::process::ExitCode;

pub(super) async fn exec(daemon: &Daemon, wanted: Exec) -> Result<ExitCode> {
    let container = daemon.container(&wanted.container).await?;
    let request = ExecRequest {
        container_id: container.id,
        cmd: wanted.command,
        tty: wanted.tty,
        stdin: wanted.interactive,
        stdout: true,
        stderr: !wanted.tty,
    };
    let answer = daemon.runtime().exec(request).await;
    let url = answer.map_err(|status| fault(&wanted.container, &status))?.into_inner().url;
    let local = local(wanted.interactive, wanted.tty);
    Session::open(daemon, &url, local).await?.run().await
}

pub(super) async fn attach(daemon: &Daemon, wanted: &Attach) -> Result<ExitCode> {
    let container = daemon.container(&wanted.container).await?;
    let local = local(wanted.interactive, wanted.tty);
    attach_to(daemon, &container.id, local).await?.run().await
}

/// Attaches to the container of an ID, which may have to be started yet.
pub(super) async fn attach_to(daemon: &Daemon, id: &str, local: Local) -> Result<Session> {
    let request = AttachRequest {
        container_id: id.to_owned(),
        stdin: local != Local::Output,
        tty: local == Local::Terminal,
        stdout: true,
        stderr: local != Local::Terminal,
    };
    let answer = daemon.runtime().attach(request).await;
    let url = answer.map_err(|status| fault(id, &status))?.into_inner().url;
    Session::open(daemon, &url, local).await
}

/// Which streams take part; a terminal without input is one all the same.
#[allow(clippy::fn_params_excessive_bools, reason = "the two flags as they were typed")]
pub(super) fn local(interactive: bool, tty: bool) -> Local {
    match (interactive, tty) {
        (_, true) => Local::Terminal,
        (true, false) => Local::Input,
        (false, false) => Local::Output,
    }
}
