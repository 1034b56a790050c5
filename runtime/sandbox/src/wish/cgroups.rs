//! The control group that a pod's containers are below.

use crate::{Error, Result};
use cgroup::Driver;

/// The parent as asked; `None` for one of our own.
///
/// # Errors
/// Paths that lead back, and paths where systemd needs a slice.
pub(super) fn parent(text: &str, driver: Driver) -> Result<Option<String>> {
    let subject = "linux.cgroup_parent";
    if text.is_empty() {
        return Ok(None);
    }
    let trimmed = text.trim_end_matches('/');
    let sound = trimmed.trim_start_matches('/').split('/').all(|part| {
        !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == ':')
    });
    if !sound {
        let cause = format!("{text:?} is not the path of a control group below the root");
        return Err(Error::invalid(subject, cause));
    }
    if driver == Driver::Systemd && !trimmed.ends_with(".slice") {
        let cause = format!("{text:?} is not a slice, but systemd makes the control groups here");
        let advice = "let kubelet use the cgroup driver systemd, or this node cgroupfs";
        return Err(Error::invalid(subject, cause).with_advice(advice));
    }
    Ok(Some(trimmed.to_owned()))
}
