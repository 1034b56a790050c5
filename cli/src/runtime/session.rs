//! A command's streams over WebSocket: the client's side of channels, of version 5, or of version 4
//! where a server knows no other, which has no way to end the command's input.

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

/// The versions that are offered, in the order in which they are preferred.
const VERSIONS: &str = "v5.channel.k8s.io, v4.channel.k8s.io";
/// The first one that can end a channel.
const CLOSING: &str = "v5.channel.k8s.io";

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

/// Connects to a URL that the daemon gave, and tells which of the offered protocols it took.
pub(super) async fn connect(
    daemon: &Daemon,
    url: &str,
    offered: &'static str,
) -> Result<(Socket, String)> {
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
    upgrade(stream, rest, offered).await
}

/// Makes a connection one of WebSocket. `rest` is the URL without its scheme.
async fn upgrade(stream: Box<dyn Carrier>, rest: &str, offered: &str) -> Result<(Socket, String)> {
    let mut request = format!("ws://{rest}").into_client_request().map_err(broken)?;
    let name = "sec-websocket-protocol";
    request.headers_mut().insert(name, offered.parse().map_err(broken)?);
    let (socket, answer) =
        tokio_tungstenite::client_async(request, stream).await.map_err(broken)?;
    // That it is one of those was checked with the rest of the answer.
    let taken = answer.headers().get(name).and_then(|value| value.to_str().ok());
    Ok((socket, taken.unwrap_or_default().to_owned()))
}

/// A command's streams, connected.
pub(super) struct Session {
    sink: SplitSink<Socket, Message>,
    source: SplitStream<Socket>,
    local: Local,
    /// Whether the end of input can be told.
    closes: bool,
    /// What came of the outcome.
    status: Vec<u8>,
}

impl Session {
    /// Connects, and waits until the process has the streams: nothing that it does from then on is
    /// missed.
    pub(super) async fn open(daemon: &Daemon, url: &str, local: Local) -> Result<Session> {
        let (socket, taken) = connect(daemon, url, VERSIONS).await?;
        let (sink, mut source) = socket.split();
        let mut status = Vec::new();
        // The daemon's first message says so, or why not.
        if let Some(Message::Binary(bytes)) = source.next().await.transpose().map_err(broken)? {
            put(&bytes, &mut status)?;
        }
        Ok(Session { sink, source, local, closes: taken == CLOSING, status })
    }

    /// Carries everything until the command has ended; its exit code becomes this command's.
    pub(super) async fn run(self) -> Result<ExitCode> {
        let Session { sink, mut source, local, closes, mut status } = self;
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
            failed = input(sink, local, closes) => failed?,
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
async fn input(mut sink: SplitSink<Socket, Message>, local: Local, closes: bool) -> Result<()> {
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
                    0 if !closes => {
                        print::note("this server cannot be told that the input has ended");
                        continue;
                    }
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
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    /// What is taken of a server that knows one protocol.
    async fn taken_of(known: &'static str) -> String {
        let (client, server) = tokio::io::duplex(1 << 10);
        #[allow(clippy::result_large_err, reason = "as the crate has it")]
        let choose = |request: &Request, mut answer: Response| {
            let offered = request.headers()["sec-websocket-protocol"].to_str().unwrap();
            assert!(offered.split(", ").any(|one| one == known), "{offered}");
            answer.headers_mut().insert("sec-websocket-protocol", known.parse().unwrap());
            Ok(answer)
        };
        let (accepted, upgraded) = tokio::join!(
            tokio_tungstenite::accept_hdr_async(server, choose),
            upgrade(Box::new(client), "node/exec/token", VERSIONS),
        );
        accepted.unwrap();
        upgraded.unwrap().1
    }

    #[tokio::test]
    async fn servers_that_know_one_version_of_channels_are_served() {
        assert_eq!(taken_of("v5.channel.k8s.io").await, CLOSING);
        assert_eq!(taken_of("v4.channel.k8s.io").await, "v4.channel.k8s.io");
    }

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
