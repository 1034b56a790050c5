//! Domain names as DNS writes them (RFC 1035, 3.1 and 4.1.4).

/// The names of a list, compressed or not. `None` when it is not one, or has a name that could not
/// stand in resolv.conf(5).
pub(crate) fn read(list: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let (name, next) = one(list, at)?;
        if !name.is_empty() {
            names.push(name);
        }
        at = next;
    }
    Some(names)
}

/// The name that begins at `start`, and where the next one does.
fn one(list: &[u8], start: usize) -> Option<(String, usize)> {
    const LONGEST: usize = 253;
    let mut name = String::new();
    let (mut at, mut next) = (start, None);
    loop {
        let length = *list.get(at)?;
        match length {
            0 => return Some((name, next.unwrap_or(at + 1))),
            1..=63 => {
                let label = list.get(at + 1..at + 1 + usize::from(length))?;
                let label = std::str::from_utf8(label).ok().filter(|label| is_plain(label))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(label);
                if name.len() > LONGEST {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            192.. => {
                let pointer = usize::from(length & 0x3f) << 8 | usize::from(*list.get(at + 1)?);
                next = next.or(Some(at + 2));
                // Only backwards, so that it ends.
                if pointer >= at {
                    return None;
                }
                at = pointer;
            }
            _ => return None,
        }
    }
}

/// Whether a label can stand in resolv.conf(5) as it is: a server could write lines there else.
fn is_plain(label: &str) -> bool {
    label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The names of option 15: one, or several between blanks, as some servers write them.
pub(crate) fn words(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let words = text.trim_end_matches('\0').split_ascii_whitespace();
    let plain = words.map(|word| word.trim_end_matches('.')).filter(|word| {
        !word.is_empty()
            && word.len() <= 253
            && word.split('.').all(|l| !l.is_empty() && is_plain(l))
    });
    plain.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_their_pointers() {
        let list = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
        assert_eq!(read(list).expect("RFC 3397, 2"), ["eng.apple.com", "marketing.apple.com"]);
        assert_eq!(read(b""), Some(Vec::new()));
    }

    #[test]
    fn loops_cuts_and_lines_are_refused() {
        for bad in [
            &b"\xc0\x00"[..],
            b"\x01a\xc0\x02",
            b"\x03ab",
            b"\x03a\nb\x00",
            b"\x03a b\x00",
            b"\x80a",
            b"\xc0",
            b"\x01a\xc0\x00",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let long: Vec<u8> = (0..100).flat_map(|_| *b"\x03abc").chain([0]).collect();
        assert_eq!(read(&long), None);
    }

    #[test]
    fn words_are_plain_names() {
        assert_eq!(words(b"a.example b.example.\0"), ["a.example", "b.example"]);
        assert_eq!(words(b"a;b c\xff d..e"), Vec::<String>::new());
    }
}
