//! Which boot of the node this is.

use crate::{Error, Result};

/// The kernel's number of this boot.
const FILE: &str = "/proc/sys/kernel/random/boot_id";

/// The id of this boot.
///
/// # Errors
/// Without `/proc`.
pub fn id() -> Result<String> {
    let text = std::fs::read_to_string(FILE).map_err(|e| Error::io(FILE, &e))?;
    Ok(text.trim().to_owned())
}

/// Bit of CAP_SYS_RESOURCE (capabilities(7)).
const SYS_RESOURCE: u32 = 24;

/// Whether this process may make the kernel kill others before it.
///
/// # Errors
/// Without `/proc`.
pub fn may_lower_oom_score() -> Result<bool> {
    let file = "/proc/self/status";
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, &e))?;
    let effective = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    Ok(bits.unwrap_or_default() & (1 << SYS_RESOURCE) != 0)
}
