//! What this node can do, looked at once.

use crate::apparmor::AppArmor;
use crate::spec::{Limits, all_capabilities};
use crate::{Error, Kind, Result};
use cgroup::{Layout, Mode};
use std::collections::BTreeSet;
use std::path::Path;

/// What this node can do.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) boot_id: String,
    pub(crate) limits: Limits,
    /// Control groups of version 2, with namespaces of their own for containers.
    pub(crate) unified: bool,
    /// Capabilities that can be handed on.
    pub(crate) capabilities: BTreeSet<String>,
    pub(crate) selinux: bool,
    pub(crate) apparmor: AppArmor,
}

impl Node {
    /// Looks.
    ///
    /// # Errors
    /// Without `/proc` or control groups.
    pub(crate) fn look() -> Result<Node> {
        let layout =
            Layout::detect().map_err(|e| Error::new(Kind::Unavailable, "control groups", e))?;
        let unified = layout.mode() == Mode::V2;
        let lowest_score = match sandbox::boot::may_lower_oom_score()? {
            true => None,
            false => Some(own_score()?),
        };
        let limits = Limits { unified, swap: counts_swap(layout), lowest_score };
        Ok(Node {
            boot_id: sandbox::boot::id()?,
            limits,
            unified,
            capabilities: all_capabilities(bounding()?),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            apparmor: AppArmor::default(),
        })
    }
}

/// Whether a limit of swap can be set.
fn counts_swap(layout: &Layout) -> bool {
    let file = |version| match version {
        cgroup::Version::V1 => "memory.memsw.limit_in_bytes",
        cgroup::Version::V2 => "memory.swap.max",
    };
    layout.hierarchies().iter().any(|tree| {
        let memory = tree.version == cgroup::Version::V2
            || tree.controllers.iter().any(|controller| controller == "memory");
        // The root of version 2 has no limits; the kernel has swap accounting if there is swap.
        memory
            && (tree.mount.join(file(tree.version)).exists()
                || (tree.version == cgroup::Version::V2 && Path::new("/proc/swaps").exists()))
    })
}

fn status_line(field: &str) -> Result<String> {
    let file = "/proc/self/status";
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, &e))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    Ok(line.unwrap_or_default().trim().to_owned())
}

fn bounding() -> Result<u64> {
    let text = status_line("CapBnd:")?;
    u64::from_str_radix(&text, 16)
        .map_err(|e| Error::new(Kind::Internal, "bounding set", format!("{text:?}: {e}")))
}

fn own_score() -> Result<i32> {
    let file = "/proc/self/oom_score_adj";
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, &e))?;
    text.trim().parse().map_err(|e| Error::new(Kind::Internal, file, format!("{text:?}: {e}")))
}
