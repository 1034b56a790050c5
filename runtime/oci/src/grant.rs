//! What a process is to have and the kernel would refuse it. It gets these things last, at its start,
//! as they would hinder what is done before; what is sure to fail is told at creation.

use crate::capability::names;
use crate::namespace::Namespaces;
use crate::process::Plan;
use crate::{Error, Kind, Result, sys};
use runtime_spec::NamespaceKind;
use rustix::io::Errno;

/// `RLIMIT_NOFILE` (getrlimit(2)).
const OPEN_FILES: u32 = 7;

/// Checks a process; in a user namespace its limits are set at creation anyway.
pub(crate) fn check(process: &Plan, namespaces: &Namespaces) -> Result<()> {
    let users = namespaces.has(NamespaceKind::User);
    if !users {
        open_files(process)?;
    }
    let (_, permitted, inheritable) = sys::capabilities()
        .map_err(|errno| Error::errno("process.capabilities", "capget", errno))?;
    let mine = if users { (u64::MAX, 0) } else { (permitted, inheritable) };
    inherited(process, mine)
}

/// No process may have more open files than the kernel promises to anybody.
fn open_files(process: &Plan) -> Result<()> {
    let wished = process.limits.iter().position(|(which, ..)| *which == OPEN_FILES);
    let Some(index) = wished else { return Ok(()) };
    // Where it cannot be read, setting the limit tells.
    let Ok(text) = std::fs::read_to_string("/proc/sys/fs/nr_open") else { return Ok(()) };
    let (_, _, hard) = process.limits[index];
    match text.trim().parse::<u64>() {
        Ok(most) if hard > most => {
            let cause = format!("{hard} is more than fs.nr_open, {most}: operation not permitted");
            let kind = Kind::System(Some(Errno::PERM));
            Err(Error::new(kind, format!("process.rlimits[{index}]"), cause))
        }
        _ => Ok(()),
    }
}

/// A process can make inheritable what is bounding, or inheritable already (capabilities(7)).
fn inherited(process: &Plan, (permitted, inheritable): (u64, u64)) -> Result<()> {
    let sets = &process.capabilities;
    let refused = sets.inheritable & permitted & !(sets.bounding | inheritable);
    let name = names().enumerate().find(|(bit, _)| refused & (1 << bit) != 0);
    let Some((_, name)) = name else { return Ok(()) };
    let cause = format!("{name} is not in bounding: operation not permitted");
    let kind = Kind::System(Some(Errno::PERM));
    Err(Error::new(kind, "process.capabilities.inheritable", cause))
}
