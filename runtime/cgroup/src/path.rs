//! Where a container's group lies: `cgroupsPath` parsed once into names that cannot escape.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A path below the root of a hierarchy: no `..`, no empty part, no control character.
/// Empty for the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

/// The longest path that is taken, in bytes; the kernel's own limit less a mount point's length.
const MAX_PATH: usize = 3800;

impl RelPath {
    /// Parses `text`; leading, doubled and trailing slashes and `.` are dropped.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for `..`, control characters and names that are too long.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => continue,
                ".." => return Err(Error::invalid(text, "a cgroup path may not hold '..'")),
                _ if part.len() > 255 => {
                    return Err(Error::invalid(text, "a name is longer than 255 bytes"));
                }
                _ if part.chars().any(char::is_control) => {
                    return Err(Error::invalid(
                        text.escape_debug(),
                        "a name holds a control character",
                    ));
                }
                _ => parts.push(part),
            }
        }
        let joined = parts.join("/");
        if joined.len() > MAX_PATH {
            return Err(Error::invalid(
                text,
                format_args!("cgroup path is longer than {MAX_PATH} bytes"),
            ));
        }
        Ok(Self(joined))
    }

    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// `self/below`.
    #[must_use]
    pub fn join(&self, below: &RelPath) -> RelPath {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self(format!("{}/{}", self.0, below.0)),
        }
    }

    /// The path without its last name; the root's parent is the root.
    #[must_use]
    pub fn parent(&self) -> RelPath {
        Self(self.0.rsplit_once('/').map_or_else(String::new, |(up, _)| up.to_owned()))
    }

    /// Every path from the first name down to this one.
    pub(crate) fn prefixes(&self) -> impl DoubleEndedIterator<Item = &str> {
        let ends: Vec<usize> =
            self.0.match_indices('/').map(|(i, _)| i).chain([self.0.len()]).collect();
        ends.into_iter().filter(|&i| i > 0).map(|i| &self.0[..i])
    }
}

impl TryFrom<String> for RelPath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// A unit of systemd: a scope in a slice, or a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, with `.scope` or `.slice`.
    pub name: String,
    /// The slice it is in; `None` for the root slice.
    pub slice: Option<String>,
}

/// Where the group is wished, from `linux.cgroupsPath`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// From the mount point.
    Absolute(RelPath),
    /// From the caller's own group.
    Relative(RelPath),
    /// By systemd's names.
    Unit(Unit),
}

impl Wish {
    /// Parses `cgroupsPath`; `id` names the group when there is none.
    pub(crate) fn parse(text: Option<&str>, id: &str) -> Result<Self> {
        let Some(text) = text.filter(|t| !t.is_empty()) else {
            let path = RelPath::parse(id)?;
            if path.is_root() || path.as_str().contains('/') {
                return Err(Error::invalid(id, "a container's id must be one name"));
            }
            return Ok(Wish::Relative(path));
        };
        let parts: Vec<&str> = text.split(':').collect();
        if let [slice, prefix, name] = parts[..]
            && !text.contains('/')
            && (slice.is_empty() || slice.ends_with(".slice"))
        {
            return Ok(Wish::Unit(Unit::parse(slice, prefix, name)?));
        }
        let path = RelPath::parse(text)?;
        if path.is_root() {
            return Err(Error::invalid(text, "the root cgroup cannot be a container's"));
        }
        Ok(if text.starts_with('/') { Wish::Absolute(path) } else { Wish::Relative(path) })
    }
}

impl Unit {
    /// From the three parts of `slice:prefix:name`.
    pub(crate) fn parse(slice: &str, prefix: &str, name: &str) -> Result<Self> {
        let slice = match slice {
            "" => Some("system.slice".to_owned()),
            "-.slice" => None,
            other => {
                expand_slice(other)?;
                Some(other.to_owned())
            }
        };
        let name = match prefix {
            _ if name.ends_with(".slice") => {
                expand_slice(name)?;
                name.to_owned()
            }
            "" => format!("{name}.scope"),
            _ => format!("{prefix}-{name}.scope"),
        };
        let bare = name.trim_end_matches(".scope");
        let ok = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if bare.is_empty() || name.len() > 255 || !name.chars().all(ok) {
            return Err(Error::invalid(
                name.escape_debug(),
                "not a name that systemd takes for a unit",
            ));
        }
        Ok(Self { name, slice })
    }

    /// Whether the unit is itself a slice.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// The group of the unit below the group of its manager: `a-b.slice` lies in `a.slice`.
    pub(crate) fn path(&self) -> Result<RelPath> {
        if self.is_slice() {
            return expand_slice(&self.name);
        }
        let slice = self.slice.as_deref().map_or_else(|| Ok(RelPath::default()), expand_slice)?;
        Ok(slice.join(&RelPath::parse(&self.name)?))
    }
}

/// The folders of a slice: `a-b.slice` is `a.slice/a-b.slice` (systemd.slice(5)).
fn expand_slice(slice: &str) -> Result<RelPath> {
    let bad = |why: &str| Error::invalid(slice.escape_debug(), why);
    let stem = slice.strip_suffix(".slice").ok_or_else(|| bad("a slice's name ends in .slice"))?;
    let ok = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if slice.len() > 255 || !stem.chars().all(ok) || stem.split('-').any(str::is_empty) {
        return Err(bad("not a slice's name: names joined by single dashes are"));
    }
    let mut path = String::new();
    for end in stem.match_indices('-').map(|(i, _)| i).chain([stem.len()]) {
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(&stem[..end]);
        path.push_str(".slice");
    }
    RelPath::parse(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_escape() {
        for bad in ["..", "/a/../b", "a/..", "a\nb", "a\0", &"x".repeat(256), &"x/".repeat(2000)] {
            assert!(RelPath::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(RelPath::parse("//a/./b/").unwrap().as_str(), "a/b");
        assert_eq!(RelPath::parse("a...").unwrap().as_str(), "a...");
        assert!(serde_json::from_str::<RelPath>("\"a/../../b\"").is_err());
        let path = RelPath::parse("a/bc/d").unwrap();
        assert_eq!(path.prefixes().collect::<Vec<_>>(), ["a", "a/bc", "a/bc/d"]);
        assert_eq!(path.parent().as_str(), "a/bc");
        assert_eq!(RelPath::default().prefixes().count(), 0);
        assert!(RelPath::default().parent().is_root());
    }

    #[test]
    fn wishes_of_all_forms() {
        let rel = |s| RelPath::parse(s).unwrap();
        assert_eq!(Wish::parse(None, "c1").unwrap(), Wish::Relative(rel("c1")));
        assert_eq!(Wish::parse(Some("/k/p/c"), "c1").unwrap(), Wish::Absolute(rel("k/p/c")));
        assert_eq!(Wish::parse(Some("k/c"), "c1").unwrap(), Wish::Relative(rel("k/c")));
        let unit = Unit { name: "cri-x.scope".into(), slice: Some("a-b.slice".into()) };
        assert_eq!(unit.path().unwrap().as_str(), "a.slice/a-b.slice/cri-x.scope");
        assert_eq!(Wish::parse(Some("a-b.slice:cri:x"), "c1").unwrap(), Wish::Unit(unit));
        for bad in [Some("/"), Some("/a/../../b"), Some("a-.slice:p:n"), Some("a--b.slice:p:n")] {
            assert!(Wish::parse(bad, "c1").is_err(), "{bad:?}");
        }
        for bad in ["", "..", "a/b", "."] {
            assert!(Wish::parse(None, bad).is_err(), "{bad:?}");
        }
        assert!(Unit::parse("a.slice", "p", "n;rm").is_err());
        assert!(Unit::parse("a.slice", "", "").is_err());
    }

    #[test]
    fn units_and_slices() {
        let path = |s, p, n| Unit::parse(s, p, n).unwrap().path().unwrap();
        assert_eq!(path("", "p", "n").as_str(), "system.slice/p-n.scope");
        assert_eq!(path("-.slice", "", "n").as_str(), "n.scope");
        assert_eq!(path("", "", "a-b.slice").as_str(), "a.slice/a-b.slice");
    }
}
