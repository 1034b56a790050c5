//! Numbers that look random.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence of numbers, the same for the same seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of `PODLOOM_SEED`, else one of its own; which, is told for a repetition.
    #[allow(clippy::print_stderr, reason = "a failure is repeated by it")]
    pub fn new() -> Chance {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = u64::try_from(now.as_nanos()).unwrap_or(1);
        let seed = std::env::var("PODLOOM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(own);
        eprintln!("PODLOOM_SEED={seed}");
        Chance::of(seed)
    }

    /// The sequence of a seed.
    pub fn of(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }

    /// A time below `limit`.
    pub fn time(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Default for Chance {
    fn default() -> Chance {
        Chance::new()
    }
}
