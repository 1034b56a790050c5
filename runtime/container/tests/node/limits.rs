//! Limits, signals, and how containers end.

use crate::stage::{BOX, Stage, assert_kind, busybox, script, waiting};
use container::{Kind, Update};
use cri_api::v1::{ContainerConfig, LinuxContainerResources, Signal};
use serde_json::json;
use std::time::{Duration, Instant};

fn limited(
    mut config: ContainerConfig,
    change: impl FnOnce(&mut LinuxContainerResources),
) -> ContainerConfig {
    change(config.linux.get_or_insert_default().resources.get_or_insert_default());
    config
}

/// The first line of the container's own memory limit, whatever the version of control groups.
const LIMIT: &str = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes \
    2>/dev/null | head -1";

#[test]
fn memory_is_limited_and_its_end_is_told() {
    let stage = Stage::new("c-oom");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("oom").await;
        let eat = script("eat", "head -c 100000000 /dev/zero | tail -c 90000000 > /dev/null");
        let config = limited(eat, |r| r.memory_limit_in_bytes = 20 << 20);
        let mut direct = config.clone();
        direct.command = vec!["tail".to_owned(), "/dev/zero".to_owned()];
        direct.metadata.as_mut().expect("metadata").name = "direct".to_owned();
        let id = node.start(&pod, direct).await;
        assert_eq!(node.ended(&id).await, (137, "OOMKilled".to_owned()));
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn limits_change_in_place() {
    let stage = Stage::new("c-update");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("update").await;
        let config = limited(waiting("c"), |r| {
            r.memory_limit_in_bytes = 64 << 20;
            r.cpu_shares = 512;
            r.cpu_period = 100_000;
            r.cpu_quota = 50_000;
        });
        let id = node.start(&pod, config).await;
        assert_eq!(node.sh(&id, LIMIT).await, (64 << 20).to_string());
        for memory in [128_i64 << 20, 32 << 20] {
            let resources =
                LinuxContainerResources { memory_limit_in_bytes: memory, ..Default::default() };
            let annotations = [("a".to_owned(), memory.to_string())].into_iter().collect();
            let update = Update { resources: Some(resources), annotations };
            node.containers.update(&id, update).await.expect("update");
            assert_eq!(node.sh(&id, LIMIT).await, memory.to_string());
            let status = node.containers.get(&id).expect("container").status();
            let resources = status.resources.expect("resources");
            assert_eq!((resources.memory_limit_in_bytes, resources.cpu_quota), (memory, 50_000));
            assert_eq!(status.annotations["a"], memory.to_string());
        }
        node.sh(&id, "echo x > /dev/null").await;
        let negative = LinuxContainerResources { cpu_shares: -1, ..Default::default() };
        let update = Update { resources: Some(negative), ..Update::default() };
        assert_kind(node.containers.update(&id, update.clone()).await, Kind::Invalid);
        node.containers.stop(&id, Duration::ZERO).await.expect("stop");
        assert_kind(node.containers.update(&id, update).await, Kind::Precondition);
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn the_signal_to_stop_is_the_containers_or_the_images() {
    let stage = Stage::new("c-signal");
    let image = busybox(&json!({"StopSignal": "SIGUSR1"}));
    stage.run(async {
        let (node, _) = stage.open_with(&[(BOX, &image)]).await;
        let pod = node.pod("signal").await;
        let trap = "trap 'exit 1' TERM; trap 'exit 2' USR1; trap 'exit 3' INT; \
            while :; do sleep 0.02; done";
        let of_image = node.start(&pod, script("image", trap)).await;
        let mut own = script("own", trap);
        own.stop_signal = Signal::Sigint.into();
        let own = node.start(&pod, own).await;
        for (id, code) in [(of_image, 2), (own, 3)] {
            // The shell sets its traps first.
            tokio::time::sleep(Duration::from_millis(200)).await;
            node.containers.stop(&id, Duration::from_secs(10)).await.expect("stop");
            assert_eq!(node.ended(&id).await.0, code);
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn who_does_not_listen_is_killed() {
    let stage = Stage::new("c-deaf");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("deaf").await;
        let deaf = node.start(&pod, script("deaf", "trap '' TERM; sleep 60; sleep 60")).await;
        let begun = Instant::now();
        node.containers.stop(&deaf, Duration::from_millis(300)).await.expect("stop");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(10), "{took:?}");
        assert_eq!(node.ended(&deaf).await.0, 137);
        let at_once = node.start(&pod, script("at-once", "trap '' TERM; sleep 60")).await;
        let begun = Instant::now();
        node.containers.stop(&at_once, Duration::ZERO).await.expect("stop");
        assert!(begun.elapsed() < Duration::from_secs(5));
        let slow = node.start(&pod, script("slow", "trap '' TERM; sleep 60; sleep 60")).await;
        let (patient, hasty) = tokio::join!(
            node.containers.stop(&slow, Duration::from_secs(60)),
            node.containers.stop(&slow, Duration::from_millis(100))
        );
        patient.expect("ended by the other");
        hasty.expect("stop");
        let made = node.containers.create(&pod, waiting("made"), None).await.expect("create");
        node.containers.stop(&made, Duration::from_secs(10)).await.expect("stop what never ran");
        assert_eq!(node.ended(&made).await.0, 137);
        let running = node.start(&pod, waiting("running")).await;
        node.containers.remove(&running).await.expect("remove what runs");
        node.remove(&pod).await;
    });
    stage.assert_clean();
}

#[test]
fn what_cannot_be_executed_is_told() {
    let stage = Stage::new("c-noexec");
    stage.run(async {
        let node = stage.open().await;
        let pod = node.pod("noexec").await;
        for program in ["/no/such/program", "no-such-program", "/etc/passwd", "/data"] {
            let mut config = script(&program.replace('/', "_"), "");
            config.command = vec![program.to_owned()];
            let e = node.refused(&pod, config).await;
            assert!(matches!(e.kind(), Kind::Invalid | Kind::Io), "{program}: {e}");
            assert!(e.to_string().contains(program), "{e}");
        }
        node.remove(&pod).await;
    });
    stage.assert_clean();
}
