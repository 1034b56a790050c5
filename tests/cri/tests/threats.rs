//! Attacks by who may talk to the CRI's socket, by who runs in a container, and by images. What each
//! of them is named after, and where the others are tested, is in `docs/threats.md`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

#[path = "streams/channels.rs"]
mod channels;

use channels::{Channels, RESIZE, STDIN, STDOUT};
use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, host_network, pod};
use images::{Image, Layer, Packing, Style};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::Code;

/// A node, and the image with busybox on it.
fn node(name: &str) -> Option<(Node, String)> {
    let node = Node::start(name)?;
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| client.pull(&image).await);
    Some((node, image))
}

async fn reopen(client: &mut Client, id: &str) -> Result<(), tonic::Status> {
    let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
    client.runtime.reopen_container_log(request).await.map(drop)
}

#[test]
fn a_log_that_its_container_replaced_is_not_followed() {
    let Some((node, image)) = node("threats-log") else { return };
    node.write("secret", "of the node\n");
    node.run(async |client: &mut Client| {
        let of = client.placed(&pod("log"));
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container("main", &image, "while true; do echo tick; sleep 0.05; done");
        config.mounts.push(v1::Mount {
            container_path: "/logs".to_owned(),
            host_path: of.log_directory.clone(),
            ..Default::default()
        });
        let id = client.launch(&pod, &config, &of).await;
        let secret = node.path("secret");
        let link = format!("rm /logs/main.log; ln -s {} /logs/main.log", secret.display());
        client.says(&id, &["sh", "-c", &link]).await;
        let refused = reopen(client, &id).await.expect_err("a link");
        assert!(refused.message().contains("main.log"), "{}", refused.message());
        client.says(&id, &["sh", "-c", "rm /logs/main.log; mkfifo /logs/main.log"]).await;
        let begun = Instant::now();
        let refused = reopen(client, &id).await.expect_err("a pipe that nobody reads");
        assert!(begun.elapsed() < Duration::from_secs(5), "{refused}");
        client.says(&id, &["rm", "/logs/main.log"]).await;
        reopen(client, &id).await.expect("a file of its own");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(fs::read_to_string(&secret).expect("secret"), "of the node\n");
        let log = fs::read_to_string(Path::new(&of.log_directory).join("main.log")).expect("log");
        assert!(log.contains("tick"), "{log}");
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn logs_do_not_leave_their_directory() {
    let Some((node, image)) = node("threats-paths") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("paths");
        let pod = client.run_pod(&of).await.expect("run");
        for path in ["../main.log", "/etc/main.log", "a/../../main.log", "a\0b", ".."] {
            let mut config = container("main", &image, "true");
            config.log_path = path.to_owned();
            let refused = client.create(&pod, &config, &of).await.expect_err(path);
            assert_eq!(refused.code(), Code::InvalidArgument, "{path:?}: {}", refused.message());
        }
        for dir in ["logs", "/var/log/../../etc", "/a\nb"] {
            let mut config = cri_tests::pod("dir");
            config.log_directory = dir.to_owned();
            assert_eq!(client.run_pod_raw(config).await.code(), Code::InvalidArgument, "{dir:?}");
        }
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

async fn exec_url(client: &mut Client, id: &str, (script, tty): (&str, bool)) -> String {
    let request = v1::ExecRequest {
        container_id: id.to_owned(),
        cmd: ["sh", "-c", script].map(str::to_owned).into(),
        tty,
        stdin: true,
        stdout: true,
        stderr: false,
    };
    client.runtime.exec(request).await.expect("exec").into_inner().url
}

#[test]
fn a_url_is_of_use_once_and_on_this_machine_alone() {
    let Some((node, image)) = node("threats-url") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("url");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let url = exec_url(client, &id, ("echo once", false)).await;
        let told = Channels::connect(&url).await.expect("streams").rest().await;
        assert_eq!(told.text(STDOUT), "once\n");
        assert!(Channels::connect(&url).await.is_err(), "a second time");
        let other = exec_url(client, &id, ("echo other", false)).await;
        let wrong = other.replace("/exec/", "/attach/");
        assert!(Channels::connect(&wrong).await.is_err(), "another verb");
        let (start, token) = other.rsplit_once('/').expect("a token");
        let guessed = format!("{start}/{}", token.chars().rev().collect::<String>());
        assert!(Channels::connect(&guessed).await.is_err(), "a guessed token");
        // Neither the node's other addresses nor a pod reach the server.
        let port = url.trim_start_matches("http://127.0.0.1:").split('/').next().expect("port");
        let port: u16 = port.parse().expect("a port");
        assert!(TcpStream::connect(("10.88.0.1", port)).is_err(), "the node's other address");
        let reach = client.exec(&id, &["nc", "-w", "2", "10.88.0.1", &port.to_string()]).await;
        assert_ne!(reach.expect("exec").exit_code, 0, "from the pod");
        client.remove_pod(&pod).await.expect("remove");
    });
}

/// Descriptors and threads of the daemon.
fn held(node: &Node) -> (usize, usize) {
    let count = |dir: &str| lab::names(Path::new(&format!("/proc/{}/{dir}", node.pid()))).len();
    (count("fd"), count("task"))
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let Some((node, image)) = node("threats-leaks") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("leaks");
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container("main", &image, "while true; do echo tick; sleep 0.01; done");
        config.stdin = true;
        let id = client.launch(&pod, &config, &of).await;
        let round = async |client: &mut Client| {
            let request = v1::AttachRequest {
                container_id: id.clone(),
                stdin: true,
                stdout: true,
                ..Default::default()
            };
            let url = client.runtime.attach(request).await.expect("attach").into_inner().url;
            // Gone without a word.
            drop(Channels::connect(&url).await.expect("streams"));
            let url = exec_url(client, &id, ("exec sleep 1000", false)).await;
            drop(Channels::connect(&url).await.expect("streams"));
        };
        round(client).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let shim = lab::shims(node.lab().root())[0];
        let of_shim = || lab::names(Path::new(&format!("/proc/{shim}/fd"))).len();
        let (before, shims) = (held(&node), of_shim());
        for _ in 0..150 {
            round(client).await;
        }
        let begun = Instant::now();
        loop {
            let (after, shim) = (held(&node), of_shim());
            let left = client.says(&id, &["ps"]).await.matches("sleep 1000").count();
            if after.0 <= before.0 + 8 && shim <= shims + 4 && left == 0 {
                assert!(after.1 <= before.1 + 16, "threads: {before:?}, {after:?}");
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{before:?} {shims}, {after:?} {shim}, {left} commands"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn a_flood_of_sizes_holds_nothing_up() {
    let Some((node, image)) = node("threats-resize") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("resize");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        let url = exec_url(client, &id, ("read line; stty size; echo got $line", true)).await;
        let mut streams = Channels::connect(&url).await.expect("streams");
        let before = held(&node);
        let begun = Instant::now();
        for number in 1..=20_000 {
            let size = format!("{{\"Width\":{},\"Height\":10}}", 1 + number % 200);
            streams.send(RESIZE, size.as_bytes()).await;
        }
        streams.send(RESIZE, br#"{"Width":91,"Height":37}"#).await;
        let after = held(&node);
        assert!(after.0 <= before.0 + 4 && after.1 <= before.1 + 16, "{before:?}, {after:?}");
        assert!(client.answers().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
        streams.send(STDIN, b"x\n").await;
        let shown = streams.rest().await.text(STDOUT);
        assert!(shown.contains("37 91"), "the last one counts: {shown}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        client.remove_pod(&pod).await.expect("remove");
    });
}

/// The configuration that a container was made from.
async fn spec_of(client: &mut Client, id: &str) -> Value {
    let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let info = client.runtime.container_status(request).await.expect("status").into_inner().info;
    let info: Value = serde_json::from_str(&info["info"]).expect("JSON");
    info["runtimeSpec"].clone()
}

#[test]
fn annotations_and_labels_turn_no_knobs_of_the_runtime() {
    let Some(node) = Node::start("threats-knobs") else { return };
    // An image that would be somebody's sandbox, and would name devices and hooks.
    let labels = json!({"io.kubernetes.cri.sandbox-id": "other", "io.kubernetes.cri-o.Labels": "{}",
        "cdi.k8s.io/x": "vendor.com/gpu=0", "org.systemd.property.ExecStartPre": "x"});
    let program =
        fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox")).expect("busybox");
    let layer =
        Layer::new().file_of_mode("bin/busybox", 0o755, &program).symlink("bin/sh", "busybox");
    let config = json!({"config": {"Labels": labels, "Env": ["PATH=/bin"]}});
    let image = Image::with(vec![(layer, Packing::Gzip)], Style::Oci, &config);
    node.push("test/labels", "1", &image);
    let image = node.image("test/labels", "1");
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let mut of = pod("knobs");
        let knobs = [
            ("org.systemd.property.ExecStartPre", "'/bin/sh -c reboot'"),
            ("run.oci.handler", "krun"),
            ("run.oci.hooks.stderr", "/etc/passwd"),
            ("io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel", "true"),
            ("io.katacontainers.config.hypervisor.path", "/bin/sh"),
            ("io.kubernetes.cri.sandbox-id", "other"),
        ];
        let knobs = knobs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        of.annotations.extend(knobs.clone());
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container("main", &image, "while true; do :; done");
        config.annotations.extend(knobs.clone());
        let id = client.create(&pod, &config, &of).await.expect("create");
        let spec = spec_of(client, &id).await;
        let told = spec["annotations"].as_object().expect("annotations");
        for (key, value) in &knobs[..5] {
            assert!(!told.contains_key(key), "{key}: {value}");
        }
        assert_eq!(told["io.kubernetes.cri.sandbox-id"], pod.as_str(), "its own word counts");
        assert!(!told.contains_key("cdi.k8s.io/x"), "{told:?}");
        let names: Vec<_> = spec["linux"]["devices"].as_array().into_iter().flatten().collect();
        assert!(names.is_empty(), "{names:?}");
        client.remove_pod(&pod).await.expect("remove");
    });
}

#[test]
fn added_processes_are_confined_as_their_container_is() {
    let Some((node, image)) = node("threats-exec") else { return };
    node.run(async |client: &mut Client| {
        let mut of = pod("confined");
        let range = || vec![v1::IdMapping { host_id: 200_000, container_id: 0, length: 65_536 }];
        let options = of.linux.get_or_insert_default().security_context.get_or_insert_default();
        options.namespace_options.get_or_insert_default().userns_options =
            Some(v1::UserNamespace {
                mode: v1::NamespaceMode::Pod as i32,
                uids: range(),
                gids: range(),
            });
        let pod = client.run_pod(&of).await.expect("run");
        let mut config = container(
            "main",
            &image,
            "cat /proc/self/status /proc/self/uid_map > /dev/shm/own; exec sleep 1000",
        );
        config.linux.get_or_insert_default().security_context =
            Some(v1::LinuxContainerSecurityContext {
                namespace_options: options_of(&of),
                no_new_privs: true,
                seccomp: Some(v1::SecurityProfile::default()),
                masked_paths: vec!["/proc/keys".to_owned()],
                readonly_paths: vec!["/proc/sys".to_owned()],
                ..Default::default()
            });
        let id = client.launch(&pod, &config, &of).await;
        let kept = ["Uid:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"];
        let pick = |text: &str| -> Vec<String> {
            let of_rights = |line: &&str| {
                kept.iter().any(|name| line.starts_with(name)) || line.contains("200000")
            };
            text.lines().filter(of_rights).map(str::to_owned).collect()
        };
        let begun = Instant::now();
        while pick(&client.says(&id, &["cat", "/dev/shm/own"]).await).len() < 8 {
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        let own = pick(&client.says(&id, &["cat", "/dev/shm/own"]).await);
        let added = client.says(&id, &["cat", "/proc/self/status", "/proc/self/uid_map"]).await;
        assert_eq!(own, pick(&added));
        for line in ["CapInh:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(own.iter().any(|own| own == line), "{line}: {own:?}");
        }
        assert_eq!(client.says(&id, &["sh", "-c", "wc -c < /proc/keys"]).await.trim(), "0");
        let write = ["sh", "-c", "echo 1 > /proc/sys/kernel/printk"];
        assert_ne!(client.exec(&id, &write).await.expect("exec").exit_code, 0);
        client.remove_pod(&pod).await.expect("remove");
    });
}

fn options_of(of: &v1::PodSandboxConfig) -> Option<v1::NamespaceOption> {
    of.linux.as_ref()?.security_context.as_ref()?.namespace_options.clone()
}

#[test]
fn no_socket_is_reached_from_a_pod_on_the_nodes_network() {
    let Some((node, image)) = node("threats-sockets") else { return };
    node.run(async |client: &mut Client| {
        let of = host_network(pod("sockets"));
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.launch(&pod, &container("main", &image, "sleep 1000"), &of).await;
        // Abstract sockets are of the network namespace, which this pod shares with the daemon.
        let all = client.says(&id, &["cat", "/proc/net/unix"]).await;
        let named =
            |line: &&str| line.split_whitespace().nth(7).is_some_and(|n| n.starts_with('@'));
        let theirs: Vec<_> = all.lines().filter(named).collect();
        assert!(theirs.is_empty(), "{theirs:?}");
        // Listed by the name that it was bound by.
        assert!(all.contains("/state/podloom.new-"), "the daemon is in this namespace: {all}");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&node.socket()), 0o660);
        let run = node.path("state/sandboxes").join(&pod);
        for dir in [node.path("state/sandboxes"), run.clone(), node.path("state/containers")] {
            assert_eq!(mode(&dir) & 0o077, 0, "{}", dir.display());
        }
        assert_eq!(mode(&run.join("shim.sock")) & 0o077, 0);
        client.remove_pod(&pod).await.expect("remove");
    });
}

/// A request whose text is no text.
#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
}

#[test]
fn messages_that_are_too_large_or_no_messages_are_refused() {
    let Some((mut node, image)) = node("threats-grpc") else { return };
    node.run(async |client: &mut Client| {
        let of = pod("grpc");
        let pod = client.run_pod(&of).await.expect("run");
        // A megabyte of label is kept, 17 are not taken.
        let mut config = container("large", &image, "true");
        config.labels.insert("large".to_owned(), "x".repeat(1 << 20));
        let id = client.create(&pod, &config, &of).await.expect("a megabyte");
        assert_eq!(client.container(&id).await.expect("status").labels["large"].len(), 1 << 20);
        let runtime = client.runtime.clone().max_encoding_message_size(64 << 20);
        let mut request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.clone(),
            config: Some(container("huge", &image, "true")),
            sandbox_config: None,
        };
        let labels = &mut request.config.get_or_insert_default().labels;
        labels.insert("huge".to_owned(), "x".repeat(17 << 20));
        let refused = runtime.clone().create_container(request).await.expect_err("17 MB");
        assert!(
            matches!(refused.code(), Code::ResourceExhausted | Code::OutOfRange),
            "{refused:?}"
        );
        client.remove_pod(&pod).await.expect("remove");
    });
    no_text(&node);
    assert!(node.stop(), "{}", node.log());
}

/// Text that is none, in a request.
fn no_text(node: &Node) {
    let way = node.way();
    node.run(async |client: &mut Client| {
        let channel = way.channel();
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.expect("ready");
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(
            "/runtime.v1.RuntimeService/PodSandboxStatus",
        );
        let codec = tonic_prost::ProstCodec::<Raw, v1::PodSandboxStatusResponse>::default();
        let request = tonic::Request::new(Raw { bytes: vec![0xff, 0xfe, 0x00, 0x80] });
        let refused = grpc.unary(request, path, codec).await.expect_err("no text");
        assert!(matches!(refused.code(), Code::Internal | Code::InvalidArgument), "{refused:?}");
        assert!(client.answers().await);
    });
}

#[test]
fn streams_without_an_end_leave_room_for_other_clients() {
    let Some(node) = Node::start("threats-streams") else { return };
    let way = node.way();
    node.run(async |client: &mut Client| {
        let mut followers = tokio::task::JoinSet::new();
        let greedy = way.client();
        for _ in 0..1000 {
            let mut runtime = greedy.runtime.clone();
            followers.spawn(async move {
                let events = runtime.get_container_events(v1::GetEventsRequest {}).await;
                if let Ok(events) = events {
                    let mut events = events.into_inner();
                    while let Ok(Some(_)) = events.message().await {}
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        assert!(client.answers().await);
        let id = client.run_pod(&pod("other")).await.expect("run");
        client.remove_pod(&id).await.expect("remove");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        followers.shutdown().await;
    });
}
