//! Durations as Go writes them: `3s`, `1m30s`, `500ms`.

use std::time::Duration;

/// Parses a positive duration; `None` when it is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let number: u64 = number.parse().ok()?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
        rest = after;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_parse() {
        let millis = |text| super::parse(text).map(|d| d.as_millis());
        assert_eq!(millis("3s"), Some(3000));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("500ms"), Some(500));
        for bad in ["", "3", "s", "-1s", "0s", "1d", "99999999999999999999h", "é"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
