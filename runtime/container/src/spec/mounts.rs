//! What is mounted in a container, and in which order.

use crate::{Error, Kind, Result};
use cri_api::v1::{self as cri, MountPropagation};
use runtime_spec::{IdMapping, Mount};
use std::path::{Component, Path, PathBuf};

/// A mount that the container asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) destination: PathBuf,
    pub(crate) origin: Origin,
}

/// Where what is mounted comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// A file or directory of the node.
    Node { path: PathBuf, access: Access, propagation: MountPropagation, ids: Ids },
    /// A part of an image, to read only.
    Image { image: String, sub_path: String },
}

/// Whether it can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// Not the mount itself; what is mounted below it may be.
    Read,
    /// Nor what is mounted below it.
    ReadAll,
}

/// Owners of an idmapped mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
}

/// A source of the node that is known to exist.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    pub(crate) destination: PathBuf,
    pub(crate) source: PathBuf,
    pub(crate) access: Access,
    pub(crate) propagation: MountPropagation,
    pub(crate) ids: Ids,
    /// Nothing in it is executed, no device used, no privilege gained: of an image that is a volume.
    pub(crate) inert: bool,
}

impl Bind {
    /// A file or directory that stays as it is.
    pub(crate) fn new(source: &Path, destination: impl Into<PathBuf>, access: Access) -> Bind {
        Bind {
            destination: destination.into(),
            source: source.to_owned(),
            access,
            propagation: MountPropagation::PropagationPrivate,
            ids: Ids::default(),
            inert: false,
        }
    }

    fn mount(&self) -> Mount {
        let mut options = vec!["rbind"];
        options.push(match self.propagation {
            MountPropagation::PropagationPrivate => "rprivate",
            MountPropagation::PropagationHostToContainer => "rslave",
            MountPropagation::PropagationBidirectional => "rshared",
        });
        options.push(match self.access {
            Access::Write => "rw",
            Access::Read => "ro",
            Access::ReadAll => "rro",
        });
        if self.inert {
            options.extend(["nosuid", "nodev", "noexec"]);
        }
        if !self.ids.uids.is_empty() {
            options.push("idmap");
        }
        Mount {
            destination: self.destination.clone(),
            kind: Some("bind".to_owned()),
            source: Some(self.source.clone()),
            options: options.into_iter().map(str::to_owned).collect(),
            uid_mappings: self.ids.uids.clone(),
            gid_mappings: self.ids.gids.clone(),
        }
    }
}

/// Reads the mounts of a configuration.
///
/// # Errors
/// A path is relative or climbs, or two wishes contradict each other.
pub(crate) fn wanted(mounts: &[cri::Mount]) -> Result<Vec<Wanted>> {
    mounts.iter().map(one).collect()
}

fn one(mount: &cri::Mount) -> Result<Wanted> {
    let subject = format!("mount {:?}", mount.container_path);
    let wrong = |cause: &str| Error::new(Kind::Invalid, &subject, cause);
    let destination = inside(&mount.container_path).ok_or_else(|| wrong("is not a path"))?;
    if destination == Path::new("/") {
        return Err(wrong("would cover the container's root"));
    }
    if let Some(image) = &mount.image {
        if !mount.host_path.is_empty() {
            return Err(wrong("has an image and a path of the node"));
        }
        let (image, sub_path) = (image.image.clone(), mount.image_sub_path.clone());
        return Ok(Wanted { destination, origin: Origin::Image { image, sub_path } });
    }
    if !mount.image_sub_path.is_empty() {
        return Err(wrong("has a path within an image, but no image"));
    }
    let path = PathBuf::from(&mount.host_path);
    if !path.is_absolute() || mount.host_path.contains('\0') {
        return Err(wrong("has no absolute path of the node"));
    }
    let propagation = mount.propagation();
    let access = match (mount.readonly, mount.recursive_read_only) {
        (false, false) => Access::Write,
        (true, false) => Access::Read,
        (true, true) if propagation == MountPropagation::PropagationPrivate => Access::ReadAll,
        (true, true) => return Err(wrong("is recursively read-only, and propagates")),
        (false, true) => return Err(wrong("is recursively read-only, and not read-only")),
    };
    let ids = Ids { uids: ranges(&mount.uid_mappings), gids: ranges(&mount.gid_mappings) };
    if ids.uids.is_empty() != ids.gids.is_empty() {
        return Err(wrong("has mappings of users or of groups, but not both"));
    }
    Ok(Wanted { destination, origin: Origin::Node { path, access, propagation, ids } })
}

pub(crate) fn ranges(mappings: &[cri::IdMapping]) -> Vec<IdMapping> {
    let range = |m: &cri::IdMapping| IdMapping {
        container_id: m.container_id,
        host_id: m.host_id,
        size: m.length,
    };
    mappings.iter().map(range).collect()
}

/// An absolute path of the container without `.` and `..`.
pub(crate) fn inside(text: &str) -> Option<PathBuf> {
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    let mut path = PathBuf::from("/");
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return None,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(path)
}

/// How the file systems of the kernel are mounted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// `/sys` and `/sys/fs/cgroup` can be written.
    pub(crate) privileged: bool,
}

fn fresh(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: PathBuf::from(destination),
        kind: Some(kind.to_owned()),
        source: Some(PathBuf::from(kind)),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Mount::default()
    }
}

/// All mounts in order: those of the kernel, those that every container of the pod has, those of
/// this one from the root down. What a container asks for replaces what it would have there.
pub(crate) fn all(kernel: Kernel, of_pod: &[Bind], own: &[Bind]) -> Vec<Mount> {
    let access = if kernel.privileged { "rw" } else { "ro" };
    let flags = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [flags.as_slice(), more].concat();
    let mut mounts = vec![
        fresh("/proc", "proc", &flags),
        fresh("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        fresh(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        fresh("/dev/mqueue", "mqueue", &flags),
        fresh("/sys", "sysfs", &with(&[access])),
        fresh("/sys/fs/cgroup", "cgroup", &with(&["relatime", access])),
    ];
    mounts.extend(of_pod.iter().map(Bind::mount));
    let replaced = |mount: &Mount| own.iter().any(|bind| bind.destination == mount.destination);
    mounts.retain(|mount| !replaced(mount));
    let mut own: Vec<&Bind> = own.iter().collect();
    own.sort_by_key(|bind| bind.destination.components().count());
    mounts.extend(own.into_iter().map(Bind::mount));
    mounts
}

/// Propagation that the root needs for the mounts.
pub(crate) fn root_propagation(own: &[Bind]) -> Option<String> {
    let has = |wanted| own.iter().any(|bind| bind.propagation == wanted);
    if has(MountPropagation::PropagationBidirectional) {
        return Some("rshared".to_owned());
    }
    has(MountPropagation::PropagationHostToContainer).then(|| "rslave".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, node: &str) -> cri::Mount {
        cri::Mount {
            container_path: path.to_owned(),
            host_path: node.to_owned(),
            ..cri::Mount::default()
        }
    }

    #[test]
    fn paths_stay_inside_and_wishes_agree() {
        assert!(wanted(&[mount("/a", "/b")]).is_ok());
        let relative = wanted(&[mount("a/./b", "/b")]).expect("taken as absolute");
        assert_eq!(relative[0].destination, PathBuf::from("/a/b"));
        for (inside, node) in [("/a/../b", "/b"), ("", "/b"), ("/", "/b"), ("/a", ""), ("/a", "b")]
        {
            assert!(wanted(&[mount(inside, node)]).is_err(), "{inside} {node}");
        }
        let rro = |readonly, propagation: MountPropagation| cri::Mount {
            readonly,
            recursive_read_only: true,
            propagation: propagation.into(),
            ..mount("/a", "/b")
        };
        assert!(wanted(&[rro(true, MountPropagation::PropagationPrivate)]).is_ok());
        assert!(wanted(&[rro(false, MountPropagation::PropagationPrivate)]).is_err());
        assert!(wanted(&[rro(true, MountPropagation::PropagationHostToContainer)]).is_err());
        let image = cri::Mount { image: Some(cri::ImageSpec::default()), ..mount("/a", "/b") };
        assert!(wanted(&[image]).is_err(), "two origins");
        let sub = cri::Mount { image_sub_path: "x".to_owned(), ..mount("/a", "/b") };
        assert!(wanted(&[sub]).is_err(), "no image");
    }

    #[test]
    fn the_containers_own_come_last_from_the_root_down_and_replace() {
        let bind = |at: &str| Bind::new(Path::new("/n"), at, Access::Write);
        let own = [bind("/data/deep"), bind("/etc/hosts"), bind("/data"), bind("/dev")];
        let mounts =
            all(Kernel { privileged: false }, &[bind("/etc/hosts"), bind("/dev/shm")], &own);
        let places: Vec<_> = mounts.iter().map(|m| m.destination.to_str().expect("text")).collect();
        let wanted = "/proc /dev/pts /dev/mqueue /sys /sys/fs/cgroup /dev/shm /data /dev \
            /data/deep /etc/hosts";
        assert_eq!(places, wanted.split_ascii_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn propagation_reaches_the_root() {
        let with =
            |propagation| Bind { propagation, ..Bind::new(Path::new("/"), "/a", Access::Read) };
        let private = with(MountPropagation::PropagationPrivate);
        let slave = with(MountPropagation::PropagationHostToContainer);
        let shared = with(MountPropagation::PropagationBidirectional);
        assert_eq!(root_propagation(std::slice::from_ref(&private)), None);
        assert_eq!(root_propagation(&[slave.clone(), private]).as_deref(), Some("rslave"));
        assert_eq!(root_propagation(&[slave, shared.clone()]).as_deref(), Some("rshared"));
        assert_eq!(shared.mount().options, ["rbind", "rshared", "ro"]);
    }
}
