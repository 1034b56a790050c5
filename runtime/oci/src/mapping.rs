//! Who is who in a new user namespace: written by the parent, by itself or by the helpers of
//! shadow-utils where it lacks the right.

use crate::{Error, Kind, Result};
use runtime_spec::IdMapping;
use std::fmt::Write;
use std::process::Command;

/// Writes both mappings of a process that waits in its new user namespace.
pub(crate) fn write(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    if !root && is_own(gids, rustix::process::getegid().as_raw()) {
        // A group mapping of one's own is only taken once groups cannot be dropped.
        put(pid, "setgroups", "deny")?;
    }
    map(pid, "uid_map", uids, rustix::process::geteuid().as_raw(), "newuidmap")?;
    map(pid, "gid_map", gids, rustix::process::getegid().as_raw(), "newgidmap")
}

/// Whether it maps the caller alone, which needs no privilege.
fn is_own(maps: &[IdMapping], me: u32) -> bool {
    matches!(maps, [one] if one.size == 1 && one.host_id == me)
}

fn map(pid: i32, file: &str, maps: &[IdMapping], me: u32, helper: &str) -> Result<()> {
    let mut text = String::new();
    for map in maps {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size);
    }
    match put(pid, file, &text) {
        Err(error)
            if error.kind == Kind::System(Some(rustix::io::Errno::PERM)) && !is_own(maps, me) =>
        {
            run(helper, pid, maps)
                .map_err(|cause| Error::new(error.kind, format!("{file} of process {pid}"), cause))
        }
        other => other,
    }
}

fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = std::path::PathBuf::from(format!("/proc/{pid}/{file}"));
    std::fs::write(&path, text).map_err(|error| Error::path(&path, "write", &error))
}

fn run(helper: &str, pid: i32, maps: &[IdMapping]) -> std::result::Result<(), String> {
    let mut command = Command::new(helper);
    command.arg(pid.to_string());
    for map in maps {
        command.args([map.container_id, map.host_id, map.size].map(|n| n.to_string()));
    }
    let done =
        command.output().map_err(|error| format!("no right to write it, and {helper}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{helper}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}
