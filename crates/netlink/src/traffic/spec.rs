//! Token buckets, in the numbers that the kernel keeps.

use crate::wire::{Attributes, put, u32_at};

/// Nanoseconds in a tick of the packet scheduler (`PSCHED_SHIFT`), the same on every kernel.
const TICK: u64 = 64;
/// Bytes of `struct tc_ratespec`.
const SPEC: usize = 12;

/// How much may be sent: a rate, and how far it may be exceeded for a moment.
///
/// Equal buckets are the same to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes in a second.
    pub rate: u64,
    /// The time that the whole burst takes at this rate, in ticks of the packet scheduler.
    pub(super) ticks: u32,
    /// Bytes that may wait; what comes beyond them is dropped.
    pub limit: u32,
}

impl Bucket {
    /// A bucket of `burst` bytes; a burst longer than 274 seconds is cut to that.
    ///
    /// The kernel's own tools give the burst in whole microseconds, and so does this.
    pub fn new(rate: u64, burst: u64, limit: u32) -> Bucket {
        let micros = u128::from(burst) * 1_000_000 / u128::from(rate.max(1));
        let ticks = micros * 1000 / u128::from(TICK);
        Bucket { rate, ticks: u32::try_from(ticks).unwrap_or(u32::MAX), limit }
    }

    /// A bucket whose burst is given in ticks of the packet scheduler, 64 ns each.
    pub fn from_ticks(rate: u64, ticks: u32, limit: u32) -> Bucket {
        Bucket { rate, ticks, limit }
    }

    /// The same with another limit of what may wait.
    #[must_use]
    pub fn with_limit(self, limit: u32) -> Bucket {
        Bucket { limit, ..self }
    }

    /// The burst in bytes, as far as ticks tell it.
    pub fn burst(&self) -> u64 {
        let bytes = u128::from(self.rate) * u128::from(self.ticks) * u128::from(TICK);
        u64::try_from(bytes / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// `struct tc_ratespec`: Ethernet, so that the kernel wants no table of times.
    pub(super) fn spec(&self) -> [u8; SPEC] {
        const ETHERNET: u8 = 1;
        let mut spec = [0; SPEC];
        spec[1] = ETHERNET;
        spec[8..].copy_from_slice(&u32::try_from(self.rate).unwrap_or(u32::MAX).to_ne_bytes());
        spec
    }

    /// The rate in an attribute of its own, where 32 bits do not hold it.
    pub(super) fn wide_rate(&self, body: &mut Vec<u8>, kind: u16) {
        if u32::try_from(self.rate).is_err() {
            put(body, kind, &self.rate.to_ne_bytes());
        }
    }
}

/// The rate of a `struct tc_ratespec`, or of the attribute `wide` beside it.
pub(super) fn rate_of(spec: &[u8], options: &[u8], wide: u16) -> Option<u64> {
    let narrow = u64::from(u32_at(spec, 8)?);
    let wide = Attributes::of(options).find(|(kind, _)| *kind == wide);
    let wide = wide.and_then(|(_, value)| value.try_into().ok()).map(u64::from_ne_bytes);
    Some(wide.unwrap_or(narrow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_counted_in_whole_microseconds() {
        // tc qdisc add ... tbf rate 15mbit burst 20kb: 20480 bytes take 10922 µs.
        let bucket = Bucket::new(1_875_000, 20_480, 0);
        assert_eq!(bucket.ticks, 10_922 * 1000 / 64);
        assert_eq!(bucket.burst(), 20_478);
        assert_eq!(Bucket::new(1, u64::MAX, 0).ticks, u32::MAX);
        assert_eq!(Bucket::from_ticks(bucket.rate, bucket.ticks, 0), bucket);
    }

    #[test]
    fn a_rate_beyond_32_bits_is_told_apart() {
        let fast = Bucket::new(5_000_000_000, 1, 0);
        assert_eq!(fast.spec()[8..], u32::MAX.to_ne_bytes());
        let mut options = Vec::new();
        fast.wide_rate(&mut options, 4);
        assert_eq!(rate_of(&fast.spec(), &options, 4), Some(5_000_000_000));
        let slow = Bucket::new(7, 1, 0);
        let mut options = Vec::new();
        slow.wide_rate(&mut options, 4);
        assert!(options.is_empty());
        assert_eq!(rate_of(&slow.spec(), &options, 4), Some(7));
    }
}
