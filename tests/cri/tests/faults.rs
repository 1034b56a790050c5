//! Plugins that hang, fail and lie, a registry that stalls, a mount whose server is gone: each
//! concerns its own pod or image, which the message names, and the rest of the node goes on.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

#[path = "faults/dead.rs"]
mod dead;

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use dead::Dead;
use images::{Fault, Image, Layer, Packing, Proxy, Style};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tonic::Code;

/// How long what has nothing to do with a fault may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(8);

/// How long the node's status may take, whatever hangs.
const STATUS: Duration = Duration::from_millis(2500);

/// The last plugin of the chain: it does what the pod's name says.
const ODD: &str = r#"#!/bin/sh
cat > /dev/null
case "$CNI_COMMAND:$CNI_ARGS" in
    ADD:*K8S_POD_NAME=hangs*) exec sleep 100 ;;
    ADD:*K8S_POD_NAME=fails*) echo '{"code":100,"msg":"not today"}'; exit 1 ;;
    ADD:*K8S_POD_NAME=lies*) echo rubbish ;;
    ADD:*) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.88.0.9/16"}]}' ;;
    STATUS:*) [ ! -e HANG ] || exec sleep 100 ;;
esac
"#;

/// A node whose network ends with the odd plugin, which may take three seconds.
fn odd_node() -> Option<Node> {
    let mut node = Node::prepare("faults-plugins")?;
    let text = ODD.replace("HANG", &node.path("hang").display().to_string());
    node.write("bin/odd", &text);
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(node.path("bin/odd"), executable).expect("mode");
    let list = std::fs::read_to_string(node.path("conf/10-podnet.conflist")).expect("list");
    let mut list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    list["plugins"].as_array_mut().expect("plugins").push(json!({"type": "odd"}));
    node.write("conf/10-podnet.conflist", &list.to_string());
    let (ours, own) = (lab::Bins::ours(), node.path("bin"));
    let dirs = format!("plugin_dirs = [{:?}, {:?}]\n", ours.dir(), own);
    node.write("config.d/10-odd.toml", &format!("[network]\ncall_timeout = \"3s\"\n{dirs}"));
    node.serve();
    Some(node)
}

async fn conditions(client: &mut Client) -> [v1::RuntimeCondition; 2] {
    let begun = Instant::now();
    let answer = client.runtime.status(v1::StatusRequest { verbose: false }).await;
    let status = answer.expect("status").into_inner().status.expect("status");
    let took = begun.elapsed();
    assert!(took < STATUS, "the status came after {took:?}");
    let of = |kind: &str| status.conditions.iter().find(|one| one.r#type == kind).cloned();
    ["RuntimeReady", "NetworkReady"].map(|kind| of(kind).expect(kind))
}

/// A pod with a container comes and goes, at once.
async fn a_life(client: &mut Client, name: &str, image: &str) {
    let begun = Instant::now();
    let of = pod(name);
    let id = client.run_pod(&of).await.expect(name);
    let made = client.launch(&id, &container("main", image, "exit 5"), &of).await;
    assert_eq!(client.ended(&made).await.exit_code, 5);
    client.remove_pod(&id).await.expect(name);
    assert!(begun.elapsed() < AT_ONCE, "{name}: {:?}", begun.elapsed());
}

#[test]
fn a_plugin_that_hangs_fails_or_lies_concerns_its_pod_alone() {
    let Some(node) = odd_node() else { return };
    let image = node.image(BUSY, "1");
    let way = node.way();
    node.run(async |client: &mut Client| {
        client.pull(&image).await;
        conditions(client).await;
        let mut other = way.client();
        let slow = tokio::spawn(async move { other.run_pod(&pod("hangs")).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let [runtime, network] = conditions(client).await;
        assert!(runtime.status && network.status, "{runtime:?} {network:?}");
        a_life(client, "healthy", &image).await;
        let hung = slow.await.expect("task").expect_err("it hangs");
        assert_eq!(hung.code(), Code::DeadlineExceeded, "{}", hung.message());
        for part in ["tests/hangs", "odd", "ADD", "podnet"] {
            assert!(hung.message().contains(part), "{part}: {}", hung.message());
        }
        for (name, says) in [("fails", "not today"), ("lies", "rubbish")] {
            let refused = client.run_pod(&pod(name)).await.expect_err(name);
            for part in [&format!("tests/{name}"), "odd", says] {
                assert!(refused.message().contains(part), "{part}: {}", refused.message());
            }
        }
        a_life(client, "healthy", &image).await;
        let pods = client.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await;
        assert_eq!(pods.expect("pods").into_inner().items, [], "what failed is undone");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_status_that_hangs_is_not_waited_for() {
    let Some(node) = odd_node() else { return };
    node.run(async |client: &mut Client| {
        let [runtime, network] = conditions(client).await;
        assert!(runtime.status && network.status, "{runtime:?} {network:?}");
        node.write("hang", "");
        let begun = Instant::now();
        // The earlier answer is believed for a while; none of the calls waits.
        let told = loop {
            let [runtime, network] = conditions(client).await;
            assert!(runtime.status, "{runtime:?}");
            if !network.status {
                break network;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "still ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(told.message.contains("podnet") && told.message.contains("STATUS"), "{told:?}");
        std::fs::remove_file(node.path("hang")).expect("flag");
        let begun = Instant::now();
        while !conditions(client).await[1].status {
            assert!(begun.elapsed() < Duration::from_secs(15), "ready again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

/// An image whose one layer is so large, and cannot be made smaller.
fn large(bytes: usize) -> Image {
    let mut chance = cri_tests::Chance::of(7);
    let noise: Vec<u8> = std::iter::repeat_with(|| chance.below(256))
        .map(|number| u8::try_from(number).expect("a byte"))
        .take(bytes)
        .collect();
    let layer = Layer::new().file("noise", &noise);
    Image::with(vec![(layer, Packing::Gzip)], Style::Oci, &json!({"config": {}}))
}

#[test]
fn a_registry_that_stalls_holds_up_its_image_alone() {
    let Some(mut node) = Node::prepare("faults-registry") else { return };
    node.push("test/large", "1", &large(2 << 20));
    let proxy = node.lab().node().run(|| Proxy::start(node.registry().plain_port));
    let host = format!("127.0.0.1:{}", proxy.port);
    node.write(&format!("certs.d/{host}/hosts.toml"), &format!("server = \"http://{host}\"\n"));
    node.write("config.d/10-stall.toml", "[images]\nstall_timeout = \"1s\"\n");
    node.serve();
    let (stalled, image) = (format!("{host}/test/large:1"), node.image(BUSY, "1"));
    let way = node.way();
    proxy.set(Fault::Stall(600_000), usize::MAX);
    node.run(async |client: &mut Client| {
        let request = |name: &str| v1::PullImageRequest {
            image: Some(v1::ImageSpec { image: name.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        let (mut other, wanted) = (way.client(), request(&stalled));
        let pulling = tokio::spawn(async move { other.images.pull_image(wanted).await });
        while proxy.faults() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        client.pull(&image).await;
        conditions(client).await;
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        a_life(client, "healthy", &image).await;
        // Each connection stalls, and the next one goes on where it was.
        pulling.await.expect("task").expect("it comes in pieces");
        assert!(proxy.faults() > 1, "{} connections stalled", proxy.faults());
        proxy.set(Fault::Cut(0), usize::MAX);
        let absent = format!("{host}/test/absent:1");
        let refused = client.images.pull_image(request(&absent)).await.expect_err("no answer");
        assert_eq!(refused.code(), Code::Unavailable, "{}", refused.message());
        assert!(refused.message().contains(&host), "{}", refused.message());
    });
}

#[test]
fn a_dead_mount_concerns_its_container_alone() {
    let Some(mut node) = Node::prepare("faults-mount") else { return };
    let place = node.path("volume");
    std::fs::create_dir_all(&place).expect("directory");
    let Some(dead) = Dead::mount(&place) else { return };
    node.serve();
    let image = node.image(BUSY, "1");
    let way = node.way();
    let with = |name: &str, script: &str| {
        let mut config = container(name, &image, script);
        config.mounts.push(v1::Mount {
            container_path: "/volume".to_owned(),
            host_path: place.display().to_string(),
            ..Default::default()
        });
        config
    };
    let [of, other] = [pod("user"), pod("late")];
    let (user, reads) = node.run(async |client: &mut Client| {
        client.pull(&image).await;
        let user = client.run_pod(&of).await.expect("run");
        let script = "while true; do cat /volume/file; sleep 0.05; done";
        let reads = client.launch(&user, &with("reads", script), &of).await;
        assert_eq!(client.says(&reads, &["cat", "/volume/file"]).await, "alive\n");
        (user, reads)
    });
    dead.die();
    node.run(async |client: &mut Client| {
        let late = client.run_pod(&other).await.expect("run");
        let (mut asked, config, id, of) =
            (way.client(), with("c", "true"), late.clone(), other.clone());
        let waiting = tokio::spawn(async move { asked.create(&id, &config, &of).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        conditions(client).await;
        a_life(client, "healthy", &image).await;
        let stats = client.runtime.list_container_stats(v1::ListContainerStatsRequest::default());
        tokio::time::timeout(AT_ONCE, stats).await.expect("in time").expect("stats");
        let refused = waiting.await.expect("task").expect_err("no answer of the mount");
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{}", refused.message());
        let path = place.display().to_string();
        assert!(refused.message().contains(&path), "{}", refused.message());
        client.remove_pod(&late).await.expect("remove");
    });
    // Nor does it hold up a start.
    node.kill();
    let begun = Instant::now();
    node.serve();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    node.run(async |client: &mut Client| {
        // What waits in the kernel for the server cannot be killed: that is told, of this one.
        let stuck = client.stop(&reads, 1).await.expect_err("a process hangs in the kernel");
        assert_eq!(stuck.code(), Code::DeadlineExceeded, "{}", stuck.message());
        assert!(stuck.message().contains("reads"), "{}", stuck.message());
        a_life(client, "healthy", &image).await;
        dead.revive();
        client.stop(&reads, 0).await.expect("stop");
        assert_eq!(client.container(&reads).await.expect("status").exit_code, 137);
        client.remove_pod(&user).await.expect("remove");
    });
    drop(dead);
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
