//! Archives of images as they are looked through before anything is imported: tar, gzip, zstd,
//! `index.json`, `manifest.json`, manifests and configurations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::os::fd::AsRawFd;

fuzz_target!(|data: &[u8]| {
    // A file without a name: nothing to clean up, nothing else on the machine is touched.
    let Ok(fd) = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC) else { return };
    let mut file = std::fs::File::from(fd);
    if file.write_all(data).is_err() {
        return;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // What is refused is no finding; a panic, a hang or too much memory is.
    let _images = image::fuzz_archive(path.as_ref(), std::env::temp_dir().as_path());
});
