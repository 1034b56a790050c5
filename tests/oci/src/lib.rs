//! A machine on which container engines run `podloom-oci`, and what must be left afterwards:
//! nothing.
//!
//! `PODLOOM_OCI_RUNTIME` names another program to run the same tests on, such as runc.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's library fails the test"
)]

use conformance::machine::{Cgroups, Machine};
use lab::Bins;
use serde_json::json;
use std::ops::Deref;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A machine with the runtime as `/opt/runtime`, and control groups of its own.
pub struct Host {
    machine: Machine,
    group: String,
}

impl Deref for Host {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

/// The runtime's executable; `None`, after a skip, where it was not built.
fn runtime() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("PODLOOM_OCI_RUNTIME") {
        return Some(PathBuf::from(named));
    }
    let built = std::env::var_os("PODLOOM_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dist/bin"),
        PathBuf::from,
    );
    let path = built.join("podloom-oci");
    if path.is_file() {
        return Some(path);
    }
    lab::skip(&format!("{}: not built; './dev build' makes it", path.display()));
    None
}

impl Host {
    /// A machine; `None`, after a skip, where the runtime was not built.
    pub fn new(name: &str) -> Option<Host> {
        let runtime = runtime()?;
        let machine = Machine::with_cgroups(
            Cgroups::Ours,
            name,
            &Bins::ours(),
            &json!({"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "loopback"}]}),
        );
        let group = format!("/podloom-test-{name}-{}", std::process::id());
        let host = Host { machine, group };
        let target = host.dir("opt/runtime");
        std::fs::copy(&runtime, &target).expect("copy the runtime");
        std::fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).expect("chmod");
        Some(host)
    }

    /// The control group below which the callers shall make theirs.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// A file of the container's control group, wherever the controller's hierarchy is.
    pub fn group_file(&self, name: &str) -> Option<String> {
        let text =
            self.groups().into_iter().find_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
        text.map(|text| text.trim().to_owned())
    }

    /// The containers' control groups. podman leaves one for its monitor, which is not ours.
    pub fn groups(&self) -> Vec<PathBuf> {
        let all = self.all_groups().into_iter();
        all.filter(|dir| !dir.to_string_lossy().contains("conmon")).collect()
    }

    fn all_groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            let top = hierarchy.path().join(self.group.trim_start_matches('/'));
            walk(&top, &mut |dir| found.push(dir.to_owned()));
            found.retain(|dir| *dir != top);
        }
        found
    }

    /// A root directory for containers with busybox.
    pub fn busybox(&self) -> PathBuf {
        let root = self.lab.root().join("rootfs");
        if root.is_dir() {
            return root;
        }
        for dir in ["bin", "proc", "sys", "dev", "etc", "tmp", "run", "root"] {
            std::fs::create_dir_all(root.join(dir)).expect("a directory of the root");
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static");
        for name in ["sh", "cat", "echo", "sleep", "id", "ls", "tty", "mount", "grep", "stat"] {
            symlink("busybox", root.join("bin").join(name)).expect("a link to busybox");
        }
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text);
        write("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
            .and_then(|()| write("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"))
            .expect("accounts");
        root
    }

    /// Waits until nothing is left of the containers.
    pub fn assert_clean(&self) {
        lab::until("the runtime's groups are gone", lab::PATIENCE, || self.groups().is_empty());
        let mounts = self.machine.sh("cat", &["/proc/mounts"]);
        let left = mounts.lines().find(|line| line.contains("podloom-oci"));
        assert_eq!(left, None, "a mount is left");
    }
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    if !dir.is_dir() {
        return;
    }
    visit(dir);
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What a failed test left; each directory is ours by its name.
        let mut groups = self.all_groups();
        groups.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
        for dir in groups {
            let pids = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in pids.lines() {
                let _ = std::process::Command::new("kill").args(["-KILL", pid]).status();
            }
            let _ = std::fs::remove_dir(dir);
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(self.group.trim_start_matches('/')));
        }
    }
}
