//! Names from a layer as paths beneath a root.

use crate::error::{Error, Kind, shown};

/// A path beneath a root: names joined by `/`; no `.`, `..`, empty name or NUL. The root itself is
/// the empty path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// Parses a name as it stands in a layer.
    ///
    /// A leading `/` means the root, as for every consumer of layers. `..` is followed within the
    /// name.
    ///
    /// # Errors
    /// [`Kind::Escape`] when `..` climbs over the root; [`Kind::Format`] for a NUL;
    /// [`Kind::Limit`] for more than `depth` names.
    pub fn parse(name: &[u8], depth: usize) -> Result<RelativePath, Error> {
        if name.contains(&0) {
            return Err(Error::new(Kind::Format, shown(name), "the name holds a NUL"));
        }
        let mut path = Vec::with_capacity(name.len());
        let mut names = 0usize;
        for part in name.split(|c| *c == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    let Some(left) = names.checked_sub(1) else {
                        return Err(Error::new(
                            Kind::Escape,
                            shown(name),
                            "the name climbs out of the layer",
                        ));
                    };
                    names = left;
                    let end = path.iter().rposition(|c| *c == b'/').unwrap_or(0);
                    path.truncate(end);
                }
                part => {
                    names += 1;
                    if names > depth {
                        let detail = format!("more than {depth} directories deep");
                        return Err(Error::new(Kind::Limit, shown(name), detail));
                    }
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(part);
                }
            }
        }
        Ok(RelativePath(path))
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Directory (empty for the root) and last name.
    pub(crate) fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|c| *c == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (b"", &self.0),
        }
    }
}
