//! Open files and limits of a container's processes, from `/proc`.

use std::fs;
use std::path::Path;

/// Entries of `/proc` that one container may cost; more is left out of the sum.
const MOST: usize = 10_000;

/// Files that processes have open, and how many of them are sockets.
pub(crate) fn files(pids: &[u32]) -> (u64, u64) {
    let (mut files, mut sockets, mut left) = (0, 0, MOST);
    for pid in pids {
        // It may have ended.
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for entry in entries.flatten().take(left) {
            left -= 1;
            files += 1;
            sockets += u64::from(is_socket(&entry.path()));
        }
    }
    (files, sockets)
}

fn is_socket(link: &Path) -> bool {
    fs::read_link(link)
        .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
}

/// How many files a process may have open; none for any number.
pub(crate) fn open_files_limit(pid: i32) -> Option<u64> {
    limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)
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
