//! Devices of the node, looked up.

use crate::spec::{Granted, WantedDevice};
use crate::{Error, Kind, Result};
use runtime_spec::{Device, DeviceKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Devices of one container at most: a node has some hundreds.
const DEVICES_MAX: usize = 4096;

/// Directories of `/dev` that hold no devices of the node, or those that each container has.
const NOT_OF_NODE: &[&str] = &["fd", "mqueue", "pts", "shm", "console", "ptmx", "lxc", ".lxc"];

/// The devices that are asked for; of a directory all that are in it.
///
/// # Errors
/// One is not there, or is no device.
pub(crate) fn granted(wanted: &[WantedDevice]) -> Result<Vec<Granted>> {
    let mut found = Vec::new();
    for device in wanted {
        let before = found.len();
        add(&mut found, device)?;
        if found.len() == before {
            let subject = format!("device {}", device.node.display());
            return Err(Error::new(Kind::Invalid, subject, "is no device and has none in it"));
        }
    }
    Ok(found)
}

/// All devices of the node, for privileged containers.
///
/// # Errors
/// `/dev` cannot be read.
pub(crate) fn all() -> Result<Vec<Granted>> {
    let mut found = Vec::new();
    let dev = Path::new("/dev");
    for name in sandbox::disk::names(dev)? {
        if !NOT_OF_NODE.contains(&name.as_str()) {
            let path = dev.join(name);
            // A device may go while the directory is walked.
            if path.symlink_metadata().is_ok_and(|meta| !meta.file_type().is_symlink()) {
                let wanted =
                    WantedDevice { path: path.clone(), node: path, access: "rwm".to_owned() };
                add(&mut found, &wanted)?;
            }
        }
    }
    Ok(found)
}

fn add(found: &mut Vec<Granted>, wanted: &WantedDevice) -> Result<()> {
    let subject = || format!("device {}", wanted.node.display());
    let meta = std::fs::metadata(&wanted.node).map_err(|e| {
        let kind = match e.kind() {
            std::io::ErrorKind::NotFound => Kind::Invalid,
            _ => Kind::Io,
        };
        Error::new(kind, subject(), e).with_advice("see what is in /dev on this node")
    })?;
    if meta.is_dir() {
        for name in sandbox::disk::names(&wanted.node)? {
            let node = wanted.node.join(&name);
            let inner = node.symlink_metadata().map(|meta| meta.file_type());
            if inner.is_ok_and(|kind| kind.is_dir() || is_device(kind)) {
                let path = wanted.path.join(&name);
                add(found, &WantedDevice { path, node, access: wanted.access.clone() })?;
            }
        }
        return Ok(());
    }
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => DeviceKind::Char,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return Ok(()),
    };
    if found.len() == DEVICES_MAX {
        return Err(Error::new(Kind::Invalid, subject(), format!("is one of over {DEVICES_MAX}")));
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let device = Device {
        path: wanted.path.clone(),
        kind,
        major: i64::from(major),
        minor: i64::from(minor),
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    };
    found.push(Granted { device, access: wanted.access.clone() });
    Ok(())
}

fn is_device(kind: std::fs::FileType) -> bool {
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(node: &str) -> WantedDevice {
        WantedDevice { path: "/dev/x".into(), node: node.into(), access: "r".to_owned() }
    }

    #[test]
    fn devices_have_their_numbers_and_directories_their_devices() {
        let found = granted(&[wanted("/dev/null")]).expect("a device");
        assert_eq!((found[0].device.major, found[0].device.minor), (1, 3));
        assert_eq!(found[0].device.path, Path::new("/dev/x"));
        let all = all().expect("devices");
        assert!(all.iter().any(|g| g.device.path == Path::new("/dev/full")));
        assert!(!all.iter().any(|g| g.device.path.starts_with("/dev/pts")));
        for node in ["/dev/podloom-no-such-device", "/etc/passwd"] {
            assert_eq!(granted(&[wanted(node)]).expect_err("none").kind(), Kind::Invalid, "{node}");
        }
    }
}
