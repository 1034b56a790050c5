//! Whose plugins are on trial, and what they can be held to.

use cni_types::Version;
use lab::{Bins, Lab, Plugin, Snapshot};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who made a plugin.
#[derive(Clone, Copy, Debug)]
pub enum Maker {
    /// This project: its plugins are held to the codes and words of `docs/reference/errors.md` too.
    Podloom,
    /// Anybody else: held to the specification, and to leaving nothing behind.
    Other(&'static Other),
}

/// Plugins of somebody else.
#[derive(Clone, Debug)]
pub struct Other {
    /// What messages call them.
    pub name: &'static str,
    /// Where they are; the plugin on trial is in the first. All are in `CNI_PATH`.
    pub dirs: Vec<PathBuf>,
    /// Versions that the plugin on trial speaks, the oldest first.
    pub versions: Vec<Version>,
    /// Further variables of its environment.
    pub env: Vec<(String, String)>,
    /// The longest that a call may take; then it is killed.
    pub limit: Duration,
}

impl Maker {
    /// A plugin of this maker, to be run on the node of `lab`. Those of others find their `/run` and
    /// `/var/lib` empty: nothing that they keep there is the machine's.
    pub fn plugin<'l>(&self, lab: &'l Lab, name: &str) -> Plugin<'l> {
        let Maker::Other(other) = self else { return lab.plugin(name) };
        let mut dirs = other.dirs.iter();
        let home = dirs
            .find(|dir| dir.join(name).is_file())
            .or(other.dirs.first())
            .map_or_else(PathBuf::new, PathBuf::clone);
        let path = other.dirs.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":");
        let mut plugin = lab.plugin_of(&Bins::at(home, other.name), name);
        for (key, value) in &other.env {
            plugin = plugin.env(key, value.as_str());
        }
        plugin.env("CNI_PATH", path).private().within(other.limit)
    }

    /// The program of a plugin of this maker.
    pub fn program(&self, name: &str) -> PathBuf {
        match self {
            Maker::Podloom => Bins::ours().program(name),
            Maker::Other(other) => {
                let found = other.dirs.iter().map(|dir| dir.join(name)).find(|p| p.is_file());
                found.unwrap_or_else(|| Path::new(name).to_owned())
            }
        }
    }

    /// All that its plugins may leave on the node.
    pub fn snapshot(&self, lab: &Lab) -> Snapshot {
        match self {
            Maker::Podloom => lab.snapshot(),
            Maker::Other(_) => {
                let private = lab.private_dirs().into_iter().map(|(dir, _)| dir);
                let own = [lab.data_dir(), lab.run_dir(), lab.cache_dir()];
                lab.snapshot_with(&own.into_iter().chain(private).collect::<Vec<_>>())
            }
        }
    }

    /// Whether it is held to this project's own codes and words.
    pub fn is_podloom(&self) -> bool {
        matches!(self, Maker::Podloom)
    }
}
