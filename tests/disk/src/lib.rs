//! A block device that remembers its writes, so that tests can cut its power.
//!
//! A [`Recorder`] is a file, in a FUSE file system of its own, that stands below a loop device and a
//! real file system. It keeps every write and every flush in a [`Journal`]. A test then cuts the
//! power at any point of that journal: [`Cuts`] makes the disk as it may look then. All that a
//! flush had confirmed is there; of the writes since, an arbitrary part is, in no order. That is
//! what a drive with a write cache may leave behind.
//!
//! ```no_run
//! disk::alone();
//! let recorder = disk::Recorder::new(64 << 20);
//! recorder.format();
//! recorder.mark("begin");
//! let mounted = disk::Mounted::new(&recorder.path());
//! std::fs::write(mounted.path().join("a"), "a").expect("write");
//! drop(mounted);
//! let journal = recorder.finish();
//! let mut cuts = disk::Cuts::new(&journal, 1);
//! for at in journal.points("begin", 20, 1) {
//!     let image = cuts.cut(at);
//!     let mounted = disk::Mounted::new(&image);
//!     println!("{}", mounted.path().join("a").exists());
//! }
//! ```
//!
//! Failing is done by panic, because a test's library fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's library fails the test"
)]

mod cuts;
mod journal;
mod mounted;
mod recorder;

pub use cuts::Cuts;
pub use journal::{Event, Journal};
pub use mounted::{Mounted, alone};
pub use recorder::Recorder;

/// Numbers that look random and are the same for the same seed (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit.max(1)
    }
}
