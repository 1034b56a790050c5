//! `./dev demo`: a pod of two containers through the CRI, every step shown, and the proof that
//! nothing is left of it.
//!
//! The node is made of namespaces; its registry, its image and its network are made here. Nothing of
//! the machine's own is touched.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "it tells what it does, and ends where a step fails"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod, port};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const SERVER: &str = "mkdir -p /www; echo 'a page of the pod' > /www/index.html; \
                      echo 'serving at port 80'; exec httpd -f -p 80 -h /www";
const SIDE: &str = "echo 'beside the server'; exec sleep 1000";

fn main() -> ExitCode {
    say("a node of namespaces, with a registry on its loopback and a network of three plugins");
    let Some(mut node) = Node::prepare("demo") else {
        println!(
            "the demo needs the Debian packages docker-registry, apache2-utils and util-linux"
        );
        return ExitCode::FAILURE;
    };
    let before = node.lab().snapshot();
    node.serve();
    println!("podloomd serves at {}", node.socket().display());
    let (pod_id, address) = begin(&node);
    look(&node, &address);
    forward(&node);
    end(&mut node, &pod_id);
    let left = node.leftovers();
    assert!(left.is_empty(), "left: {left:#?}");
    let added = before.diff(&node.lab().snapshot()).added;
    // Plugins keep their bridge and empty tables; nothing may be about the pod.
    let of_pod =
        |line: &&String| ["veth", "dnat", "10.88.0.2", "8080"].iter().any(|t| line.contains(t));
    let left: Vec<_> = added.iter().filter(of_pod).collect();
    assert!(left.is_empty(), "left: {left:#?}");
    println!("no process, mount, namespace, record, lease or host port is left");
    point();
    ExitCode::SUCCESS
}

fn say(step: &str) {
    println!("\n== {step}");
}

/// Pulls the image and runs the pod; its id and address.
fn begin(node: &Node) -> (String, String) {
    let image = node.image(BUSY, "1");
    say("pull an image that was made here, and run a pod of two containers with a host port");
    node.run(async |client: &mut Client| {
        let begun = Instant::now();
        let id = client.pull(&image).await;
        println!("{image}\n  is {id}, here after {} ms", begun.elapsed().as_millis());
        let mut of = pod("web");
        of.port_mappings = vec![port(8080, 80)];
        for (key, value) in [("name", "web"), ("namespace", "tests")] {
            of.labels.insert(format!("io.kubernetes.pod.{key}"), value.to_owned());
        }
        let begun = Instant::now();
        let id = client.run_pod(&of).await.expect("run the pod");
        client.launch(&id, &container("server", &image, SERVER), &of).await;
        client.launch(&id, &container("side", &image, SIDE), &of).await;
        let took = begun.elapsed().as_millis();
        let network = client.pod(&id).await.expect("status").status.and_then(|s| s.network);
        let network: v1::PodSandboxNetworkStatus = network.expect("network");
        let others: Vec<_> = network.additional_ips.into_iter().map(|one| one.ip).collect();
        println!("pod and containers run after {took} ms, at {} {}", network.ip, others.join(" "));
        (id, network.ip)
    })
}

/// Shows the pod by the operator's command, and reaches it by its address and its host port.
fn look(node: &Node, address: &str) {
    for (step, words) in [
        ("pods", &["pods"][..]),
        ("containers", &["ps"]),
        ("what the server wrote", &["logs", "server"]),
        (
            "a command in the other container, which shares the pod's network",
            &["exec", "side", "wget", "-qO-", "http://127.0.0.1/"],
        ),
        ("what they use", &["stats"]),
    ] {
        say(step);
        podloom(node, words);
    }
    say("the pod from the node: at its address, and at the host port");
    for place in [format!("{address}:80"), "10.88.0.1:8080".to_owned()] {
        println!("http://{place}/: {}", fetch(node, &place));
    }
}

/// Reaches the pod through `podloom port-forward`.
fn forward(node: &Node) {
    say("the pod by port-forward");
    let mut command = command(node, &["port-forward", "web", "18080:80"]);
    command.stdout(Stdio::piped());
    let mut forwarding = Ended(node.lab().node().run(|| command.spawn()).expect("podloom"));
    let mut said = BufReader::new(forwarding.0.stdout.take().expect("output"));
    let mut line = String::new();
    said.read_line(&mut line).expect("where it listens");
    print!("{line}");
    println!("http://127.0.0.1:18080/: {}", fetch(node, "127.0.0.1:18080"));
}

/// A program that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        ended.expect("end a program");
    }
}

fn end(node: &mut Node, pod: &str) {
    say("stop and remove the pod, then the daemon");
    node.run(async |client: &mut Client| {
        let begun = Instant::now();
        client.stop_pod(pod).await.expect("stop the pod");
        client.remove_pod(pod).await.expect("remove the pod");
        println!("gone after {} ms", begun.elapsed().as_millis());
    });
    podloom(node, &["pods"]);
    assert!(node.stop(), "podloomd: {}", node.log());
}

fn command(node: &Node, words: &[&str]) -> Command {
    let mut command = Command::new(lab::podloom());
    command.args(words).env("CONTAINER_RUNTIME_ENDPOINT", node.socket());
    command
}

fn podloom(node: &Node, words: &[&str]) {
    println!("$ podloom {}", words.join(" "));
    let mut command = command(node, words);
    let output = node.lab().node().run(|| command.output()).expect("podloom");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "podloom {words:?}: {errors}");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

/// What a server on the node answers; it may need a moment to come up.
fn fetch(node: &Node, place: &str) -> String {
    let get = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(place)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: pod\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let begun = Instant::now();
    loop {
        match node.lab().node().run(get) {
            Ok(text) if text.contains("a page of the pod") => {
                return "a page of the pod".to_owned();
            }
            other => assert!(begun.elapsed() < Duration::from_secs(10), "{place}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn point() {
    say("on a node of your own");
    println!(
        "./dev install, then dist/podloomd.service to /etc/systemd/system, and\n\
         kubelet:  --container-runtime-endpoint=unix:///run/podloom/podloom.sock\n\
         crictl:   dist/crictl.yaml to /etc/crictl.yaml\n\
         podloomd config default  shows every setting; a network list in /etc/cni/net.d is needed"
    );
}
