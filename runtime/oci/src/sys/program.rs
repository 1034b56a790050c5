//! Where the running program lies in memory.
#![allow(unsafe_code, reason = "the auxiliary vector, and madvise of the program's own pages")]

/// The program's headers, as the kernel told us where they are.
pub(super) fn headers() -> &'static [libc::Elf64_Phdr] {
    // SAFETY: the kernel gives the address and number of the headers of the running program, which
    // stay mapped and are never written; where a copy of them takes their place, it is the same.
    unsafe {
        let first = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        if first.is_null() {
            return &[];
        }
        std::slice::from_raw_parts(first, libc::getauxval(libc::AT_PHNUM) as usize)
    }
}

/// Parts of the program that are mapped from its file.
pub(super) fn loaded() -> impl Iterator<Item = &'static libc::Elf64_Phdr> {
    headers().iter().filter(|header| header.p_type == libc::PT_LOAD)
}

/// Where the program was loaded, which its headers' addresses are to be added to; none where they do
/// not tell.
pub(super) fn base() -> Option<u64> {
    let own = headers().iter().find(|header| header.p_type == libc::PT_PHDR)?;
    // SAFETY: asks for a number.
    let at = unsafe { libc::getauxval(libc::AT_PHDR) };
    // The headers' address less the one that they name.
    Some(at.wrapping_sub(own.p_vaddr))
}

/// Lets go of the pages of this program that are only read, for a process that will be idle: they
/// come back from the page cache, one by one as they are needed.
pub fn forget_program() {
    let Some(base) = base() else { return };
    for header in loaded().filter(|header| header.p_flags & libc::PF_W == 0) {
        let start = (base.wrapping_add(header.p_vaddr) + 0xfff) & !0xfff;
        let end = base.wrapping_add(header.p_vaddr + header.p_filesz) & !0xfff;
        if start < end {
            let length = (end - start) as usize;
            // SAFETY: whole pages of a private mapping of the program's file, which are as in the
            // file: they are read from there again. `leave_exe` replaces these mappings only in
            // children that go on to another program and never come here.
            unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        }
    }
}
