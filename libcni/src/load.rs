//! Configuration directories: which files there are, in which order, and which one counts.

use crate::{Error, Kind, NetworkList, PluginConf, Result};
use cni_types::Code;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where container runtimes look for configuration by convention.
pub const DEFAULT_CONF_DIR: &str = "/etc/cni/net.d";

/// One file of a configuration directory and what it holds.
#[derive(Debug)]
pub struct ConfFile {
    /// The file.
    pub path: PathBuf,
    /// Its network, or why it cannot be used.
    pub network: Result<NetworkList>,
}

/// The files of `dir` with one of `extensions`, sorted by name. No directory counts as empty.
fn files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let fault = |e: &std::io::Error| Error::io(Kind::Config, dir.display(), e);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fault(&e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| fault(&e))?;
        let path = entry.path();
        let wanted = path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
        if wanted && !entry.file_type().map_err(|e| fault(&e))?.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The first error with the file's path in front.
fn in_file<T>(path: &Path, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|e| {
        let cause = e.cause().clone().context(path.display());
        Error::new(e.kind(), cause).network(e.network_name())
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io(Kind::Config, path.display(), &e))
}

/// Reads one configuration file: a list, or by its extension a single plugin.
///
/// Unless `loadOnlyInlinedPlugins` is set, the `*.conf` files of the directory that lies beside
/// a list and is named after its network are appended to the chain.
///
/// # Errors
/// [`Kind::Config`] with the file and the path of the key.
pub fn load_file(path: &Path) -> Result<NetworkList> {
    let bytes = read(path)?;
    if path.extension().is_some_and(|e| e == "conf" || e == "json") {
        let list = in_file(path, NetworkList::from_single(&bytes))?;
        return Ok(list.with_source(path));
    }
    let mut list = in_file(path, NetworkList::from_bytes(&bytes))?;
    if !list.load_only_inlined_plugins {
        let beside = path.parent().unwrap_or(Path::new(".")).join(list.name.as_str());
        for file in files(&beside, &["conf"])? {
            let bytes = read(&file)?;
            let plugin = in_file(&file, PluginConf::from_bytes(&bytes));
            list.append(plugin.map_err(|e| e.network(&list.name))?)?;
        }
    }
    in_file(path, list.ready())?;
    Ok(list.with_source(path))
}

/// Reads every configuration file of `dir`: lists first, then single plugins, each by name.
///
/// # Errors
/// [`Kind::Config`] when the directory cannot be listed. A file that cannot be used is an entry
/// of the answer.
pub fn load_dir(dir: &Path) -> Result<Vec<ConfFile>> {
    let mut paths = files(dir, &["conflist"])?;
    paths.extend(files(dir, &["conf", "json"])?);
    Ok(paths
        .into_iter()
        .map(|path| {
            let network = load_file(&path);
            ConfFile { path, network }
        })
        .collect())
}

/// The network `name` of `dir`: of several files with that name the first counts.
///
/// A broken file that is not known to be of another network does not hide a good one: it is
/// reported only when the network is found nowhere.
///
/// # Errors
/// [`Kind::NoNetwork`] with the files that could not be read beside it; [`Kind::Config`].
pub fn load_network(dir: &Path, name: &str) -> Result<NetworkList> {
    let mut broken = Vec::new();
    for file in load_dir(dir)? {
        match file.network {
            Ok(list) if list.name.as_str() == name => return Ok(list),
            Ok(_) => {}
            Err(e) if e.network_name() == name => return Err(e),
            Err(e) => broken.push(e),
        }
    }
    let cause = cni_types::Error::new(
        Code::InvalidConfig,
        format!("no configuration of this name in {}", dir.display()),
    );
    let hint = "see the networks there with `podloom net list`";
    Err(Error::new(Kind::NoNetwork, cause.with_details(hint)).network(name).and(broken))
}
