//! The `User` of an image configuration.
//!
//! A number that overflows must never become root (CVE-2024-40635): numbers end at 2^31 - 1, and what looks like
//! a number but is none is refused instead of being taken for a name.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind, Result, quote};

/// A user or a group, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A number, 0 to 2^31 - 1.
    Id(u32),
    /// A name, to be looked up in the image's own `/etc/passwd` or `/etc/group`.
    Name(String),
}

/// Whom the image's process runs as: `user`, `user:group`, or nothing, which is root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user: Principal,
    /// The group; the user's own one when absent.
    pub group: Option<Principal>,
}

impl Default for User {
    fn default() -> Self {
        Self { user: Principal::Id(0), group: None }
    }
}

impl FromStr for User {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        match text.split_once(':') {
            None => Ok(Self { user: principal(text, text)?, group: None }),
            Some((user, group)) => {
                Ok(Self { user: principal(user, text)?, group: Some(principal(group, text)?) })
            }
        }
    }
}

fn principal(part: &str, whole: &str) -> Result<Principal> {
    let wrong = |why: &str| Error::new(Kind::Refused, format!("user {}", quote(whole)), why);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(part) {
        let id = part.parse::<u32>().ok().filter(|id| *id <= i32::MAX.unsigned_abs());
        return id.map(Principal::Id).ok_or_else(|| wrong("ids end at 2147483647"));
    }
    if part.is_empty() {
        return Err(wrong("want user, user:group or nothing"));
    }
    if part.len() > 256 {
        return Err(wrong("names end at 256 bytes"));
    }
    let numeric = part.starts_with(['+', '-'])
        || ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|base| part.starts_with(base))
        || part.bytes().all(|b| b.is_ascii_digit() || b"._,eE".contains(&b));
    if numeric {
        return Err(wrong("looks like a number but is no id of 0 to 2147483647"));
    }
    if part.contains(':') || part.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        return Err(wrong("has a character that no user or group name has"));
    }
    Ok(Principal::Name(part.to_owned()))
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_parse() {
        let id = Principal::Id;
        let name = |n: &str| Principal::Name(n.to_owned());
        for (text, user, group) in [
            ("", id(0), None),
            ("0", id(0), None),
            ("2147483647", id(2_147_483_647), None),
            ("1000:100", id(1000), Some(id(100))),
            ("www-data", name("www-data"), None),
            ("nobody:nogroup", name("nobody"), Some(name("nogroup"))),
            ("3proxy", name("3proxy"), None),
            ("svc$", name("svc$"), None),
        ] {
            assert_eq!(text.parse::<User>().unwrap(), User { user, group }, "{text}");
        }
    }

    #[test]
    fn no_overflow_becomes_root() {
        for text in [
            "2147483648",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "99999999999999999999999999",
            "-1",
            "+0",
            "0x0",
            "0o17",
            "1_000",
            "1e3",
            "1.0",
            "1000:-1",
            "1000:4294967296",
            ":0",
            "0:",
            ":",
            "a:b:c",
            "a b",
            "a\n0",
            "../etc",
        ] {
            assert_eq!(text.parse::<User>().unwrap_err().kind(), Kind::Refused, "{text}");
        }
    }
}
