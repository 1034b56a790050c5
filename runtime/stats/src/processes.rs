//! Open files and limits of a container's processes, from `/proc`.

use crate::files;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use std::mem::MaybeUninit;
use std::path::Path;

/// Entries of `/proc` that one container may cost; more is left out of the sum.
const MOST: usize = 10_000;

/// Bytes of a directory that are read at once.
const LISTED: usize = 4096;

/// What the link of a socket begins with; it has a number behind it.
const SOCKET: &[u8] = b"socket:[";

/// Files that processes have open, and how many of them are sockets.
pub(crate) fn files(pids: &[u32]) -> (u64, u64) {
    let (mut files, mut sockets, mut left) = (0, 0, MOST);
    let mut room = [const { MaybeUninit::uninit() }; LISTED];
    for pid in pids {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // It may have ended.
        let Ok(dir) = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty()) else {
            continue;
        };
        let mut entries = RawDir::new(&dir, &mut room);
        while let Some(Ok(entry)) = entries.next() {
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if left == 0 {
                return (files, sockets);
            }
            left -= 1;
            files += 1;
            let mut target = [MaybeUninit::uninit(); SOCKET.len()];
            let read = readlinkat_raw(&dir, entry.file_name(), &mut target);
            sockets += u64::from(read.is_ok_and(|(target, _)| *target == *SOCKET));
        }
    }
    (files, sockets)
}

/// How many files a process may have open; none for any number.
pub(crate) fn open_files_limit(pid: i32) -> Option<u64> {
    files::record(Path::new(&format!("/proc/{pid}/limits")), limit)
}

fn limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_files_are_counted() {
        let pair = std::os::unix::net::UnixStream::pair().unwrap();
        let (files, sockets) = files(&[std::process::id()]);
        assert!(files >= 5 && sockets >= 2, "{files} {sockets}");
        drop(pair);
        assert!(open_files_limit(i32::try_from(std::process::id()).unwrap()).unwrap() > 0);
    }

    #[test]
    fn the_soft_limit_counts() {
        let text =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   4096  files\n";
        assert_eq!(limit(text), Some(1024));
        assert_eq!(limit("Max open files unlimited unlimited files"), None);
    }
}
