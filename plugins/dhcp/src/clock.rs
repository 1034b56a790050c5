//! Time and chance, as values: the state machines take both from outside.

use cni_types::{Code, Error, Result};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// A moment of this boot, in milliseconds, counting the time that the node slept: a lease runs out
/// while it does. Setting the node's clock does not move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Time(u64);

impl Time {
    /// Never comes.
    pub(crate) const NEVER: Time = Time(u64::MAX);

    /// Now.
    ///
    /// # Errors
    /// The kernel has no such clock (before 2.6.39).
    pub(crate) fn now() -> Result<Time> {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
            .map_err(|e| Error::new(Code::Kernel, format!("clock of this boot: {e}")))?;
        Ok(Time(u64::try_from(Duration::from(now).as_millis()).unwrap_or(u64::MAX)))
    }

    /// This long after; never stays never.
    pub(crate) fn after(self, delay: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` it is; zero if it is before.
    pub(crate) fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Where random numbers come from: a keyed hash of a counter, the key from the kernel.
#[derive(Debug, Default)]
pub(crate) struct Dice {
    key: RandomState,
    drawn: u64,
}

impl Dice {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.key.hash_one(self.drawn)
    }

    /// A transaction number that nobody can guess.
    pub(crate) fn number(&mut self) -> u32 {
        (self.draw() >> 32) as u32
    }

    /// `delay`, a tenth more or less at most, so that pods that began together do not go on
    /// together (RFC 2131, 4.1; RFC 8415, 15).
    pub(crate) fn around(&mut self, delay: Duration) -> Duration {
        let share = (self.draw() % 2001) as u32;
        delay * 9 / 10 + delay * share / 10_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stays_never() {
        assert_eq!(Time::NEVER.after(Duration::from_secs(9)), Time::NEVER);
        let at = Time::default().after(Duration::from_secs(2));
        assert_eq!(at.since(Time::default()), Duration::from_secs(2));
        assert_eq!(Time::default().since(at), Duration::ZERO);
        assert!(Time::now().expect("clock") > Time::default());
    }

    #[test]
    fn a_delay_stays_within_a_tenth() {
        let mut dice = Dice::default();
        let drawn: Vec<_> = (0..1000).map(|_| dice.around(Duration::from_secs(10))).collect();
        assert!(drawn.iter().all(|d| (9.0..=11.01).contains(&d.as_secs_f64())));
        assert!(drawn.iter().any(|d| *d < Duration::from_secs(10)));
        assert!(drawn.iter().any(|d| *d > Duration::from_secs(10)));
        assert_ne!(dice.number(), dice.number());
    }
}
