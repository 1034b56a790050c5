//! `podloom` as a client of the daemon: what it prints, its exit codes, its streams.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use cri_tests::{BUSY, Node, daemon};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A node, and the image with busybox of its registry.
fn node(name: &str) -> Option<(Node, String)> {
    let node = Node::start(name)?;
    let image = node.image(BUSY, "1");
    Some((node, image))
}

fn command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(daemon().with_file_name("podloom"));
    command.args(arguments).env("CONTAINER_RUNTIME_ENDPOINT", node.socket());
    command.stdin(Stdio::null());
    command
}

/// Runs the command in the node's network, with an input.
fn feed(node: &Node, arguments: &[&str], input: &str) -> Output {
    node.lab().node().run(|| {
        let mut command = command(node, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("podloom beside podloomd");
        let mut stdin = child.stdin.take().expect("standard input");
        stdin.write_all(input.as_bytes()).expect("input");
        drop(stdin);
        child.wait_with_output().expect("podloom")
    })
}

/// Runs the command, which must succeed. Returns its output.
fn ok(node: &Node, arguments: &[&str]) -> String {
    let output = feed(node, arguments, "");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}{}", node.log());
    String::from_utf8(output.stdout).expect("text")
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(node, arguments)).expect("JSON")
}

/// Runs a container with the name `web`; returns its ID.
fn web(node: &Node, image: &str, script: &str) -> String {
    let logs = node.path("logs").display().to_string();
    let run = ["run", "--name", "web", "--log-dir", &logs, image, "/bin/sh", "-c", script];
    ok(node, &run).trim().to_owned()
}

#[test]
fn containers_are_run_listed_shown_and_removed() {
    let Some((node, image)) = node("command-life") else { return };
    let id = web(&node, &image, "echo out; echo err >&2; exec sleep 1000");
    assert_eq!(ok(&node, &["ps", "-q"]).trim(), id);
    let listed = json(&node, &["ps", "-o", "json"]);
    assert_eq!(listed["containers"][0]["podName"], "web", "{listed}");
    assert!(ok(&node, &["pods"]).contains("ready"));
    let shown = json(&node, &["inspect", "web"]);
    assert_eq!(
        (&shown[0]["id"], &shown[0]["state"]),
        (&Value::from(id.as_str()), &Value::from("running"))
    );
    assert!(
        json(&node, &["stats", "-o", "json"])["containers"][0]["memory"]["usageBytes"].is_u64()
    );
    let refused = feed(&node, &["rm", "web"], "");
    assert_eq!(refused.status.code(), Some(4), "a running container is removed only with --force");
    ok(&node, &["stop", "-t", "0", "web"]);
    let logs = feed(&node, &["logs", "web"], "");
    assert_eq!((logs.stdout.as_slice(), logs.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    ok(&node, &["rm", "web"]);
    let pod = ok(&node, &["pods", "-q"]);
    ok(&node, &["rm", "-f", pod.trim()]);
    assert_eq!(ok(&node, &["pods"]), "no pods\n");
    let gone = feed(&node, &["inspect", "web"], "");
    assert_eq!(gone.status.code(), Some(3));
}

#[test]
fn commands_have_their_streams_and_exit_codes() {
    let Some((node, image)) = node("command-exec") else { return };
    web(&node, &image, "exec sleep 1000");
    let exec = ["exec", "-i", "web", "/bin/sh", "-c", "cat; echo err >&2; exit 7"];
    let output = feed(&node, &exec, "through the pipe");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"through the pipe");
    assert_eq!(output.stderr, b"err\n");
    let missing = feed(&node, &["exec", "web", "/no/such/program"], "");
    assert!(!missing.status.success());
    let logs = node.path("logs").display().to_string();
    let run = ["run", "--rm", "-i", "--log-dir", &logs, &image, "/bin/cat"];
    assert_eq!(feed(&node, &run, "attached").stdout, b"attached");
    for round in 0..5 {
        let script = "echo first; cat; echo last >&2; exit 5";
        let run = ["run", "--rm", "-i", "--log-dir", &logs, &image, "/bin/sh", "-c", script];
        let output = feed(&node, &run, "attached");
        assert_eq!(output.stdout, b"first\nattached", "round {round}: from the first byte on");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(5), &b"last\n"[..]));
    }
    let run = ["run", "--rm", "--log-dir", &logs, &image, "/bin/sh", "-c", "echo bye; exit 4"];
    let output = feed(&node, &run, "");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b"bye\n"[..]));
    assert_eq!(ok(&node, &["pods", "-q"]).lines().count(), 1, "only the first pod is left");
}

#[test]
fn ports_are_forwarded() {
    let Some((node, image)) = node("command-ports") else { return };
    let script = "mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w";
    web(&node, &image, script);
    let mut forward = forward(&node);
    for _ in 0..3 {
        let mut stream = node.lab().node().run(|| TcpStream::connect(&forward.1)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answer");
        assert!(answer.ends_with("page\n"), "{answer}");
    }
    forward.0.kill().expect("kill");
    forward.0.wait().expect("wait");
}

/// `port-forward` at work, and where it listens.
fn forward(node: &Node) -> (Child, String) {
    let mut command = command(node, &["port-forward", "web", "0:80"]);
    command.stdout(Stdio::piped());
    let mut child = node.lab().node().run(|| command.spawn()).expect("podloom");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("standard output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address = line.split_whitespace().next().expect("an address").to_owned();
    (child, address)
}
