//! What is recorded of a container's group, so that later commands need not look for it again.

use crate::error::{Error, Result};
use crate::layout::Version;
use crate::path::RelPath;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A container's group in every tree: for the state record, loadable by `kill`, `update`, `delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paths {
    /// One place per mounted tree; empty when the container runs without a group (rootless).
    pub places: Vec<Place>,
    /// The unit of systemd that owns the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Whether that unit is one of the user's systemd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
    /// Whether it was made without root's rights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rootless: bool,
}

/// A group in one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Recorded")]
pub struct Place {
    /// Where the tree is mounted.
    pub mount: PathBuf,
    /// The group below it.
    pub path: RelPath,
    /// Which interface the tree has.
    pub version: Version,
    /// v1: its controllers, or `name=...`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    /// How many names of `path`, from its end, were made for this container.
    pub made: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    mount: PathBuf,
    path: RelPath,
    version: Version,
    #[serde(default)]
    controllers: Vec<String>,
    made: usize,
}

impl TryFrom<Recorded> for Place {
    type Error = Error;

    /// A record may have been damaged: what is removed by it must be a group and not a tree's root.
    fn try_from(r: Recorded) -> Result<Self> {
        let up = |c: std::path::Component<'_>| c == std::path::Component::ParentDir;
        if !r.mount.is_absolute() || r.mount.components().any(up) {
            return Err(Error::invalid(r.mount.display(), "not a mount point of control groups"));
        }
        if r.path.is_root() || r.made > r.path.prefixes().count() {
            return Err(Error::invalid(&r.path, "not the recorded group of a container"));
        }
        let Recorded { mount, path, version, controllers, made } = r;
        Ok(Self { mount, path, version, controllers, made })
    }
}

impl Place {
    /// The directory.
    pub fn dir(&self) -> PathBuf {
        self.mount.join(self.path.as_str())
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Paths {
    pub(crate) const NONE: Paths =
        Paths { places: Vec::new(), unit: None, user: false, rootless: false };

    /// The place by which processes are counted and signalled. In a hybrid layout a v1 tree: other
    /// programs may have put a process there alone.
    pub(crate) fn lead(&self) -> Option<&Place> {
        self.v1("freezer").or_else(|| self.places.first())
    }

    /// The directory of each controller, v2's under the empty name: the form of runc's state record.
    pub fn by_controller(&self) -> BTreeMap<String, PathBuf> {
        let mut map = BTreeMap::new();
        for place in &self.places {
            match place.version {
                Version::V2 => {
                    map.insert(String::new(), place.dir());
                }
                Version::V1 => {
                    map.extend(place.controllers.iter().map(|c| (c.clone(), place.dir())));
                }
            }
        }
        map
    }

    /// Whether the container has a group at all.
    pub fn is_none(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn v1(&self, controller: &str) -> Option<&Place> {
        self.places.iter().find(|p| p.version == Version::V1 && p.has(controller))
    }

    pub(crate) fn v2(&self) -> Option<&Place> {
        self.places.iter().find(|p| p.version == Version::V2)
    }
}
