//! Ports of pods, forwarded.

pub(crate) mod channels;
pub(crate) mod streams;

use crate::link::{Activity, CHUNK};
use crate::server::Shared;
use crate::sink::Sink;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

/// The pod whose ports are forwarded.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pod: Arc<str>,
    pub(crate) activity: Arc<Activity>,
}

/// A forwarded connection, as its client sees it.
pub(crate) struct Wire {
    pub(crate) inbound: mpsc::Receiver<Bytes>,
    pub(crate) data: Sink,
    pub(crate) error: Sink,
}

impl Target {
    /// Forwards one connection to its end. Errors are those of the client's connection: what happens
    /// to the pod's is told to the client, and concerns none of its other connections.
    pub(crate) async fn forward(&self, port: u16, wire: Wire) -> io::Result<()> {
        let Wire { inbound, data, error } = wire;
        match self.shared.backend.connect(&self.pod, port).await {
            Ok(stream) => self.carry(stream, inbound, &data).await?,
            Err(cause) => {
                error.send(cause.to_string().as_bytes()).await?;
            }
        }
        data.finish().await?;
        error.finish().await
    }

    async fn carry(
        &self,
        stream: TcpStream,
        inbound: mpsc::Receiver<Bytes>,
        data: &Sink,
    ) -> io::Result<()> {
        // Whichever direction breaks ends the other one, but never in the middle of a frame.
        let broken = watch::Sender::new(false);
        let (read, write) = stream.into_split();
        let (up, down) = tokio::join!(
            up(inbound, write, data, &broken),
            down(read, data, &self.activity, &broken),
        );
        if let Err(cause) = up {
            tracing::debug!(%cause, pod = %self.pod, "a forwarded connection broke");
        }
        // A message on the error stream would end the client's other connections, so that this one's
        // stream is reset instead.
        if *broken.borrow() {
            data.reset().await?;
        }
        down
    }
}

/// Carries what the client sends to the pod.
async fn up(
    mut from: mpsc::Receiver<Bytes>,
    mut to: OwnedWriteHalf,
    data: &Sink,
    broken: &watch::Sender<bool>,
) -> io::Result<()> {
    let carried = async {
        while let Some(bytes) = from.recv().await {
            to.write_all(&bytes).await?;
        }
        if data.is_reset() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        to.shutdown().await
    };
    let carried = tokio::select! {
        carried = carried => carried,
        () = told(broken) => Ok(()),
    };
    if carried.is_err() {
        broken.send_replace(true);
    }
    carried
}

/// Carries what the pod sends to the client.
async fn down(
    mut from: OwnedReadHalf,
    to: &Sink,
    activity: &Activity,
    broken: &watch::Sender<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = told(broken) => return Ok(()),
        };
        match read {
            Ok(0) => return to.finish().await,
            Ok(count) => {
                activity.touch();
                to.send(&buffer[..count]).await?;
            }
            Err(cause) => {
                tracing::debug!(%cause, "a forwarded connection broke");
                broken.send_replace(true);
                return Ok(());
            }
        }
    }
}

/// Returns when a direction is broken.
async fn told(broken: &watch::Sender<bool>) {
    // The sender is borrowed: there is always an answer.
    let _ = broken.subscribe().wait_for(|broken| *broken).await;
}
