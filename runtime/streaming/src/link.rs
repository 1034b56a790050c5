//! An upgraded connection: what comes in, what goes out, and whether anything does.

use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::server::TlsStream;

/// Bytes that are read at one time.
pub(crate) const CHUNK: usize = 64 << 10;

pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// What the server accepts.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Its two directions, to be used apart from each other.
    fn halves(self) -> (ReadHalf, WriteHalf);
}

impl Connection for TcpStream {
    fn halves(self) -> (ReadHalf, WriteHalf) {
        // Both directions go to the kernel without a lock between them.
        let (read, write) = self.into_split();
        (Box::new(read), Box::new(write))
    }
}

impl Connection for TlsStream<TcpStream> {
    fn halves(self) -> (ReadHalf, WriteHalf) {
        split(self)
    }
}

fn split<S>(stream: S) -> (ReadHalf, WriteHalf)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (read, write) = tokio::io::split(stream);
    (Box::new(read), Box::new(write))
}

/// Both directions of an upgraded connection.
pub(crate) struct Link {
    pub(crate) inlet: Inlet,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) activity: Arc<Activity>,
}

impl Link {
    /// Takes the stream of type `S` out of `upgraded`, past the HTTP server, which would be in the way
    /// of every byte.
    pub(crate) fn new<S: Connection>(upgraded: Upgraded) -> Link {
        match upgraded.downcast::<TokioIo<S>>() {
            Ok(parts) => Link::over(parts.io.into_inner().halves(), parts.read_buf),
            Err(upgraded) => Link::over(split(TokioIo::new(upgraded)), Bytes::new()),
        }
    }

    fn over((read, write): (ReadHalf, WriteHalf), early: Bytes) -> Link {
        Link {
            inlet: Inlet { io: read, buffer: BytesMut::from(early) },
            outlet: Arc::new(Outlet { io: Mutex::new(write) }),
            activity: Arc::new(Activity::new()),
        }
    }
}

/// What a client sends.
pub(crate) struct Inlet {
    io: ReadHalf,
    /// What was read and not taken yet.
    pub(crate) buffer: BytesMut,
}

impl Inlet {
    /// Reads what there is into the buffer; zero bytes at the end.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(CHUNK);
        self.io.read_buf(&mut self.buffer).await
    }

    /// Reads until `count` bytes are in the buffer; false if the end comes first.
    pub(crate) async fn fill(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() < count {
            if self.read().await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What goes to a client. Several tasks send; what one sends at a time stays in one piece.
pub(crate) struct Outlet {
    io: Mutex<WriteHalf>,
}

impl Outlet {
    /// Sends `parts` one after another. A future of this that is dropped half way has broken the
    /// connection: only who ends it may do that.
    pub(crate) async fn send(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut io = self.io.lock().await;
        let mut parts = parts;
        // Leaves out empty parts, so that a write of nothing means that nothing can be written.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let written = io.write_vectored(parts).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut parts, written);
        }
        io.flush().await
    }

    /// Says that nothing more will come.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        self.io.lock().await.shutdown().await
    }
}

/// When data went over a connection last.
pub(crate) struct Activity {
    begin: Instant,
    /// Milliseconds after `begin`.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Activity {
        Activity { begin: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Data went over the connection now.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Returns when no data went over the connection for `timeout`.
    pub(crate) async fn idle(&self, timeout: Duration) {
        loop {
            let last = self.begin + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let until = last + timeout;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }
}
