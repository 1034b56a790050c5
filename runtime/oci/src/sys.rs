//! System calls that no safe crate offers, or that must not allocate in a fresh child.
#![allow(unsafe_code, reason = "raw system calls for a child between clone and exec")]

mod exe;
mod program;
mod thread;
mod tune;

pub(crate) use exe::{Disguise, again, can_leave_exe, leave_exe};
pub use program::forget_program;
pub(crate) use thread::install_and_deliver;
pub(crate) use tune::*;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};
use std::ffi::CStr;

pub(crate) const NEWTIME: u64 = 0x80;
pub(crate) const NEWNS: u64 = libc::CLONE_NEWNS as u64;
pub(crate) const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
pub(crate) const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
pub(crate) const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
pub(crate) const NEWUSER: u64 = libc::CLONE_NEWUSER as u64;
pub(crate) const NEWPID: u64 = libc::CLONE_NEWPID as u64;
pub(crate) const NEWNET: u64 = libc::CLONE_NEWNET as u64;
pub(crate) const PARENT: u64 = libc::CLONE_PARENT as u64;
const PIDFD: u64 = libc::CLONE_PIDFD as u64;
const INTO_CGROUP: u64 = 0x2_0000_0000;

fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value < 0 { Err(last()) } else { Ok(value) }
}

fn last() -> Errno {
    // SAFETY: the address of this thread's errno is always valid.
    errno(unsafe { *libc::__errno_location() })
}

/// A number as an error; one that is none, from a damaged message, counts as an input error.
pub(crate) fn errno(number: i32) -> Errno {
    if (1..4096).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO }
}

/// A child as its parent sees it.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// `clone_args` of clone3(2), the version with a cgroup.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Makes a child with a copy of this memory, which runs `body` and ends; `None` never comes back.
///
/// Only the calling thread exists in the child: `body` must not need a lock that another thread may
/// hold, so it must not allocate.
pub(crate) fn spawn(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: &mut dyn FnMut() -> i32,
) -> Result<Spawned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | PIDFD,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        // CLONE_PARENT takes the signal of the caller and wants none named.
        exit_signal: if flags & PARENT == 0 { libc::SIGCHLD as u64 } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: the arguments outlive the call; without CLONE_VM the child has its own copy of all
    // memory, and it leaves only through exit below.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        exit(body());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Spawned { pid: pid as i32, pidfd })
}

/// Ends this process at once, without the clean-up that belongs to its parent.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: ends the process; nothing of ours runs afterwards.
    unsafe { libc::_exit(code) }
}

/// Runs `body` in a short-lived process that shares this memory and these descriptors, while the
/// calling thread waits: what it changes of itself (namespaces, credentials) ends with it.
///
/// Its children made with `CLONE_PARENT` are children of the caller.
pub(crate) fn aside(body: &mut dyn FnMut() -> i32) -> Result<()> {
    const STACK: usize = 512 << 10;
    extern "C" fn enter(argument: *mut libc::c_void) -> libc::c_int {
        let body = argument.cast::<&mut dyn FnMut() -> i32>();
        // SAFETY: the pointer is to the caller's reference; it waits until we end.
        unsafe { (*body)() }
    }
    let (prot, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping that nobody else knows.
    let stack = unsafe { libc::mmap(std::ptr::null_mut(), STACK, prot, kind, -1, 0) };
    if stack == libc::MAP_FAILED {
        return Err(last());
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    let mut body = body;
    let argument = std::ptr::from_mut(&mut body).cast();
    // SAFETY: the stack is ours, large, and grows down from its end; CLONE_VFORK keeps this thread
    // from running until the process has ended, so memory is never used by both at once.
    let pid = unsafe { libc::clone(enter, stack.byte_add(STACK), flags, argument) };
    let failed = last();
    let mut status = 0;
    if pid > 0 {
        // SAFETY: waits for the child made above.
        while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 && last() == Errno::INTR {}
    }
    // SAFETY: the process that ran on it has ended.
    unsafe { libc::munmap(stack, STACK) };
    match (pid, status) {
        (..0, _) => Err(failed),
        (_, 0) => Ok(()),
        _ => Err(errno((status >> 8) & 0xff)),
    }
}

/// Joins one namespace, of the kind given.
pub(crate) fn join(fd: impl AsFd, kind: u64) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_setns, fd, kind as libc::c_int) }).map(drop)
}

/// Which kind of namespace a descriptor is for, as a flag of clone3(2).
pub(crate) fn namespace_kind(fd: impl AsFd) -> Result<u64> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request has no argument.
    let kind = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    check(i64::from(kind)).map(|kind| kind as u64)
}

/// Makes new namespaces for this process.
pub(crate) fn split(kinds: u64) -> Result<()> {
    // SAFETY: a plain integer.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds as libc::c_int) }).map(drop)
}

/// prctl(2) with up to four integer arguments.
pub(crate) fn control(option: i32, a: u64, b: u64, c: u64) -> Result<i32> {
    // SAFETY: callers pass only options whose arguments are integers.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, c, 0) }).map(|v| v as i32)
}

/// Whether other processes may look into this one.
pub(crate) fn set_dumpable(on: bool) -> Result<()> {
    control(libc::PR_SET_DUMPABLE, u64::from(on), 0, 0).map(drop)
}

/// Sets real, effective and saved group ID of this thread.
pub(crate) fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: plain integers; the raw call changes this thread only, the only one of a child.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets real, effective and saved user ID of this thread.
pub(crate) fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets the supplementary groups of this thread.
pub(crate) fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer and length are those of a live slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Sets effective, permitted and inheritable capabilities of this thread, as bit masks.
pub(crate) fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let half = |set: u64, high: bool| (if high { set >> 32 } else { set }) as u32;
    let data: [u32; 6] = [
        half(effective, false),
        half(permitted, false),
        half(inheritable, false),
        half(effective, true),
        half(permitted, true),
        half(inheritable, true),
    ];
    // SAFETY: header and data have the layout of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Effective, permitted and inheritable capabilities of this thread.
pub(crate) fn capabilities() -> Result<(u64, u64, u64)> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0_u32; 6];
    // SAFETY: header and data have the layout of version 3 and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    let [e, p, i, e_high, p_high, i_high] = data.map(u64::from);
    Ok((e | (e_high << 32), p | (p_high << 32), i | (i_high << 32)))
}

/// A limit of a process; 0 is the caller.
pub(crate) fn set_limit(pid: i32, which: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    // SAFETY: the kernel's rlimit64 is two 64-bit numbers; nothing is written back.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, which, limit.as_ptr(), std::ptr::null::<u64>())
    })
    .map(drop)
}

/// A new session keyring with this name; its own processes may read and search it.
pub(crate) fn join_keyring(name: &CStr) -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const SETPERM: libc::c_long = 5;
    const DESCRIBE_MASK: libc::c_long = 0x3f3f_0000;
    // SAFETY: the name outlives the call.
    let ring =
        check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, ring, DESCRIBE_MASK) }).map(drop)
}

/// Sends a signal, by number, to the process of a handle.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let (fd, none) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: plain integers and no structure.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) }).map(drop)
}

/// Replaces this process; only comes back when that failed.
pub(crate) fn exec(path: &CStr, args: &Strings, env: &Strings) -> Errno {
    // SAFETY: both arrays end with a null pointer and point to strings that live.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    last()
}

/// Every descriptor from `first` on is closed when this process is replaced.
pub(crate) fn close_on_exec_from(first: u32) -> Result<()> {
    const CLOEXEC: u32 = 4;
    // SAFETY: no descriptor is closed before exec.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOEXEC) }).map(drop)
}

/// Closes descriptors by number, in a child that never uses their owners' copies again.
pub(crate) fn close_between(first: u32, last: u32) {
    // SAFETY: their owners are in the parent's memory; the child never touches the copies of them.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Keeps one descriptor over exec.
pub(crate) fn keep_on_exec(fd: i32) -> Result<()> {
    // SAFETY: changes a flag of a descriptor.
    check(i64::from(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })).map(drop)
}

/// Puts a descriptor at a number, where it stays open over exec.
pub(crate) fn place(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        return keep_on_exec(number);
    }
    // SAFETY: the target numbers are this process's standard streams, owned by nobody.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// The terminal becomes this session's.
pub(crate) fn take_terminal(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the request takes an integer.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

/// All signals have their default action and none is blocked.
pub(crate) fn reset_signals() {
    let action = [0_u64; 4];
    let empty = 0_u64;
    for signal in 1..=64_i32 {
        // SAFETY: an all-zero sigaction is the default action; SIGKILL and SIGSTOP are refused.
        unsafe {
            let none = std::ptr::null::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8)
        };
    }
    // SAFETY: the mask is 8 bytes and outlives the call.
    unsafe {
        let none = std::ptr::null::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const empty, none, 8)
    };
}

/// Signals of this process that are blocked from now on, to be read from a descriptor.
pub(crate) fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let mask = signals.iter().fold(0_u64, |mask, signal| mask | (1 << (signal - 1)));
    // SAFETY: the mask is 8 bytes and outlives the calls; the descriptor is new and ours.
    unsafe {
        let none = std::ptr::null::<u64>();
        let block = libc::SIG_BLOCK;
        check(libc::syscall(libc::SYS_rt_sigprocmask, block, &raw const mask, none, 8))?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let fd = check(libc::syscall(libc::SYS_signalfd4, -1, &raw const mask, 8, flags))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Closes, in a fresh child, its copy of what belongs to its parent alone.
pub(crate) fn forsake(fd: BorrowedFd<'_>) {
    // SAFETY: the owner is in the parent's memory; the child never touches the copy of it.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Strings as execve(2) takes them.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    strings: Vec<std::ffi::CString>,
    pointers: Vec<std::cell::Cell<usize>>,
}

impl Strings {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Strings {
        let pointers = strings.iter().map(|s| s.as_ptr() as usize).chain([0]);
        let pointers = pointers.map(std::cell::Cell::new).collect();
        Strings { strings, pointers }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.strings.is_empty()
    }

    fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr().cast()
    }

    /// Puts another string in the last one's place. It must live until exec: a child's does, as it
    /// never leaves the frame that holds it.
    pub(crate) fn replace_last(&self, text: &CStr) {
        if let Some(at) = self.strings.len().checked_sub(1) {
            self.pointers[at].set(text.as_ptr() as usize);
        }
    }
}
