//! Containers whose creation was answered, and whose process is still being made.

use crate::stage::{BOX, SOON, Stage, assert_kind, busybox, node_dir, script, waiting};
use container::{Adjusted, Attach, Hooks, Kind, Peer, Update};
use cri_api::v1::{ContainerState, LinuxContainerResources, Mount};
use runtime_spec::Spec;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Containers are made by a hook that waits until the test lets go of them, and then succeeds or, for
/// those named `fails`, does not.
#[derive(Debug)]
struct Slow(PathBuf);

impl Hooks for Slow {
    fn create<'a>(&'a self, peer: Peer<'a>, mut spec: Spec) -> container::Future<'a, Adjusted> {
        let gate = self.0.join(&peer.container.metadata().name);
        let gate = gate.display();
        let end = if peer.container.metadata().name == "fails" { "no such luck" } else { "" };
        let wait = format!(
            "touch {gate}.begun; while ! test -e {gate}; do sleep 0.01; done
            test -z '{end}' || {{ echo {end} >&2; exit 3; }}"
        );
        let hook = runtime_spec::Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", &wait].map(str::to_owned).to_vec(),
            env: vec!["PATH=/usr/bin:/bin".to_owned()],
            timeout: Some(60),
        };
        spec.hooks.get_or_insert_default().create_runtime.push(hook);
        Box::pin(async move { Ok(Adjusted { spec, resources: None }) })
    }

    fn update<'a>(
        &'a self,
        _: Peer<'a>,
        resources: LinuxContainerResources,
    ) -> container::Future<'a, LinuxContainerResources> {
        Box::pin(async move { Ok(resources) })
    }
}

/// A node whose containers wait for [`let_go`].
fn slow(name: &str) -> (Stage, PathBuf) {
    let mut stage = Stage::new(name);
    let gates = node_dir(&stage, "gates");
    stage.settings.hooks = Arc::new(Slow(gates.clone()));
    (stage, gates)
}

fn let_go(gates: &std::path::Path, name: &str) {
    std::fs::write(gates.join(name), "").expect("a gate");
}

/// Whether the work is still not done after a while.
async fn waits(work: &mut (impl Future + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(100), work).await.is_err()
}

#[test]
fn what_needs_the_process_waits_for_it() {
    let (stage, gates) = slow("c-making");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("making").await;
        let begun = Instant::now();
        let id = node.containers.create(&pod, waiting("c"), None).await.expect("answered");
        assert!(begun.elapsed() < SOON && !gates.join("c").exists());
        let container = node.containers.get(&id).expect("it is listed");
        let status = container.status();
        assert_eq!((status.state, status.pid), (ContainerState::ContainerCreated, 0));
        assert_kind(node.containers.create(&pod, waiting("c"), None).await, Kind::AlreadyExists);
        let resources = LinuxContainerResources { cpu_shares: 77, ..Default::default() };
        let update = Update { resources: Some(resources), ..Default::default() };
        let wanted = Attach { stdin: false, stdout: true, stderr: true };
        let mut updating = Box::pin(node.containers.update(&id, update));
        let mut attaching = Box::pin(node.containers.attach(&id, wanted));
        assert!(waits(&mut updating).await && waits(&mut attaching).await);
        let mut starting = Box::pin(node.containers.start(&id));
        assert!(waits(&mut starting).await);
        let_go(&gates, "c");
        updating.await.expect("updated");
        drop(attaching.await.expect("attached"));
        starting.await.expect("started");
        let status = container.status();
        assert_eq!(status.state, ContainerState::ContainerRunning);
        assert!(status.pid > 0 && status.resources.expect("resources").cpu_shares == 77);
        node.ready(&id).await;
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn one_that_is_being_made_is_stopped_and_removed() {
    let (stage, gates) = slow("c-unmade");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("unmade").await;
        let create = |name: &'static str| node.containers.create(&pod, waiting(name), None);
        let stopped = create("stopped").await.expect("answered");
        let removed = create("removed").await.expect("answered");
        let with_pod = create("with-pod").await.expect("answered");
        let mut stopping = Box::pin(node.containers.stop(&stopped, Duration::from_secs(10)));
        let mut removing = Box::pin(node.containers.remove(&removed));
        assert!(waits(&mut stopping).await && waits(&mut removing).await);
        let_go(&gates, "stopped");
        stopping.await.expect("stopped");
        let status = node.containers.get(&stopped).expect("it is there").status();
        assert_eq!((status.state, status.exit_code), (ContainerState::ContainerExited, 137));
        assert_eq!(status.started_at, 0);
        assert_kind(node.containers.start(&stopped).await, Kind::Precondition);
        let_go(&gates, "removed");
        removing.await.expect("removed");
        assert_kind(node.containers.get(&removed).map(drop), Kind::NotFound);
        create("removed").await.expect("the name is free");
        let mut ending = Box::pin(node.remove(&pod));
        assert!(waits(&mut ending).await);
        let_go(&gates, "with-pod");
        ending.await;
        assert_kind(node.containers.get(&with_pod).map(drop), Kind::NotFound);
    });
    stage.assert_clean();
}

#[test]
fn the_start_tells_why_it_was_not_made() {
    let (stage, gates) = slow("c-fails");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("fails").await;
        let id = node.containers.create(&pod, waiting("fails"), None).await.expect("answered");
        let_go(&gates, "fails");
        let container = node.containers.get(&id).expect("it is listed");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(container.state(), ContainerState::ContainerCreated, "nobody started it yet");
        let wanted = Attach { stdin: false, stdout: true, stderr: false };
        assert!(node.containers.attach(&id, wanted).await.is_err());
        let e = node.containers.start(&id).await.expect_err("its hook failed");
        assert!(e.to_string().contains("no such luck"), "{e}");
        let status = container.status();
        assert_eq!(status.state, ContainerState::ContainerExited);
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.contains("no such luck"), "{status:?}");
        assert!(status.finished_at > 0 && status.started_at == 0 && status.pid == 0);
        assert_kind(node.containers.start(&id).await, Kind::Precondition);
        node.containers.stop(&id, Duration::ZERO).await.expect("stop");
        node.containers.remove(&id).await.expect("remove");
        // One that is never started is stopped with the same reason.
        let id = node.containers.create(&pod, waiting("fails"), None).await.expect("answered");
        node.containers.stop(&id, Duration::from_secs(10)).await.expect("stop");
        assert_eq!(node.ended(&id).await, (128, "StartError".to_owned()));
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn what_only_the_kernel_refuses_is_told_at_the_start() {
    let stage = Stage::new("c-kernel");
    let dir = node_dir(&stage, "dir");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("kernel").await;
        let mut over_a_file = script("c", "true");
        over_a_file.mounts.push(Mount {
            container_path: "/etc/passwd".to_owned(),
            host_path: dir.display().to_string(),
            ..Mount::default()
        });
        let id = node.containers.create(&pod, over_a_file, None).await.expect("answered");
        let e = node.containers.start(&id).await.expect_err("a directory over a file");
        assert!(e.to_string().contains("/etc/passwd"), "{e}");
        assert_eq!(node.ended(&id).await, (128, "StartError".to_owned()));
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

/// The daemon ends in the middle of it.
#[test]
fn the_next_process_goes_on_with_it() {
    let (stage, gates) = slow("c-goes-on");
    let (pod, [joins, over, fails]) = stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("goes-on").await;
        let create = |name: &'static str| node.containers.create(&pod, waiting(name), None);
        let joins = create("joins").await.expect("answered");
        let over = create("over").await.expect("answered");
        let fails = create("fails").await.expect("answered");
        for name in ["joins.begun", "over.begun", "fails.begun"] {
            lab::until(name, SOON, || gates.join(name).exists());
        }
        (pod, [joins, over, fails])
    });
    // Made, and failed, while nobody looks.
    let_go(&gates, "over");
    let_go(&gates, "fails");
    std::thread::sleep(Duration::from_millis(500));
    stage.run(async {
        let (node, recovered) = stage.open_with(&[(BOX, &busybox(&json!({})))]).await;
        assert!(recovered.errors.is_empty(), "{:?}", recovered.errors);
        assert_eq!((recovered.running.len(), recovered.undone.len()), (3, 0));
        for id in [&joins, &over, &fails] {
            let state = node.containers.get(id).expect("it is there").state();
            assert_eq!(state, ContainerState::ContainerCreated);
        }
        node.containers.start(&over).await.expect("it was made");
        node.ready(&over).await;
        let mut starting = Box::pin(node.containers.start(&joins));
        assert!(waits(&mut starting).await);
        let_go(&gates, "joins");
        starting.await.expect("started");
        node.ready(&joins).await;
        let e = node.containers.start(&fails).await.expect_err("its hook failed once more");
        assert!(e.to_string().contains("no such luck"), "{e}");
        assert_eq!(node.ended(&fails).await, (128, "StartError".to_owned()));
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn a_shim_that_is_killed_in_the_middle_of_it_is_told() {
    let (stage, gates) = slow("c-shim-dies");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("shim-dies").await;
        let id = node.containers.create(&pod, waiting("c"), None).await.expect("answered");
        lab::until("it is begun", SOON, || gates.join("c.begun").exists());
        let shim = node.pods.get(&pod).expect("pod").shim().expect("shim").about().pid;
        let mut starting = Box::pin(node.containers.start(&id));
        assert!(waits(&mut starting).await);
        let pid = rustix::process::Pid::from_raw(shim).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
        assert!(starting.await.is_err());
        assert_eq!(node.ended(&id).await, (137, "ShimLost".to_owned()));
        let_go(&gates, "c");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
