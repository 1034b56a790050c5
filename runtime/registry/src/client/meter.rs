//! The rate of a transfer, measured while waiting for the network only: a slow reader is not a slow registry.

use std::time::Duration;

/// Counts bytes and waits over one window after another.
#[derive(Debug)]
pub(super) struct Meter {
    floor: u64,
    window: Duration,
    bytes: u64,
    waited: Duration,
}

impl Meter {
    /// `floor` is in bytes a second; 0 never fails.
    pub(super) fn new(floor: u64, window: Duration) -> Self {
        Self { floor, window, bytes: 0, waited: Duration::ZERO }
    }

    /// How much longer the present window is open.
    pub(super) fn left(&self) -> Duration {
        if self.floor == 0 { Duration::MAX } else { self.window.saturating_sub(self.waited) }
    }

    /// Takes a wait and what it brought; the rate in bytes a second when a window closed below the floor.
    pub(super) fn add(&mut self, bytes: u64, waited: Duration) -> Option<f64> {
        self.bytes += bytes;
        self.waited += waited;
        if self.floor == 0 || self.waited < self.window {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let (rate, floor) = (self.bytes as f64 / self.waited.as_secs_f64(), self.floor as f64);
        (self.bytes, self.waited) = (0, Duration::ZERO);
        (rate < floor).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_windows_are_told() {
        let second = Duration::from_secs(1);
        let mut meter = Meter::new(1000, 2 * second);
        assert_eq!(meter.add(500, second), None);
        assert_eq!(meter.left(), second);
        assert_eq!(meter.add(500, second), Some(500.0));
        assert_eq!((meter.add(5000, second), meter.add(0, second)), (None, None));
        let mut off = Meter::new(0, second);
        assert_eq!(off.add(0, 100 * second), None);
        assert_eq!(off.left(), Duration::MAX);
    }
}
