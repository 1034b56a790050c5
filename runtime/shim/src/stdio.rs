//! The standard streams of a container: pipes, or nothing.

use crate::error::{Result, io, of_runtime};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use shim_protocol::Stdio;

/// The shim's ends.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Where input is written to.
    pub(crate) stdin: Option<OwnedFd>,
    /// What it writes.
    pub(crate) stdout: Option<OwnedFd>,
    /// What it writes as errors.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Both ends of all streams: the shim's, and the container's.
pub(crate) fn make(stdio: &Stdio) -> Result<(Ends, oci::Streams)> {
    let fail = |errno| io("standard streams", "pipe", errno);
    if stdio.terminal {
        // It takes their place.
        let streams = oci::Streams::new(null()?, null()?, null()?).map_err(of_runtime)?;
        return Ok((Ends::default(), streams));
    }
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail);
    let (input, stdin) = if stdio.stdin {
        let (read, write) = pipe()?;
        (read, Some(write))
    } else {
        (null()?, None)
    };
    let ((stdout, output), (stderr, errors)) = (pipe()?, pipe()?);
    for end in [Some(&stdout), Some(&stderr), stdin.as_ref()].into_iter().flatten() {
        unblock(end)?;
    }
    let streams = oci::Streams::new(input, output, errors).map_err(of_runtime)?;
    Ok((Ends { stdin, stdout: Some(stdout), stderr: Some(stderr) }, streams))
}

/// Reads and writes nothing.
pub(crate) fn null() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, Mode::empty()).map_err(|e| io("/dev/null", "open", e))
}

/// Makes a descriptor of ours, or one that was handed over, never wait.
pub(crate) fn unblock(fd: impl AsFd) -> Result<()> {
    rustix::io::ioctl_fionbio(&fd, true).map_err(|errno| io("stream", "set non-blocking", errno))
}
