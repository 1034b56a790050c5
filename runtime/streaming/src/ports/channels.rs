//! Ports over WebSocket channels: a data and an error channel for each port, one connection each.

use super::{Target, Wire};
use crate::link::Link;
use crate::session::FAREWELL;
use crate::sink::Sink;
use crate::websocket::{Channels, Kind, NORMAL, Reader, Sender};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Pieces that may wait for a port, of at most 64 KiB each.
const WAITING: usize = 8;

/// Two channels for each port, and 255 has a meaning of its own; in base64 a channel is one digit.
const MAX_PORTS: usize = 127;
const MAX_PORTS_BASE64: usize = 5;

/// Serves `ports` on `link`.
pub(crate) async fn serve(
    target: Target,
    link: Link,
    ports: &[u16],
    base64: bool,
) -> io::Result<()> {
    let (kind, most) =
        if base64 { (Kind::Base64, MAX_PORTS_BASE64) } else { (Kind::Binary, MAX_PORTS) };
    let sender = Sender::new(Arc::clone(&link.outlet), kind);
    if ports.is_empty() || ports.len() > most {
        let why = format!("1 to {most} ports must be named");
        return sender.close(POLICY, &why).await;
    }
    let channels = Channels::new(Reader::new(link.inlet, sender.clone()), kind);
    let mut connections = JoinSet::new();
    let mut inputs = Vec::new();
    for (number, port) in (0u8..).zip(ports.iter().copied()) {
        let (input, inbound) = mpsc::channel(WAITING);
        inputs.push(Some(input));
        let (data, error) = (number * 2, number * 2 + 1);
        // Each channel begins with its port: where the client learns which is which.
        sender.channel(data, &port.to_le_bytes()).await?;
        sender.channel(error, &port.to_le_bytes()).await?;
        let wire = Wire {
            inbound,
            data: Sink::Channel(sender.clone(), data),
            error: Sink::Channel(sender.clone(), error),
        };
        let target = target.clone();
        connections.spawn(async move { target.forward(port, wire).await });
    }
    let mut reading = std::pin::pin!(demux(channels, inputs, &target));
    tokio::select! {
        gone = &mut reading => return gone,
        done = all(&mut connections) => done?,
    }
    sender.close(NORMAL, "").await?;
    // What else the client says is of no interest, not even how it goes.
    let _ = tokio::time::timeout(FAREWELL, reading).await;
    link.outlet.shutdown().await
}

/// The request is against the rules (RFC 6455, section 7.4.1).
const POLICY: u16 = 1008;

/// Brings what a client sends to its ports; returns when it is gone.
async fn demux(
    mut channels: Channels,
    mut inputs: Vec<Option<mpsc::Sender<Bytes>>>,
    target: &Target,
) -> io::Result<()> {
    while let Some((channel, bytes)) = channels.next().await? {
        target.activity.touch();
        let place = (channel % 2 == 0).then(|| inputs.get_mut(usize::from(channel / 2))).flatten();
        if let Some(input) = place
            && let Some(sender) = input
            && !bytes.is_empty()
            && sender.send(bytes).await.is_err()
        {
            // The connection is over: what else comes for it is dropped.
            *input = None;
        }
    }
    Ok(())
}

async fn all(connections: &mut JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = connections.join_next().await {
        match ended {
            Ok(forwarded) => forwarded?,
            Err(cause) => tracing::warn!(%cause, "a forwarded connection failed"),
        }
    }
    Ok(())
}
