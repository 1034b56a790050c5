//! Processor time per second, from two samples.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Samples that are nearer than this, in nanoseconds, tell nothing.
const NEAR: i64 = 500_000_000;

/// What was not asked for during this time, in nanoseconds, is forgotten.
const OLD: i64 = 600_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: i64,
    used: u64,
    rate: Option<u64>,
}

/// The last sample of each group.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    by_group: HashMap<String, Sample>,
    /// When it was last looked which of them are old.
    looked: i64,
}

impl Rates {
    /// Nanoseconds of processor time per second, between this sample and the one before; for the
    /// first since `begun`, when nothing had been used.
    pub(crate) fn of(&self, id: &str, (at, used): (i64, u64), begun: i64) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = Sample { at: begun, used: 0, rate: None };
        let before = all.by_group.get(id).copied().unwrap_or(first);
        let passed = at - before.at;
        if before.at <= 0 || passed < NEAR {
            return before.rate;
        }
        let spent = used.saturating_sub(before.used);
        let rate = i128::from(spent) * 1_000_000_000 / i128::from(passed);
        let rate = u64::try_from(rate).ok();
        if at - all.looked > OLD / 10 {
            all.looked = at;
            all.by_group.retain(|_, sample| at - sample.at < OLD);
        }
        let sample = Sample { at, used, rate };
        match all.by_group.get_mut(id) {
            Some(known) => *known = sample,
            None => drop(all.by_group.insert(id.to_owned(), sample)),
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_rate_is_what_was_used_between_two_samples() {
        let rates = Rates::default();
        let begun = 100 * SECOND;
        assert_eq!(rates.of("a", (begun + 2 * SECOND, 1_000_000_000), begun), Some(500_000_000));
        assert_eq!(rates.of("a", (begun + 3 * SECOND, 3_000_000_000), begun), Some(2_000_000_000));
    }

    #[test]
    fn near_samples_repeat_the_rate() {
        let rates = Rates::default();
        let begun = 100 * SECOND;
        assert_eq!(rates.of("a", (begun + 1, 5), begun), None);
        assert_eq!(rates.of("a", (begun + SECOND, 500), begun), Some(500));
        assert_eq!(rates.of("a", (begun + SECOND + 1, 900), begun), Some(500));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let rates = Rates::default();
        rates.of("a", (100 * SECOND, 5), SECOND);
        rates.of("b", (800 * SECOND, 5), SECOND);
        assert_eq!(rates.0.lock().unwrap().by_group.len(), 1);
    }
}
