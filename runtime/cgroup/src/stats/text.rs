//! The forms that the kernel's counters have as text.

use super::{BlkioEntry, Pressure, Stall};
use crate::dir::Dir;
use crate::error::Result;
use std::collections::BTreeMap;

/// A number; `max` and `-1` are the largest. Zero when there is none.
pub(super) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" | "-1" => u64::MAX,
        n => n.parse().unwrap_or(0),
    }
}

/// The number that a file holds; zero when there is no file.
pub(super) fn of(dir: &Dir, file: &str) -> Result<u64> {
    Ok(dir.try_read(file)?.map_or(0, |t| number(&t)))
}

/// Lines of a name and a number.
pub(super) fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// Pressure of a resource; `None` when the kernel does not tell.
pub(super) fn pressure(dir: &Dir, file: &str) -> Result<Option<Pressure>> {
    Ok(dir.try_read(file)?.map(|text| parse_pressure(&text)))
}

fn parse_pressure(text: &str) -> Pressure {
    let mut all = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let stall = match words.next() {
            Some("some") => &mut all.some,
            Some("full") => &mut all.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            put(stall, key, value);
        }
    }
    all
}

fn put(stall: &mut Stall, key: &str, value: &str) {
    let percent = value.parse().unwrap_or(0.0);
    match key {
        "avg10" => stall.avg10 = percent,
        "avg60" => stall.avg60 = percent,
        "avg300" => stall.avg300 = percent,
        "total" => stall.total = number(value),
        _ => {}
    }
}

/// A device's two numbers.
pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines such as `8:0 Read 4096` and, for some files, `8:0 4096` (v1).
pub(super) fn by_device(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            [d, op, value] => (device(d)?, op, value),
            [d, value] => (device(d)?, "", value),
            _ => return None,
        };
        let value = value.parse().ok()?;
        Some(BlkioEntry { major: device.0, minor: device.1, op: op.to_owned(), value })
    };
    text.lines().filter_map(entry).collect()
}

/// Sizes of huge pages of this machine, as the kernel has them in file names.
pub(super) fn huge_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let size = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name();
        let kilobytes = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        Some(match kilobytes.parse::<u64>().ok()? {
            n if n >= 1 << 20 => format!("{}GB", n >> 20),
            n if n >= 1 << 10 => format!("{}MB", n >> 10),
            n => format!("{n}KB"),
        })
    };
    entries.filter_map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_pairs() {
        assert_eq!((number("7\n"), number("max\n"), number("x")), (7, u64::MAX, 0));
        let got = pairs("a 1\nb x\nc\nd 18446744073709551615\n");
        assert_eq!(got, BTreeMap::from([("a".into(), 1), ("d".into(), u64::MAX)]));
    }

    #[test]
    fn pressure_lines() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.5 new=1\n";
        let got = parse_pressure(text);
        assert_eq!((got.some.avg10, got.some.avg60, got.some.total), (1.5, 0.25, 77));
        assert_eq!(got.full.avg10, 0.5);
    }

    #[test]
    fn device_lines() {
        let got = by_device("8:0 Read 5\n8:0 7\nTotal 9\n8 Read 1\n");
        let one = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.into(), value };
        assert_eq!(got, [one("Read", 5), one("", 7)]);
    }
}
