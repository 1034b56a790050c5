//! The container's filter of system calls, and the agent that answers for it.

use crate::sync::{self, At, Fault, Step};
use crate::sys;
use crate::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::path::{Path, PathBuf};

/// Folder of compiled filters in the state root; its name is no container's.
const CACHE: &str = ".seccomp";

/// A filter to install.
#[derive(Debug)]
pub(crate) struct Filter {
    program: seccomp::Program,
    agent: Option<Agent>,
}

/// Who answers notifications.
#[derive(Debug)]
struct Agent {
    socket: OwnedFd,
    /// What it is told; a file, as it is written when the process exists.
    message: OwnedFd,
    metadata: Option<String>,
}

impl Filter {
    /// Where a state root keeps compiled filters.
    pub(crate) fn folder(root: &Path) -> PathBuf {
        root.join(CACHE)
    }

    /// The filter of a profile, compiled or from the folder; the agent is connected.
    pub(crate) fn new(
        profile: &runtime_spec::Seccomp,
        folder: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Filter> {
        let program = seccomp::Cache::at(folder)
            .program(profile)
            .map_err(|error| Error::invalid("linux.seccomp", error.to_string()))?;
        warnings.extend(program.warnings().iter().map(ToString::to_string));
        let agent = program.listener().map(Agent::connect).transpose()?;
        if program.listens() && agent.is_none() {
            let cause = "SCMP_ACT_NOTIFY needs the socket of an agent";
            return Err(Error::invalid("linux.seccomp.listenerPath", cause));
        }
        Ok(Filter { program, agent })
    }

    /// Tells what the agent will be told of the process.
    pub(crate) fn describe(&self, pid: i32, state: &runtime_spec::State) -> Result<()> {
        let Some(agent) = &self.agent else { return Ok(()) };
        let told = runtime_spec::ContainerProcessState {
            oci_version: runtime_spec::VERSION.to_owned(),
            fds: vec!["seccompFd".to_owned()],
            pid,
            metadata: agent.metadata.clone(),
            state: state.clone(),
        };
        let text = serde_json::to_vec(&told)
            .map_err(|error| Error::invalid("state for the seccomp agent", error.to_string()))?;
        rustix::io::pwrite(&agent.message, &text, 0)
            .map(drop)
            .map_err(|errno| Error::errno("state for the seccomp agent", "write", errno))
    }

    /// What has to stay open until it is installed.
    pub(crate) fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let agent = self.agent.as_ref();
        [agent.map(|agent| agent.socket.as_fd()), agent.map(|agent| agent.message.as_fd())]
    }

    /// Puts the calling process under it. Allocates nothing.
    pub(crate) fn install(&self) -> std::result::Result<(), Fault> {
        let Some(agent) = &self.agent else {
            return seccomp::install(&self.program).map(drop).at(Step::Seccomp);
        };
        sys::install_and_deliver(&|| seccomp::install(&self.program), &|listener| {
            i32::from(agent.deliver(listener).is_err())
        })
        .at(Step::Listener)
    }
}

impl Agent {
    fn connect(listener: &seccomp::Listener) -> Result<Agent> {
        let subject = || format!("linux.seccomp.listenerPath {}", listener.path.display());
        let fail = |errno| Error::errno(subject(), "failed to connect with seccomp agent", errno);
        let address = SocketAddrUnix::new(&listener.path).map_err(fail)?;
        let (unix, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let socket =
            rustix::net::socket_with(unix, kind, SocketFlags::CLOEXEC, None).map_err(fail)?;
        rustix::net::connect(&socket, &address).map_err(fail)?;
        let message =
            rustix::fs::memfd_create("process-state", MemfdFlags::CLOEXEC).map_err(fail)?;
        Ok(Agent { socket, message, metadata: listener.metadata.clone() })
    }

    fn deliver(&self, listener: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let (mut buffer, mut at, mut fd) = ([0_u8; 4096], 0, Some(listener));
        loop {
            let read = rustix::io::pread(&self.message, &mut buffer, at)?;
            if read == 0 {
                return Ok(());
            }
            sync::send(self.socket.as_fd(), &buffer[..read], fd.take())?;
            at += read as u64;
        }
    }
}
