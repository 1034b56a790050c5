//! Archives of images as they are looked through before anything is imported: tar, gzip, zstd,
//! `index.json`, `manifest.json`, manifests and configurations.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let scratch = std::path::Path::new("/dev/shm");
    let path = scratch.join(format!("podloom-fuzz-{}", std::process::id()));
    std::fs::write(&path, data).expect("a file in memory");
    // What is refused is no finding; a panic, a hang or too much memory is.
    let _images = image::fuzz_archive(&path, scratch);
    std::fs::remove_file(&path).expect("the same file");
});
