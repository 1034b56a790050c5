//! The files in `/dev`: config-linux.md, Devices and Default Devices.

use super::path;
use crate::Error;
use runtime_spec::DeviceKind;
use rustix::fs::{FileType, makedev};
use std::collections::HashSet;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// A device file to make.
#[derive(Debug)]
pub(crate) struct Device {
    /// Where, relative to the root: its directory and its name.
    pub(crate) parent: CString,
    pub(crate) name: CString,
    pub(crate) kind: FileType,
    pub(crate) number: u64,
    pub(crate) mode: u32,
    /// Owner and group, as IDs of the container.
    pub(crate) owner: (u32, u32),
    /// The host's file, bound where nodes cannot be made.
    pub(crate) host: CString,
    /// One that every container has: whatever an image has in its place is replaced.
    pub(crate) default: bool,
}

/// The number of `/dev/null`, major 1 and minor 3, in the form of stat(2).
pub(crate) const NULL: u64 = (1 << 8) | 3;

/// A symbolic link in `/dev`.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: CString,
    pub(crate) target: CString,
    /// Takes the place of what the image has there.
    pub(crate) replace: bool,
}

const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: &[(&std::ffi::CStr, &std::ffi::CStr, bool)] = &[
    (c"ptmx", c"pts/ptmx", true),
    (c"fd", c"/proc/self/fd", false),
    (c"stdin", c"/proc/self/fd/0", false),
    (c"stdout", c"/proc/self/fd/1", false),
    (c"stderr", c"/proc/self/fd/2", false),
    (c"core", c"/proc/kcore", false),
];

pub(super) fn links() -> Vec<Link> {
    let link = |&(name, target, replace): &(&std::ffi::CStr, &std::ffi::CStr, bool)| Link {
        name: name.to_owned(),
        target: target.to_owned(),
        replace,
    };
    LINKS.iter().map(link).collect()
}

/// The default devices, then those of the configuration; one that names a default device's path
/// takes its place.
pub(super) fn plan(wanted: &[runtime_spec::Device]) -> Result<Vec<Device>, Error> {
    let mut devices = Vec::with_capacity(DEFAULT.len() + wanted.len());
    for &(path, major, minor) in DEFAULT {
        if !wanted.iter().any(|device| device.path == Path::new(path)) {
            devices.push(default(path, makedev(major, minor))?);
        }
    }
    let mut seen = HashSet::new();
    for (index, device) in wanted.iter().enumerate() {
        let subject = format!("linux.devices[{index}]: {}", device.path.display());
        let planned = configured(device, &subject)?;
        if !seen.insert((planned.parent.clone(), planned.name.clone())) {
            return Err(Error::invalid(subject, "an earlier device has this path"));
        }
        // A link of the default set would otherwise be made in place of the device.
        devices.push(planned);
    }
    Ok(devices)
}

fn default(path: &str, number: u64) -> Result<Device, Error> {
    let (parent, name) = place(Path::new(path), path)?;
    let host = path::text(Path::new(path), path)?;
    let kind = FileType::CharacterDevice;
    Ok(Device { parent, name, kind, number, mode: 0o666, owner: (0, 0), host, default: true })
}

fn configured(device: &runtime_spec::Device, subject: &str) -> Result<Device, Error> {
    if !device.path.is_absolute() {
        return Err(Error::invalid(subject, "the path is not absolute"));
    }
    let kind = match device.kind {
        DeviceKind::Char | DeviceKind::Unbuffered => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Pipe => FileType::Fifo,
        DeviceKind::All => return Err(Error::invalid(subject, "\"a\" is no kind of device file")),
    };
    let number = match kind {
        FileType::Fifo => 0,
        _ => makedev(part(device.major, 12, subject)?, part(device.minor, 20, subject)?),
    };
    let (parent, name) = place(&device.path, subject)?;
    Ok(Device {
        parent,
        name,
        kind,
        number,
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
        host: path::text(&device.path, subject)?,
        default: false,
    })
}

/// Half of a device number; the kernel has 12 bits for the major and 20 for the minor one.
fn part(number: i64, bits: u32, subject: &str) -> Result<u32, Error> {
    let fitting = u32::try_from(number).ok().filter(|number| *number < 1 << bits);
    fitting.ok_or_else(|| {
        let cause = format!("device number {number}: want 0 to {}", (1u32 << bits) - 1);
        Error::invalid(subject, cause)
    })
}

fn place(path: &Path, subject: &str) -> Result<(CString, CString), Error> {
    let clean = path::inside(path, subject)?;
    let clean = PathBuf::from(String::from_utf8_lossy(clean.as_bytes()).into_owned());
    let (Some(parent), Some(name)) = (clean.parent(), clean.file_name()) else {
        return Err(Error::invalid(subject, "is the root itself"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    Ok((path::text(parent, subject)?, path::text(Path::new(name), subject)?))
}
