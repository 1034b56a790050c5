//! How fast streams are: `cargo run --release -p streaming --example throughput [MEGABYTES]`.
//!
//! Commands are real ones behind pipes, ports are real ones on the loopback; the client reads and
//! drops, or sends the same block again and again.

use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Instant;
use streaming::wire::spdy::frame;
use streaming::wire::spdy::headers::Packer;
use streaming::{
    Attach, Backend, Error, Exec, Future, Kind, PortForward, Process, Result, Server, Settings,
    Streams,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const BLOCK: usize = 32 << 10;

struct Host;

impl Backend for Host {
    fn exec(&self, exec: Exec) -> Future<'_, Result<Process>> {
        Box::pin(async move {
            let pipe = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
            let mut child = Command::new(&exec.command[0])
                .args(&exec.command[1..])
                .stdin(pipe(exec.streams.stdin))
                .stdout(pipe(exec.streams.stdout))
                .spawn()
                .map_err(|cause| Error::new(Kind::Internal, &exec.command[0], cause))?;
            Ok(Process {
                stdin: child.stdin.take().map(|stdin| Box::pin(stdin) as _),
                stdout: child.stdout.take().map(|stdout| Box::pin(stdout) as _),
                stderr: None,
                resize: None,
                exit: Box::pin(async move {
                    let status = child.wait().await;
                    let status = status.map_err(|cause| Error::new(Kind::Io, "process", cause))?;
                    Ok(status.code().unwrap_or(137))
                }),
            })
        })
    }

    fn attach(&self, attach: Attach) -> Future<'_, Result<Process>> {
        let error = Error::new(Kind::NotFound, attach.container, "nothing is attached to here");
        Box::pin(async move { Err(error) })
    }

    fn connect<'a>(&'a self, _: &'a str, port: u16) -> Future<'a, Result<TcpStream>> {
        Box::pin(async move {
            let failed = |cause| Error::new(Kind::NotFound, format!("port {port}"), cause);
            TcpStream::connect(("127.0.0.1", port)).await.map_err(failed)
        })
    }
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its use")]
#[tokio::main]
async fn main() -> ExitCode {
    let megabytes = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(2000);
    match measure(megabytes).await {
        Ok(figures) => {
            for (what, seconds) in figures {
                println!("{what:<36} {:>6.0} MB/s", megabytes as f64 / seconds);
            }
            ExitCode::SUCCESS
        }
        Err(cause) => {
            eprintln!("throughput: {cause}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(megabytes: usize) -> Result<Vec<(&'static str, f64)>, Failure> {
    let server = Server::bind(Settings::default(), Arc::new(Host)).await?;
    let total = megabytes * 1_000_000;
    let mut figures = Vec::new();
    for (name, protocol) in [("WebSocket", Via::WebSocket), ("SPDY", Via::Spdy)] {
        let out = output(&server, protocol, total).await?;
        let into = input(&server, protocol, total).await?;
        match name {
            "WebSocket" => figures
                .extend([("exec output over WebSocket", out), ("exec input over WebSocket", into)]),
            _ => figures.extend([("exec output over SPDY", out), ("exec input over SPDY", into)]),
        }
    }
    figures.push((
        "port-forward over SPDY, from the pod",
        from_port(&server, Via::Spdy, total).await?,
    ));
    figures.push(("port-forward over SPDY, to the pod", to_port(&server, total).await?));
    figures.push((
        "port-forward in WebSocket, from it",
        from_port(&server, Via::WebSocket, total).await?,
    ));
    Ok(figures)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    WebSocket,
    Spdy,
}

/// Connects and upgrades.
async fn upgrade(url: &str, via: Via, protocol: &str) -> Result<TcpStream, Failure> {
    let (host, path) = url.trim_start_matches("http://").split_once('/').ok_or("no path")?;
    let mut stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let offer = match via {
        Via::WebSocket => format!(
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}"
        ),
        Via::Spdy => format!("Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}"),
    };
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n{offer}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&answer).into());
    }
    Ok(stream)
}

/// The bytes that open streams with these headers, numbered 1, 3, 5...
fn open(streams: &[&[(&str, &str)]]) -> Result<Vec<u8>, Failure> {
    let mut packer = Packer::default();
    let mut bytes = Vec::new();
    for (number, headers) in streams.iter().enumerate() {
        let block = packer.write(headers)?;
        bytes.extend(frame::syn_stream(number as u32 * 2 + 1, &block));
    }
    Ok(bytes)
}

/// A message of a client, masked with zeros, which the server must take off all the same.
fn message(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match u16::try_from(body.len()) {
        Ok(length @ ..=125) => bytes.push(0x80 | length as u8),
        Ok(length) => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(0x80 | 127);
            bytes.extend((body.len() as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

async fn command(
    server: &Server,
    via: Via,
    (program, streams): (String, Streams),
) -> Result<TcpStream, Failure> {
    let command = ["sh".to_owned(), "-c".to_owned(), program];
    let exec =
        Exec { container: "c".to_owned(), command: command.into(), streams, ..Exec::default() };
    let url = server.exec_url(exec)?;
    if via == Via::WebSocket {
        return upgrade(&url, via, "v5.channel.k8s.io").await;
    }
    let mut stream = upgrade(&url, via, "v4.channel.k8s.io").await?;
    let kind = |name| [("streamtype", name)];
    let other = if streams.stdin { "stdin" } else { "stdout" };
    stream.write_all(&open(&[&kind("error"), &kind(other)])?).await?;
    Ok(stream)
}

async fn output(server: &Server, via: Via, total: usize) -> Result<f64, Failure> {
    let streams = Streams { stdout: true, ..Streams::default() };
    let program = format!("exec head -c {total} /dev/zero");
    let begin = Instant::now();
    drain(command(server, via, (program, streams)).await?, total).await?;
    Ok(begin.elapsed().as_secs_f64())
}

/// Reads to the end, of at least `total` bytes.
async fn drain(mut stream: TcpStream, total: usize) -> Result<(), Failure> {
    let mut buffer = vec![0; 256 << 10];
    let mut sum = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 if sum < total => return Err(format!("{sum} bytes are not all").into()),
            0 => return Ok(()),
            count => sum += count,
        }
        // A WebSocket client ends it by its own goodbye, and a forwarded port by closing.
        if sum >= total {
            return Ok(());
        }
    }
}

async fn input(server: &Server, via: Via, total: usize) -> Result<f64, Failure> {
    let streams = Streams { stdin: true, ..Streams::default() };
    let program = format!("exec head -c {total} >/dev/null");
    let mut stream = command(server, via, (program, streams)).await?;
    let begin = Instant::now();
    let piece = match via {
        Via::WebSocket => message(&[0; BLOCK + 1]),
        Via::Spdy => [&frame::data(3, 0, BLOCK)[..], &[0; BLOCK]].concat(),
    };
    for _ in 0..total.div_ceil(BLOCK) {
        stream.write_all(&piece).await?;
    }
    // The outcome comes when the command has read everything.
    drain(stream, if via == Via::WebSocket { 30 } else { 60 }).await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn ports(server: &Server, via: Via, port: u16) -> Result<TcpStream, Failure> {
    let url = server.port_forward_url(PortForward { pod: "p".to_owned(), ports: Vec::new() })?;
    let port = port.to_string();
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
    let streams = open(&[&headers("error"), &headers("data")])?;
    let (protocol, bytes) = match via {
        Via::Spdy => ("portforward.k8s.io", streams),
        Via::WebSocket => ("SPDY/3.1+portforward.k8s.io", message(&streams)),
    };
    let mut stream = upgrade(&url, via, protocol).await?;
    stream.write_all(&bytes).await?;
    Ok(stream)
}

async fn from_port(server: &Server, via: Via, total: usize) -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let sending = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        for _ in 0..total.div_ceil(BLOCK) {
            stream.write_all(&[0; BLOCK]).await?;
        }
        stream.shutdown().await
    });
    let begin = Instant::now();
    drain(ports(server, via, port).await?, total).await?;
    sending.await??;
    Ok(begin.elapsed().as_secs_f64())
}

async fn to_port(server: &Server, total: usize) -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let draining = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        drain(stream, total).await
    });
    let mut stream = ports(server, Via::Spdy, port).await?;
    let begin = Instant::now();
    let piece = [&frame::data(3, 0, BLOCK)[..], &[0; BLOCK]].concat();
    for _ in 0..total.div_ceil(BLOCK) {
        stream.write_all(&piece).await?;
    }
    draining.await??;
    Ok(begin.elapsed().as_secs_f64())
}
