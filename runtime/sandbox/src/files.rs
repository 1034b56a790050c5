//! The files of a pod that its containers have mounted.

use crate::sandbox::Files;
use crate::{Error, Result, disk};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Containers run as anybody and read them.
const MODE: u32 = 0o644;

/// `/etc/hosts` of a pod (hosts(5)): itself, and the addresses that every machine has.
pub(crate) fn hosts(hostname: &str, ips: &[IpAddr]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        text.push_str(&format!("{ip}\t{hostname}\n"));
    }
    text
}

/// Writes what is known before the network is.
///
/// # Errors
/// When a file cannot be written, or the node's cannot be read.
pub(crate) fn write_early(files: &Files, resolv_conf: Option<&str>, hostname: &str) -> Result<()> {
    match resolv_conf {
        Some(text) => put(&files.resolv_conf, text.as_bytes())?,
        None => copy("/etc/resolv.conf", &files.resolv_conf)?,
    }
    put(&files.hostname, format!("{hostname}\n").as_bytes())
}

/// Writes `hosts`: the node's for pods on its network.
///
/// # Errors
/// As [`write_early`].
pub(crate) fn write_hosts(files: &Files, hostname: &str, ips: Option<&[IpAddr]>) -> Result<()> {
    match ips {
        Some(ips) => put(&files.hosts, hosts(hostname, ips).as_bytes()),
        None => copy("/etc/hosts", &files.hosts),
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    disk::replace(path, bytes, MODE).map_err(|e| Error::io(path.display(), &e))
}

/// Copies a file of the node; one that is not there is empty.
fn copy(from: &str, to: &Path) -> Result<()> {
    match fs::read(from) {
        Ok(bytes) => put(to, &bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => put(to, b""),
        Err(e) => Err(Error::io(from, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_itself() {
        let ips = ["10.0.0.2", "2001:db8::2"].map(|ip| ip.parse().expect("address"));
        let text = hosts("web-0", &ips);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.0.0.2\tweb-0\n2001:db8::2\tweb-0\n"));
    }
}
