//! Output as lines of a container's log.
//!
//! A line is a time (RFC 3339 with nanoseconds), the stream, `F` for a whole line or `P` for a part of
//! one that goes on, and the text. Parts are cut at [`PART_MAX`].

use std::time::Duration;

/// Bytes of the longest part of a line.
pub(crate) const PART_MAX: usize = 16 << 10;

/// One of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, and that of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Stream::Stdout => b"stdout",
            Stream::Stderr => b"stderr",
        }
    }
}

/// Cuts one output into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: Stream,
    /// The beginning of a line whose end was not written yet.
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: Stream) -> Lines {
        Lines { stream, begun: Vec::new() }
    }

    /// Adds to `out` the lines that `text` ends, as of a time since 1970.
    pub(crate) fn cut(&mut self, mut text: &[u8], now: Duration, out: &mut Vec<u8>) {
        let head = head(now, self.stream);
        while let Some(end) = memchr::memchr(b'\n', text) {
            self.whole(&head, &text[..end], out);
            text = &text[end + 1..];
        }
        while self.begun.len() + text.len() >= PART_MAX {
            let (part, rest) = text.split_at(PART_MAX - self.begun.len());
            self.put(&head, b" P ", part, out);
            text = rest;
        }
        self.begun.extend_from_slice(text);
    }

    /// The output is at its end: what was begun is a line.
    pub(crate) fn end(&mut self, now: Duration, out: &mut Vec<u8>) {
        if !self.begun.is_empty() {
            self.put(&head(now, self.stream), b" F ", b"", out);
        }
    }

    /// A line that may be too long for one entry.
    fn whole(&mut self, head: &[u8], mut text: &[u8], out: &mut Vec<u8>) {
        while self.begun.len() + text.len() > PART_MAX {
            let (part, rest) = text.split_at(PART_MAX - self.begun.len());
            self.put(head, b" P ", part, out);
            text = rest;
        }
        self.put(head, b" F ", text, out);
    }

    fn put(&mut self, head: &[u8], tag: &[u8], text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(head);
        out.extend_from_slice(tag);
        out.extend_from_slice(&self.begun);
        out.extend_from_slice(text);
        out.push(b'\n');
        // The memory too: most output ends with its line.
        self.begun = Vec::new();
    }
}

/// Time and stream, as each entry begins.
fn head(now: Duration, stream: Stream) -> Vec<u8> {
    let (year, month, day) = date(now.as_secs() / 86400);
    let (second, nanos) = (now.as_secs() % 86400, now.subsec_nanos());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut head =
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z ")
            .into_bytes();
    head.extend_from_slice(stream.name());
    head
}

/// The date of a day since 1970-01-01, by the Gregorian calendar. Years are counted from March, so
/// that the day that is added to some is their last.
fn date(day: u64) -> (u64, u64, u64) {
    // From 0000-03-01; 400 years are 146,097 days.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::new(1_709_210_096, 7);
    const HEAD: &str = "2024-02-29T12:34:56.000000007Z stdout";

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::new(Stream::Stdout);
        let mut out = Vec::new();
        for piece in pieces {
            lines.cut(piece, NOW, &mut out);
        }
        lines.end(NOW, &mut out);
        let text = String::from_utf8(out).expect("text");
        text.lines().map(|line| line.strip_prefix(HEAD).expect(line).to_owned()).collect()
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces() {
        assert_eq!(
            cut(&[b"one\ntw", b"o\n", b"", b"\nend"]),
            [" F one", " F two", " F ", " F end"]
        );
        assert_eq!(cut(&[]), [""; 0]);
        assert_eq!(cut(&[b"a\r\n"]).len(), 1);
    }

    #[test]
    fn long_lines_are_cut_into_parts() {
        let long = vec![b'x'; 2 * PART_MAX + 5];
        let text = [&long[..], b"\nnext\n"].concat();
        for size in [1, 7, PART_MAX - 1, PART_MAX, text.len()] {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let lines = cut(&pieces);
            let tags: Vec<&str> = lines.iter().map(|line| &line[..3]).collect();
            assert_eq!(tags, [" P ", " P ", " F ", " F "], "pieces of {size}");
            let lengths: Vec<usize> = lines.iter().map(|line| line.len() - 3).collect();
            assert_eq!(lengths, [PART_MAX, PART_MAX, 5, 4], "pieces of {size}");
        }
    }

    #[test]
    fn days_have_dates() {
        for (day, want) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (789, (1972, 2, 29)),
            (11_016, (2000, 2, 29)),
            (20_785, (2026, 11, 28)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(day), want, "day {day}");
        }
    }
}
