//! Commands over WebSocket channels.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use futures_util::{SinkExt, StreamExt};
use stage::websocket::Client;
use stage::{Host, attach, exec, serve, serve_with, soon};
use std::time::Duration;
use streaming::{Settings, Size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

const V5: &str = "v5.channel.k8s.io";

#[tokio::test]
async fn input_goes_in_until_its_channel_is_closed() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("cat; echo errors >&2", "ioe")).unwrap();
    let mut client = Client::connect(&url, "v5.channel.k8s.io, v4.channel.k8s.io").await.unwrap();
    assert_eq!(client.protocol.as_deref(), Some(V5));
    assert_eq!(
        client.next().await.unwrap(),
        [1],
        "an empty message shows that the streams are there"
    );
    client.send(0, b"hello ").await;
    assert_eq!(client.next().await.unwrap(), b"\x01hello ");
    client.send(0, b"world").await;
    client.send(255, &[0]).await;
    let told = client.rest().await;
    assert_eq!((told.text(1).as_str(), told.text(2).as_str()), ("world", "errors\n"));
    assert_eq!(told.status()["status"], "Success");
    assert_eq!(u16::from(told.close.unwrap().code), 1000);
}

#[tokio::test]
async fn exit_codes_are_told() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("echo out; exit 42", "oe")).unwrap();
    let told = Client::connect(&url, V5).await.unwrap().rest().await;
    assert_eq!(told.text(1), "out\n");
    let status = told.status();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0]["message"], "42");
}

#[tokio::test]
async fn what_cannot_be_run_is_an_internal_error() {
    let (server, _) = serve().await;
    let mut missing = exec("", "o");
    missing.command = vec!["/there/is/no/such/program".to_owned()];
    let url = server.exec_url(missing).unwrap();
    let status = Client::connect(&url, V5).await.unwrap().rest().await.status();
    assert_eq!(status["reason"], "InternalError");
    assert!(status["message"].as_str().unwrap().contains("/there/is/no/such/program"), "{status}");
}

#[tokio::test]
async fn old_versions_get_text_and_only_of_failures() {
    let (server, _) = serve().await;
    for (protocols, fails) in [("channel.k8s.io", true), ("v3.channel.k8s.io", false), ("", true)] {
        let script = if fails { "echo out; exit 3" } else { "echo out" };
        let url = server.exec_url(exec(script, "o")).unwrap();
        let client = Client::connect(&url, protocols).await.unwrap();
        assert_eq!(client.protocol.as_deref().unwrap_or_default(), protocols);
        let told = client.rest().await;
        assert_eq!(told.text(1), "out\n");
        assert_eq!(told.text(3).contains("exit code 3"), fails, "{}", told.text(3));
    }
}

#[tokio::test]
async fn base64_is_spoken_both_ways() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("head -c 5", "io")).unwrap();
    let mut client = Client::connect(&url, "v4.base64.channel.k8s.io").await.unwrap();
    client.socket.send(Message::text("0aGVsbG8=")).await.unwrap();
    let told = client.rest().await;
    assert_eq!(told.text(1), "hello");
    assert_eq!(told.status()["status"], "Success");
}

#[tokio::test]
async fn attached_clients_are_told_of_success_whatever_the_code() {
    let (server, _) = serve().await;
    let url = server.attach_url(attach("io")).unwrap();
    let mut client = Client::connect(&url, V5).await.unwrap();
    client.send(0, b"to the container").await;
    client.send(255, &[0]).await;
    let told = client.rest().await;
    assert_eq!(told.text(1), "to the container");
    assert_eq!(told.status()["status"], "Success");
}

#[tokio::test]
async fn sizes_reach_the_terminal_the_last_one_in_any_case() {
    let (server, host) = serve().await;
    let url = server.exec_url(exec("cat", "iot")).unwrap();
    let mut client = Client::connect(&url, V5).await.unwrap();
    for width in 1..=500 {
        client.send(4, format!(r#"{{"Width":{width},"Height":24}}"#).as_bytes()).await;
    }
    let last = Size { width: 500, height: 24 };
    soon(async {
        while host.sizes.lock().unwrap().last() != Some(&last) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    client.send(255, &[0]).await;
    assert_eq!(client.rest().await.status()["status"], "Success");
}

#[tokio::test]
async fn messages_in_frames_and_pings_between_them_are_understood() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("head -c 300005", "io")).unwrap();
    let mut client = Client::connect(&url, V5).await.unwrap();
    let part = |bytes: Vec<u8>, code, last| {
        Message::Frame(Frame::message(bytes, OpCode::Data(code), last))
    };
    client.socket.send(part(b"\0first".to_vec(), Data::Binary, false)).await.unwrap();
    client.socket.send(Message::Ping("are you there".into())).await.unwrap();
    client.socket.send(part(vec![b'x'; 300_000], Data::Continue, true)).await.unwrap();
    let mut answered = false;
    let mut output = Vec::new();
    while output.len() < 300_005 {
        match soon(client.socket.next()).await.unwrap().unwrap() {
            Message::Pong(body) => answered = body == "are you there",
            Message::Binary(bytes) => output.extend(&bytes[1..]),
            other => unreachable!("{other:?}"),
        }
    }
    assert!(answered, "the ping between the frames was not answered");
    assert!(output.starts_with(b"firstxxx"), "{:?}", &output[..10]);
    assert_eq!(client.rest().await.status()["status"], "Success");
}

#[tokio::test]
async fn children_that_keep_the_output_open_do_not_keep_the_client() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("echo out; sleep 15 & exit 0", "o")).unwrap();
    let begin = std::time::Instant::now();
    let told = Client::connect(&url, V5).await.unwrap().rest().await;
    assert_eq!(
        (told.text(1).as_str(), told.status()["status"].as_str()),
        ("out\n", Some("Success"))
    );
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_process_is_let_go_with_its_client() {
    let (server, host) = serve().await;
    let url = server.exec_url(exec("echo ready; sleep 60", "o")).unwrap();
    let mut client = Client::connect(&url, V5).await.unwrap();
    while client.next().await.unwrap() != b"\x01ready\n" {}
    drop(client);
    until_abandoned(&host).await;
}

async fn until_abandoned(host: &Host) {
    soon(async {
        while *host.abandoned.lock().unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_url_is_good_for_one_client() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("echo once", "o")).unwrap();
    // Of no common protocol: the client may come again.
    assert_eq!(refused(&url, "v9.channel.k8s.io").await, 403);
    let told = Client::connect(&url, V5).await.unwrap().rest().await;
    assert_eq!(told.text(1), "once\n");
    assert_eq!(refused(&url, V5).await, 404);
    assert_eq!(refused(&url.replace("exec", "attach"), V5).await, 404);
    assert_eq!(refused(&format!("{url}x"), V5).await, 404);
}

async fn refused(url: &str, protocols: &str) -> u16 {
    match Client::connect(url, protocols).await {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => unreachable!("{other}"),
        Ok(_) => unreachable!("the server took a client of {url}"),
    }
}

#[tokio::test]
async fn a_stream_without_data_ends() {
    let settings = Settings { idle_timeout: Duration::from_millis(300), ..Settings::default() };
    let (server, host) = serve_with(settings).await;
    let url = server.exec_url(exec("sleep 60", "o")).unwrap();
    let status = Client::connect(&url, V5).await.unwrap().rest().await.status();
    assert!(status["message"].as_str().unwrap().contains("no data for"), "{status}");
    until_abandoned(&host).await;
}

#[tokio::test]
async fn clients_that_break_the_protocol_are_told_and_left() {
    let (server, host) = serve().await;
    let url = server.exec_url(exec("sleep 60", "io")).unwrap();
    let mut client = Client::connect(&url, V5).await.unwrap();
    // A frame without a mask.
    client.socket.get_mut().write_all(&[0x82, 1, 0]).await.unwrap();
    let told = client.rest().await;
    assert_eq!(u16::from(told.close.unwrap().code), 1002);
    until_abandoned(&host).await;
}

#[tokio::test]
async fn a_server_that_stops_ends_streams_after_their_grace() {
    let (server, host) = serve().await;
    let short = server.exec_url(exec("sleep 0.3; echo done", "o")).unwrap();
    let long = server.exec_url(exec("sleep 60", "o")).unwrap();
    let (short, long) =
        (Client::connect(&short, V5).await.unwrap(), Client::connect(&long, V5).await.unwrap());
    let stop = server.stop(Duration::from_secs(2));
    let (told, cut, ()) = tokio::join!(short.rest(), long.rest(), stop);
    assert_eq!(told.text(1), "done\n");
    assert_eq!(cut.text(3), "");
    until_abandoned(&host).await;
}

#[tokio::test]
async fn plain_requests_are_told_what_is_needed() {
    let (server, _) = serve().await;
    for (request, expected) in [
        ("GET /exec/x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 "),
        ("PUT /exec/x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 "),
        ("GET /logs/x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 "),
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 13];
        soon(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected, "{request}");
    }
}
