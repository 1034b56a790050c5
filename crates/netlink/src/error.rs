//! What went wrong, in the kernel's own words where it gave any.

use std::fmt;
use std::io;

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A request that the kernel refused, or an answer that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was tried, as in "create link veth12".
    pub op: String,
    /// The kernel's errno; 0 if the failure was not the kernel's.
    pub errno: i32,
    /// The kernel's extended acknowledgement, or the cause where `errno` is 0; may be empty.
    pub text: String,
}

impl Error {
    pub(crate) fn local(op: impl Into<String>, cause: impl fmt::Display) -> Error {
        Error { op: op.into(), errno: 0, text: cause.to_string() }
    }

    pub(crate) fn io(op: impl Into<String>, cause: &io::Error) -> Error {
        match cause.raw_os_error() {
            Some(errno) => Error { op: op.into(), errno, text: String::new() },
            None => Error::local(op, cause),
        }
    }

    /// Whether what the request was about does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno,
            libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO
        )
    }

    /// Whether what the request was to make is there already.
    pub fn is_exists(&self) -> bool {
        self.errno == libc::EEXIST
    }

    /// Whether the kernel, or this kernel's configuration, has no such function.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno, libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)
    }

    /// Whether rights are missing.
    pub fn is_denied(&self) -> bool {
        matches!(self.errno, libc::EPERM | libc::EACCES)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.op)?;
        if self.errno == 0 {
            return f.write_str(&self.text);
        }
        // The standard library appends " (os error N)", which says nothing more.
        let words = io::Error::from_raw_os_error(self.errno).to_string();
        f.write_str(words.split(" (os error").next().unwrap_or_default())?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}

impl std::error::Error for Error {}

impl From<Error> for cni_types::Error {
    fn from(error: Error) -> cni_types::Error {
        let advice = if error.is_denied() {
            "this takes root, or CAP_NET_ADMIN in the network namespace"
        } else if error.is_unsupported() {
            "this kernel was built without it, or its module is not loaded"
        } else {
            ""
        };
        cni_types::Error::new(cni_types::Code::Kernel, error.to_string()).with_details(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_shown() {
        let error = Error { op: "set up link a".into(), errno: libc::ENODEV, text: String::new() };
        assert_eq!(error.to_string(), "set up link a: No such device");
        assert!(error.is_not_found());
        let error = Error { text: "gone".into(), ..error };
        assert_eq!(error.to_string(), "set up link a: No such device (gone)");
        let local = Error::local("x", "y");
        assert_eq!(local.to_string(), "x: y");
        assert_eq!(cni_types::Error::from(local).code, cni_types::Code::Kernel);
    }
}
