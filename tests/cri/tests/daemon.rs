//! The daemon's own life: its socket, its end, its restart, its configuration, its metrics.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, daemon, pod};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_socket_is_roots_and_there_is_one_daemon() {
    let Some(mut node) = Node::start("daemon-socket") else { return };
    let mode = std::fs::metadata(node.socket()).expect("socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    for dir in ["state", "lib"] {
        let mode = std::fs::metadata(node.path(dir)).expect(dir).permissions().mode();
        assert_eq!(mode & 0o022, 0, "{dir}: {mode:o}");
    }
    let mut second = Command::new(daemon());
    second.arg("--config").arg(node.path("config.toml"));
    let second = node.lab().node().run(|| second.output()).expect("a second daemon");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another daemon"), "{said}");
    node.run(async |client: &mut Client| assert!(client.answers().await));
    assert!(node.stop(), "{}", node.log());
    assert!(!node.socket().exists());
}

#[test]
fn a_daemon_ends_although_clients_follow_it() {
    let Some(mut node) = Node::start("daemon-end") else { return };
    let socket = node.socket();
    let begun = node.run(async |client: &mut Client| {
        let events = client.runtime.get_container_events(v1::GetEventsRequest {}).await;
        let mut events = events.expect("events").into_inner();
        tokio::spawn(async move { while let Ok(Some(_)) = events.message().await {} });
        Instant::now()
    });
    assert!(node.stop(), "{}", node.log());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(!socket.exists());
}

#[test]
fn containers_outlive_the_daemon_and_ends_are_not_lost() {
    let Some(mut node) = Node::start("daemon-restart") else { return };
    let image = node.image(BUSY, "1");
    let of = pod("survivor");
    let of = &of;
    let script = "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 42";
    let (pod, stays, ends) = node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let pod = client.run_pod(of).await.expect("run");
        let stays = client.launch(&pod, &container("stays", &image, "sleep 1000"), of).await;
        let ends = client.launch(&pod, &container("ends", &image, script), of).await;
        // It ends while nobody looks.
        client
            .exec(&ends, &["sh", "-c", "(sleep 1; touch /tmp/go) >/dev/null 2>&1 &"])
            .await
            .expect("exec");
        (pod, stays, ends)
    });
    node.kill();
    std::thread::sleep(Duration::from_millis(2500));
    node.serve();
    node.run(async |client: &mut Client| {
        let status = client.container(&ends).await.expect("status");
        assert_eq!((status.state(), status.exit_code), (v1::ContainerState::ContainerExited, 42));
        let status = client.container(&stays).await.expect("status");
        assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
        assert_eq!(client.says(&stays, &["echo", "here"]).await, "here\n");
        let network = client.pod(&pod).await.expect("pod").status.expect("status").network;
        assert!(network.expect("network").ip.starts_with("10.88."));
    });
    assert!(node.stop(), "{}", node.log());
    node.serve();
    node.run(async |client: &mut Client| {
        assert_eq!(client.says(&stays, &["echo", "still"]).await, "still\n");
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_caller_that_goes_away_stops_nothing() {
    let Some(node) = Node::start("daemon-callers") else { return };
    node.run(async |client: &mut Client| {
        let config = client.placed(&pod("impatient"));
        let mut second = client.runtime.clone();
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let given_up =
            tokio::time::timeout(Duration::from_millis(1), second.run_pod_sandbox(request.clone()));
        let first = given_up.await;
        // The same request gets the pod of the first, or its id was told in time.
        let id = match first {
            Ok(answer) => answer.expect("run").into_inner().pod_sandbox_id,
            Err(_) => {
                second.run_pod_sandbox(request).await.expect("joined").into_inner().pod_sandbox_id
            }
        };
        let list = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
        assert_eq!(list.expect("list").into_inner().items.len(), 1);
        client.remove_pod(&id).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn the_configuration_is_shown_checked_and_read_again() {
    let Some(node) = Node::start("daemon-config") else { return };
    let file = node.path("config.toml");
    let config = |what: &str| {
        Command::new(daemon())
            .arg("--config")
            .arg(&file)
            .args(["config", what])
            .output()
            .expect(what)
    };
    assert!(config("check").status.success());
    let dump = String::from_utf8(config("dump").stdout).expect("text");
    assert!(dump.contains("cgroup_driver = \"cgroupfs\""), "{dump}");
    let default = String::from_utf8(config("default").stdout).expect("text");
    assert!(default.contains("[containers]"), "{default}");

    node.write("config.d/10-level.toml", "[log]\nlevel = \"warn\"\n");
    node.hang_up();
    lab::until("the daemon reads its configuration again", Duration::from_secs(10), || {
        config("dump").status.success() && !node.log().is_empty()
    });
    node.write("config.d/20-wrong.toml", "[log]\nlevle = \"warn\"\n");
    let wrong = config("check");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        !wrong.status.success() && said.contains("levle") && said.contains("20-wrong"),
        "{said}"
    );
    node.hang_up();
    lab::until("the mistake is told", Duration::from_secs(10), || {
        node.log().contains("not reloaded")
    });
    node.run(async |client: &mut Client| assert!(client.answers().await));
}

#[test]
fn figures_are_there_for_prometheus() {
    let Some(node) = Node::start("daemon-metrics") else { return };
    let text = node.lab().node().run(|| {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9105").expect("connect");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answer");
        text
    });
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    for wanted in [
        "podloom_cri_calls_total{call=\"Version\",code=\"OK\"}",
        "podloom_cri_call_duration_seconds_bucket",
        "podloom_pods 0",
        "podloom_image_pulls_total 0",
        "# EOF",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
}
