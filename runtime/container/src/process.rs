//! Processes that are added to containers, and streams to those that are there.

use crate::{Future, Result};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

pub use shim_protocol::Size;

/// What a process writes, to be read.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// What a process reads, to be written; dropping it ends the process's input.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// A command to run in a container.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Give it a terminal; its output is then standard output alone.
    pub terminal: bool,
    /// Whether there is an input.
    pub stdin: bool,
    /// Whether output is wanted.
    pub stdout: bool,
    /// Whether errors are wanted.
    pub stderr: bool,
}

/// Which streams of a container to attach to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attach {
    /// Its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// Its errors.
    pub stderr: bool,
}

/// A process whose streams are here.
pub struct Process {
    /// Its input.
    pub stdin: Option<Writer>,
    /// Its output.
    pub stdout: Option<Reader>,
    /// Its errors; none with a terminal.
    pub stderr: Option<Reader>,
    /// Sets the size of its terminal, where it has one.
    pub resize: Option<Resizer>,
    /// Its exit status, once it has ended. Dropping this leaves the process alone.
    pub exit: Future<'static, i32>,
    /// Ends a process that was added, when the client is gone; does nothing for attached ones.
    pub kill: Arc<dyn Fn() -> Future<'static, ()> + Send + Sync>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Process")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Without streams, and with nothing to wait for.
    pub(crate) fn unattached() -> Process {
        Process {
            stdin: None,
            stdout: None,
            stderr: None,
            resize: None,
            exit: Box::pin(std::future::pending()),
            kill: Arc::new(|| Box::pin(async { Ok(()) })),
        }
    }
}

/// Sets the size of a terminal.
#[derive(Clone)]
pub struct Resizer(pub(crate) Arc<dyn Fn(Size) -> Future<'static, ()> + Send + Sync>);

impl std::fmt::Debug for Resizer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Resizer")
    }
}

impl Resizer {
    /// Sets it.
    ///
    /// # Errors
    /// The process has ended, or its shim is gone.
    pub async fn resize(&self, size: Size) -> Result<()> {
        (self.0)(size).await
    }
}

/// What a command said, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its output, as much as is kept of it.
    pub stdout: Vec<u8>,
    /// Its errors, as much as is kept of them.
    pub stderr: Vec<u8>,
    /// Its exit status, or 128 and the signal that ended it.
    pub exit_code: i32,
    /// Bytes of output that were dropped.
    pub dropped: u64,
}
