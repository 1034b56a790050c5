//! Network sysctls: what is below `/proc/sys/net`, and nothing else.
//!
//! The kernel answers for the network namespace of the calling thread; to reach a pod's, call
//! from inside `netns::Netns::run`.
//!
//! A key is written with slashes (`net/ipv4/conf/eth0.7/arp_notify`) or with dots
//! (`net.ipv4.ip_forward`). As in sysctl(8) the first separator decides, and in a dotted key a
//! slash stands for a dot inside a name: `net.ipv4.conf.eth0/7.arp_notify`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

/// Why a sysctl could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The text names nothing below `/proc/sys/net`.
    InvalidKey {
        /// The key as given.
        key: String,
    },
    /// The kernel has no such sysctl: the interface is gone, or IPv6 is off.
    NotFound {
        /// The key, with slashes.
        key: String,
    },
    /// The kernel refused: a read-only `/proc`, missing rights or an invalid value.
    Io {
        /// The key, with slashes.
        key: String,
        /// The value that was to be written, if any.
        value: Option<String>,
        /// The kernel's reason.
        cause: io::Error,
    },
}

impl Error {
    /// Whether the kernel has no such sysctl.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Whether the kernel does not let anybody do this: read what is an order and has no value, or
    /// write what it only tells.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidKey { key } => write!(f, "sysctl {key:?}: is not below net"),
            Error::NotFound { key } => write!(f, "sysctl {key}: does not exist"),
            Error::Io { key, value: None, cause } => write!(f, "sysctl {key}: {cause}"),
            Error::Io { key, value: Some(value), cause } => {
                write!(f, "sysctl {key} = {value:?}: {cause}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { cause, .. } => Some(cause),
            Error::InvalidKey { .. } | Error::NotFound { .. } => None,
        }
    }
}

impl From<Error> for cni_types::Error {
    fn from(error: Error) -> cni_types::Error {
        let advice = match &error {
            Error::Io { value: Some(_), .. } => "/proc/sys must be writable for this plugin",
            _ => "",
        };
        cni_types::Error::new(cni_types::Code::Kernel, error.to_string()).with_details(advice)
    }
}

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The protocol of a per-interface sysctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `net/ipv4`.
    V4,
    /// `net/ipv6`.
    V6,
}

/// Turns IPv4 forwarding on.
pub const IP_FORWARD: &str = "net/ipv4/ip_forward";
/// Turns IPv6 forwarding on, for all interfaces.
pub const IPV6_FORWARD: &str = "net/ipv6/conf/all/forwarding";

/// The key of a per-interface sysctl: `net/ipv4/conf/<interface>/<leaf>`.
///
/// `interface` may also be `all` or `default`.
pub fn interface(family: Family, interface: &str, leaf: &str) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("net/{family}/conf/{interface}/{leaf}")
}

/// `key` with slashes between its parts, whichever way it is written.
///
/// # Errors
/// [`Error::InvalidKey`] when it names nothing below `net`.
pub fn canonical(key: &str) -> Result<String> {
    with_slashes(key)
}

/// The value of `key`, without the line end.
///
/// # Errors
/// See [`Error`].
pub fn read(key: &str) -> Result<String> {
    let key = with_slashes(key)?;
    let mut text = String::new();
    File::open(path(&key))
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|cause| fault(&key, None, cause))?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// Writes `value` to `key`, unless it is there already; says whether it wrote.
///
/// Where writing is not allowed but the value is right, this succeeds: a container's read-only
/// `/proc/sys` is no failure when nothing has to change.
///
/// # Errors
/// See [`Error`].
pub fn write(key: &str, value: &str) -> Result<bool> {
    let key = with_slashes(key)?;
    let path = path(&key);
    let mut buffer = [0_u8; 256];
    // One read is enough for a comparison: a value that is longer is different.
    match File::open(&path).and_then(|mut file| file.read(&mut buffer)) {
        Ok(had) if buffer[..had].trim_ascii_end() == value.as_bytes() => return Ok(false),
        Ok(_) => {}
        // An order to the kernel (`net/ipv4/route/flush`) has no value.
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {}
        Err(cause) => return Err(fault(&key, None, cause)),
    }
    File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|cause| fault(&key, Some(value), cause))?;
    Ok(true)
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

fn fault(key: &str, value: Option<&str>, cause: io::Error) -> Error {
    let key = key.to_owned();
    if cause.kind() == io::ErrorKind::NotFound {
        Error::NotFound { key }
    } else {
        Error::Io { key, value: value.map(str::to_owned), cause }
    }
}

/// `key` with slashes between its parts, checked to stay below `net`.
fn with_slashes(key: &str) -> Result<String> {
    let dotted = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'.');
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if dotted { key.chars().map(swapped).collect() } else { key.to_owned() };
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    let mut parts = path.split('/');
    if parts.next() == Some("net") && path.len() > 4 && parts.all(sound) {
        Ok(path)
    } else {
        Err(Error::InvalidKey { key: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_in_names_are_kept() {
        let path = |key: &str| with_slashes(key).expect(key);
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eth0/7.arp_notify"), "net/ipv4/conf/eth0.7/arp_notify");
        assert_eq!(path("net/ipv4/conf/eth0.7/arp_notify"), "net/ipv4/conf/eth0.7/arp_notify");
        assert_eq!(
            path(&interface(Family::V6, "br0.10", "accept_dad")),
            "net/ipv6/conf/br0.10/accept_dad"
        );
    }

    #[test]
    fn keys_outside_net_are_refused() {
        for bad in [
            "",
            "net",
            "net/",
            "net.",
            "kernel.panic",
            "/net/ipv4/ip_forward",
            "net/../kernel/panic",
            "net.ipv4...kernel",
            "net./.kernel",
            "net/ipv4/./ip_forward",
            "net/ipv4/\0",
            "netfilter/x",
        ] {
            assert!(matches!(with_slashes(bad), Err(Error::InvalidKey { .. })), "{bad:?}");
        }
    }
}
