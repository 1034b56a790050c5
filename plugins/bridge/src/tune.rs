//! Sysctls that improve an attachment but are no condition for it.

use cni_plugin::log;

/// Writes a sysctl where that is possible: where IPv6 is off it does not exist, and a container
/// may have a read-only `/proc/sys`.
pub(crate) fn best_effort(key: &str, value: &str) {
    match sysctl::write(key, value) {
        Err(e) if e.is_not_found() => {}
        other => log("going on", other),
    }
}
