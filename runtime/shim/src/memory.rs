//! Giving memory back while there is nothing to do.
#![allow(unsafe_code, reason = "malloc_trim and madvise, which no safe crate offers")]

/// Returns free memory to the system, and lets go of the program's own pages: they come back from the
/// page cache, where all shims share them, one by one as they are needed.
pub(crate) fn release() {
    // SAFETY: returns what is free already.
    unsafe { libc::malloc_trim(0) };
    for header in headers().iter().filter(|header| header.p_type == libc::PT_LOAD) {
        if header.p_flags & libc::PF_W == 0 {
            forget(header);
        }
    }
}

/// The program's headers, as the kernel told us where they are.
fn headers() -> &'static [libc::Elf64_Phdr] {
    // SAFETY: the kernel gives the address and number of the headers of the running program, which
    // stay mapped and are never written.
    unsafe {
        let first = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        if first.is_null() {
            return &[];
        }
        std::slice::from_raw_parts(first, libc::getauxval(libc::AT_PHNUM) as usize)
    }
}

/// Drops the pages of one part of the program that is only read.
fn forget(header: &libc::Elf64_Phdr) {
    let own = headers().iter().find(|header| header.p_type == libc::PT_PHDR);
    // SAFETY: asks for a number.
    let at = unsafe { libc::getauxval(libc::AT_PHDR) };
    // Where the program was loaded: the headers' address less the one that they name.
    let Some(base) = own.map(|own| at.wrapping_sub(own.p_vaddr)) else { return };
    let start = (base.wrapping_add(header.p_vaddr) + 0xfff) & !0xfff;
    let end = base.wrapping_add(header.p_vaddr + header.p_filesz) & !0xfff;
    if start < end {
        // SAFETY: whole pages of a private mapping of the program's file, which are as in the file:
        // they are read from there again.
        unsafe {
            libc::madvise(start as *mut libc::c_void, (end - start) as usize, libc::MADV_DONTNEED)
        };
    }
}
