//! `WWW-Authenticate` headers: any text ends in a bounded list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::auth::challenge;

fuzz_target!(|header: &str| {
    let found = challenge::parse(header);
    assert!(found.len() <= 16);
    let length: usize = found.iter().flat_map(|c| &c.params).map(|(name, value)| name.len() + value.len()).sum();
    assert!(length <= header.len());
});
