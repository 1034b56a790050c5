//! Making and removing the directories of a group.

use crate::dir::{Dir, Tries};
use crate::error::{Error, Kind, Result};
use crate::paths::Place;
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often a parent may vanish under our hands (another container's removal) before it is an error.
const RACES: usize = 16;

/// Milliseconds that another container's making of a parent may take to fill it.
const FILLING: usize = 100;

/// Makes the group and what lacks of its parents, and notes how many names were made. On failure
/// nothing stays.
pub(crate) fn make(place: &mut Place) -> Result<()> {
    let leaf = place.dir();
    let mut error = Error::io(&leaf, "create", Errno::NOENT);
    for _ in 0..RACES {
        match fs::create_dir(&leaf) {
            Ok(()) => {
                place.made += 1;
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                place.made = 0;
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => make_parents(place)?,
            Err(e) => {
                error = limit_hint(Error::io(&leaf, "create", e));
                break;
            }
        }
    }
    remove_parents(&place.mount, place.path.as_str(), place.made + 1);
    place.made = 0;
    Err(error)
}

fn limit_hint(e: Error) -> Error {
    match e.errno() {
        Some(libc::EAGAIN) => e.hint("a parent's cgroup.max.descendants or cgroup.max.depth"),
        _ => e,
    }
}

fn make_parents(place: &mut Place) -> Result<()> {
    let parent = place.path.parent();
    let mut made = 0;
    for prefix in parent.prefixes() {
        let path = place.mount.join(prefix);
        match fs::create_dir(&path) {
            Ok(()) => made += 1,
            // What was made above this one was there only for a moment if this one is not ours.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => made = 0,
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(e) => {
                place.made = 0;
                remove_parents(&place.mount, prefix, made + 1);
                return Err(limit_hint(Error::io(&path, "create", e)));
            }
        }
    }
    // Counted from the end of the path, the leaf is still to come.
    place.made = place.made.max(made);
    Ok(())
}

/// Removes the last `count - 1` parents of `path` that have become empty.
fn remove_parents(mount: &Path, path: &str, count: usize) {
    let mut at = path;
    for _ in 1..count {
        let Some((up, _)) = at.rsplit_once('/') else { return };
        // In use by another container, or gone: either way none of ours any more.
        if fs::remove_dir(mount.join(up)).is_err() {
            return;
        }
        at = up;
    }
}

/// Removes the group with all that was made below it, and the parents that were made for it, if
/// they are empty. A group that is gone is no error.
pub(crate) fn remove(place: &Place, tries: &mut Tries) -> Result<()> {
    let leaf = place.dir();
    loop {
        match fs::remove_dir(&leaf) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => {
                let below = remove_below(&leaf);
                if below.is_ok() && fs::remove_dir(&leaf).is_ok() {
                    break;
                }
                if !tries.again() {
                    below?;
                    return Err(still_used(&leaf, e));
                }
            }
            Err(e) => return Err(Error::io(&leaf, "remove", e)),
        }
    }
    remove_parents(&place.mount, place.path.as_str(), place.made);
    Ok(())
}

fn remove_below(leaf: &Path) -> Result<()> {
    match Dir::find(leaf)? {
        Some(dir) => dir.walk(true, &mut |_| Ok(())),
        None => Ok(()),
    }
}

fn still_used(leaf: &Path, e: io::Error) -> Error {
    let count = Dir::find(leaf).ok().flatten().and_then(|d| pids(&d).ok()).map_or(0, |p| p.len());
    Error::io(leaf, "remove", e)
        .of_kind(Kind::Timeout)
        .hint(format_args!("{count} processes are still in it"))
}

/// The processes of a group and of those below it.
pub(crate) fn pids(dir: &Dir) -> Result<Vec<u32>> {
    let numbers = |text: String| -> Vec<u32> {
        // Zero is a process outside of our pid namespace.
        text.lines().filter_map(|l| l.parse().ok()).filter(|p| *p != 0).collect()
    };
    let mut all = Vec::new();
    dir.walk(false, &mut |dir| {
        if let Some(text) = dir.try_read("cgroup.procs")? {
            all.extend(numbers(text));
        } else if let Some(text) = dir.try_read("cgroup.threads")? {
            // A threaded group lists threads only.
            all.extend(numbers(text).into_iter().filter_map(process_of));
        }
        Ok(())
    })?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The process of a thread; `None` when it has ended.
fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// Gives a new group of the v1 cpuset tree, and its new parents, the processors and memory nodes of
/// the parent: without any, no process can join.
pub(crate) fn inherit_cpuset(place: &Place) -> Result<()> {
    let prefixes: Vec<&str> = place.path.prefixes().collect();
    let first = prefixes.len() - place.made.clamp(1, prefixes.len());
    for prefix in &prefixes[first..] {
        let dir = Dir::open(&place.mount.join(prefix))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !dir.read(file)?.trim().is_empty() {
                continue;
            }
            let up = prefix.rsplit_once('/').map_or("", |(up, _)| up);
            dir.write(file, filled(&Dir::open(&place.mount.join(up))?, file)?.trim())?;
        }
    }
    Ok(())
}

/// What a parent has. One that another container is making at this moment has nothing yet: that one
/// fills it right after having made it, which is waited for.
fn filled(parent: &Dir, file: &str) -> Result<String> {
    for _ in 0..FILLING {
        let value = parent.read(file)?;
        if !value.trim().is_empty() {
            return Ok(value);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    parent.read(file)
}

/// Passes the controllers that the tree's root has down to the group. What a parent refuses (it has
/// processes of its own) is left: a limit that needs it fails later, and tells which.
pub(crate) fn enable_controllers(place: &Place, leaf: &Dir) -> Result<()> {
    let words = |t: Option<String>| -> Vec<String> {
        t.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let root = Dir::open(&place.mount)?;
    let all = words(root.try_read("cgroup.controllers")?);
    if words(leaf.try_read("cgroup.controllers")?).len() == all.len() {
        return Ok(());
    }
    let parent = place.path.parent();
    for prefix in [""].into_iter().chain(parent.prefixes()) {
        let dir = Dir::open(&place.mount.join(prefix))?;
        let on = words(dir.try_read("cgroup.subtree_control")?);
        let can = words(dir.try_read("cgroup.controllers")?);
        let lacking: Vec<String> =
            can.iter().filter(|c| !on.contains(c)).map(|c| format!("+{c}")).collect();
        if lacking.is_empty() || dir.try_write("cgroup.subtree_control", &lacking.join(" ")).is_ok()
        {
            continue;
        }
        for one in &lacking {
            match dir.try_write("cgroup.subtree_control", one) {
                Ok(())
                | Err(
                    Errno::BUSY
                    | Errno::OPNOTSUPP
                    | Errno::INVAL
                    | Errno::NOENT
                    | Errno::ACCESS
                    | Errno::PERM,
                ) => {}
                Err(e) => return Err(dir.failed_write("cgroup.subtree_control", one, e)),
            }
        }
    }
    Ok(())
}

/// A group below a threaded one must be threaded before it takes processes.
pub(crate) fn join_threads(leaf: &Dir) -> Result<()> {
    match leaf.try_read("cgroup.type")?.as_deref().map(str::trim) {
        Some("domain invalid") => leaf.write("cgroup.type", "threaded"),
        _ => Ok(()),
    }
}

/// Gives a v2 group to a user: its directory and the files that the kernel names for delegation.
pub(crate) fn delegate(leaf: &Dir, owner: u32) -> Result<()> {
    let list = Path::new("/sys/kernel/cgroup/delegate");
    let files = match fs::read_to_string(list) {
        Ok(text) => text,
        // Before Linux 4.15, the three of cgroups(7).
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            "cgroup.procs cgroup.subtree_control cgroup.threads".to_owned()
        }
        Err(e) => return Err(Error::io(list, "read", e)),
    };
    let owner = Some(rustix::fs::Uid::from_raw(owner));
    let own = |name: &str| {
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::chownat(leaf, name, owner, None, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::io(&leaf.path().join(name), "change the owner", e)),
        }
    };
    own(".")?;
    files.split_whitespace().filter(|f| !f.contains('/')).try_for_each(own)
}
