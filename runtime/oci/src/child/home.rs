//! `HOME` of a user, from the container's own passwd file: hostile, so read with bounds.

use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::CStr;

/// As much of the file is read.
const FILE_MAX: usize = 1 << 20;

/// Longest line and longest directory.
pub(crate) const LINE_MAX: usize = 1024;

/// Writes `HOME=directory` into `buffer`, ended by a zero; `None` when the user has none there.
pub(crate) fn find(uid: u32, buffer: &mut [u8; LINE_MAX]) -> Option<&CStr> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(c"/etc/passwd", flags, Mode::empty()).ok()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
    if kind != FileType::RegularFile {
        return None;
    }
    let mut line = [0_u8; LINE_MAX];
    let (mut length, mut chunk, mut total) = (0, [0_u8; 4096], 0);
    while total < FILE_MAX {
        let read = rustix::io::read(&file, &mut chunk).ok()?;
        let last = read == 0;
        for byte in chunk[..read].iter().copied().chain(last.then_some(b'\n')) {
            if byte != b'\n' {
                // A line that is too long is left out as a whole.
                if let Some(room) = line.get_mut(length) {
                    *room = byte;
                }
                length += 1;
            } else {
                let home = line.get(..length).and_then(|line| directory(line, uid));
                if let Some(home) = home {
                    return entry(home, buffer);
                }
                length = 0;
            }
        }
        if last {
            return None;
        }
        total += read;
    }
    None
}

/// The directory of a line when it is this user's.
fn directory(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|byte| *byte == b':');
    let number = std::str::from_utf8(fields.nth(2)?).ok()?;
    let home = fields.nth(2)?;
    let mine = number.bytes().all(|b| b.is_ascii_digit()) && number.parse() == Ok(uid);
    (mine && home.first() == Some(&b'/') && !home.contains(&0)).then_some(home)
}

fn entry<'a>(home: &[u8], buffer: &'a mut [u8; LINE_MAX]) -> Option<&'a CStr> {
    const NAME: &[u8] = b"HOME=";
    let end = NAME.len() + home.len();
    buffer.get_mut(..NAME.len())?.copy_from_slice(NAME);
    buffer.get_mut(NAME.len()..end)?.copy_from_slice(home);
    *buffer.get_mut(end)? = 0;
    CStr::from_bytes_with_nul(buffer.get(..=end)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_users_own_line_counts() {
        assert_eq!(directory(b"root:x:0:0:root:/root:/bin/sh", 0), Some(&b"/root"[..]));
        for line in ["a:x:1:0::/a:", "a:x:+0:0::/a:", "a:x::0::/a:", "a:x:0:0::a:", "a:x:0", ""] {
            assert_eq!(directory(line.as_bytes(), 0), None, "{line}");
        }
        let mut buffer = [0; LINE_MAX];
        assert_eq!(entry(b"/root", &mut buffer), Some(c"HOME=/root"));
        assert_eq!(entry(&[b'/'; LINE_MAX], &mut buffer), None);
    }
}
