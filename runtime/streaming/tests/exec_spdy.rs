//! Commands over SPDY streams.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod stage;

use stage::spdy::{finished, text};
use stage::{Frame, Spdy, attach, exec, serve, serve_with, soon};
use std::time::Duration;
use streaming::{Settings, Size};

const V4: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"];

fn kind(name: &str) -> [(&str, &str); 1] {
    [("streamtype", name)]
}

#[tokio::test]
async fn input_goes_in_until_its_stream_is_finished() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("cat; echo errors >&2", "ioe")).unwrap();
    let mut client = Spdy::connect(&url, V4).await;
    let answer = client.answer.to_lowercase();
    assert!(answer.contains("upgrade: spdy/3.1\r\n"), "{answer}");
    assert!(answer.contains("x-stream-protocol-version: v4.channel.k8s.io\r\n"), "{answer}");
    let error = client.open(&kind("error")).await;
    let stdin = client.open(&kind("stdin")).await;
    let stdout = client.open(&kind("stdout")).await;
    let stderr = client.open(&kind("stderr")).await;
    client.finish(error).await;
    client.data(stdin, b"hello").await;
    let echoed = Frame::Data { stream: stdout, bytes: b"hello".to_vec(), fin: false };
    assert_eq!(client.next().await, echoed);
    client.finish(stdin).await;
    let frames = client.rest().await;
    assert_eq!(text(&frames, stderr), "errors\n");
    let status: serde_json::Value = serde_json::from_str(&text(&frames, error)).unwrap();
    assert_eq!(status["status"], "Success");
    for stream in [stdin, stdout, stderr, error] {
        assert!(finished(&frames, stream), "stream {stream} has no end");
    }
    assert_eq!(frames.last(), Some(&Frame::GoAway { status: 0 }));
}

#[tokio::test]
async fn every_version_tells_outcomes_in_its_way() {
    let (server, _) = serve().await;
    for version in ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]
    {
        let url = server.exec_url(exec("echo out; exit 42", "o")).unwrap();
        let mut client = Spdy::connect(&url, &[version]).await;
        let (error, stdout) =
            (client.open(&kind("error")).await, client.open(&kind("stdout")).await);
        let frames = client.rest().await;
        assert_eq!(text(&frames, stdout), "out\n", "{version}");
        let outcome = text(&frames, error);
        match serde_json::from_str::<serde_json::Value>(&outcome) {
            Ok(status) => {
                assert_eq!(version, "v4.channel.k8s.io");
                assert_eq!(status["details"]["causes"][0]["message"], "42");
            }
            Err(_) => assert!(outcome.contains("exit code 42"), "{version}: {outcome}"),
        }
    }
    // Clients of the first version do not name it.
    let url = server.exec_url(exec("echo out", "o")).unwrap();
    let mut client = Spdy::connect(&url, &[]).await;
    let (error, stdout) = (client.open(&kind("error")).await, client.open(&kind("stdout")).await);
    let frames = client.rest().await;
    assert_eq!((text(&frames, stdout).as_str(), text(&frames, error).as_str()), ("out\n", ""));
}

#[tokio::test]
async fn sizes_reach_the_terminal() {
    let (server, host) = serve().await;
    let url = server.attach_url(attach("iot")).unwrap();
    let mut client = Spdy::connect(&url, V4).await;
    client.open(&kind("error")).await;
    let stdin = client.open(&kind("stdin")).await;
    client.open(&kind("stdout")).await;
    let resize = client.open(&kind("resize")).await;
    client.data(resize, b"{\"Width\":132,").await;
    client.data(resize, b"\"Height\":43}\n").await;
    soon(async {
        while host.sizes.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(host.sizes.lock().unwrap()[..], [Size { width: 132, height: 43 }]);
    client.finish(stdin).await;
    assert!(client.rest().await.contains(&Frame::GoAway { status: 0 }));
}

#[tokio::test]
async fn streams_nobody_asked_for_are_reset() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("echo out", "o")).unwrap();
    let mut client = Spdy::connect(&url, V4).await;
    let stray = client.open(&kind("stderr")).await;
    assert_eq!(client.next().await, Frame::Reset { stream: stray, status: 1 });
    let unknown = client.open(&kind("smell")).await;
    assert_eq!(client.next().await, Frame::Reset { stream: unknown, status: 1 });
    client.open(&kind("error")).await;
    let stdout = client.open(&kind("stdout")).await;
    assert_eq!(text(&client.rest().await, stdout), "out\n");
}

#[tokio::test]
async fn a_stream_its_client_gives_up_does_not_stop_the_command() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("read go; head -c 9000000 /dev/zero; exit 5", "io")).unwrap();
    let mut client = Spdy::connect(&url, V4).await;
    let error = client.open(&kind("error")).await;
    let stdin = client.open(&kind("stdin")).await;
    let stdout = client.open(&kind("stdout")).await;
    client.reset(stdout).await;
    client.data(stdin, b"go\n").await;
    let outcome = text(&client.rest().await, error);
    assert!(outcome.contains(r#""message":"5""#), "{outcome}");
}

#[tokio::test]
async fn pings_are_answered() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("cat", "i")).unwrap();
    let mut client = Spdy::connect(&url, V4).await;
    client.control(6, &77u32.to_be_bytes()).await;
    assert_eq!(client.next().await, Frame::Ping { id: 77 });
    // Settings, windows and what is not known are passed over.
    client.control(4, &[0, 0, 0, 0]).await;
    client.control(9, &[0, 0, 0, 1, 0, 1, 0, 0]).await;
    client.control(99, b"anything").await;
    client.control(6, &79u32.to_be_bytes()).await;
    assert_eq!(client.next().await, Frame::Ping { id: 79 });
}

#[tokio::test]
async fn clients_that_do_not_open_their_streams_are_left() {
    let settings =
        Settings { stream_creation_timeout: Duration::from_millis(300), ..Settings::default() };
    let (server, _) = serve_with(settings).await;
    let url = server.exec_url(exec("cat", "io")).unwrap();
    let mut client = Spdy::connect(&url, V4).await;
    client.open(&kind("error")).await;
    assert_eq!(client.next().await, Frame::End);
}

#[tokio::test]
async fn hostile_frames_end_the_session() {
    let (server, _) = serve().await;
    let connect = async || {
        let url = server.exec_url(exec("cat", "io")).unwrap();
        Spdy::connect(&url, V4).await
    };
    let goodbye = Frame::GoAway { status: 1 };
    let mut bomb = connect().await;
    bomb.open_packed(1, &vec![b'a'; 4 << 20]).await;
    assert_eq!(bomb.next().await, goodbye, "headers that grow to 4 MiB");
    let mut many = connect().await;
    many.open_packed(1, &10_000_000u32.to_be_bytes()).await;
    assert_eq!(many.next().await, goodbye, "ten million headers");
    let mut long = connect().await;
    long.control(1, &vec![0; 17 << 10]).await;
    assert_eq!(long.next().await, goodbye, "a control frame of 17 KiB");
    let mut even = connect().await;
    even.open_packed(2, &0u32.to_be_bytes()).await;
    assert_eq!(even.next().await, goodbye, "a stream that only a server may open");
    let mut twice = connect().await;
    twice.open(&kind("error")).await;
    twice.open_packed(1, &0u32.to_be_bytes()).await;
    assert_eq!(twice.next().await, goodbye, "a stream that is opened twice");
}

#[tokio::test]
async fn what_is_spoken_is_told_where_nothing_is_in_common() {
    let (server, _) = serve().await;
    let url = server.exec_url(exec("cat", "io")).unwrap();
    let client = Spdy::attempt(&url, &["v9.channel.k8s.io"]).await;
    assert!(client.answer.starts_with("HTTP/1.1 403 "), "{}", client.answer);
    let known = "x-accepted-stream-protocol-versions: v4.channel.k8s.io";
    assert!(client.answer.to_lowercase().contains(known), "{}", client.answer);
}
