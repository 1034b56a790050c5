//! A command's streams over WebSocket: the channels of version 5, the client's side.

use super::daemon::Daemon;
use super::{secure, terminal};
use crate::fault::{Fault, Result};
use crate::print;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::process::ExitCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Bytes, Message};

pub(super) type Socket = WebSocketStream<Box<dyn Carrier>>;

/// What a WebSocket connection goes over: TCP, or TLS over it.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Which of this command's own streams take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// Output only.
    Output,
    /// Input, too.
    Input,
    /// Input and output are a terminal.
    Terminal,
}

/// What is wrong with a stream.
pub(super) fn broken(cause: impl std::fmt::Display) -> Fault {
    Fault::new(9, "stream", cause.to_string())
}

/// Connects to a URL that the daemon gave.
pub(super) async fn connect(daemon: &Daemon, url: &str, protocol: &'static str) -> Result<Socket> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(broken(format!("{url:?} is no address")));
    };
    let host = rest.split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(host).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let stream: Box<dyn Carrier> = match scheme {
        "http" => Box::new(stream),
        "https" => Box::new(secure::over(daemon, host, stream).await?),
        _ => return Err(broken(format!("{url:?} is neither http nor https"))),
    };
    let mut request = format!("ws://{rest}").into_client_request().map_err(broken)?;
    let name = "sec-websocket-protocol";
    request.headers_mut().insert(name, protocol.parse().map_err(broken)?);
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(broken)?;
    Ok(socket)
}

/// A command's streams, connected.
pub(super) struct Session {
    sink: SplitSink<Socket, Message>,
    source: SplitStream<Socket>,
    local: Local,
    /// What came of the outcome.
    status: Vec<u8>,
}

impl Session {
    /// Connects, and waits until the process has the streams: nothing that it does from then on is
    /// missed.
    pub(super) async fn open(daemon: &Daemon, url: &str, local: Local) -> Result<Session> {
        let (sink, mut source) = connect(daemon, url, "v5.channel.k8s.io").await?.split();
        let mut status = Vec::new();
        // The daemon's first message says so, or why not.
        if let Some(Message::Binary(bytes)) = source.next().await.transpose().map_err(broken)? {
            put(&bytes, &mut status)?;
        }
        Ok(Session { sink, source, local, status })
    }

    /// Carries everything until the command has ended; its exit code becomes this command's.
    pub(super) async fn run(self) -> Result<ExitCode> {
        let Session { sink, mut source, local, mut status } = self;
        let raw = (local == Local::Terminal).then(terminal::Raw::enter).transpose()?;
        let output = async {
            while let Some(message) = source.next().await {
                match message.map_err(broken)? {
                    Message::Binary(bytes) => put(&bytes, &mut status)?,
                    Message::Close(_) => break,
                    _ => {}
                }
            }
            Ok::<(), Fault>(())
        };
        tokio::select! {
            ended = output => ended?,
            failed = input(sink, local) => failed?,
        }
        drop(raw);
        outcome(&status)
    }
}

/// Puts what came where it belongs.
fn put(message: &Bytes, status: &mut Vec<u8>) -> Result<()> {
    match message.split_first() {
        Some((&STDOUT, bytes)) => print::out_bytes(bytes)?,
        Some((&STDERR, bytes)) => print::error_bytes(bytes)?,
        Some((&ERROR, bytes)) => status.extend_from_slice(bytes),
        _ => {}
    }
    Ok(())
}

/// Sends input and sizes for as long as the command runs.
async fn input(mut sink: SplitSink<Socket, Message>, local: Local) -> Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 32 << 10];
    let mut open = local != Local::Output;
    let mut resized =
        signal(SignalKind::window_change()).map_err(|e| Fault::new(5, "signals", e.to_string()))?;
    if local == Local::Terminal {
        resize(&mut sink).await?;
    }
    loop {
        tokio::select! {
            read = stdin.read(&mut buffer), if open => {
                let count = read.map_err(|e| Fault::new(1, "standard input", e.to_string()))?;
                open = count > 0;
                let message = match count {
                    0 => vec![CLOSE, STDIN],
                    count => [&[STDIN], &buffer[..count]].concat(),
                };
                sink.send(Message::binary(message)).await.map_err(broken)?;
            }
            Some(()) = resized.recv(), if local == Local::Terminal => resize(&mut sink).await?,
            else => std::future::pending().await,
        }
    }
}

async fn resize(sink: &mut SplitSink<Socket, Message>) -> Result<()> {
    if let Some(size) = terminal::size() {
        let message = [&[RESIZE], size.as_bytes()].concat();
        sink.send(Message::binary(message)).await.map_err(broken)?;
    }
    Ok(())
}

/// What the status on the error channel means.
fn outcome(status: &[u8]) -> Result<ExitCode> {
    if status.is_empty() {
        return Err(broken("it ended before the command did"));
    }
    let status: Value = serde_json::from_slice(status).map_err(broken)?;
    let causes = status["details"]["causes"].as_array();
    let code = causes.into_iter().flatten().find(|cause| cause["reason"] == "ExitCode");
    let code = code.and_then(|cause| cause["message"].as_str()?.parse::<i64>().ok());
    match (status["status"].as_str(), code) {
        (Some("Success"), _) => Ok(ExitCode::SUCCESS),
        (_, Some(code)) => Ok(exit_code(code)),
        _ => Err(Fault::new(1, "command", status["message"].as_str().unwrap_or("it failed"))),
    }
}

/// An exit code as far as a process can have it.
pub(super) fn exit_code(code: i64) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_found_and_other_failures_told() {
        let exited = br#"{"status":"Failure","reason":"NonZeroExitCode","message":"x",
            "details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(outcome(exited).unwrap(), ExitCode::from(7));
        assert_eq!(outcome(br#"{"status":"Success"}"#).unwrap(), ExitCode::SUCCESS);
        let failed = outcome(br#"{"status":"Failure","message":"no such program"}"#).unwrap_err();
        assert!(failed.text().contains("no such program"));
        assert!(outcome(b"").is_err());
    }
}
