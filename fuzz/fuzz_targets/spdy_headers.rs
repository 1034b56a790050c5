//! SPDY header blocks that are decompressed: what is read of one is no more than was in it, and what
//! the packer makes of it is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streaming::wire::spdy::headers::{Packer, Unpacker, parse};

fuzz_target!(|block: &[u8]| {
    let Ok(headers) = parse(block) else { return };
    let length: usize = headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
    assert!(4 + length <= block.len());
    let pairs: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    if block.len() <= 8 << 10 {
        let packed = Packer::default().write(&pairs).expect("a short block is packed");
        assert_eq!(Unpacker::default().read(&packed), Ok(headers));
    }
});
