//! Looking for an executable in `CNI_PATH`.

use cni_types::{Code, Error, PluginType, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The executable of `plugin` in the first directory of `path` that has one.
///
/// # Errors
/// [`Code::InvalidConfig`] naming the directories, when there is none.
pub fn find(plugin: &PluginType, path: &[PathBuf]) -> Result<PathBuf> {
    let mut unusable = None;
    for dir in path.iter().filter(|d| !d.as_os_str().is_empty()) {
        let file = dir.join(plugin.as_str());
        match is_executable(&file) {
            Some(true) => return Ok(file),
            Some(false) => unusable = Some(file),
            None => {}
        }
    }
    let dirs: Vec<_> = path.iter().map(|d| d.display().to_string()).collect();
    let error = match unusable {
        Some(file) => Error::new(
            Code::InvalidConfig,
            format!("plugin {plugin}: {} is not an executable file", file.display()),
        ),
        None => Error::new(
            Code::InvalidConfig,
            format!("plugin {plugin}: not found in CNI_PATH ({})", dirs.join(":")),
        ),
    };
    Err(error.with_details("install the plugin there, or correct its type in the configuration"))
}

/// `None` if there is no such file.
fn is_executable(file: &Path) -> Option<bool> {
    let meta = std::fs::metadata(file).ok()?;
    Some(meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_with_an_executable_wins() {
        let plugin = PluginType::parse("sh").expect("type");
        let path = ["/nonexistent", "", "/bin", "/usr/bin"].map(PathBuf::from);
        assert_eq!(find(&plugin, &path).expect("found"), PathBuf::from("/bin/sh"));
    }

    #[test]
    fn a_missing_plugin_names_the_directories() {
        let plugin = PluginType::parse("no-such-plugin").expect("type");
        let error = find(&plugin, &[PathBuf::from("/a"), PathBuf::from("/b")]).expect_err("none");
        assert_eq!(error.code, Code::InvalidConfig);
        assert!(error.msg.contains("/a:/b"), "{error}");
    }

    #[test]
    fn a_file_without_the_execute_bit_is_named() {
        let plugin = PluginType::parse("passwd").expect("type");
        let error = find(&plugin, &[PathBuf::from("/etc")]).expect_err("not executable");
        assert!(error.msg.contains("/etc/passwd is not an executable"), "{error}");
    }
}
