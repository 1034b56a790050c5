//! The kernel's TAP device: made through `/dev/net/tun`, which rtnetlink cannot do.

use crate::plan::{self, Wish};
use cni_types::{Code, Error, Result};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

const DEVICE: &str = "/dev/net/tun";
/// There where the kernel runs with `SELinux`.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// Whether the kernel has TAP interfaces.
///
/// # Errors
/// [`Code::Kernel`] when it has none to give.
pub(crate) fn available() -> Result<()> {
    open().map(drop)
}

fn open() -> Result<File> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|e| {
        Error::new(Code::Kernel, format!("{DEVICE}: cannot be opened: {e}"))
            .with_details("TAP interfaces need the kernel's module tun")
    })
}

/// Makes the interface in the namespace of the calling thread. It stays when the plugin ends, and
/// not before it has all that is wished.
///
/// # Errors
/// [`Code::Conflict`] when the name is taken; those of the kernel.
pub(crate) fn create(wish: &Wish<'_>) -> Result<()> {
    let device = open()?;
    match settle(&device, wish) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY | Errno::EEXIST) => {
            let cause = format!("interface {}: is in the pod already", wish.name);
            Err(Error::new(Code::Conflict, cause))
        }
        Err(errno) => {
            Err(Error::new(Code::Kernel, format!("create tap {}: {}", wish.name, errno.desc())))
        }
    }
}

#[allow(unsafe_code, reason = "ioctls that the nix crate does not wrap")]
fn settle(device: &File, wish: &Wish<'_>) -> nix::Result<()> {
    nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_int_bad!(set_owner, libc::TUNSETOWNER);
    nix::ioctl_write_int_bad!(set_group, libc::TUNSETGROUP);
    nix::ioctl_write_int_bad!(set_persistent, libc::TUNSETPERSIST);

    let request = request(wish)?;
    let fd = device.as_raw_fd();
    // SAFETY: the request is a whole `ifreq` that outlives the call, and the descriptor is open.
    unsafe { set_interface(fd, &raw const request) }?;
    if let Some(owner) = wish.owner {
        // SAFETY: the argument is a number; the descriptor is open.
        unsafe { set_owner(fd, owner.cast_signed()) }?;
    }
    if let Some(group) = wish.group {
        // SAFETY: the argument is a number; the descriptor is open.
        unsafe { set_group(fd, group.cast_signed()) }?;
    }
    // SAFETY: the argument is a number; the descriptor is open.
    unsafe { set_persistent(fd, 1) }?;
    Ok(())
}

/// A new interface, never one that is there: frames are Ethernet, without a header before them.
fn request(wish: &Wish<'_>) -> nix::Result<libc::ifreq> {
    let queues = if wish.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL | queues;
    // IFF_TUN_EXCL is the sign bit of the field, so that the bytes are taken as they are.
    let [low, high, ..] = flags.to_ne_bytes();
    let flags = libc::c_short::from_ne_bytes([low, high]);
    let mut name = [0; libc::IFNAMSIZ];
    let bytes = wish.name.as_bytes();
    // The last byte stays zero.
    let place = name[..libc::IFNAMSIZ - 1].get_mut(..bytes.len()).ok_or(Errno::ENAMETOOLONG)?;
    for (to, from) in place.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_flags: flags };
    Ok(libc::ifreq { ifr_name: name, ifr_ifru })
}

/// As [`create`], in an `SELinux` context: the kernel labels the interface after the program that
/// makes it, and only a program that is started gets another context. That program is `ip`.
///
/// # Errors
/// [`Code::UnsupportedField`] without `SELinux` or when it refuses the context;
/// [`Code::Program`] when `ip` is missing or fails.
pub(crate) fn create_in_context(wish: &Wish<'_>, context: &str) -> Result<()> {
    let unsupported = |cause: String| {
        Error::new(Code::UnsupportedField, format!("selinuxContext {context:?}: {cause}"))
    };
    if !Path::new(SELINUX).exists() {
        return Err(unsupported("this kernel runs without SELinux".into())
            .with_details("leave selinuxContext out on this node"));
    }
    // Of this thread only, which ends with the visit to the pod.
    std::fs::write("/proc/thread-self/attr/exec", context)
        .map_err(|e| unsupported(format!("is refused: {e}")))?;
    let done = Command::new("ip")
        .args(plan::words(wish))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::new(Code::Program, format!("ip: cannot be started: {e}")))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(Error::new(Code::Program, format!("ip tuntap add: {}", said.trim().replace('\n', "; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_name_and_asks_for_a_new_interface() {
        let wish = Wish { name: "eth0", multi_queue: false, owner: None, group: None };
        let made = request(&wish).expect("request");
        let name: Vec<_> = made.ifr_name.iter().map(|c| c.cast_unsigned()).collect();
        assert_eq!(&name[..6], b"eth0\0\0");
        let long = Wish { name: "0123456789abcdef", ..wish };
        assert_eq!(request(&long).err(), Some(Errno::ENAMETOOLONG));
    }
}
