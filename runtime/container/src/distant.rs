//! File systems whose server is elsewhere, and may be gone.

use crate::{Error, Result};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Types of file systems that wait for a server; those of FUSE begin with `fuse`.
const DISTANT: [&str; 12] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "9p",
    "virtiofs",
    "glusterfs",
    "lustre",
    "afs",
    "autofs",
    "beegfs",
];

/// The mounts of the node, as the kernel knows them by itself. Long where there are many pods.
pub(crate) struct Mounts(Vec<u8>);

impl Mounts {
    pub(crate) fn read() -> Result<Mounts> {
        let table = std::fs::read("/proc/self/mountinfo");
        table.map(Mounts).map_err(|e| Error::io("the node's mounts", &e))
    }

    /// Whether the way to `path` leads over such a file system.
    pub(crate) fn are_distant_to(&self, path: &Path) -> bool {
        leads_over(&self.0, path)
    }
}

fn leads_over(table: &[u8], path: &Path) -> bool {
    table.split(|byte| *byte == b'\n').any(|line| {
        // Optional fields stand between the sixth and a lone hyphen (proc_pid_mountinfo(5)).
        let mut fields = line.split(|byte| *byte == b' ');
        let Some(place) = fields.nth(4) else { return false };
        let kind = fields.skip_while(|field| *field != b"-").nth(1).unwrap_or_default();
        let kind = String::from_utf8_lossy(kind);
        (kind.starts_with("fuse") || DISTANT.contains(&&*kind)) && path.starts_with(plain(place))
    })
}

/// A path without the octal escapes of the table.
fn plain(escaped: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Returns when the file system of `path` has answered, however. A process of its own asks: what waits
/// in the kernel for a server cannot be killed, and the daemon must always be.
pub(crate) fn wait_for_answer(shim: &Path, path: &Path) -> Result<()> {
    let fail = |e| Error::io(format!("mount of {}", path.display()), &e);
    let mut command = Command::new(shim);
    command.arg("look").arg(std::ffi::OsStr::from_bytes(path.as_os_str().as_bytes()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().and_then(|mut child| child.wait()).map(drop).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        30 22 0:40 / /mnt/a\\040b rw - fuse.sshfs host: rw\n\
        31 22 0:41 / /net rw shared:5 master:2 - nfs4 host:/x rw\n";

    #[test]
    fn the_way_counts() {
        let leads = |path: &str| leads_over(TABLE, Path::new(path));
        assert!(leads("/mnt/a b/c") && leads("/net") && leads("/net/deep/down"));
        assert!(!leads("/") && !leads("/network") && !leads("/mnt/a") && !leads("/home/x"));
    }
}
