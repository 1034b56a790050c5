//! Exec and attach through the CRI, as kubelet passes them on: with input, with a terminal, from the
//! first byte on, over https.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

#[path = "streams/channels.rs"]
mod channels;

use channels::{CLOSE, Channels, ERROR, RESIZE, STDERR, STDIN, STDOUT};
use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, daemon, pod};
use rcgen::{CertificateParams, KeyPair};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tonic::Code;

const SIZE: &[u8] = br#"{"Width":91,"Height":37}"#;

/// A node, and the image with busybox on it.
fn node(name: &str) -> Option<(Node, String)> {
    let node = Node::start(name)?;
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| client.pull(&image).await);
    Some((node, image))
}

async fn exec(client: &mut Client, id: &str, (script, tty): (&str, bool)) -> Channels {
    let request = v1::ExecRequest {
        container_id: id.to_owned(),
        cmd: ["sh", "-c", script].map(str::to_owned).into(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let url = client.runtime.exec(request).await.expect("exec").into_inner().url;
    Channels::connect(&url).await.expect("streams")
}

async fn attach(client: &mut Client, id: &str, tty: bool) -> Channels {
    let request = v1::AttachRequest {
        container_id: id.to_owned(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let url = client.runtime.attach(request).await.expect("attach").into_inner().url;
    Channels::connect(&url).await.expect("streams")
}

#[test]
fn commands_take_input_and_tell_their_exit_code() {
    let Some((node, image)) = node("streams-exec") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("exec");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let mut streams = exec(client, &id, ("cat; echo err >&2; exit 7", false)).await;
        streams.send(STDIN, b"through").await;
        streams.until(STDOUT, "through").await;
        streams.send(CLOSE, &[STDIN]).await;
        let told = streams.rest().await;
        assert_eq!((told.text(STDOUT), told.text(STDERR)), ("through".into(), "err\n".into()));
        assert_eq!(told.failure().as_deref(), Some("7"));

        let script = "stty size; read line; stty size; echo $TERM got $line; exit 0";
        let mut streams = exec(client, &id, (script, true)).await;
        streams.send(RESIZE, SIZE).await;
        // The size is set beside the input, which the command waits for.
        tokio::time::sleep(Duration::from_millis(300)).await;
        streams.send(STDIN, b"typed\n").await;
        let told = streams.rest().await;
        let shown = told.text(STDOUT);
        assert!(shown.contains("37 91") && shown.contains("xterm got typed"), "{shown}");
        assert_eq!(told.failure(), None);
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn containers_are_attached_to_with_input_and_with_a_terminal() {
    let Some((node, image)) = node("streams-attach") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("attach");
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container("once", &image, "cat; echo end; exit 3");
        (config.stdin, config.stdin_once) = (true, true);
        let id = client.launch(&pod, &config, &of).await;
        let mut streams = attach(client, &id, false).await;
        streams.send(STDIN, b"hello ").await;
        streams.until(STDOUT, "hello").await;
        streams.send(CLOSE, &[STDIN]).await;
        let told = streams.rest().await;
        assert_eq!(told.text(STDOUT), "hello end\n");
        assert_eq!(told.failure(), None, "the code is in the status");
        let status = client.ended(&id).await;
        assert_eq!(status.exit_code, 3);
        let log = std::fs::read_to_string(&status.log_path).expect("log");
        assert!(log.contains("hello ") && log.contains("end"), "in the log, too: {log}");

        let mut config = container("terminal", &image, "read line; stty size; echo got $line");
        (config.stdin, config.tty) = (true, true);
        let id = client.launch(&pod, &config, &of).await;
        let mut streams = attach(client, &id, true).await;
        streams.send(RESIZE, SIZE).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        streams.send(STDIN, b"typed\n").await;
        let shown = streams.rest().await.text(STDOUT);
        assert!(shown.contains("37 91") && shown.contains("got typed"), "{shown}");
        client.ended(&id).await;
        let request = v1::AttachRequest { container_id: id, stdout: true, ..Default::default() };
        let refused = client.runtime.attach(request).await.expect_err("it has ended");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn who_attaches_before_the_start_sees_all() {
    let Some((node, image)) = node("streams-early") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("early");
        let pod = client.run_pod(&of).await.expect("run");
        for round in 0..10 {
            let config = container(&format!("c{round}"), &image, "echo first; echo second >&2");
            let id = client.create(&pod, &config, &of).await.expect("create");
            let request = v1::AttachRequest {
                container_id: id.clone(),
                stdout: true,
                stderr: true,
                ..Default::default()
            };
            let url = client.runtime.attach(request).await.expect("attach").into_inner().url;
            let streams = Channels::connect(&url).await.expect("streams");
            client.start(&id).await.expect("start");
            let told = streams.rest().await;
            assert_eq!(
                (told.text(STDOUT), told.text(STDERR)),
                ("first\n".into(), "second\n".into())
            );
            assert!(told.text(ERROR).contains("Success"));
        }
        client.remove_pod(&pod).await.expect("remove");
    });
}

fn podloom(node: &Node, words: &[&str]) -> Output {
    let mut command = Command::new(daemon().with_file_name("podloom"));
    command.args(words).env("CONTAINER_RUNTIME_ENDPOINT", node.socket());
    command.stdin(Stdio::null());
    node.lab().node().run(|| command.output()).expect("podloom beside podloomd")
}

/// A key pair that nobody else vouches for.
fn write_keys(node: &Node) {
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
    let certificate = params.self_signed(&key).expect("certificate");
    node.write("keys/streams.pem", &certificate.pem());
    node.write("keys/streams.key", &key.serialize_pem());
}

#[test]
fn streams_go_over_https_and_the_command_knows_the_daemon() {
    let Some(mut node) = Node::prepare("streams-tls") else { return };
    write_keys(&node);
    let (certificate, key) = (node.path("keys/streams.pem"), node.path("keys/streams.key"));
    let tls = format!("[streaming.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    node.write("config.d/10-tls.toml", &tls);
    node.serve();
    let image = node.image(BUSY, "1");
    let id = node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let of = pod("tls");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let request = v1::ExecRequest {
            container_id: id.clone(),
            cmd: vec!["true".to_owned()],
            stdout: true,
            ..Default::default()
        };
        let url = client.runtime.exec(request).await.expect("exec").into_inner().url;
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        id
    });
    let hello = |node: &Node| podloom(node, &["exec", &id, "sh", "-c", "echo hello; exit 6"]);
    let said = hello(&node);
    assert_eq!(
        (said.status.code(), said.stdout.as_slice()),
        (Some(6), &b"hello\n"[..]),
        "{said:?}"
    );
    // Another certificate is used from the reload on, and before it the old one is told from it.
    write_keys(&node);
    let said = hello(&node);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && text.contains("another certificate"), "{text}");
    assert!(text.contains("SIGHUP"), "{text}");
    node.hang_up();
    let begun = Instant::now();
    while hello(&node).status.code() != Some(6) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", hello(&node));
        std::thread::sleep(Duration::from_millis(50));
    }
    node.write("keys/streams.key", "no key");
    node.hang_up();
    lab::until("the mistake is told", Duration::from_secs(10), || {
        node.log().contains("not reloaded")
    });
    assert!(node.stop());
}
