//! What a plan must know that is not in the configuration.

use std::path::PathBuf;

/// The container's surroundings.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// Directory of the bundle, absolute: relative roots and bind sources start here.
    pub bundle: PathBuf,
    /// What a mount of type `cgroup` shows.
    pub cgroups: Cgroups,
    /// Change the root by chroot(2) instead of pivot_root(2): for hosts that run from an initramfs.
    pub no_pivot: bool,
    /// SELinux is enabled on the host; without it `linux.mountLabel` has no effect.
    pub selinux: bool,
}

/// Where the container's control groups are on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cgroups {
    /// The container has none, or none is known: a mount of type `cgroup` is refused, except where
    /// cgroup v2 can be mounted afresh.
    #[default]
    Absent,
    /// Version 2 alone.
    Unified {
        /// The container's own group, absolute, such as `/sys/fs/cgroup/pods/a`; the caller's when
        /// it has none.
        own: PathBuf,
    },
    /// Version 1 hierarchies, with or without a version 2 one beside them.
    Legacy(Vec<Hierarchy>),
}

/// One mounted hierarchy of version 1, or the version 2 one of a hybrid layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Name of its directory below `/sys/fs/cgroup`, such as `cpu,cpuacct`, `systemd`, `unified`.
    pub name: String,
    /// Other names it has there, each a symbolic link in the container: `cpu`, `cpuacct`.
    pub aliases: Vec<String>,
    /// The container's own group in it, absolute.
    pub own: PathBuf,
}
