//! Any bytes as a `config.json`: read, checked and planned, without effects and without a panic.

#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = oci::check(bytes, Path::new("/bundle"));
});
