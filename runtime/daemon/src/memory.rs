//! Small while there is little to do: how the C library's allocator keeps free memory.
#![allow(unsafe_code, reason = "mallopt and malloc_trim, which no safe crate offers")]

use std::time::Duration;

/// Heaps that threads share. By default each of the dozens of threads that wait for files would get one
/// of its own, with what was freed in it.
const HEAPS: libc::c_int = 2;

/// Memory pieces of at least so many bytes, as answers with all statistics are, are the system's again as
/// soon as they are free; so is the end of a heap.
const LARGE: libc::c_int = 1 << 20;

/// How often free memory in between is given back.
const PERIOD: Duration = Duration::from_secs(15);

/// Says so to the allocator. For before there are threads.
pub(crate) fn be_small() {
    let options = [
        (libc::M_ARENA_MAX, HEAPS),
        (libc::M_MMAP_THRESHOLD, LARGE),
        (libc::M_TRIM_THRESHOLD, LARGE),
    ];
    for (option, value) in options {
        // SAFETY: sets a number of the allocator, which takes none of ours. What it refuses stays as it was.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Gives back what is free, now and then, for ever.
pub(crate) async fn give_back() {
    loop {
        tokio::time::sleep(PERIOD).await;
        // SAFETY: returns what is free already.
        let trim = || unsafe { libc::malloc_trim(0) };
        // It waits for who allocates; the next time comes in any case.
        let _trimmed = tokio::task::spawn_blocking(trim).await;
    }
}
