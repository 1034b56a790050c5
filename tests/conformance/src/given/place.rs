//! Where a plugin is, and how its calls are made.

use crate::error::{Error, Result};
use crate::maker::Other;
use cni_types::Version;
use lab::{Bins, Lab};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A plugin's program and what belongs to running it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The executable.
    pub plugin: PathBuf,
    /// Further directories with plugins: its IPAM plugins, the earlier ones of its chain.
    pub dirs: Vec<PathBuf>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// Whether it stands behind another plugin, whose part the trial plays.
    pub chained: bool,
    /// The longest that a call may take.
    pub limit: Duration,
    /// The kill sweep takes every n-th system call.
    pub sweep: u32,
}

/// Where a plugin of a trial finds directories of the trial's own.
const HIDDEN: [&str; 4] = ["/run", "/var/lib", "/sys", "/proc"];

impl Place {
    /// The plugin's name.
    ///
    /// # Errors
    /// When the path has none.
    pub(crate) fn name(&self) -> Result<String> {
        let name = self.plugin.file_name().and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(|| Error::new(self.plugin.display(), "has no file name"))
    }

    /// Its maker, with the versions that it says it speaks.
    ///
    /// # Errors
    /// When it cannot be run, or speaks no version that can be judged.
    pub(crate) fn maker(&self, env: &BTreeMap<String, String>) -> Result<Other> {
        let shown = self.plugin.display();
        let meta = std::fs::metadata(&self.plugin).map_err(|e| Error::new(shown, e))?;
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            return Err(Error::new(self.plugin.display(), "is not an executable file"));
        }
        let parent = self.plugin.parent().unwrap_or(Path::new("/"));
        let mut dirs = Vec::new();
        for dir in [parent].into_iter().chain(self.dirs.iter().map(PathBuf::as_path)) {
            dirs.push(usable(dir)?);
        }
        let env = env.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut maker = Other {
            name: "the plugin's maker",
            dirs,
            versions: Vec::new(),
            env,
            limit: self.limit,
        };
        maker.versions = versions(&maker, &self.name()?)?;
        Ok(maker)
    }
}

/// A directory of plugins, wherever links lead.
fn usable(dir: &Path) -> Result<PathBuf> {
    let real = dir.canonicalize().map_err(|e| Error::new(dir.display(), e))?;
    match HIDDEN.iter().find(|hidden| real.starts_with(hidden)) {
        None => Ok(real),
        Some(hidden) => {
            let cause = format!(
                "lies below {hidden}, which is the trial's own while a plugin runs: copy the \
                 plugins elsewhere"
            );
            Err(Error::new(dir.display(), cause))
        }
    }
}

/// The versions that a plugin says it speaks, as far as they are known here.
pub(crate) fn versions(maker: &Other, plugin: &str) -> Result<Vec<Version>> {
    let lab = Lab::new("versions");
    let home = maker.dirs.first().map_or_else(PathBuf::new, PathBuf::clone);
    let bins = Bins::at(home, maker.name);
    let outcome = lab.plugin_of(&bins, plugin).private().within(maker.limit).version("1.0.0");
    let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
    let told = document["supportedVersions"].as_array().cloned().unwrap_or_default();
    let known = told.iter().filter_map(|v| Version::parse(v.as_str()?).ok());
    let mut known: Vec<_> = known.collect();
    known.sort();
    known.dedup();
    if known.last().is_some_and(|newest| newest.has_check()) {
        return Ok(known);
    }
    Err(Error::new(
        plugin,
        format!("VERSION must list 0.4.0 or a newer version in supportedVersions: {outcome}"),
    ))
}
