//! Rules of the reference in iptables for pods that are gone.
//!
//! They have an address and nothing else: not the network, not the container. One is taken for dead
//! when neither a record here nor any runtime's result knows its address, at two looks that are
//! [`APART`]: a pod that is being attached has its rules a moment before its result is recorded.

use super::iptables;
use super::state::State;
use cni_types::{Error, Result};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// The time between two looks at least: longer than an attachment takes.
const APART: Duration = Duration::from_secs(60);

/// Removes the rules of dead addresses, and notes those that may be.
pub(super) fn collect(state: &State, known: &[IpAddr]) -> Result<()> {
    let mut unknown = Vec::new();
    for ip in iptables::admitted()? {
        if !known.contains(&ip) && !state.is_taken(ip)? {
            unknown.push(ip);
        }
    }
    let path = state.suspects();
    let _lock = if unknown.is_empty() && !path.exists() { None } else { Some(state.lock()?) };
    let earlier = earlier(&path).map_err(|e| Error::io(path.display(), &e))?;
    let dead: Vec<_> = match &earlier {
        Some(looked) if looked.is_long_ago => {
            unknown.iter().copied().filter(|ip| looked.addresses.contains(ip)).collect()
        }
        _ => Vec::new(),
    };
    iptables::dismiss(&dead)?;
    unknown.retain(|ip| !dead.contains(ip));
    // A look that comes too early keeps the time of the one before, for the addresses it had.
    let is_waiting = earlier.as_ref().is_some_and(|looked| {
        !looked.is_long_ago && unknown.iter().any(|ip| looked.addresses.contains(ip))
    });
    if is_waiting {
        return Ok(());
    }
    note(&path, &unknown).map_err(|e| Error::io(path.display(), &e))
}

/// What the last look found.
struct Looked {
    addresses: Vec<IpAddr>,
    is_long_ago: bool,
}

fn earlier(path: &Path) -> io::Result<Option<Looked>> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => String::from_utf8_lossy(&other?).into_owned(),
    };
    let age = fs::metadata(path)?.modified()?.elapsed();
    // A clock that was set back tells nothing: then the next look counts.
    let is_long_ago = age.is_ok_and(|age| age >= APART);
    Ok(Some(Looked {
        addresses: text.lines().filter_map(|l| l.parse().ok()).collect(),
        is_long_ago,
    }))
}

fn note(path: &Path, unknown: &[IpAddr]) -> io::Result<()> {
    if unknown.is_empty() {
        return match fs::remove_file(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
    }
    fs::write(path, unknown.iter().map(|ip| format!("{ip}\n")).collect::<String>())
}
