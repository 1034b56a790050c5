//! Ports over SPDY streams: a data and an error stream for each connection.

use super::{Target, Wire};
use crate::link::Link;
use crate::sink::Sink;
use crate::spdy::frame::Reset;
use crate::spdy::{Carrier, Session, Source, Stream};
use crate::websocket;
use bytes::BytesMut;
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Serves ports on `link`.
pub(crate) async fn serve(target: Target, link: Link) -> io::Result<()> {
    let carrier = Carrier::Plain(Arc::clone(&link.outlet));
    run(target, Source::Plain(link.inlet), carrier).await
}

/// Serves ports on `link`, in WebSocket messages.
pub(crate) async fn serve_tunnel(target: Target, link: Link) -> io::Result<()> {
    let sender = websocket::Sender::new(Arc::clone(&link.outlet), websocket::Kind::Binary);
    let reader = websocket::Reader::new(link.inlet, sender.clone());
    run(target, Source::Tunnel(reader, BytesMut::new()), Carrier::Tunnel(sender)).await
}

async fn run(target: Target, source: Source, carrier: Carrier) -> io::Result<()> {
    let (session, streams) = Session::new(source, Arc::new(carrier), Arc::clone(&target.activity));
    let pairs = Pairs {
        patience: target.shared.settings.stream_creation_timeout,
        target,
        waiting: HashMap::new(),
        connections: JoinSet::new(),
    };
    tokio::select! {
        gone = session.serve() => gone,
        broken = pairs.serve(streams) => broken,
    }
}

/// Brings streams together and forwards their connections.
struct Pairs {
    target: Target,
    patience: Duration,
    /// Streams that wait for their partner, by the number of their connection.
    waiting: HashMap<String, Half>,
    connections: JoinSet<io::Result<()>>,
}

struct Half {
    stream: Stream,
    is_data: bool,
    port: u16,
    until: Instant,
}

impl Pairs {
    /// Returns when the client's connection breaks.
    async fn serve(mut self, mut streams: mpsc::Receiver<Stream>) -> io::Result<()> {
        loop {
            let overdue = self.waiting.values().map(|half| half.until).min();
            tokio::select! {
                Some(stream) = streams.recv() => self.take(stream).await?,
                Some(ended) = self.connections.join_next() => match ended {
                    Ok(forwarded) => forwarded?,
                    Err(cause) => tracing::warn!(%cause, "a forwarded connection failed"),
                },
                () = sleep_until(overdue) => self.give_up().await?,
                else => return Ok(()),
            }
        }
    }

    /// Takes a stream, and forwards its connection if it has a partner.
    async fn take(&mut self, stream: Stream) -> io::Result<()> {
        let is_data = match stream.header("streamtype") {
            "data" => true,
            "error" => false,
            _ => return stream.writer.reset(Reset::Protocol).await,
        };
        let Some(port) = stream.header("port").parse().ok().filter(|port| *port != 0) else {
            return stream.writer.reset(Reset::Protocol).await;
        };
        let name = name(&stream, is_data);
        let half = Half { stream, is_data, port, until: Instant::now() + self.patience };
        match self.waiting.remove(&name) {
            None => {
                self.waiting.insert(name, half);
                Ok(())
            }
            Some(other) if other.is_data == is_data || other.port != port => {
                self.waiting.insert(name, other);
                half.stream.writer.reset(Reset::Protocol).await
            }
            Some(other) => {
                let (data, error) = if is_data { (half, other) } else { (other, half) };
                self.forward(port, data.stream, error.stream);
                Ok(())
            }
        }
    }

    fn forward(&mut self, port: u16, data: Stream, error: Stream) {
        let target = self.target.clone();
        let wire = Wire {
            inbound: data.inbound,
            data: Sink::Stream(data.writer),
            error: Sink::Stream(error.writer),
        };
        self.connections.spawn(async move { target.forward(port, wire).await });
    }

    /// Resets streams whose partners did not come in time.
    async fn give_up(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let late: Vec<_> = self.waiting.extract_if(|_, half| half.until <= now).collect();
        for (_, half) in late {
            half.stream.writer.reset(Reset::Cancel).await?;
        }
        Ok(())
    }
}

/// The name of a stream's connection. Clients that give it none open the error stream first and
/// its data stream next.
fn name(stream: &Stream, is_data: bool) -> String {
    match stream.header("requestid") {
        "" => {
            let id = stream.writer.id;
            format!("stream {}", if is_data { id.saturating_sub(2) } else { id })
        }
        name => name.to_owned(),
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => pending().await,
    }
}
