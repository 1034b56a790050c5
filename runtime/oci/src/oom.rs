//! The score for the out-of-memory killer.

use crate::capability::SYS_RESOURCE;
use crate::{Error, Result, sys};
use std::path::PathBuf;

/// Sets the score of a process.
///
/// Lowering a score needs `CAP_SYS_RESOURCE`. A runtime that itself runs without it, in a container
/// or without root, cannot give what its callers ask for as a matter of course: podman and
/// containerd lower the score of what matters. There the process keeps the lowest score it can have,
/// unless the environment has `PODLOOM_OCI_STRICT`.
pub(crate) fn set(pid: i32, score: i32) -> Result<()> {
    let path = PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    let Err(error) = std::fs::write(&path, score.to_string()) else { return Ok(()) };
    let refused = error.kind() == std::io::ErrorKind::PermissionDenied;
    let able = sys::capabilities().is_ok_and(|(effective, ..)| effective & SYS_RESOURCE != 0);
    if refused && !able && std::env::var_os("PODLOOM_OCI_STRICT").is_none() {
        return Ok(());
    }
    let hint = if refused && !able { "; lowering it needs CAP_SYS_RESOURCE" } else { "" };
    let mut failed = Error::path(&path, "write", &error);
    failed.subject = format!("process.oomScoreAdj {score}");
    failed.cause.push_str(hint);
    Err(failed)
}
