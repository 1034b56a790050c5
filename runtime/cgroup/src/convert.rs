//! Values of v1, in which configurations are written, as values of v2.

use crate::error::{Error, Result};

/// `cpu.shares` (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default).
///
/// The exponent is quadratic in the logarithm, so that both ends and both defaults meet:
/// with l = log2(shares), weight = ceil(10^((l² + 125 l) / 612 - 7 / 34)). crun does so since
/// 1.23, runc since 1.3.2. The straight line of before made 39 of 1024. Zero means "not set".
pub fn cpu_weight(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            // The last digits of 10^2 must not make 101 of 1024's 100.
            let weight = (10f64.powf(exponent) - 1e-9).ceil();
            Some((weight as u64).clamp(1, 10_000))
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000), linearly. Zero means "not set".
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) out of range.
pub fn io_weight(weight: u16) -> Result<Option<u64>> {
    match weight {
        0 => Ok(None),
        10..=1000 => Ok(Some(1 + (u64::from(weight) - 10) * 9999 / 990)),
        _ => Err(Error::invalid(format_args!("blockIO.weight {weight}"), "want 10 to 1000")),
    }
}

/// The limit of memory and swap together as `memory.swap.max`, which is of swap alone.
/// `None` leaves it as it is, `Some(-1)` is no limit.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) for a sum below the limit of memory, or without one.
pub fn swap_max(swap: Option<i64>, limit: Option<i64>) -> Result<Option<i64>> {
    let (swap, limit) = (swap.unwrap_or(0), limit.unwrap_or(0));
    let bad = |why| Err(Error::invalid(format_args!("memory.swap {swap}"), why));
    match (swap, limit) {
        // As v1 has it: memory without a limit means swap without a limit.
        (0, -1) | (-1, _) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (_, 0 | -1) => bad("a limit of memory and swap needs one of memory".to_owned()),
        (..-1, _) | (_, ..-1) => bad("want -1 for no limit, or bytes".to_owned()),
        (s, l) if s < l => bad(format!("is less than memory.limit {l}, which it includes")),
        (s, l) => Ok(Some(s - l)),
    }
}

/// A list of numbers such as `0-2,7`, as kernel and configurations write it.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) when it is not one; numbers end at 8191.
pub fn cpu_list(text: &str) -> Result<Vec<u32>> {
    let bad = || Error::invalid(text.escape_debug(), "not a list of numbers such as 0-3,7");
    let number = |t: &str| t.trim().parse::<u32>().ok().filter(|n| *n < 8192).ok_or_else(bad);
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.trim().is_empty()) {
        let (first, last) = match part.split_once('-') {
            Some((a, b)) => (number(a)?, number(b)?),
            None => (number(part)?, number(part)?),
        };
        if first > last || all.len() > 8192 {
            return Err(bad());
        }
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_meet_ends_and_default() {
        // Figures of runc's and crun's documentation of the change.
        let known =
            [(0, None), (1, Some(1)), (2, Some(1)), (1024, Some(100)), (262_144, Some(10_000))];
        for (shares, weight) in known {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert_eq!(cpu_weight(u64::MAX), Some(10_000));
        let mut last = 0;
        for shares in 2..=262_144 {
            let weight = cpu_weight(shares).unwrap();
            assert!(weight >= last && (1..=10_000).contains(&weight), "{shares}");
            last = weight;
        }
    }

    #[test]
    fn block_weights() {
        assert_eq!(io_weight(0).unwrap(), None);
        assert_eq!(io_weight(10).unwrap(), Some(1));
        assert_eq!(io_weight(1000).unwrap(), Some(10_000));
        assert!(io_weight(9).is_err() && io_weight(1001).is_err());
    }

    #[test]
    fn swap_is_the_rest() {
        assert_eq!(swap_max(None, None).unwrap(), None);
        assert_eq!(swap_max(None, Some(-1)).unwrap(), Some(-1));
        assert_eq!(swap_max(None, Some(100)).unwrap(), None);
        assert_eq!(swap_max(Some(-1), Some(100)).unwrap(), Some(-1));
        assert_eq!(swap_max(Some(150), Some(100)).unwrap(), Some(50));
        assert_eq!(swap_max(Some(100), Some(100)).unwrap(), Some(0));
        for bad in [(99, 100), (100, 0), (100, -1), (-2, 100), (100, -2)] {
            assert!(swap_max(Some(bad.0), Some(bad.1)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_and_masks() {
        assert_eq!(cpu_list("0-2, 7\n").unwrap(), [0, 1, 2, 7]);
        for bad in ["a", "3-1", "1-", "-1", "8192", "0-8191,0-8191,0-8191"] {
            assert!(cpu_list(bad).is_err(), "{bad}");
        }
    }
}
