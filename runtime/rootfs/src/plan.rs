//! From a configuration to steps: everything that can be decided without touching the system.

mod device;
mod mount;
mod path;

use crate::{Error, Situation};
pub(crate) use device::{Device, Link, NULL};
use mount::mount_step;
pub(crate) use mount::{Fallback, Kind, LegacyCgroup, MountStep, old_flags};
use runtime_spec::{IdMapping, Linux, NamespaceKind, Spec};
use std::collections::HashSet;
use std::ffi::CString;
use std::path::PathBuf;

/// The most mounts, devices, masked or read-only paths of one container.
const STEPS_MAX: usize = 4096;

/// A container's file system as a list of steps. Making it has no effect and touches no file.
#[derive(Debug)]
pub struct Plan {
    /// The root directory on the host, absolute.
    pub(crate) root: CString,
    pub(crate) root_read_only: bool,
    /// False when the container shares the runtime's mounts.
    pub(crate) own_mounts: bool,
    /// The root is mounted over its own directory in the runtime's mount namespace; without mounts
    /// to make, a container that shares that namespace has only its root changed.
    pub(crate) covers: bool,
    /// The container is in another user namespace than the runtime.
    pub(crate) user_namespace: bool,
    pub(crate) no_pivot: bool,
    /// What happens to all mounts at the start.
    pub(crate) first_propagation: u64,
    /// What the root becomes at the end, if asked for.
    pub(crate) last_propagation: Option<(u64, bool)>,
    pub(crate) mounts: Vec<MountStep>,
    pub(crate) devices: Vec<Device>,
    pub(crate) links: Vec<Link>,
    pub(crate) masked: Vec<CString>,
    pub(crate) read_only: Vec<CString>,
    /// User namespaces for idmapped mounts.
    pub(crate) id_maps: Vec<IdMap>,
    pub(crate) warnings: Vec<String>,
}

/// A user namespace to map an idmapped mount by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdMap {
    /// One made for it, with these mappings.
    Fresh { uids: Vec<IdMapping>, gids: Vec<IdMapping> },
    /// One that exists.
    At(PathBuf),
}

impl Plan {
    /// Plans the file system of a container.
    ///
    /// # Errors
    /// The configuration is malformed or would lead outside the container.
    pub fn new(spec: &Spec, situation: &Situation) -> Result<Plan, Error> {
        let empty = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&empty);
        let root = spec.root.as_ref().ok_or_else(|| Error::invalid("root", "is missing"))?;
        let path = path::host(&root.path, &situation.bundle, "root.path")?;
        limit(spec.mounts.len(), "mounts")?;
        limit(linux.devices.len(), "linux.devices")?;
        limit(linux.masked_paths.len(), "linux.maskedPaths")?;
        limit(linux.readonly_paths.len(), "linux.readonlyPaths")?;
        let namespace = |kind| linux.namespaces.iter().find(|namespace| namespace.kind == kind);
        let user = namespace(NamespaceKind::User);
        let last_propagation = root_propagation(linux)?;
        let mut plan = Plan {
            root: path,
            root_read_only: root.readonly,
            own_mounts: namespace(NamespaceKind::Mount).is_some(),
            covers: false,
            user_namespace: user.is_some(),
            no_pivot: situation.no_pivot,
            first_propagation: match last_propagation {
                Some((libc::MS_PRIVATE | libc::MS_UNBINDABLE, _)) => libc::MS_PRIVATE,
                _ => libc::MS_SLAVE,
            },
            last_propagation,
            mounts: Vec::with_capacity(spec.mounts.len()),
            devices: Vec::new(),
            links: Vec::new(),
            masked: inside_all(&linux.masked_paths, "linux.maskedPaths")?,
            read_only: inside_all(&linux.readonly_paths, "linux.readonlyPaths")?,
            id_maps: Vec::new(),
            warnings: Vec::new(),
        };
        plan.share_mounts(!spec.mounts.is_empty())?;
        for (index, mount) in spec.mounts.iter().enumerate() {
            let step = mount_step(&mut plan, (index, mount), linux, situation)?;
            plan.mounts.push(step);
        }
        plan.plan_devices(linux)?;
        Ok(plan)
    }

    /// Settles where the mounts go of a container without a mount namespace of its own.
    fn share_mounts(&mut self, mounts: bool) -> Result<(), Error> {
        let changes =
            mounts || self.root_read_only || !self.masked.is_empty() || !self.read_only.is_empty();
        self.covers = changes && !self.own_mounts;
        if !self.covers {
            return Ok(());
        }
        if self.user_namespace {
            let cause = "a user namespace can mount only with a mount namespace of its own";
            return Err(Error::invalid("linux.namespaces", cause));
        }
        if self.root.as_bytes().iter().all(|byte| matches!(byte, b'/' | b'.')) {
            let cause = "is the host's root, and would be covered for every process of the host: \
                a mount namespace is missing in linux.namespaces";
            return Err(Error::invalid("root.path", cause));
        }
        Ok(())
    }

    /// Whether the container's root is a mount of its own.
    pub(crate) fn mounts_root(&self) -> bool {
        self.own_mounts || self.covers
    }

    fn plan_devices(&mut self, linux: &Linux) -> Result<(), Error> {
        let bound = |step: &MountStep| step.is_dev() && matches!(step.kind, Kind::Bind { .. });
        // A /dev that is the host's has its devices, and must not be written to.
        if self.mounts_root() && !self.mounts.iter().any(bound) {
            self.devices = device::plan(&linux.devices)?;
            self.links = device::links();
        }
        Ok(())
    }

    /// What was put right in the configuration, one line each, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The number of an ID mapping, noted for [`Plan::prepare`].
    fn id_map(&mut self, map: IdMap) -> usize {
        let known = self.id_maps.iter().position(|known| *known == map);
        known.unwrap_or_else(|| {
            self.id_maps.push(map);
            self.id_maps.len() - 1
        })
    }

    /// Whether bind sources keep their ties to the host's mounts.
    pub(crate) fn shared(&self) -> bool {
        matches!(self.last_propagation, Some((libc::MS_SHARED, _)))
    }
}

fn limit(count: usize, subject: &str) -> Result<(), Error> {
    if count > STEPS_MAX {
        return Err(Error::invalid(subject, format!("has {count} entries; at most {STEPS_MAX}")));
    }
    Ok(())
}

fn root_propagation(linux: &Linux) -> Result<Option<(u64, bool)>, Error> {
    match linux.rootfs_propagation.as_deref() {
        None | Some("") => Ok(None),
        Some(word) => crate::options::propagation(word).map(Some).ok_or_else(|| {
            let cause = format!("{word:?} is no kind of propagation");
            Error::invalid("linux.rootfsPropagation", cause)
        }),
    }
}

fn inside_all(paths: &[String], key: &str) -> Result<Vec<CString>, Error> {
    let one = |(index, path): (usize, &String)| {
        let subject = format!("{key}[{index}]");
        if !path.starts_with('/') {
            return Err(Error::invalid(subject, format!("{path:?} is not absolute")));
        }
        let inside = path::inside(path.as_ref(), &subject)?;
        if inside.is_empty() {
            return Err(Error::invalid(subject, "is the root itself"));
        }
        Ok(inside)
    };
    let mut seen = HashSet::new();
    let mut all: Vec<CString> = paths.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    // Hidden once it is hidden: a second mount would only cover the first.
    all.retain(|path| seen.insert(path.clone()));
    Ok(all)
}
