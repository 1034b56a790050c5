//! What stands behind the server: who runs the commands and opens the connections.

use crate::{Error, Result};
use std::fmt;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A future in a box.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// What a process writes, to be read. The end of a terminal (`EIO`) counts as the end of the output.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// What a process reads, to be written; dropping it ends the process's input.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Sets the size of a process's terminal. Sizes that come faster than they are set are skipped, but
/// for the last.
pub type Resize = Box<dyn Fn(Size) -> Future<'static, ()> + Send + Sync>;

/// The size of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A command to run in a container (`ExecRequest` of the CRI).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The container.
    pub container: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Give it a terminal; its output is then standard output alone.
    pub terminal: bool,
    /// Which streams the client wants.
    pub streams: Streams,
}

/// A container whose own process to attach to (`AttachRequest` of the CRI).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attach {
    /// The container.
    pub container: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Which streams the client wants.
    pub streams: Streams,
}

/// Ports of a pod to forward (`PortForwardRequest` of the CRI).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortForward {
    /// The pod.
    pub pod: String,
    /// Ports, for clients that do not name them when they connect; may be empty.
    pub ports: Vec<u16>,
}

/// Standard streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Its input.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// Its errors.
    pub stderr: bool,
}

/// A process whose streams are here. It is dropped when the client is gone or everything was told:
/// whether a command that still runs ends then is the backend's to decide.
pub struct Process {
    /// Its input, if wanted.
    pub stdin: Option<Writer>,
    /// Its output, if wanted.
    pub stdout: Option<Reader>,
    /// Its errors, if wanted; none with a terminal.
    pub stderr: Option<Reader>,
    /// Sets the size of its terminal, where it has one.
    pub resize: Option<Resize>,
    /// Its exit status, once it has ended.
    pub exit: Future<'static, Result<i32>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Process")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}

/// Runs commands in containers and connects to ports of pods.
///
/// Each method is called once for a URL that was asked for, when its client has connected and opened
/// its streams. The client may go at any time; the future is then dropped.
pub trait Backend: Send + Sync + 'static {
    /// Starts a command in a container.
    ///
    /// # Errors
    /// The client is told the error, as an internal error of its request.
    fn exec(&self, exec: Exec) -> Future<'_, Result<Process>>;

    /// Attaches to a container's own process.
    ///
    /// # Errors
    /// The client is told the error, as an internal error of its request.
    fn attach(&self, attach: Attach) -> Future<'_, Result<Process>>;

    /// Connects to a port on a pod's loopback, in the pod's network namespace. An IPv4 port is tried
    /// first, then an IPv6 one.
    ///
    /// # Errors
    /// The client is told the error on the error stream of the port; its other ports go on.
    fn connect<'a>(&'a self, pod: &'a str, port: u16) -> Future<'a, Result<TcpStream>>;
}

impl Exec {
    pub(crate) fn check(&self) -> Result<()> {
        if self.command.is_empty() {
            return Err(Error::invalid("exec", "the command is empty"));
        }
        check(&self.container, self.terminal, self.streams)
    }
}

impl Attach {
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.container, self.terminal, self.streams)
    }
}

impl PortForward {
    pub(crate) fn check(&self) -> Result<()> {
        if self.pod.is_empty() {
            return Err(Error::invalid("port forward", "no pod is named"));
        }
        Ok(())
    }
}

fn check(container: &str, terminal: bool, streams: Streams) -> Result<()> {
    if container.is_empty() {
        return Err(Error::invalid("container", "none is named"));
    }
    if terminal && streams.stderr {
        return Err(Error::invalid("stderr", "a terminal has no errors apart from its output"));
    }
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err(Error::invalid("streams", "one of stdin, stdout and stderr is needed"));
    }
    Ok(())
}
