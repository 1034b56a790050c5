//! The control groups of a run: one parent in every hierarchy, removed at the end.

use crate::error::{About, Result};
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "podloom-bench-";

/// Whether controllers are on v1 and a v2 tree without any stands beside them.
pub(crate) fn is_hybrid() -> bool {
    std::fs::read_to_string("/proc/mounts")
        .is_ok_and(|text| text.lines().any(|line| line.split(' ').nth(2) == Some("cgroup")))
}

/// The parent of all groups of a run.
#[derive(Debug)]
pub(crate) struct Tree {
    path: String,
}

impl Tree {
    /// Hides the v2 tree of a hybrid layout from this mount namespace: not every runtime works with
    /// it, and all are to find the same.
    pub(crate) fn take() -> Result<Tree> {
        let unified = Path::new(ROOT).join("unified");
        if unified.join("cgroup.procs").exists() {
            umount2(&unified, MntFlags::MNT_DETACH).about(unified.display())?;
        }
        sweep();
        let tree = Tree { path: format!("/{PREFIX}{}", std::process::id()) };
        tree.plant()?;
        Ok(tree)
    }

    /// Makes the parent in every tree, as a pod's is there before its containers.
    fn plant(&self) -> Result<()> {
        for top in tops().iter().filter(|top| top.join("cgroup.procs").exists()) {
            let own = top.join(self.path.trim_start_matches('/'));
            if let Err(error) = std::fs::create_dir(&own)
                && error.kind() != std::io::ErrorKind::AlreadyExists
            {
                return Err(error).about(own.display());
            }
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = std::fs::read(top.join(file)) {
                    std::fs::write(own.join(file), value).about(own.display())?;
                }
            }
            let Ok(all) = std::fs::read_to_string(own.join("cgroup.controllers")) else { continue };
            for controller in all.split_whitespace() {
                // Those that the machine keeps back are kept from everybody.
                let _ =
                    std::fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        Ok(())
    }

    /// As a configuration names it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for top in tops() {
            remove(&top.join(self.path.trim_start_matches('/')));
        }
    }
}

/// Every place where groups begin: of the one tree of v2, or of each hierarchy of v1.
fn tops() -> Vec<PathBuf> {
    let mut tops = vec![PathBuf::from(ROOT)];
    if let Ok(entries) = std::fs::read_dir(ROOT) {
        tops.extend(entries.flatten().map(|entry| entry.path()));
    }
    tops
}

/// Removes what a run left that was killed. Its containers are gone or keep their groups.
fn sweep() {
    for top in tops() {
        let Ok(entries) = std::fs::read_dir(&top) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_dead = |pid: &str| !Path::new("/proc").join(pid).exists();
            if name.strip_prefix(PREFIX).is_some_and(is_dead) {
                remove(&entry.path());
            }
        }
    }
}

/// Removes groups from the leaves up. What is not there or still in use stays: nothing can be done.
fn remove(group: &Path) {
    if let Ok(entries) = std::fs::read_dir(group) {
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove(&entry.path());
        }
        let _ = std::fs::remove_dir(group);
    }
}
