//! Forwarded ports, over SPDY, SPDY in WebSocket, and WebSocket channels.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use futures_util::{SinkExt, StreamExt};
use stage::spdy::{finished, text};
use stage::websocket::Client;
use stage::{Frame, Spdy, serve, serve_with, soon};
use std::time::Duration;
use streaming::{PortForward, Server, Settings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const FORWARD: &[&str] = &["portforward.k8s.io"];
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

fn url(server: &Server, ports: &[u16]) -> String {
    let forward = PortForward { pod: "p1".to_owned(), ports: ports.to_vec() };
    server.port_forward_url(forward).unwrap()
}

/// A port at which `serve` treats each connection.
async fn listen<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// A port that tells in capitals what it was told, when that is complete.
async fn shouts() -> u16 {
    listen(async |mut stream: TcpStream| {
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        stream.write_all(said.to_uppercase().as_bytes()).await.unwrap();
    })
    .await
}

/// A port that repeats everything.
async fn repeats() -> u16 {
    listen(async |mut stream: TcpStream| {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

/// A port that resets its connections after the first bytes.
async fn resets() -> u16 {
    listen(async |mut stream: TcpStream| {
        let mut first = [0];
        let _ = stream.read(&mut first).await;
        // Unread bytes make the kernel reset the connection.
        stream.set_zero_linger().unwrap();
    })
    .await
}

/// A port where nobody listens.
async fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

struct Pair {
    data: u32,
    error: u32,
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Spdy<S>,
    port: u16,
    request: &str,
) -> Pair {
    let port = port.to_string();
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", request)];
    let error = client.open_unanswered(&headers("error")).await;
    let data = client.open_unanswered(&headers("data")).await;
    client.finish(error).await;
    Pair { data, error }
}

/// Frames until the server has ended both streams of `pair`.
async fn until_over<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Spdy<S>,
    pair: &Pair,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    let reset = |frames: &[Frame], stream| {
        frames.iter().any(|f| matches!(f, Frame::Reset { stream: s, .. } if *s == stream))
    };
    loop {
        match client.next().await {
            Frame::End => unreachable!("the session ended: {frames:?}"),
            frame => frames.push(frame),
        }
        let over = |stream| finished(&frames, stream) || reset(&frames, stream);
        if over(pair.data) && over(pair.error) {
            return frames;
        }
    }
}

/// What every way of SPDY must do.
async fn check_streams<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Spdy<S>) {
    // Half-closed by the client: the port learns of it and answers.
    let pair = open(client, shouts().await, "0").await;
    client.data(pair.data, b"hello ").await;
    client.data(pair.data, b"port").await;
    client.finish(pair.data).await;
    let frames = until_over(client, &pair).await;
    assert_eq!(text(&frames, pair.data), "HELLO PORT");
    assert_eq!(text(&frames, pair.error), "");

    // A connection that is refused or reset leaves the others alone.
    let alive = open(client, repeats().await, "1").await;
    let refused = open(client, closed().await, "2").await;
    let frames = until_over(client, &refused).await;
    assert!(text(&frames, refused.error).contains("refused"), "{frames:?}");
    let reset = open(client, resets().await, "3").await;
    client.data(reset.data, b"some bytes").await;
    let frames = until_over(client, &reset).await;
    assert!(frames.contains(&Frame::Reset { stream: reset.data, status: 6 }), "{frames:?}");
    assert_eq!(text(&frames, reset.error), "", "a message would end all connections of kubectl");
    client.data(alive.data, b"still there").await;
    let echoed = Frame::Data { stream: alive.data, bytes: b"still there".to_vec(), fin: false };
    assert_eq!(client.next().await, echoed);

    // One that its client resets is closed.
    client.reset(alive.data).await;
    let frames = soon(async {
        loop {
            if let Frame::Data { stream, fin: true, .. } = client.next().await
                && stream == alive.error
            {
                return true;
            }
        }
    });
    assert!(frames.await);
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy() {
    let (server, _) = serve().await;
    let mut client = Spdy::connect(&url(&server, &[]), FORWARD).await;
    assert!(client.answer.to_lowercase().contains("x-stream-protocol-version: portforward.k8s.io"));
    check_streams(&mut client).await;
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy_in_websocket() {
    let (server, _) = serve().await;
    let client = Client::connect(&url(&server, &[]), TUNNEL).await.unwrap();
    assert_eq!(client.protocol.as_deref(), Some(TUNNEL));
    let mut client = Spdy::over(tunnel(client), String::new());
    check_streams(&mut client).await;
}

/// The bytes in the messages of a client, as a stream. Messages have nothing to do with frames.
fn tunnel(client: Client) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut sink, mut source) = client.socket.split();
    let (mut read, mut write) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut buffer = [0; 7];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if sink.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(Message::Binary(bytes))) = source.next().await {
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    near
}

#[tokio::test]
async fn clients_of_old_name_no_request() {
    let (server, _) = serve().await;
    let mut client = Spdy::connect(&url(&server, &[]), &[]).await;
    let port = shouts().await.to_string();
    let error = client.open(&[("streamtype", "error"), ("port", &port)]).await;
    let data = client.open(&[("streamtype", "data"), ("port", &port)]).await;
    client.data(data, b"old").await;
    client.finish(data).await;
    assert_eq!(text(&until_over(&mut client, &Pair { data, error }).await, data), "OLD");
}

#[tokio::test]
async fn streams_without_partner_or_port_are_reset() {
    let settings =
        Settings { stream_creation_timeout: Duration::from_millis(200), ..Settings::default() };
    let (server, _) = serve_with(settings).await;
    let mut client = Spdy::connect(&url(&server, &[]), FORWARD).await;
    for wrong in [
        &[("streamtype", "data"), ("port", "70000"), ("requestid", "1")][..],
        &[("streamtype", "data"), ("port", "0"), ("requestid", "1")],
        &[("streamtype", "stdout"), ("port", "80"), ("requestid", "1")],
        &[("requestid", "1")],
    ] {
        let stream = client.open(wrong).await;
        assert_eq!(client.next().await, Frame::Reset { stream, status: 1 }, "{wrong:?}");
    }
    let lone = client.open(&[("streamtype", "data"), ("port", "80"), ("requestid", "9")]).await;
    let twin = client.open(&[("streamtype", "data"), ("port", "80"), ("requestid", "9")]).await;
    assert_eq!(client.next().await, Frame::Reset { stream: twin, status: 1 });
    assert_eq!(client.next().await, Frame::Reset { stream: lone, status: 5 });
}

#[tokio::test]
async fn streams_are_bounded_and_places_are_given_again() {
    let (server, _) = serve().await;
    let mut client = Spdy::connect(&url(&server, &[]), FORWARD).await;
    let port = shouts().await;
    for request in 0..512 {
        let name = request.to_string();
        let pair = open(&mut client, port, &name).await;
        assert_eq!(client.next().await, Frame::Reply { stream: pair.error });
        assert_eq!(client.next().await, Frame::Reply { stream: pair.data });
    }
    let refused = client.open_unanswered(&[("streamtype", "error"), ("port", "80")]).await;
    assert_eq!(client.next().await, Frame::Reset { stream: refused, status: 3 });
    client.finish(3).await;
    until_over(&mut client, &Pair { error: 1, data: 3 }).await;
    let pair = open(&mut client, port, "again").await;
    client.data(pair.data, b"again").await;
    client.finish(pair.data).await;
    assert_eq!(text(&until_over(&mut client, &pair).await, pair.data), "AGAIN");
}

#[tokio::test]
async fn ports_are_forwarded_over_channels() {
    let (server, _) = serve().await;
    let ports = [repeats().await, closed().await];
    let mut client = Client::connect(&url(&server, &ports), "v4.channel.k8s.io").await.unwrap();
    // Each channel begins with its port.
    for (channel, port) in [(0, ports[0]), (1, ports[0]), (2, ports[1]), (3, ports[1])] {
        let [low, high] = port.to_le_bytes();
        assert_eq!(client.next().await.unwrap(), [channel, low, high]);
    }
    let refused = client.next().await.unwrap();
    assert_eq!(refused[0], 3);
    assert!(String::from_utf8_lossy(&refused).contains("refused"), "{refused:?}");
    client.send(0, b"hello").await;
    assert_eq!(client.next().await.unwrap(), b"\0hello");
    let mut unnamed = Client::connect(&url(&server, &[]), "v4.channel.k8s.io").await.unwrap();
    assert_eq!(unnamed.next().await, None, "without ports there is nothing to forward");
}

#[tokio::test]
async fn channels_take_ports_from_the_query() {
    let (server, _) = serve().await;
    let port = shouts().await;
    let url = format!("{}?port={port}", url(&server, &[1]));
    let mut client = Client::connect(&url, "v4.base64.channel.k8s.io").await.unwrap();
    let first = soon(client.socket.next()).await.unwrap().unwrap();
    assert!(first.to_text().unwrap().starts_with('0'), "{first:?}");
    client.socket.close(None).await.unwrap();
}
