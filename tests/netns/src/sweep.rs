//! Where labs lie, and taking away what killed runs left.
//!
//! A lab's directory carries the pid and the start time of its process, so that a later run can
//! tell a lab in use from a leftover also when the pid is used again.

use crate::enter::release;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Below `/tmp`, not `/run`: programs with a private `/run` must still find their pods.
pub const BASE: &str = "/tmp/podloom-lab";

/// The directory of a new lab of this process.
pub(crate) fn root_for(name: &str, number: u32) -> PathBuf {
    let pid = std::process::id();
    let start = started(pid).expect("the start time of this process");
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    Path::new(BASE).join(format!("{pid}.{start}.{number}.{name}"))
}

/// Removes the labs whose process is gone; once per process.
pub(crate) fn leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(entries) = fs::read_dir(BASE) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let mut parts = name.to_str().unwrap_or_default().split('.');
            let pid = parts.next().and_then(|p| p.parse().ok());
            let start = parts.next().and_then(|s| s.parse().ok());
            let (Some(pid), Some(start)) = (pid, start) else { continue };
            if started(pid) != Some(start) {
                remove(&entry.path());
            }
        }
    });
}

/// Removes all labs of this process and ends the plugins that run with a limit, for a program that
/// is told to stop in the middle.
pub fn abandon() {
    crate::running::end_all();
    let pid = std::process::id();
    let own = format!("{pid}.{}.", started(pid).unwrap_or_default());
    let Ok(entries) = fs::read_dir(BASE) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&own)) {
            remove(&entry.path());
        }
    }
}

/// Unbinds the namespaces of a lab and removes its directory.
pub(crate) fn remove(root: &Path) {
    if let Ok(entries) = fs::read_dir(root.join("ns")) {
        entries.flatten().for_each(|entry| release(&entry.path()));
    }
    // A pod that outlives its lab removes its own file; the directory may be busy until then.
    let _ = fs::remove_dir_all(root);
}

/// Clock ticks from boot to the start of `pid`; `None` if there is no such process.
fn started(pid: u32) -> Option<u64> {
    stat_field(&pid.to_string(), 19)?.parse().ok()
}

/// A field of `/proc/PID/stat`, counted from the one after the name; `None` if there is no such process.
pub(crate) fn stat_field(pid: &str, at: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have any characters.
    let fields = stat.rsplit_once(')')?.1;
    fields.split_whitespace().nth(at).map(str::to_owned)
}
