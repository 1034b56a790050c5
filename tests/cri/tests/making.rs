//! Containers that are answered for and are still being made: by a hook of a device of the node, which
//! waits until the test lets go of it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use std::time::Duration;
use tonic::Code;

/// The device that holds a container up, and then lets it be made or fails it.
const HELD: &str = "tests.podloom/hold=well";
const FAILED: &str = "tests.podloom/hold=badly";

/// A node with these devices, on which the image is.
fn node(name: &str) -> Option<(Node, String)> {
    let mut node = Node::prepare(name)?;
    let gate = node.path("gate").display().to_string();
    let device = |name: &str, end: &str| {
        let wait = format!("while ! test -e {gate}; do sleep 0.01; done; {end}");
        serde_json::json!({"name": name, "containerEdits": {"hooks": [
            {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", wait],
             "env": ["PATH=/usr/bin:/bin"]}]}})
    };
    let devices = [device("well", "exit 0"), device("badly", "echo no such luck >&2; exit 3")];
    let file = serde_json::json!({"cdiVersion": "0.6.0", "kind": "tests.podloom/hold",
        "devices": devices});
    node.write("cdi/hold.json", &file.to_string());
    let config = std::fs::read_to_string(node.path("config.toml")).expect("configuration");
    let own = format!("[containers]\ncdi_dirs = [{:?}]\n", node.path("cdi"));
    node.write("config.toml", &config.replace("[containers]\n", &own));
    node.serve();
    let image = node.image(BUSY, "1");
    node.run(async |client: &mut Client| client.pull(&image).await);
    Some((node, image))
}

fn held(name: &str, image: &str, device: &str) -> v1::ContainerConfig {
    let mut config = container(name, image, "exit 5");
    config.cdi_devices = vec![v1::CdiDevice { name: device.to_owned() }];
    config
}

fn let_go(node: &Node) {
    node.write("gate", "");
}

/// The state of a container, and the code and reason of its end.
async fn told(client: &mut Client, id: &str) -> (v1::ContainerState, i32, String) {
    let status = client.container(id).await.expect("status");
    (status.state(), status.exit_code, status.reason)
}

#[test]
fn a_container_that_could_not_be_made_tells_it_at_its_start() {
    let Some((node, image)) = node("making-fails") else { return };
    let_go(&node);
    node.run(async |client: &mut Client| {
        let of = pod("fails");
        let pod = client.run_pod(&of).await.expect("run");
        let id = client.create(&pod, &held("main", &image, FAILED), &of).await.expect("answered");
        let created = v1::ContainerState::ContainerCreated;
        assert_eq!(told(client, &id).await, (created, 0, String::new()));
        let refused = client.start(&id).await.expect_err("its hook failed");
        assert!(refused.message().contains("no such luck"), "{}", refused.message());
        assert_eq!(refused.code(), Code::Internal);
        let status = client.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.contains("no such luck"), "{}", status.message);
        assert!(status.finished_at > 0);
        client.remove(&id).await.expect("remove");
        // What can be found without making it is told by its creation.
        let mut wrong = container("wrong", &image, "true");
        wrong.working_dir = "relative".to_owned();
        let refused = client.create(&pod, &wrong, &of).await.expect_err("a relative directory");
        assert_eq!(refused.code(), Code::InvalidArgument, "{}", refused.message());
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_killed_daemon_leaves_the_making_to_the_next() {
    let Some((mut node, image)) = node("making-killed") else { return };
    let of = pod("killed");
    let (pod, ids) = node.run(async |client: &mut Client| {
        let pod = client.run_pod(&of).await.expect("run");
        let mut ids = Vec::new();
        for (name, device) in [("runs", HELD), ("goes", HELD), ("fails", FAILED)] {
            let made = client.create(&pod, &held(name, &image, device), &of).await;
            ids.push(made.expect("answered"));
        }
        (pod, ids)
    });
    node.kill();
    node.serve();
    let way = node.way();
    let starting = {
        let id = ids[0].clone();
        std::thread::spawn(move || way.run(async |client: &mut Client| client.start(&id).await))
    };
    std::thread::sleep(Duration::from_millis(300));
    assert!(!starting.is_finished(), "it waits for the hook");
    let_go(&node);
    starting.join().expect("no panic").expect("started");
    node.run(async |client: &mut Client| {
        assert_eq!(client.ended(&ids[0]).await.exit_code, 5);
        client.remove(&ids[1]).await.expect("remove");
        assert_eq!(client.container(&ids[1]).await.expect_err("gone").code(), Code::NotFound);
        let refused = client.start(&ids[2]).await.expect_err("its hook failed");
        assert!(refused.message().contains("no such luck"), "{}", refused.message());
        assert_eq!(client.ended(&ids[2]).await.reason, "StartError");
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn a_pod_is_removed_with_what_is_being_made_in_it() {
    let Some((node, image)) = node("making-removed") else { return };
    let of = pod("removed");
    let pod = node.run(async |client: &mut Client| {
        let pod = client.run_pod(&of).await.expect("run");
        client.create(&pod, &held("main", &image, HELD), &of).await.expect("answered");
        pod
    });
    let way = node.way();
    let removing = std::thread::spawn(move || {
        way.run(async |client: &mut Client| client.remove_pod(&pod).await)
    });
    std::thread::sleep(Duration::from_millis(300));
    let_go(&node);
    removing.join().expect("no panic").expect("removed");
    assert_eq!(node.leftovers(), Vec::<String>::new());
}
