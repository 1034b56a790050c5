//! The host's program leaves a process before the container can see it.
//!
//! Until it executes the container's program, a child of ours is an image of the host's executable,
//! and the kernel lets it be found as `/proc/self/exe`: a script or an ELF file of the image may name
//! that as its interpreter, run the host's program inside the container, and then open it for
//! writing from there (CVE-2019-5736). Copies of the executable made at each start cost more than
//! all the rest. Instead the child gives the kernel another file as its executable: an empty one in
//! memory, which nobody can run or gain by writing to.
//!
//! The kernel allows that once nothing of the executable is mapped by its path. So the child maps
//! the same file again by a path of its own, through a copy of its mount that is attached nowhere and
//! read-only: the pages stay those that all processes share. Where mounts cannot be copied, and for
//! what is written to, it turns the mappings into memory of its own.
//!
//! Until its program is executed, such a child shares the fate of the file: who overwrites a runtime
//! in place, instead of renaming a new one over it, breaks containers that wait for their start.
#![allow(unsafe_code, reason = "replaces the mappings of the running program")]

use super::{check, last, program};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Result;
use rustix::mount::OpenTreeFlags;

/// Bytes that are replaced at once.
const PIECE: usize = 256 << 10;

const SET_MM: libc::c_int = 35;
const SET_MM_MAP: libc::c_ulong = 14;
const SET_MM_MAP_SIZE: libc::c_ulong = 15;

/// `prctl_mm_map` of linux/prctl.h.
#[repr(C)]
struct Layout {
    addresses: [u64; 11],
    auxv: u64,
    auxv_size: u32,
    exe: u32,
}

/// Whether this kernel lets a process change what its executable is.
pub(crate) fn can_leave_exe() -> bool {
    let mut size = 0_u32;
    // SAFETY: the kernel writes one number.
    let done = unsafe { libc::prctl(SET_MM, SET_MM_MAP_SIZE, &raw mut size, 0, 0) };
    done == 0 && size as usize == size_of::<Layout>()
}

/// What takes the executable's place.
#[derive(Debug)]
pub(crate) struct Disguise {
    /// The new executable.
    pub(crate) file: OwnedFd,
    /// The present one, by another path.
    pub(crate) again: Option<OwnedFd>,
}

/// Opens the running program by a path that is nobody else's; `None` without the right to.
pub(crate) fn again() -> Option<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, c"/proc/self/exe", flags).ok()?;
    let read_only = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let (fd, size) = (mount.as_raw_fd(), size_of::<libc::mount_attr>());
    // SAFETY: an empty path and a whole structure of the size told, which outlive the call.
    let set = unsafe {
        let (call, flags) = (libc::SYS_mount_setattr, libc::AT_EMPTY_PATH);
        libc::syscall(call, fd, c"".as_ptr(), flags, &raw const read_only, size)
    };
    let path = format!("/proc/self/fd/{fd}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    check(set).and_then(|_| rustix::fs::open(path, flags, Mode::empty())).ok()
}

/// Gives this process another executable. It must have one thread and nobody's memory but its own.
pub(crate) fn leave_exe(disguise: &Disguise) -> Result<()> {
    let mut addresses = (u64::MAX, 0);
    for header in program::loaded() {
        let map = Map::of(header);
        addresses = (addresses.0.min(map.start as u64), addresses.1.max(map.end as u64));
        let shared = disguise.again.as_ref().filter(|_| map.prot & libc::PROT_WRITE == 0);
        if shared.is_some_and(|file| map.read_again(file.as_fd()).is_ok()) {
            continue;
        }
        // In pieces: otherwise the whole program is in memory twice for a moment.
        for start in (map.start..map.end).step_by(PIECE) {
            let end = map.end.min(start + PIECE);
            privatize(&Map { start, end, ..map })?;
        }
    }
    // Only the file matters; the addresses have to be in order, and are of use to nobody.
    // SAFETY: asks for the present end of the heap.
    let heap = unsafe { libc::syscall(libc::SYS_brk, 0) } as u64;
    let (start, end) = addresses;
    let addresses = [start, end, start, end, heap, heap, end, start, start, start, start];
    let layout = Layout { addresses, auxv: 0, auxv_size: 0, exe: disguise.file.as_raw_fd() as u32 };
    let size = size_of::<Layout>();
    // SAFETY: the structure has the size told and outlives the call.
    check(i64::from(unsafe { libc::prctl(SET_MM, SET_MM_MAP, &raw const layout, size, 0) }))
        .map(drop)
}

/// Part of the program that is mapped from its file.
#[derive(Clone, Copy)]
struct Map {
    start: usize,
    end: usize,
    prot: libc::c_int,
    /// Where it begins in the file.
    offset: u64,
}

impl Map {
    fn of(header: &libc::Elf64_Phdr) -> Map {
        let base = program::base().unwrap_or(0) as usize;
        let start = base.wrapping_add(header.p_vaddr as usize);
        let end = (start + header.p_filesz as usize + 0xfff) & !0xfff;
        let bit = |flag, prot| if header.p_flags & flag != 0 { prot } else { 0 };
        let prot = bit(libc::PF_R, libc::PROT_READ)
            | bit(libc::PF_W, libc::PROT_WRITE)
            | bit(libc::PF_X, libc::PROT_EXEC);
        Map { start: start & !0xfff, end, prot, offset: header.p_offset & !0xfff }
    }

    /// Maps the same bytes again, from the file by another path.
    fn read_again(&self, file: BorrowedFd<'_>) -> Result<()> {
        let (place, length) = (self.start as *mut libc::c_void, self.end - self.start);
        let (kind, offset) = (libc::MAP_PRIVATE | libc::MAP_FIXED, self.offset as libc::off_t);
        // SAFETY: identical bytes with identical rights come where they were, in one step, so that
        // running code and references stay valid; nothing was written to them.
        let done = unsafe { libc::mmap(place, length, self.prot, kind, file.as_raw_fd(), offset) };
        if done == libc::MAP_FAILED { Err(last()) } else { Ok(()) }
    }
}

/// Puts a private copy of a mapping into its place.
fn privatize(map: &Map) -> Result<()> {
    let length = map.end - map.start;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let write = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping; the copy reads a readable mapping of the same length; mremap puts
    // identical bytes with identical rights where they were, in one step, so that running code and
    // references stay valid.
    unsafe {
        let copy = libc::mmap(std::ptr::null_mut(), length, write, kind, -1, 0);
        if copy == libc::MAP_FAILED {
            return Err(last());
        }
        let old = map.start as *mut libc::c_void;
        if map.prot & libc::PROT_READ == 0 {
            check(i64::from(libc::mprotect(old, length, libc::PROT_READ)))?;
        }
        std::ptr::copy_nonoverlapping(old.cast::<u8>(), copy.cast::<u8>(), length);
        check(i64::from(libc::mprotect(copy, length, map.prot)))?;
        let flags = libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE;
        if libc::mremap(copy, length, length, flags, old) == libc::MAP_FAILED {
            return Err(last());
        }
    }
    Ok(())
}
