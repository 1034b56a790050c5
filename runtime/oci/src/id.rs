//! Names of containers.

use crate::{Error, Result};
use std::fmt;

/// The name of a container: a single path component of letters, digits, `_`, `+`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Longest name, in bytes; systemd and file systems take no longer one.
    pub const MAX: usize = 255;

    /// Checks a name.
    ///
    /// # Errors
    /// The name is empty, too long, `.` or `..`, or has another character.
    pub fn new(name: &str) -> Result<ContainerId> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if name.is_empty()
            || name.len() > Self::MAX
            || name.starts_with('.')
            || !name.chars().all(fine)
        {
            let cause = "invalid container ID: want letters, digits, _ + - . and no leading dot";
            return Err(Error::invalid(format!("{name:?}"), cause));
        }
        Ok(ContainerId(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_one_component() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "a\n", "é", ".hidden", &"x".repeat(256)] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A-b_c+d.e", "0", &"x".repeat(255)] {
            assert_eq!(ContainerId::new(good).expect(good).as_str(), good);
        }
    }
}
