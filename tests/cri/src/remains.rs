//! What pods leave on a node.

use crate::Node;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Length of the ids of pods and containers.
const ID: usize = 64;

impl Node {
    /// What lies where pods and containers leave nothing: records, bundles, namespaces, mounts,
    /// leases of addresses, shims, control groups with what is in them.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in
            ["state/sandboxes", "state/containers", "lib/sandboxes", "lib/containers", "netns"]
        {
            found.extend(
                lab::names(&self.path(dir)).into_iter().map(|name| format!("{dir}/{name}")),
            );
        }
        let root = self.lab().root();
        found.extend(lab::mounts_below(root));
        let is_lease = |name: &String| name.parse::<std::net::IpAddr>().is_ok();
        let leases = lab::names(&self.lab().data_dir().join("podnet"));
        found.extend(leases.into_iter().filter(is_lease));
        found.extend(lab::shims(root).into_iter().map(|pid| format!("process {pid} of a shim")));
        for tree in trees() {
            groups(&tree.join(self.cgroup.trim_start_matches('/')), &mut found);
        }
        found
    }

    /// Names of snapshots, complete or not, of images and of containers.
    pub fn snapshots(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in ["snapshots", "new", "trash"] {
            let names = lab::names(&self.path("lib/overlay").join(dir));
            found.extend(names.into_iter().map(|name| format!("{dir}/{name}")));
        }
        found.sort();
        found
    }

    /// Lines of the node's state that are about pods: links, rules, maps, files.
    pub fn traces(&self) -> Vec<String> {
        let all = self.lab().snapshot();
        let of_pods = ["veth", "dnat", "podloom-", "host-port"];
        let mut found: Vec<String> = Vec::new();
        for text in of_pods {
            found.extend(all.matching(text).into_iter().map(str::to_owned));
        }
        found
    }
}

/// The tops of the trees of control groups: of the one of version 2, or of those of version 1.
fn trees() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let mut trees: Vec<_> = lab::names(&root).into_iter().map(|name| root.join(name)).collect();
    trees.push(root);
    trees
}

/// Groups of containers below `dir`, and processes in any group there. The groups of pods are their
/// maker's, who is kubelet.
fn groups(dir: &Path, found: &mut Vec<String>) {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    if name.len() == ID && dir.is_dir() {
        found.push(format!("control group {}", dir.display()));
    }
    for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        found.push(format!("process {pid} in {}", dir.display()));
    }
    for below in lab::names(dir).into_iter().map(|name| dir.join(name)).filter(|dir| dir.is_dir()) {
        groups(&below, found);
    }
}

/// Kills what is left in a control group and removes it.
pub(crate) fn remove_groups(cgroup: &str) {
    for tree in trees() {
        let top = tree.join(cgroup.trim_start_matches('/'));
        for _ in 0..50 {
            if !top.is_dir() || empty(&top) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes a group and those below it; false if something is in one still.
fn empty(dir: &Path) -> bool {
    for name in lab::names(dir) {
        let below = dir.join(name);
        if below.is_dir() {
            empty(&below);
        }
    }
    for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    fs::remove_dir(dir).is_ok()
}
