//! A node for pods: namespaces of its own, our plugins, a real shim, directories that go away.

#![allow(dead_code, reason = "each test program uses a part of it")]

use cri_api::v1::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata,
};
use sandbox::{Networks, Recovered, Sandboxes, Settings};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Stage {
    pub(crate) lab: lab::Lab,
    pub(crate) settings: Settings,
}

impl Stage {
    /// A node with the network `podnet`: bridge, host-local, portmap.
    pub(crate) fn new(name: &str) -> Stage {
        let lab = lab::Lab::new(name);
        let stage = Stage { settings: settings(lab.root()), lab };
        stage.write_network("10-podnet.conflist", &stage.network("podnet", "10.88.0.0/16"));
        stage
    }

    /// A list with our plugins.
    pub(crate) fn network(&self, name: &str, subnet: &str) -> Value {
        json!({"cniVersion": "1.1.0", "name": name, "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
             "ipam": {"type": "host-local", "dataDir": self.lab.data_dir(), "ranges": [
                [{"subnet": subnet}], [{"subnet": "fd00:88::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]})
    }

    pub(crate) fn write_network(&self, file: &str, list: &Value) {
        fs::create_dir_all(self.lab.conf_dir()).expect("net.d");
        fs::write(self.lab.conf_dir().join(file), list.to_string()).expect("list");
    }

    /// The directory of plugins that only this node has.
    pub(crate) fn own_plugins(&self) -> PathBuf {
        let dir = self.lab.root().join("bin");
        fs::create_dir_all(&dir).expect("bin");
        dir
    }

    /// Adds an executable shell script as a plugin.
    pub(crate) fn script(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.own_plugins().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    }

    /// Runs `work` on the node, with threads that are all there.
    pub(crate) fn run<F: Future<Output = T> + Send, T: Send>(&self, work: F) -> T {
        self.lab.node().run(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build().expect("runtime");
            runtime.block_on(work)
        })
    }

    pub(crate) async fn open(&self) -> (Sandboxes, Recovered) {
        Sandboxes::open(self.settings.clone()).await.expect("open")
    }

    /// What must be as before once all pods are gone. The bridge stays, as plugins leave it.
    pub(crate) fn snapshot(&self) -> lab::Snapshot {
        self.lab.snapshot_with(&[
            self.lab.cache_dir(),
            self.settings.state_dir.join("sandboxes"),
            self.settings.run_dir.join("sandboxes"),
            self.settings.netns_dir.clone(),
        ])
    }

    /// Fails if anything of a pod is left.
    pub(crate) fn assert_clean(&self, before: &lab::Snapshot) {
        // Plugins leave the bridge, their empty tables, and host-local its last address and lock.
        let diff = before.diff(&self.snapshot());
        let diff = diff.without(&["cni0", "table", "chain", "type nat", "type filter"]);
        let added: Vec<_> = diff.added.iter().filter(|l| is_of_pod(l)).collect();
        assert!(added.is_empty(), "left: {added:#?}");
        assert_eq!(self.leases(), Vec::<String>::new(), "leases");
        let left = lab::mounts_below(self.lab.root());
        assert!(left.is_empty(), "mounts left: {left:#?}");
        assert_eq!(lab::shims(self.lab.root()), Vec::<i32>::new(), "shims left");
    }

    /// Addresses that host-local holds.
    pub(crate) fn leases(&self) -> Vec<String> {
        let mut found = Vec::new();
        for network in lab::names(&self.lab.data_dir()) {
            let dir = self.lab.data_dir().join(&network);
            let address = |n: &String| n.parse::<std::net::IpAddr>().is_ok();
            found.extend(lab::names(&dir).into_iter().filter(address));
        }
        found
    }
}

/// What a failed test leaves: shims are ended, mounts taken away. The lab removes the rest.
impl Drop for Stage {
    fn drop(&mut self) {
        lab::end_shims(self.lab.root());
        lab::unmount_below(self.lab.root());
    }
}

/// Whether a line of a snapshot is about a pod.
fn is_of_pod(line: &str) -> bool {
    ["link:", "file", "dnat", "veth", "podloom-", "10.88.", "fd00:88"]
        .iter()
        .any(|t| line.contains(t))
}

/// The settings of a node whose lab is at `root`.
pub(crate) fn settings(root: &Path) -> Settings {
    Settings {
        run_dir: root.join("run"),
        state_dir: root.join("state"),
        netns_dir: root.join("netns"),
        networks: Networks {
            conf_dir: root.join("conf"),
            plugin_dirs: vec![root.join("bin"), lab::Bins::ours().dir().to_owned()],
            cache_dir: root.join("cache"),
            call_deadline: Duration::from_secs(20),
            ..Networks::default()
        },
        ..Settings::new(lab::podloom_shim())
    }
}

/// A pod's configuration.
pub(crate) fn pod(name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            uid: format!("uid-of-{name}"),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        linux: Some(LinuxPodSandboxConfig::default()),
        ..PodSandboxConfig::default()
    }
}

/// Changes the namespaces of a pod.
pub(crate) fn with_spaces(
    mut config: PodSandboxConfig,
    change: impl FnOnce(&mut NamespaceOption),
) -> PodSandboxConfig {
    let linux = config.linux.get_or_insert_default();
    let security = linux.security_context.get_or_insert(LinuxSandboxSecurityContext::default());
    change(security.namespace_options.get_or_insert_default());
    config
}

/// Everything that a pod can share with the node.
pub(crate) fn on_the_node(name: &str) -> PodSandboxConfig {
    with_spaces(pod(name), |spaces| {
        spaces.network = NamespaceMode::Node.into();
        spaces.ipc = NamespaceMode::Node.into();
        spaces.pid = NamespaceMode::Node.into();
    })
}
