//! What a process tells the kernel of itself before it becomes the container's.
#![allow(unsafe_code, reason = "raw system calls for a child between clone and exec")]

use super::{check, last};
use crate::process::Scheduler;
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Result;

/// Sets the host name of this UTS namespace.
pub(crate) fn set_host_name(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe { libc::syscall(libc::SYS_sethostname, name.as_ptr(), name.len()) }).map(drop)
}

/// Sets the NIS domain name of this UTS namespace.
pub(crate) fn set_domain_name(name: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) }).map(drop)
}

/// Sets the loopback link of this network namespace up.
pub(crate) fn loopback_up() -> Result<()> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: plain integers; the descriptor is new and ours.
    let socket = unsafe {
        let fd = check(i64::from(libc::socket(libc::AF_INET, kind, 0)))?;
        OwnedFd::from_raw_fd(fd as i32)
    };
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request outlives the call and has the layout of this ioctl.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(i64::from(done)).map(drop)
}

/// Sets the execution domain.
pub(crate) fn set_personality(domain: u64) -> Result<()> {
    // SAFETY: a plain integer.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}

/// Sets the input and output priority of the caller.
pub(crate) fn set_io_priority(value: u32) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// Sets the scheduling policy of the caller.
pub(crate) fn set_scheduler(attributes: &Scheduler) -> Result<()> {
    let attributes = std::ptr::from_ref(attributes);
    // SAFETY: the structure begins with its size and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes, 0) }).map(drop)
}

/// Sets the NUMA policy of the caller.
pub(crate) fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel reads one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the mask has as many bits as are read.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// Sets the processors of the caller.
pub(crate) fn set_cpus(mask: &[u64]) -> Result<()> {
    let (bytes, mask) = (size_of_val(mask), mask.as_ptr());
    // SAFETY: the mask has as many bytes as are read.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bytes, mask) }).map(drop)
}

/// Lets the caller run on all processors that its cpuset has, whatever its parent was bound to.
pub(crate) fn use_all_cpus() {
    // More than any kernel has. One that refuses leaves the caller where it may run.
    let _ = set_cpus(&[u64::MAX; 128]);
}

/// The working directory as the kernel names it; a directory outside of the root has a name that
/// does not begin with a slash.
pub(crate) fn working_directory(buffer: &mut [u8]) -> Result<&[u8]> {
    // SAFETY: pointer and length are those of a live slice.
    let length =
        check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    buffer.get(..(length as usize).saturating_sub(1)).ok_or(last())
}
