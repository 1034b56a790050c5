//! Commands over WebSocket channels.

use super::sizes::Sizes;
use super::{Command, Ends, WAITING};
use crate::Size;
use crate::link::{Activity, Link};
use crate::session::FAREWELL;
use crate::sink::Sink;
use crate::websocket::channels::CLOSE;
use crate::websocket::{Channels, Kind, NORMAL, Reader, Sender};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Serves a command on `link`.
pub(crate) async fn serve(
    command: Command,
    link: Link,
    version: u8,
    base64: bool,
) -> io::Result<()> {
    let kind = if base64 { Kind::Base64 } else { Kind::Binary };
    let sender = Sender::new(Arc::clone(&link.outlet), kind);
    let channels = Channels::new(Reader::new(link.inlet, sender.clone()), kind);
    let wanted = command.streams();
    let (stdin, input) = mpsc::channel(WAITING);
    let (size, sizes) = watch::channel(None);
    let sink = |wanted, channel| match wanted {
        true => Sink::Channel(sender.clone(), channel),
        false => Sink::Nowhere,
    };
    let ends = Ends {
        stdin: wanted.stdin.then_some(input),
        sizes,
        stdout: sink(wanted.stdout, STDOUT),
        stderr: sink(wanted.stderr, STDERR),
        error: sink(true, ERROR),
        activity: Arc::clone(&link.activity),
        version,
    };
    let demux = Demux { channels, activity: link.activity, stdin: Some(stdin), size, version };
    let mut reading = std::pin::pin!(demux.run());
    tokio::select! {
        gone = &mut reading => return gone,
        told = command.run(ends) => told?,
    }
    sender.close(NORMAL, "").await?;
    // What else the client says is of no interest, not even how it goes.
    let _ = tokio::time::timeout(FAREWELL, reading).await;
    link.outlet.shutdown().await
}

/// Brings what a client sends to where it belongs.
struct Demux {
    channels: Channels,
    activity: Arc<Activity>,
    stdin: Option<mpsc::Sender<Bytes>>,
    size: watch::Sender<Option<Size>>,
    version: u8,
}

impl Demux {
    /// Returns when the client is gone.
    async fn run(mut self) -> io::Result<()> {
        let mut sizes = Sizes::default();
        while let Some((channel, bytes)) = self.channels.next().await? {
            match channel {
                STDIN => self.input(bytes).await,
                RESIZE => {
                    if let Some(size) = sizes.push(&bytes) {
                        self.size.send_replace(Some(size));
                    }
                }
                CLOSE if self.version >= 5 && bytes.contains(&STDIN) => self.stdin = None,
                // The other channels are the server's.
                _ => {}
            }
        }
        Ok(())
    }

    async fn input(&mut self, bytes: Bytes) {
        self.activity.touch();
        if let Some(stdin) = &self.stdin
            && !bytes.is_empty()
            && stdin.send(bytes).await.is_err()
        {
            // Nobody reads any more.
            self.stdin = None;
        }
    }
}
