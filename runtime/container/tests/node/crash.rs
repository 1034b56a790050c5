//! Daemons that end, shims that are killed, requests that repeat.

use crate::stage::{BOX, SOON, Stage, assert_kind, busybox, script, waiting};
use container::Kind;
use cri_api::v1::ContainerState;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn containers_go_on_and_their_ends_are_true() {
    let stage = Stage::new("c-reopen");
    let (pod, ids) = stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("reopen").await;
        let stays = node.start(&pod, waiting("stays")).await;
        let ends = node.start(&pod, script("ends", "sleep 0.5; exit 42")).await;
        let made = node.containers.create(&pod, waiting("made"), None).await.expect("create");
        let over = node.start(&pod, script("over", "exit 9")).await;
        assert_eq!(node.ended(&over).await.0, 9);
        (pod, [stays, ends, made, over])
    });
    // All of the daemon is gone by now. What it had begun to make, and to remove:
    let [stays, ends, made, over] = &ids;
    std::thread::sleep(Duration::from_secs(1));
    let half = "f".repeat(64);
    for dir in ["run/containers", "state/containers"] {
        fs::create_dir_all(stage.lab.root().join(dir).join(&half)).expect("directory");
    }
    stage.run(async {
        let (node, recovered) = stage.open_with(&[(BOX, &busybox(&json!({})))]).await;
        assert!(recovered.errors.is_empty(), "{:?}", recovered.errors);
        assert_eq!(recovered.undone, [half]);
        let sorted = |list: &[&String]| {
            let mut list: Vec<String> = list.iter().map(|id| (*id).clone()).collect();
            list.sort();
            list
        };
        let (mut running, mut exited) = (recovered.running, recovered.exited);
        running.sort();
        exited.sort();
        assert_eq!(running, sorted(&[stays, made]));
        assert_eq!(exited, sorted(&[ends, over]));
        assert_eq!(node.ended(ends).await, (42, "Error".to_owned()), "the true one");
        let status = node.containers.get(ends).expect("container").status();
        assert!(status.started_at > 0 && status.finished_at > status.started_at, "{status:?}");
        assert_eq!(node.ended(over).await.0, 9);
        assert_eq!(node.sh(stays, "echo here").await, "here");
        let user = node.containers.get(stays).expect("container").user();
        assert_eq!(user.supplemental_groups, [0]);
        node.containers.start(made).await.expect("start what was made before");
        node.ready(stays).await;
        node.containers.stop(stays, Duration::from_secs(10)).await.expect("stop");
        assert_eq!(node.ended(stays).await.0, 0);
        assert_kind(
            node.containers.create(&pod, script("stays", ""), None).await,
            Kind::AlreadyExists,
        );
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn a_killed_shim_takes_its_containers_along() {
    let stage = Stage::new("c-shimkill");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("shimkill").await;
        let id = node.start(&pod, script("c", "exec sleep 6543")).await;
        let over = node.start(&pod, script("over", "exit 3")).await;
        assert_eq!(node.ended(&over).await.0, 3);
        let shim = node.pods.get(&pod).expect("pod").shim().expect("shim").about().pid;
        let pid = node.containers.get(&id).expect("container").status().pid;
        kill(shim);
        let (code, reason) = node.ended(&id).await;
        assert_eq!((code, reason.as_str()), (137, "ShimLost"));
        let message = node.containers.get(&id).expect("container").status().message;
        assert!(message.contains(&shim.to_string()), "{message}");
        lab::until("the process ends", SOON, || !fs::exists(format!("/proc/{pid}")).expect("proc"));
        assert_kind(node.containers.start(&id).await, Kind::Precondition);
        assert_kind(node.containers.create(&pod, waiting("new"), None).await, Kind::Precondition);
        node.containers.stop(&id, Duration::from_secs(1)).await.expect("stop");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn a_shim_killed_while_nobody_looked() {
    let stage = Stage::new("c-shimgone");
    let (pod, id, over, shim) = stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("shimgone").await;
        let id = node.start(&pod, script("c", "exec sleep 6542")).await;
        let over = node.start(&pod, script("over", "sleep 0.3; exit 3")).await;
        let shim = node.pods.get(&pod).expect("pod").shim().expect("shim").about().pid;
        (pod, id, over, shim)
    });
    std::thread::sleep(Duration::from_millis(1500));
    kill(shim);
    stage.run(async {
        let (node, _) = stage.open_with(&[(BOX, &busybox(&json!({})))]).await;
        assert_eq!(node.ended(&id).await, (137, "ShimLost".to_owned()));
        assert_eq!(node.ended(&over).await, (3, "Error".to_owned()), "it was recorded");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
}

#[test]
fn a_boot_ends_containers() {
    let stage = Stage::new("c-boot");
    let (pod, id) = stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("boot").await;
        let id = node.start(&pod, waiting("c")).await;
        node.containers.stop_all(&pod).await.expect("stop");
        let id2 = node.start(&pod, waiting("d")).await;
        assert_ne!(id, id2);
        (pod, id2)
    });
    // The status as another boot would have written it.
    let status = stage.lab.root().join("state/containers").join(&id).join("status");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot id");
    let other = "00000000-0000-4000-8000-000000000000";
    let mut bytes = fs::read(&status).expect("status");
    let at = bytes.windows(36).position(|w| w == boot.trim().as_bytes()).expect("in the status");
    bytes[at..at + 36].copy_from_slice(other.as_bytes());
    // Length and checksum stand in front (FNV-1a).
    let sum = bytes[24..].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bytes[16..24].copy_from_slice(&sum.to_le_bytes());
    fs::write(&status, &bytes).expect("status");
    stage.run(async {
        let (node, recovered) = stage.open_with(&[(BOX, &busybox(&json!({})))]).await;
        assert!(recovered.errors.is_empty(), "{:?}", recovered.errors);
        assert_eq!(node.ended(&id).await, (255, "Rebooted".to_owned()));
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn broken_records_are_undone() {
    let stage = Stage::new("c-broken");
    let (pod, ids) = stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("broken").await;
        let mut ids = Vec::new();
        for name in ["record", "status", "no-status"] {
            ids.push((name, node.start(&pod, waiting(name)).await));
        }
        (pod, ids)
    });
    for (name, id) in &ids {
        let dir = stage.lab.root().join("state/containers").join(id);
        match *name {
            "no-status" => fs::remove_file(dir.join("status")).expect("status"),
            file => fs::write(dir.join(file), "").expect("file"),
        }
    }
    stage.run(async {
        let (node, recovered) = stage.open_with(&[(BOX, &busybox(&json!({})))]).await;
        assert_eq!(recovered.undone.len(), 3, "{recovered:?}");
        assert_eq!(node.containers.list().len(), 0);
        let again = node.start(&pod, waiting("record")).await;
        assert_eq!(node.sh(&again, "echo new").await, "new");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn a_repeated_request_joins_and_an_orphan_is_taken() {
    let stage = Stage::new("c-again");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("again").await;
        let create = || node.containers.create(&pod, waiting("c"), None);
        let (one, two) = tokio::join!(create(), create());
        let (one, two) = (one.expect("create"), two.expect("join"));
        assert_eq!(one, two);
        assert_kind(create().await, Kind::AlreadyExists);
        node.containers.remove(&one).await.expect("remove");
        // The caller goes away while it is made.
        let gone = create();
        assert!(tokio::time::timeout(Duration::from_micros(300), gone).await.is_err());
        let begun = Instant::now();
        while node.containers.list().is_empty() {
            assert!(begun.elapsed() < SOON);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let made = node.containers.list()[0].id().to_owned();
        assert_eq!(create().await.expect("the one that nobody was told of"), made);
        assert_kind(create().await, Kind::AlreadyExists);
        node.containers.drain().await;
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn what_fails_is_undone() {
    let stage = Stage::new("c-undo");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("undo").await;
        let mut wrong = vec![waiting("image"), waiting("mount"), waiting("user"), waiting("cwd")];
        wrong[0].image.as_mut().expect("image").image = "example.com/none:1".to_owned();
        wrong[1].mounts.push(cri_api::v1::Mount {
            container_path: "/proc/sys".to_owned(),
            host_path: "/tmp".to_owned(),
            ..Default::default()
        });
        wrong[2] = crate::stage::secured(waiting("user"), |c| c.run_as_username = "none".into());
        wrong[3].working_dir = "relative".to_owned();
        for config in wrong {
            let name = config.metadata.clone().expect("metadata").name;
            assert!(node.containers.create(&pod, config, None).await.is_err(), "{name}");
            for dir in ["run/containers", "state/containers"] {
                assert!(lab::names(&stage.lab.root().join(dir)).is_empty(), "{name}: {dir}");
            }
            assert_eq!(node.images.leases().expect("leases"), [], "{name}");
        }
        assert_kind(node.containers.create("none", waiting("c"), None).await, Kind::NotFound);
        let id = node.start(&pod, waiting("image")).await;
        let state = node.containers.get(&id).expect("container").state();
        assert_eq!(state, ContainerState::ContainerRunning);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn a_pod_that_is_stopped_first_has_no_running_container() {
    let stage = Stage::new("c-podstop");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("podstop").await;
        let id = node.start(&pod, waiting("c")).await;
        node.pods.stop(&pod).await.expect("stop");
        assert_eq!(node.ended(&id).await.0, 137);
        node.containers.stop(&id, Duration::from_secs(1)).await.expect("stop");
        node.containers.remove(&id).await.expect("remove");
        node.pods.remove(&pod).await.expect("remove");
    });
    stage.assert_clean();
}
