//! A socket that the kernel closes in the background leaves nothing in this process.
//!
//! Alone in its program, so that no other test opens or closes files meanwhile.

use netfilter::nft::Nft;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn no_descriptor_stays_behind() {
    let before = open_files();
    for _ in 0..100 {
        let mut nft = Nft::open().expect("nf_tables");
        nft.generation().expect("a bound socket");
        nft.leave_to_collector();
    }
    assert_eq!(open_files(), before);
}
