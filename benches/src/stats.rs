//! Statistics of a series of measurements.

use std::time::Duration;

/// Measurements of one thing, in seconds, in the order they were taken.
#[derive(Debug, Default, Clone)]
pub(crate) struct Series(Vec<f64>);

/// The figures of a [`Series`]; all in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

impl Series {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample.as_secs_f64());
    }

    /// `None` without measurements.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        Some(Summary {
            count: sorted.len(),
            min: *sorted.first()?,
            p50: percentile(&sorted, 50.0)?,
            p95: percentile(&sorted, 95.0)?,
            p99: percentile(&sorted, 99.0)?,
            max: *sorted.last()?,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
        })
    }
}

/// The value below which `p` percent of the sorted values lie, linear between neighbours, so
/// that the median of an even count is the mean of the middle two.
fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = p / 100.0 * last as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(last);
    let part = rank - rank.floor();
    Some(sorted[below] + (sorted[above] - sorted[below]) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(millis: &[u64]) -> Series {
        let mut series = Series::default();
        for m in millis {
            series.push(Duration::from_millis(*m));
        }
        series
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn nothing_has_no_summary() {
        assert_eq!(Series::default().summary(), None);
    }

    #[test]
    fn one_value_is_every_percentile() {
        let s = series(&[7]).summary().unwrap();
        assert_eq!(s.count, 1);
        for figure in [s.min, s.p50, s.p95, s.p99, s.max, s.mean] {
            assert!(near(figure, 0.007));
        }
    }

    #[test]
    fn order_does_not_matter_and_even_counts_are_split() {
        let s = series(&[40, 10, 30, 20]).summary().unwrap();
        assert!(near(s.min, 0.010) && near(s.max, 0.040));
        assert!(near(s.p50, 0.025) && near(s.mean, 0.025));
    }

    #[test]
    fn high_percentiles_lie_between_neighbours() {
        let all: Vec<u64> = (0..=100).collect();
        let s = series(&all).summary().unwrap();
        assert!(near(s.p50, 0.050) && near(s.p95, 0.095) && near(s.p99, 0.099));
        let s = series(&[0, 100]).summary().unwrap();
        assert!(near(s.p95, 0.095));
    }

    #[test]
    fn one_outlier_moves_the_mean_and_not_the_median() {
        let s = series(&[1, 1, 1, 1, 1000]).summary().unwrap();
        assert!(near(s.p50, 0.001) && s.mean > 0.2);
    }
}
