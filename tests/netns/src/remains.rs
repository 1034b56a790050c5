//! What pods and their shims leave below a directory.

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Names in a directory; none where there is no such directory.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Processes of shims whose directory is below `root`: without the first processes of containers, which
/// look like them until they become another program.
#[must_use]
pub fn shims(root: &Path) -> Vec<i32> {
    let alike = look_alike(root);
    let is_child = |pid: &i32| parent(*pid).is_some_and(|parent| alike.contains(&parent));
    alike.iter().copied().filter(|pid| !is_child(pid)).collect()
}

fn look_alike(root: &Path) -> Vec<i32> {
    let root = root.to_string_lossy();
    let of_root = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.starts_with("podloom-shim") && line.contains(&*root)
    };
    let pids = names(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
    pids.filter(of_root).collect()
}

/// None of one that has ended.
fn parent(pid: i32) -> Option<i32> {
    crate::sweep::stat_field(&pid.to_string(), 1)?.parse().ok()
}

/// Kills the shims whose directory is below `root`, and waits for it.
///
/// # Panics
/// When they do not end.
pub fn end_shims(root: &Path) {
    for pid in look_alike(root) {
        // One that has just ended is what is wanted.
        let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    crate::until("the shims end", Duration::from_secs(10), || look_alike(root).is_empty());
}

/// Lines of the mount table that are about places below `root`, but for the lab's own.
///
/// # Panics
/// When the table cannot be read.
pub fn mounts_below(root: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let (root, own) = (root.to_string_lossy(), root.join("ns/").to_string_lossy().into_owned());
    let left = |line: &&str| line.contains(&*root) && !line.contains(&own);
    table.lines().filter(left).map(str::to_owned).collect()
}

/// Takes away what is mounted below `root`, but for the lab's own.
pub fn unmount_below(root: &Path) {
    for line in mounts_below(root) {
        let point = line.split(' ').nth(4).filter(|point| Path::new(point).starts_with(root));
        // What another took away meanwhile is gone, too.
        let _gone = point.map(|point| umount2(point, MntFlags::MNT_DETACH));
    }
}
