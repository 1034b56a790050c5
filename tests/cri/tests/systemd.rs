//! Containers whose control groups systemd makes, as kubelet has it on most nodes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what these functions expect is what is tested"
)]

use cri_api::v1;
use cri_tests::{BUSY, Client, Node, container, pod};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A node whose groups systemd makes, below a slice of its own that goes with it.
struct Slices {
    node: Node,
    image: String,
    top: String,
}

impl Slices {
    fn new(name: &str) -> Option<Slices> {
        // sd_booted(3)
        if !std::path::Path::new("/run/systemd/system").exists() {
            lab::skip("systemd: does not run this machine (./dev vm cri)");
            return None;
        }
        let mut node = Node::prepare(name)?;
        node.write("config.d/10-driver.toml", "[containers]\ncgroup_driver = \"systemd\"\n");
        node.serve();
        let image = node.image(BUSY, "1");
        node.run(async |client: &mut Client| client.pull(&image).await);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Slices { node, image, top: format!("podloomcri{}n{number}", std::process::id()) })
    }

    /// A pod of this name in a slice, which kubelet names by its path, and that slice's name.
    fn pod(&self, name: &str) -> (v1::PodSandboxConfig, String) {
        let (mut config, top) = (pod(name), &self.top);
        let slice = format!("{top}-burstable-pod{name}.slice");
        config.linux.get_or_insert_default().cgroup_parent =
            format!("/{top}.slice/{top}-burstable.slice/{slice}");
        (config, slice)
    }

    /// The directory of a container's group, where limits of memory are.
    fn group(&self, slice: &str, id: &str) -> PathBuf {
        let top = &self.top;
        let below = format!("{top}.slice/{top}-burstable.slice/{slice}/podloom-{id}.scope");
        let v1 = PathBuf::from("/sys/fs/cgroup/memory").join(&below);
        if v1.exists() { v1 } else { PathBuf::from("/sys/fs/cgroup").join(below) }
    }
}

impl Drop for Slices {
    fn drop(&mut self) {
        let _stopped =
            Command::new("systemctl").args(["stop", &format!("{}.slice", self.top)]).output();
    }
}

fn show(unit: &str, property: &str) -> String {
    let shown = Command::new("systemctl").args(["show", "--value", "-p", property, unit]).output();
    String::from_utf8(shown.expect("systemctl").stdout).expect("text").trim().to_owned()
}

fn scope(id: &str) -> String {
    format!("podloom-{id}.scope")
}

fn limited(name: &str, image: &str, script: &str, memory: i64) -> v1::ContainerConfig {
    let mut config = container(name, image, script);
    let linux = config.linux.get_or_insert_default();
    linux.resources = Some(v1::LinuxContainerResources {
        memory_limit_in_bytes: memory,
        cpu_shares: 512,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        ..Default::default()
    });
    config
}

#[test]
fn a_container_is_a_scope_in_its_pods_slice() {
    let Some(it) = Slices::new("systemd-life") else { return };
    let (of, slice) = it.pod("life");
    it.node.run(async |client: &mut Client| {
        let config = client.runtime.runtime_config(v1::RuntimeConfigRequest {}).await;
        let linux = config.expect("configuration").into_inner().linux.expect("linux");
        assert_eq!(linux.cgroup_driver(), v1::CgroupDriver::Systemd);
        let pod = client.run_pod(&of).await.expect("run");
        let config = limited("main", &it.image, "sleep 1000", 64 << 20);
        let id = client.launch(&pod, &config, &of).await;
        let unit = scope(&id);
        let of_unit = |property: &str| show(&unit, property);
        assert_eq!(
            (of_unit("ActiveState"), of_unit("Slice")),
            ("active".to_owned(), slice.clone())
        );
        assert_eq!(of_unit("Delegate"), "yes");
        assert_eq!(of_unit("MemoryMax"), (64 << 20).to_string());
        assert_eq!(of_unit("CPUQuotaPerSecUSec"), "500ms");
        let group = it.group(&slice, &id);
        assert!(group.is_dir(), "{}", group.display());
        // An added process is in the same group.
        let inside = client.says(&id, &["cat", "/proc/self/cgroup"]).await;
        let added = inside.lines().all(|line| line.ends_with(":/") || line.ends_with(&unit));
        assert!(added, "{inside}");

        client.stop(&id, 0).await.expect("stop");
        client.remove(&id).await.expect("remove");
        assert_eq!(of_unit("LoadState"), "not-found");
        assert!(!group.exists());
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(it.node.leftovers(), Vec::<String>::new());
}

/// systemd writes what it knows again at each reload: it must know what was changed, and must leave
/// alone what it has no word for.
#[test]
fn changed_limits_outlive_a_reload_of_systemd() {
    let Some(it) = Slices::new("systemd-update") else { return };
    let (of, slice) = it.pod("update");
    it.node.run(async |client: &mut Client| {
        let pod = client.run_pod(&of).await.expect("run");
        let config = limited("main", &it.image, "sleep 1000", 64 << 20);
        let id = client.launch(&pod, &config, &of).await;
        let resources = v1::LinuxContainerResources {
            memory_limit_in_bytes: 96 << 20,
            cpu_quota: 20_000,
            cpu_period: 100_000,
            ..Default::default()
        };
        client.update(&id, resources).await.expect("update");
        let unit = scope(&id);
        let file = |v2: &str, v1: &str| {
            let group = it.group(&slice, &id);
            let read = |name: &str| std::fs::read_to_string(group.join(name));
            read(v2).or_else(|_| read(v1)).expect("limit").trim().to_owned()
        };
        let holds = || {
            assert_eq!(show(&unit, "MemoryMax"), (96 << 20).to_string());
            assert_eq!(show(&unit, "CPUQuotaPerSecUSec"), "200ms");
            assert_eq!(file("memory.max", "memory.limit_in_bytes"), (96 << 20).to_string());
        };
        holds();
        // Beside what systemd has a word for: what the container may use of devices.
        let open =
            &["sh", "-c", "echo x >/dev/null && mknod /tmp/disk b 1 0 && ! cat /tmp/disk"][..];
        client.says(&id, open).await;
        let reloaded = Command::new("systemctl").arg("daemon-reload").status().expect("systemctl");
        assert!(reloaded.success());
        holds();
        client.says(&id, &["sh", "-c", "echo x >/dev/null && ! cat /tmp/disk"]).await;
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(it.node.leftovers(), Vec::<String>::new());
}

#[test]
fn usage_and_ends_for_want_of_memory_are_told() {
    let Some(it) = Slices::new("systemd-usage") else { return };
    let (of, _) = it.pod("usage");
    it.node.run(async |client: &mut Client| {
        let pod = client.run_pod(&of).await.expect("run");
        let busy = limited("busy", &it.image, "while true; do :; done", 64 << 20);
        let busy = client.launch(&pod, &busy, &of).await;
        // `tail` keeps the line that it waits for the end of.
        let eats = limited("eats", &it.image, "exec dd if=/dev/zero bs=64M of=/dev/null", 16 << 20);
        let eats = client.launch(&pod, &eats, &of).await;
        let status = client.ended(&eats).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"), "{status:?}");

        let request = v1::ContainerStatsRequest { container_id: busy.clone() };
        let stats = client.runtime.container_stats(request).await.expect("stats").into_inner();
        let stats = stats.stats.expect("stats");
        let spent = |cpu: Option<v1::CpuUsage>| {
            cpu.and_then(|cpu| cpu.usage_core_nano_seconds).expect("processor time").value
        };
        let of_container = spent(stats.cpu);
        assert!(of_container > 0);
        assert!(stats.memory.and_then(|memory| memory.usage_bytes).expect("memory").value > 0);
        let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.clone() };
        let stats = client.runtime.pod_sandbox_stats(request).await.expect("stats").into_inner();
        let linux = stats.stats.and_then(|stats| stats.linux).expect("of the pod");
        assert!(spent(linux.cpu) >= of_container, "the slice has what its scopes have");
        client.remove_pod(&pod).await.expect("remove");
    });
    assert_eq!(it.node.leftovers(), Vec::<String>::new());
}

/// The scope is systemd's, and the operator's to stop.
#[test]
fn a_scope_that_is_stopped_ends_its_container() {
    let Some(mut it) = Slices::new("systemd-stop") else { return };
    let (of, _) = it.pod("stop");
    let image = it.image.clone();
    let (pod, stopped, stays) = it.node.run(async |client: &mut Client| {
        let pod = client.run_pod(&of).await.expect("run");
        let script = "trap 'exit 7' TERM; while true; do sleep 0.1; done";
        let stopped = client.launch(&pod, &container("stopped", &image, script), &of).await;
        let stays = client.launch(&pod, &container("stays", &image, "sleep 1000"), &of).await;
        client.says(&stopped, &["true"]).await;
        (pod, stopped, stays)
    });
    // It goes on without the daemon, as the group is not its.
    it.node.kill();
    assert_eq!(show(&scope(&stays), "ActiveState"), "active");
    let stop = Command::new("systemctl").args(["stop", &scope(&stopped)]).status();
    assert!(stop.expect("systemctl").success());
    it.node.serve();
    it.node.run(async |client: &mut Client| {
        let status = client.ended(&stopped).await;
        assert_eq!(status.exit_code, 7, "{status:?}");
        let status = client.container(&stays).await.expect("status");
        assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
        client.remove_pod(&pod).await.expect("remove");
    });
    lab::until("the scopes are gone", PATIENCE, || {
        [&stopped, &stays].iter().all(|id| show(&scope(id), "LoadState") == "not-found")
    });
    assert_eq!(it.node.leftovers(), Vec::<String>::new());
}

/// Clients that are no kubelet name no slice.
#[test]
fn pods_without_a_slice_are_in_podlooms() {
    let Some(it) = Slices::new("systemd-own") else { return };
    it.node.run(async |client: &mut Client| {
        let mut config = client.placed(&pod("own"));
        config.linux.get_or_insert_default().cgroup_parent.clear();
        let request = v1::RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: String::new(),
        };
        let pod = client.runtime.run_pod_sandbox(request).await.expect("run").into_inner();
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.pod_sandbox_id.clone(),
            config: Some(container("main", &it.image, "sleep 1000")),
            sandbox_config: Some(config),
        };
        let id = client.runtime.create_container(request).await.expect("create").into_inner();
        client.start(&id.container_id).await.expect("start");
        assert_eq!(show(&scope(&id.container_id), "Slice"), "podloom.slice");
        client.remove_pod(&pod.pod_sandbox_id).await.expect("remove");
    });
    assert_eq!(it.node.leftovers(), Vec::<String>::new());
}
