//! Pipes and terminals as asynchronous streams.

use crate::process::{Attach, Process, Reader, Writer};
use crate::{Error, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;
use shim_client::Descriptors;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;

/// Room in a pipe, in bytes: fewer changes between processes when much is written.
const PIPE_SIZE: usize = 256 << 10;

fn fail(e: impl Into<io::Error>) -> Error {
    Error::io("a stream", &e.into())
}

fn new_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let ends = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fail)?;
    // A smaller pipe does as well.
    let _size = rustix::pipe::fcntl_setpipe_size(&ends.0, PIPE_SIZE);
    Ok(ends)
}

/// A pipe to read from, and the end for the process.
pub(crate) fn output() -> Result<(pipe::Receiver, OwnedFd)> {
    let (read, write) = new_pipe()?;
    Ok((pipe::Receiver::from_owned_fd(read).map_err(fail)?, write))
}

/// Gives `process` pipes for the streams that are wanted; the other ends are for the process itself.
pub(crate) fn connect(process: &mut Process, wanted: Attach) -> Result<Descriptors> {
    let mut ends = Descriptors::default();
    if wanted.stdin {
        let (read, write) = new_pipe()?;
        process.stdin = Some(Box::pin(pipe::Sender::from_owned_fd(write).map_err(fail)?));
        ends.stdin = Some(read);
    }
    if wanted.stdout {
        let (reader, end) = output()?;
        process.stdout = Some(Box::pin(reader));
        ends.stdout = Some(end);
    }
    if wanted.stderr {
        let (reader, end) = output()?;
        process.stderr = Some(Box::pin(reader));
        ends.stderr = Some(end);
    }
    Ok(ends)
}

/// The daemon's side of a terminal. It hangs up when this and all that came of it are dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    master: OwnedFd,
}

impl Terminal {
    pub(crate) fn new(master: OwnedFd) -> Result<Terminal> {
        let flags = rustix::fs::fcntl_getfl(&master).map_err(fail)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK).map_err(fail)?;
        Ok(Terminal { master })
    }

    pub(crate) fn master(&self) -> &OwnedFd {
        &self.master
    }

    fn again(&self) -> Result<OwnedFd> {
        self.master.try_clone().map_err(fail)
    }

    pub(crate) fn reader(&self) -> Result<Reader> {
        let receiver = pipe::Receiver::from_owned_fd_unchecked(self.again()?).map_err(fail)?;
        Ok(Box::pin(Screen(receiver)))
    }

    pub(crate) fn writer(&self) -> Result<Writer> {
        let sender = pipe::Sender::from_owned_fd_unchecked(self.again()?).map_err(fail)?;
        Ok(Box::pin(sender))
    }
}

/// What a terminal shows.
struct Screen(pipe::Receiver);

impl AsyncRead for Screen {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.0).poll_read(context, buffer)) {
            // The last process that had the terminal open is gone.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::IO) => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}
