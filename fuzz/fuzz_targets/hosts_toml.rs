//! `hosts.toml`: any text parses or names what is wrong with it, in one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::hosts::HostsFile;

fuzz_target!(|text: &str| match HostsFile::parse(text) {
    Ok(file) => assert!(file.urls().count() <= 64),
    Err(error) => assert!(!error.to_string().contains('\n')),
});
