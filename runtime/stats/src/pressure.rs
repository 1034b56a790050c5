//! Pressure stall information (kernel: accounting/psi).

use cri_api::v1::{PsiData, PsiStats};

/// Both lines of a pressure file.
pub(crate) fn parse(text: &str) -> Option<PsiStats> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).and_then(data);
    Some(PsiStats { some: Some(line("some ")?), full: line("full ") })
}

fn data(words: &str) -> Option<PsiData> {
    let mut data = PsiData::default();
    for (key, value) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => data.avg10 = value.parse().ok()?,
            "avg60" => data.avg60 = value.parse().ok()?,
            "avg300" => data.avg300 = value.parse().ok()?,
            // The kernel counts microseconds, and so does the CRI.
            "total" => data.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\n\
                    full avg10=0.50 avg60=0.00 avg300=0.00 total=99\n";
        let psi = parse(text).unwrap();
        let (some, full) = (psi.some.unwrap(), psi.full.unwrap());
        assert!((some.avg10 - 1.5).abs() < 1e-9 && some.total == 1234);
        assert_eq!(full.total, 99);
        assert!(parse("").is_none());
        assert!(parse("some avg10=x total=1").is_none());
    }
}
