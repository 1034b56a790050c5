//! Arbitrary bytes as a layer: nothing may escape, panic, or take long.
#![no_main]

use layer::{Devices, Expect, Limits, Options, Owner, Whiteouts};
use libfuzzer_sys::fuzz_target;
use std::fs::{self, File};
use std::os::fd::AsFd;

fuzz_target!(|data: &[u8]| {
    let base = std::env::temp_dir().join(format!("podloom-fuzz-{}", std::process::id()));
    fs::create_dir_all(base.join("root")).expect("make the target");
    fs::write(base.join("witness"), "untouched").expect("make the witness");
    let root = File::open(base.join("root")).expect("open the target");
    let limits = Limits { bytes: 16 << 20, entries: 4096, ..Limits::default() };
    let whiteouts = match data.first() {
        Some(byte) if byte % 2 == 0 => Whiteouts::Files,
        _ => Whiteouts::Overlay,
    };
    let options = Options { whiteouts, owner: Owner::Caller, devices: Devices::Skip, limits };
    // Refusal is fine; the files beside the target tell whether it was in time.
    drop(layer::unpack(data, root.as_fd(), &Expect::default(), &options));
    let mut names: Vec<_> =
        fs::read_dir(&base).expect("list").map(|e| e.expect("list").file_name()).collect();
    names.sort();
    assert_eq!(names, ["root", "witness"]);
    assert_eq!(fs::read_to_string(base.join("witness")).expect("read"), "untouched");
    let parent = File::open(std::env::temp_dir()).expect("open");
    let name = base.file_name().expect("a name").as_encoded_bytes().to_vec();
    layer::remove_tree(parent.as_fd(), &name).expect("remove");
});
