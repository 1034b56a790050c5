//! The node's current boot: what tells a lease of today from one of before.

use cni_types::{Error, Result};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Mounted by the kernel or the first programs of a boot.
const EARLY_MOUNTS: [&str; 2] = ["/dev", "/run"];

/// Identity of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot {
    id: [u8; 16],
}

impl Boot {
    /// The current one.
    pub(crate) fn current() -> Result<Boot> {
        let text = fs::read(BOOT_ID).map_err(|e| {
            Error::io(BOOT_ID, &e).with_details("/proc must be mounted where the plugin runs")
        })?;
        Ok(Boot::of(&text))
    }

    /// The boot with this identifier: a UUID, of which the digits count.
    pub(crate) fn of(text: &[u8]) -> Boot {
        let mut id = [0; 16];
        let digits = text.iter().filter_map(|c| char::from(*c).to_digit(16));
        for (n, digit) in digits.take(32).enumerate() {
            id[n / 2] |= (digit as u8) << (if n % 2 == 0 { 4 } else { 0 });
        }
        Boot { id }
    }

    /// The identifier.
    pub(crate) fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// The time that a lease directory is stamped with, in seconds: even, so that any file system
    /// can store it, different from boot to boot, and between 1980 and 1996, so that no change of
    /// the directory can come by it with a clock that runs.
    pub(crate) fn stamp(&self) -> i64 {
        let mut hash = crate::hash::Hash::new();
        hash.feed(&self.id);
        315_532_800 + 2 * (hash.value() % 250_000_000) as i64
    }
}

/// A time before which the boot had not begun, nanoseconds since 1970. `None` if nothing can be
/// said, which makes every file one of this boot.
///
/// The kernel's own figure is "now minus uptime", so it moves when the clock is set, or when a
/// virtual machine was paused. The birth of a file system that lives in memory does not; the
/// earlier of both is taken, because a lease wrongly kept is only an address less until GC, and
/// one wrongly freed is an address given out twice.
pub(crate) fn not_before() -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let mut earliest = seconds.trim().parse::<i64>().ok()?.checked_mul(1_000_000_000)?;
    for mount in EARLY_MOUNTS.map(Path::new) {
        if statfs(mount).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC)
            && let Some(birth) = birth(mount)
        {
            earliest = earliest.min(birth);
        }
    }
    Some(earliest)
}

fn birth(path: &Path) -> Option<i64> {
    let since = fs::metadata(path).ok()?.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_differ_and_so_do_their_stamps() {
        let one = Boot::of(b"1b4e28ba-2fa1-11d2-883f-0016d3cca427\n");
        let two = Boot::of(b"1b4e28ba-2fa1-11d2-883f-0016d3cca428\n");
        assert_eq!(one.id()[..4], [0x1b, 0x4e, 0x28, 0xba]);
        assert_ne!(one, two);
        assert_ne!(one.stamp(), two.stamp());
        for boot in [one, two] {
            assert_eq!(boot.stamp() % 2, 0);
            assert!((315_532_800..820_000_000).contains(&boot.stamp()));
        }
    }

    #[test]
    fn this_boot_began_in_the_past() {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).expect("clock");
        let began = not_before().expect("/proc/stat");
        assert!(began > 0 && i128::from(began) < now.as_nanos() as i128);
        assert_eq!(Boot::current().expect("boot id"), Boot::current().expect("boot id"));
    }
}
