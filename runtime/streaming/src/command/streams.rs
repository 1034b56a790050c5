//! Commands over SPDY streams.

use super::sizes::Sizes;
use super::{Command, Ends};
use crate::Size;
use crate::link::{Activity, Link};
use crate::session::FAREWELL;
use crate::sink::Sink;
use crate::spdy::frame::Reset;
use crate::spdy::{Carrier, Session, Source, Stream};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// A client's streams by the header `streamType` that they were opened with.
#[derive(Default)]
struct Opened {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    error: Option<Stream>,
    resize: Option<Stream>,
}

/// Serves a command on `link`.
pub(crate) async fn serve(command: Command, link: Link, version: u8) -> io::Result<()> {
    let carrier = Arc::new(Carrier::Plain(Arc::clone(&link.outlet)));
    let activity = Arc::clone(&link.activity);
    let (session, mut streams) =
        Session::new(Source::Plain(link.inlet), Arc::clone(&carrier), Arc::clone(&activity));
    let mut reading = std::pin::pin!(session.serve());
    let told = async {
        let patience = command.shared.settings.stream_creation_timeout;
        let opened = tokio::time::timeout(patience, collect(&command, version, &mut streams));
        let opened = opened.await.map_err(|_| late())??;
        attend(&command, opened, version, activity).await
    };
    tokio::select! {
        gone = &mut reading => return gone,
        told = told => told?,
    }
    carrier.goodbye().await?;
    link.outlet.shutdown().await?;
    // What else the client says is of no interest, not even how it goes.
    let _ = tokio::time::timeout(FAREWELL, reading).await;
    Ok(())
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client did not open the streams of its request")
}

/// Waits for the streams that the request needs.
async fn collect(
    command: &Command,
    version: u8,
    streams: &mut mpsc::Receiver<Stream>,
) -> io::Result<Opened> {
    let wanted = command.streams();
    let resize = command.terminal() && version >= 3;
    let mut opened = Opened::default();
    loop {
        let complete = opened.error.is_some()
            && opened.stdin.is_some() == wanted.stdin
            && opened.stdout.is_some() == wanted.stdout
            && opened.stderr.is_some() == wanted.stderr
            && opened.resize.is_some() == resize;
        if complete {
            return Ok(opened);
        }
        let Some(stream) = streams.recv().await else { return Err(late()) };
        let (place, needed) = match stream.header("streamtype") {
            "error" => (&mut opened.error, true),
            "stdin" => (&mut opened.stdin, wanted.stdin),
            "stdout" => (&mut opened.stdout, wanted.stdout),
            "stderr" => (&mut opened.stderr, wanted.stderr),
            "resize" => (&mut opened.resize, resize),
            _ => (&mut opened.error, false),
        };
        if needed && place.is_none() {
            *place = Some(stream);
        } else {
            stream.writer.reset(Reset::Protocol).await?;
        }
    }
}

async fn attend(
    command: &Command,
    opened: Opened,
    version: u8,
    activity: Arc<Activity>,
) -> io::Result<()> {
    let (size, sizes) = watch::channel(None);
    let sink = |stream: &Option<Stream>| match stream {
        Some(stream) => Sink::Stream(stream.writer.clone()),
        None => Sink::Nowhere,
    };
    let own = [sink(&opened.stdin), sink(&opened.resize)];
    let ends = Ends {
        sizes,
        stdout: sink(&opened.stdout),
        stderr: sink(&opened.stderr),
        error: sink(&opened.error),
        stdin: opened.stdin.map(|stream| stream.inbound),
        activity,
        version,
    };
    let resized = follow(opened.resize.map(|stream| stream.inbound), size);
    tokio::select! {
        told = command.run(ends) => told?,
        () = resized => {}
    }
    for stream in own {
        stream.finish().await?;
    }
    Ok(())
}

/// Reads sizes for as long as the command runs; never returns.
async fn follow(from: Option<mpsc::Receiver<Bytes>>, to: watch::Sender<Option<Size>>) {
    if let Some(mut from) = from {
        let mut sizes = Sizes::default();
        while let Some(bytes) = from.recv().await {
            if let Some(size) = sizes.push(&bytes) {
                to.send_replace(Some(size));
            }
        }
    }
    std::future::pending().await
}
