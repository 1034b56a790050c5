//! The few calls of bpf(2) by which a device program is put on a v2 group.
#![allow(unsafe_code, reason = "bpf(2) has no wrapper; all of its calls are here")]

use crate::dir::Dir;
use crate::ebpf::Insn;
use crate::error::{Error, Kind, Result};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// Numbers of linux/bpf.h.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// The name of our programs: how they are told from those of systemd and others.
const NAME: [u8; 16] = *b"podloom_device\0\0";

/// The most programs that the kernel attaches to one group.
const MOST: usize = 64;

/// Start of `union bpf_attr` for each call; what is left out is zero by the size that is passed.
#[repr(C, align(8))]
struct Load {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log: (u32, u32, u64),
    kernel: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C, align(8))]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
    pad: u32,
}

#[repr(C, align(8))]
struct Query {
    target: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    pad: u32,
}

#[repr(C, align(8))]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
    pad: u32,
}

#[repr(C, align(8))]
struct Info {
    fd: u32,
    len: u32,
    info: u64,
}

/// The first 80 bytes of `struct bpf_prog_info`, which end with the name.
#[repr(C, align(8))]
struct ProgInfo {
    before: [u8; 64],
    name: [u8; 16],
}

/// Puts the program on the group, in one step instead of an older one of ours. Programs of others
/// stay: an access must please them all.
pub(crate) fn install(group: &Dir, code: &[Insn]) -> Result<()> {
    let fail = |verb, e: Errno| {
        let error = Error::io(group.path(), verb, e);
        match e {
            Errno::INVAL | Errno::NOSYS => error
                .of_kind(Kind::Unsupported)
                .hint("device rules of cgroup v2 need CONFIG_CGROUP_BPF"),
            _ => error,
        }
    };
    let program = load(code).map_err(|e| fail("load the device program", e))?;
    let target = group
        .file(".", rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)
        .map_err(|e| fail("open", e))?;
    let old = ours(&target).map_err(|e| fail("list device programs", e))?;
    attach(&target, &program, old.first()).map_err(|e| fail("attach the device program", e))?;
    for extra in old.iter().skip(1) {
        detach(&target, extra).map_err(|e| fail("detach an old device program", e))?;
    }
    Ok(())
}

fn number(fd: &impl AsRawFd) -> u32 {
    // An owned descriptor is never negative.
    fd.as_raw_fd().unsigned_abs()
}

fn call<T>(command: libc::c_long, attr: &mut T) -> std::result::Result<i32, Errno> {
    // SAFETY: `attr` is a plain struct of this file, laid out as the kernel has the start of
    // `union bpf_attr` for `command`; the kernel touches no more than the size given. What it
    // points to is owned by the caller for the time of the call.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    match i32::try_from(done) {
        Ok(n) if n >= 0 => Ok(n),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// A call that makes a descriptor.
fn make<T>(command: libc::c_long, attr: &mut T) -> std::result::Result<OwnedFd, Errno> {
    let fd = call(command, attr)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn load(code: &[Insn]) -> std::result::Result<OwnedFd, Errno> {
    let count = u32::try_from(code.len()).map_err(|_| Errno::TOOBIG)?;
    let license = c"Apache-2.0";
    let attr = || Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: (0, 0, 0),
        kernel: 0,
        flags: 0,
        name: NAME,
    };
    // The verifier gives up with EAGAIN when a signal is pending.
    for _ in 0..4 {
        match make(PROG_LOAD, &mut attr()) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    make(PROG_LOAD, &mut attr())
}

fn attach(
    target: &OwnedFd,
    program: &OwnedFd,
    old: Option<&OwnedFd>,
) -> std::result::Result<(), Errno> {
    let flags = F_ALLOW_MULTI | if old.is_some() { F_REPLACE } else { 0 };
    let mut attr = Attach {
        target: number(target),
        program: number(program),
        kind: CGROUP_DEVICE,
        flags,
        replaced: old.map_or(0, number),
        pad: 0,
    };
    call(PROG_ATTACH, &mut attr).map(drop)
}

fn detach(target: &OwnedFd, program: &OwnedFd) -> std::result::Result<(), Errno> {
    let (target, program) = (number(target), number(program));
    let mut attr = Attach { target, program, kind: CGROUP_DEVICE, flags: 0, replaced: 0, pad: 0 };
    call(PROG_DETACH, &mut attr).map(drop)
}

/// The programs of this project on the group.
fn ours(target: &OwnedFd) -> std::result::Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0u32; MOST];
    let mut query = Query {
        target: number(target),
        kind: CGROUP_DEVICE,
        flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        pad: 0,
    };
    call(PROG_QUERY, &mut query)?;
    let mut found = Vec::new();
    for id in ids.into_iter().take(query.count as usize) {
        let program = match make(PROG_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0, pad: 0 }) {
            Ok(fd) => fd,
            // Detached meanwhile.
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e),
        };
        if name(&program)? == NAME {
            found.push(program);
        }
    }
    Ok(found)
}

fn name(program: &OwnedFd) -> std::result::Result<[u8; 16], Errno> {
    let mut info = ProgInfo { before: [0; 64], name: [0; 16] };
    let mut attr = Info {
        fd: number(program),
        len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    call(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.name)
}
