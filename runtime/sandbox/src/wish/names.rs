//! Names that end up in files, environments and the kernel.

use crate::{Error, Result};
use cri_api::v1::PodSandboxMetadata;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// The longest of each part, in bytes.
const PART_MAX: usize = 1024;

/// The longest name that the kernel takes for a node, in bytes.
const HOSTNAME_MAX: usize = 64;

/// What a pod is reserved by: unique on a node while the pod exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) attempt: u32,
}

impl Name {
    /// # Errors
    /// Names that could not be passed to plugins.
    pub(crate) fn parse(metadata: &PodSandboxMetadata) -> Result<Name> {
        if metadata.name.is_empty() {
            return Err(Error::invalid("metadata.name", "is empty"));
        }
        let parts = [
            ("metadata.name", &metadata.name),
            ("metadata.namespace", &metadata.namespace),
            ("metadata.uid", &metadata.uid),
        ];
        for (field, text) in parts {
            if text.len() > PART_MAX {
                let cause = format!("has {} bytes, at most {PART_MAX} are possible", text.len());
                return Err(Error::invalid(field, cause));
            }
            // They are values of CNI_ARGS, where a semicolon ends one.
            if text.contains(|c: char| c.is_control() || matches!(c, ';' | '/')) {
                let cause = format!("{text:?} holds a control character, a ';' or a '/'");
                return Err(Error::invalid(field, cause));
            }
        }
        Ok(Name {
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            attempt: metadata.attempt,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{}", self.namespace, self.name)
    }
}

/// The name of the node in a pod; `None` if it is not said.
///
/// # Errors
/// What is no host name by RFC 1123 (an underscore is let pass, as by the kernel).
pub(super) fn hostname(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let labels = text.split('.').all(|l| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-'));
    if text.len() > HOSTNAME_MAX || !text.chars().all(sound) || !labels {
        let cause = format!("{text:?} is not a host name of at most {HOSTNAME_MAX} bytes");
        return Err(Error::invalid("hostname", cause));
    }
    Ok(Some(text.to_owned()))
}

/// The directory of the logs; `None` if there are to be none.
///
/// # Errors
/// Relative paths and those that lead back.
pub(super) fn log_directory(text: &str) -> Result<Option<PathBuf>> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = Path::new(text);
    let straight =
        path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !straight || text.contains(char::is_control) {
        let cause = format!("{text:?} is not an absolute path without '..'");
        return Err(Error::invalid("log_directory", cause));
    }
    Ok(Some(path.to_owned()))
}
