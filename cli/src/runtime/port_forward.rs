//! `podloom port-forward`: a local listener for each port. Each connection to it is a WebSocket
//! connection of its own to the daemon, with the streams of SPDY/3.1 in it, which, unlike channels,
//! can be closed in one direction.

use super::args::PortForward;
use super::daemon::{Daemon, fault};
use super::session::{self, Socket, broken};
use crate::fault::{Fault, Result};
use crate::print;
use cri_api::v1::PortForwardRequest;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use streaming::wire::spdy::frame::{self, HEAD, Head};
use streaming::wire::spdy::headers::Packer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Error, Message};

const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

/// The numbers of a connection's two streams.
const ERROR: u32 = 1;
const DATA: u32 = 3;

pub(super) async fn forward(daemon: &Daemon, wanted: &PortForward) -> Result<()> {
    let pod = daemon.pod(&wanted.pod).await?.id;
    let mut listeners = tokio::task::JoinSet::new();
    for (local, port) in &wanted.ports {
        let address = SocketAddr::new(wanted.address, *local);
        let taken = |e: std::io::Error| Fault::new(5, address.to_string(), e.to_string());
        let listener = TcpListener::bind(address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        print::out(&format!("{address} -> port {port} of pod {pod}\n"))?;
        listeners.spawn(listen(daemon.clone(), listener, pod.clone(), *port));
    }
    while let Some(ended) = listeners.join_next().await {
        ended.map_err(broken)??;
    }
    Ok(())
}

async fn listen(daemon: Daemon, listener: TcpListener, pod: String, port: u16) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.map_err(broken)?;
        let (daemon, pod) = (daemon.clone(), pod.clone());
        tokio::spawn(async move {
            // One connection that fails is no reason to refuse the next.
            if let Err(fault) = carry(&daemon, stream, pod, port).await {
                print::note(fault.text().trim_end());
            }
        });
    }
}

async fn carry(daemon: &Daemon, stream: TcpStream, pod: String, port: u16) -> Result<()> {
    stream.set_nodelay(true).map_err(broken)?;
    let request = PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![port.into()] };
    let answer = daemon.runtime().port_forward(request).await;
    let url = answer.map_err(|status| fault(&pod, &status))?.into_inner().url;
    let (socket, _) = session::connect(daemon, &url, PROTOCOL).await?;
    let (mut sink, source) = socket.split();
    sink.send(Message::binary(opening(port)?)).await.map_err(broken)?;
    let (read, write) = stream.into_split();
    // Without an end of the pod's side, that of this side ends only one direction.
    tokio::select! {
        ended = down(source, write) => ended,
        failed = up(read, sink) => failed,
    }
}

/// The frames that open the streams of a connection.
fn opening(port: u16) -> Result<Vec<u8>> {
    let mut packer = Packer::default();
    let port = port.to_string();
    let mut frames = Vec::new();
    for (stream, kind) in [(ERROR, "error"), (DATA, "data")] {
        let headers = [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
        let headers = packer.write(&headers).map_err(broken)?;
        frames.extend(frame::syn_stream(stream, &headers));
    }
    // The error stream is the server's alone.
    frames.extend(frame::data(ERROR, frame::FLAG_FIN, 0));
    Ok(frames)
}

/// Sends what is read; does not return unless sending fails.
async fn up(mut from: OwnedReadHalf, mut to: SplitSink<Socket, Message>) -> Result<()> {
    let mut buffer = vec![0; HEAD + (64 << 10)];
    loop {
        let (head, body) = buffer.split_at_mut(HEAD);
        let (count, frame) = match from.read(body).await {
            Ok(0) => (0, frame::data(DATA, frame::FLAG_FIN, 0)),
            Ok(count) => (count, frame::data(DATA, 0, count)),
            Err(cause) => return Err(broken(cause)),
        };
        head.copy_from_slice(&frame);
        let message = Message::binary(buffer[..HEAD + count].to_vec());
        match to.send(message).await {
            Ok(()) if count == 0 => return std::future::pending().await,
            Ok(()) => {}
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(()),
            Err(cause) => return Err(broken(cause)),
        }
    }
}

/// Writes what comes until the daemon has ended both streams.
async fn down(mut from: SplitStream<Socket>, to: OwnedWriteHalf) -> Result<()> {
    let mut near = Near { to, error: Vec::new(), open: 2 };
    let mut pending = Vec::new();
    while near.open > 0 {
        match from.next().await {
            Some(Ok(Message::Binary(bytes))) => pending.extend_from_slice(&bytes),
            Some(Ok(Message::Close(_))) | None => break,
            Some(Ok(_)) => continue,
            Some(Err(cause)) => return Err(broken(cause)),
        }
        let mut used = 0;
        while let Some((head, body)) = next(&pending[used..])? {
            used += HEAD + body.len();
            near.take(head, body).await?;
        }
        pending.drain(..used);
    }
    match near.error.as_slice() {
        [] => Ok(()),
        text => Err(broken(String::from_utf8_lossy(text))),
    }
}

/// The first frame of `bytes`, if all of it is there.
fn next(bytes: &[u8]) -> Result<Option<(Head, &[u8])>> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let head = frame::head(*head).map_err(broken)?;
    let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
    Ok(rest.get(..length).map(|body| (head, body)))
}

/// The local side of a connection.
struct Near {
    to: OwnedWriteHalf,
    /// What came on the error stream.
    error: Vec<u8>,
    /// Streams the daemon has not ended.
    open: usize,
}

impl Near {
    async fn take(&mut self, head: Head, body: &[u8]) -> Result<()> {
        match head {
            Head::Data { stream, flags, .. } => {
                match stream {
                    DATA => self.to.write_all(body).await.map_err(broken)?,
                    _ => self.error.extend_from_slice(body),
                }
                if flags & frame::FLAG_FIN != 0 {
                    self.open -= 1;
                    if stream == DATA {
                        self.to.shutdown().await.map_err(broken)?;
                    }
                }
            }
            Head::Control { kind: frame::RST_STREAM, .. } => {
                self.open = 0;
                if self.error.is_empty() {
                    self.error.extend_from_slice(b"the pod's side broke");
                }
            }
            Head::Control { .. } => {}
        }
        Ok(())
    }
}
