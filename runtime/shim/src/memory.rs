//! Giving memory back while there is nothing to do.
#![allow(unsafe_code, reason = "malloc_trim, which no safe crate offers")]

/// Returns free memory to the system, and lets go of the program's own pages, which all shims share
/// in the page cache.
pub(crate) fn release() {
    // SAFETY: returns what is free already.
    unsafe { libc::malloc_trim(0) };
    oci::forget_program();
}
