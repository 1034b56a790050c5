//! A pod's kernel objects that the daemon makes itself: the network namespace where no user
//! namespace owns it, and the memory behind `/dev/shm`. All of it blocks, briefly.

use crate::wish::{Sysctl, Which};
use crate::{Error, Kind, Result};
use netns::Netns;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::path::Path;

/// The loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Makes a network namespace, bound at `path`, with its loopback interface up.
///
/// # Errors
/// When something is at `path`, or the kernel refuses.
pub(crate) fn make_net(path: &Path, sysctls: &[Sysctl]) -> Result<()> {
    let fault = |e: netns::Error| Error::new(Kind::Io, path.display(), e);
    let space = Netns::create(path).map_err(fault)?;
    space
        .run(|| {
            let netlink = netlink::Netlink::open();
            let up = netlink.and_then(|netlink| netlink.set_up(LOOPBACK));
            up.map_err(|e| Error::new(Kind::Io, format!("{}: lo", path.display()), e))?;
            set(sysctls)
        })
        .map_err(fault)?
}

/// Sets parameters of the network namespace of this thread.
fn set(sysctls: &[Sysctl]) -> Result<()> {
    for wanted in sysctls.iter().filter(|s| s.which == Which::Net) {
        if let Err(e) = sysctl::write(&wanted.key, &wanted.value) {
            return Err(Error::invalid(format!("sysctl {:?}", wanted.key), e)
                .with_advice("the kernel has no such parameter for pods, or not this value"));
        }
    }
    Ok(())
}

/// Whether a network namespace is at `path`; a plain file there is what a boot left.
pub(crate) fn is_net(path: &Path) -> bool {
    !matches!(Netns::open(path), Err(e) if e.is_gone())
}

/// Takes a network namespace away; success when it is not there.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn remove_net(path: &Path) -> Result<()> {
    Netns::remove(path).map_err(|e| Error::new(Kind::Io, path.display(), e))
}

/// Mounts memory for `/dev/shm`, of this size in bytes, owned by the pod's root.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn make_shm(path: &Path, size: u64, (uid, gid): (u32, u32)) -> Result<()> {
    let fault = |e: std::io::Error| Error::io(path.display(), &e);
    std::fs::create_dir_all(path).map_err(fault)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let data = format!("mode=1777,size={size},uid={uid},gid={gid}");
    let data = std::ffi::CString::new(data).unwrap_or_default();
    rustix::mount::mount("shm", path, "tmpfs", flags, data.as_c_str())
        .map_err(|errno| fault(errno.into()))
}

/// Unmounts what [`make_shm`] mounted; success when nothing is there.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn remove_shm(path: &Path) -> Result<()> {
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(Error::io(path.display(), &errno.into())),
        }
    }
}
