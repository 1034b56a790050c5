//! What the kernel said no to.

use std::fmt;

/// A failed nf_tables operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The change or question that failed: "add rule inet t c".
    pub op: String,
    /// The kernel's number; 0 if the fault was found before it was asked.
    pub errno: i32,
    /// The kernel's explanation (extended ACK), or our own; may be empty.
    pub text: String,
}

impl Error {
    pub(crate) fn new(op: impl Into<String>, errno: i32, text: impl Into<String>) -> Error {
        Error { op: op.into(), errno, text: text.into() }
    }

    pub(crate) fn io(op: impl Into<String>, cause: &std::io::Error) -> Error {
        match cause.raw_os_error() {
            Some(errno) => Error::new(op, errno, ""),
            None => Error::new(op, 0, cause.to_string()),
        }
    }

    /// Whether a table, chain, rule, set or element was not there.
    pub fn is_not_found(&self) -> bool {
        self.errno == libc::ENOENT
    }

    /// Whether something of that name or key was there already.
    pub fn is_exists(&self) -> bool {
        self.errno == libc::EEXIST
    }

    /// Whether what was to be deleted is in use.
    pub fn is_busy(&self) -> bool {
        self.errno == libc::EBUSY
    }

    /// Whether the ruleset changed under a batch made with [`super::Batch::at_generation`].
    pub fn is_stale(&self) -> bool {
        self.errno == libc::ERESTART
    }

    /// Whether this kernel has no nf_tables, or not this part of it.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno, libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.op)?;
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        }
        match (self.errno, self.text.as_str()) {
            (_, "") => Ok(()),
            (0, text) => write!(f, ": {text}"),
            (_, text) => write!(f, " ({text})"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for cni_types::Error {
    fn from(error: Error) -> cni_types::Error {
        let advice = if error.is_unsupported() {
            "this kernel lacks nf_tables: load the module, or choose the iptables backend"
        } else {
            ""
        };
        cni_types::Error::new(cni_types::Code::Kernel, format!("nftables: {error}"))
            .with_details(advice)
    }
}
