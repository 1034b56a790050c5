//! What a container is to be: its configuration, read once and found valid.

use crate::spec::{self, Wanted, WantedDevice};
use crate::{Error, Kind, Result, cdi};
use cri_api::v1::{
    ContainerConfig, ContainerMetadata, LinuxContainerSecurityContext, NamespaceMode,
};
use sandbox::Sandbox;
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Longest name of a container, in bytes.
const NAME_MAX: usize = 253;

/// What tells the containers of a node apart beside their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) sandbox_id: String,
    pub(crate) name: String,
    pub(crate) attempt: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { sandbox_id, name, attempt } = self;
        write!(f, "container {name} ({attempt}) of pod {:.12}", sandbox_id)
    }
}

/// A container to be made. Whatever is in it can be done, or fails for the node's reasons only.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) config: ContainerConfig,
    pub(crate) metadata: ContainerMetadata,
    pub(crate) image: String,
    pub(crate) context: LinuxContainerSecurityContext,
    pub(crate) log_path: Option<PathBuf>,
    pub(crate) mounts: Vec<Wanted>,
    pub(crate) devices: Vec<WantedDevice>,
    /// Devices by name.
    pub(crate) cdi: Vec<String>,
    pub(crate) pid: PidWish,
}

/// Whose processes the container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PidWish {
    /// As the pod says.
    Pod,
    Own,
    Node,
    /// Those of another container, by id.
    Target(String),
}

impl Wish {
    /// Reads a request for a pod, whose log directory is given.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with the field.
    pub(crate) fn parse(config: ContainerConfig, log_dir: &str) -> Result<Wish> {
        let invalid = |field: &str, cause: &str| Error::new(Kind::Invalid, field, cause);
        let metadata = config.metadata.clone().ok_or_else(|| invalid("metadata", "is missing"))?;
        let sound = |name: &str| !name.is_empty() && !name.contains(['/', '\0', '\n']);
        if !sound(&metadata.name) || metadata.name.len() > NAME_MAX {
            return Err(invalid("metadata.name", "want 1 to 253 bytes without `/` and line ends"));
        }
        let image = config.image.clone().unwrap_or_default().image;
        if image.is_empty() {
            return Err(invalid("image", "is missing"));
        }
        let context = spec::context(&config);
        let options = context.namespace_options.clone().unwrap_or_default();
        let pid = match options.pid() {
            NamespaceMode::Pod => PidWish::Pod,
            NamespaceMode::Container => PidWish::Own,
            NamespaceMode::Node => PidWish::Node,
            NamespaceMode::Target if options.target_id.is_empty() => {
                return Err(invalid("namespace_options.target_id", "is missing"));
            }
            NamespaceMode::Target => PidWish::Target(options.target_id),
        };
        Ok(Wish {
            metadata,
            image,
            log_path: log_path(log_dir, &config.log_path)?,
            mounts: spec::wanted_mounts(&config.mounts)?,
            devices: spec::wanted_devices(&config.devices)?,
            cdi: cdi::wanted(&config)?,
            pid,
            context,
            config,
        })
    }

    pub(crate) fn name(&self, pod: &Sandbox) -> Name {
        let (name, attempt) = (self.metadata.name.clone(), self.metadata.attempt);
        Name { sandbox_id: pod.id().to_owned(), name, attempt }
    }
}

/// Where the log is: below the pod's directory, or nowhere.
fn log_path(dir: &str, path: &str) -> Result<Option<PathBuf>> {
    if dir.is_empty() || path.is_empty() {
        return Ok(None);
    }
    let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    let (dir, below) = (Path::new(dir), Path::new(path));
    let climbs = dir.components().any(|part| part == Component::ParentDir);
    if !dir.is_absolute() || climbs {
        let e = Error::new(Kind::Invalid, "log_directory", "is no absolute path without `..`");
        return Err(e);
    }
    if path.contains(['\0', '\n']) || !below.components().all(normal) {
        return Err(Error::new(Kind::Invalid, format!("log_path {path:?}"), "leads elsewhere"));
    }
    Ok(Some(dir.join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_stay_in_their_directory() {
        let of = |dir: &str, path: &str| log_path(dir, path);
        assert_eq!(of("/l", "c/0.log").ok(), Some(Some(PathBuf::from("/l/c/0.log"))));
        assert_eq!(of("", "c/0.log").ok(), Some(None));
        assert_eq!(of("/l", "").ok(), Some(None));
        for (dir, path) in [
            ("/l", "../x"),
            ("/l", "c/../../x"),
            ("/l", "/etc/x"),
            ("/l/../x", "c"),
            ("l", "c"),
            ("/l", "c\n"),
        ] {
            assert!(of(dir, path).is_err(), "{dir} {path}");
        }
    }

    #[test]
    fn names_are_sound() {
        let of = |name: &str| {
            let metadata = ContainerMetadata { name: name.to_owned(), attempt: 0 };
            let image = cri_api::v1::ImageSpec { image: "i".to_owned(), ..Default::default() };
            let config = ContainerConfig {
                metadata: Some(metadata),
                image: Some(image),
                ..ContainerConfig::default()
            };
            Wish::parse(config, "")
        };
        assert!(of("c").is_ok());
        for wrong in ["", "a/b", "a\n", &"x".repeat(254)] {
            assert_eq!(of(wrong).expect_err("no name").kind(), Kind::Invalid, "{wrong:?}");
        }
    }
}
