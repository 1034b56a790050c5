//! One mount of the configuration: config.md, Mounts.

use super::{IdMap, Plan, path};
use crate::options::{Change, Options, Param, attr};
use crate::resolve::Links;
use crate::{Cgroups, Error, Hierarchy, Situation};
use runtime_spec::{IdMapping, Linux, Mount, NamespaceKind};
use std::ffi::{CStr, CString};
use std::path::Path;

/// What is below `/proc` and may be covered: files that tools such as lxcfs provide, and two
/// that containers are checkpointed and certified with.
const PROC_FILES: &[&[u8]] = &[
    b"proc/cpuinfo",
    b"proc/diskstats",
    b"proc/loadavg",
    b"proc/meminfo",
    b"proc/slabinfo",
    b"proc/stat",
    b"proc/swaps",
    b"proc/uptime",
    b"proc/sys/crypto/fips_enabled",
    b"proc/sys/kernel/ns_last_pid",
];

/// One mount, ready for the kernel.
#[derive(Debug)]
pub(crate) struct MountStep {
    /// What it is called in messages.
    pub(crate) subject: String,
    /// Where, relative to the root.
    pub(crate) place: CString,
    /// Whether the place may be behind symbolic links of the image.
    pub(crate) links: Links,
    /// Whether the place may be on procfs.
    pub(crate) on_proc: bool,
    pub(crate) kind: Kind,
    /// Attributes that fsmount(2) sets.
    pub(crate) attributes: u64,
    /// What mount_setattr(2) changes then.
    pub(crate) changes: Vec<Change>,
    /// It becomes read-only at the end, when everything in it is made.
    pub(crate) seal: bool,
}

/// What to mount.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A directory or file of the host.
    Bind {
        source: CString,
        /// The way from the root to a source that earlier mounts bring.
        inside: Option<CString>,
        recursive: bool,
        /// The user namespace to map IDs by (by its number in the plan) and whether this includes
        /// the mounts below.
        id_map: Option<(usize, bool)>,
    },
    /// A new instance of a file system.
    New {
        name: CString,
        source: CString,
        params: Vec<Param>,
        /// For mount(2) when fsconfig(2) cannot take the options: the text and the flags.
        old: Option<(CString, u64)>,
        fallback: Option<Fallback>,
        copy_up: bool,
    },
    /// The groups of version 1, each hierarchy a directory of a tmpfs.
    Legacy(Vec<LegacyCgroup>),
    /// What is mounted there already gets other options; those of the file system unless it is
    /// the mount alone.
    Again { params: Vec<Param> },
}

/// What is bound when a user namespace may not mount a file system.
#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) source: CString,
    pub(crate) recursive: bool,
}

/// One hierarchy of version 1.
#[derive(Debug)]
pub(crate) struct LegacyCgroup {
    pub(crate) name: CString,
    pub(crate) aliases: Vec<CString>,
    pub(crate) own: CString,
}

impl MountStep {
    /// Whether it is `/dev` itself.
    pub(crate) fn is_dev(&self) -> bool {
        self.place.as_bytes() == b"dev"
    }

    /// Whether it is a file system of this name.
    pub(crate) fn is_new(&self, wanted: &[u8]) -> bool {
        matches!(&self.kind, Kind::New { name, .. } if name.as_bytes() == wanted)
    }
}

/// Plans mount number `index`.
pub(super) fn mount_step(
    plan: &mut Plan,
    (index, mount): (usize, &Mount),
    linux: &Linux,
    situation: &Situation,
) -> Result<MountStep, Error> {
    let subject = format!("mounts[{index}]: {}", mount.destination.display());
    if mount.destination.is_relative() {
        let put_right = "the destination is relative, taken as absolute";
        plan.warnings.push(format!("{subject}: {put_right}"));
    }
    let place = path::inside(&mount.destination, &subject)?;
    if place.is_empty() {
        return Err(Error::refused(subject, "the destination is the root itself"));
    }
    let mut options = Options::parse(&mount.options, &subject)?;
    let type_name = mount.kind.as_deref().unwrap_or("");
    options.bind |= type_name == "bind";
    let kind = if options.remount {
        again(&options)
    } else if options.bind {
        bind(plan, (mount, &subject), &options, (linux, situation))?
    } else {
        fresh((mount, &subject), &mut options, linux, situation)?
    };
    if !matches!(kind, Kind::Bind { .. }) && wants_id_map(mount, &options) {
        return Err(Error::invalid(subject, "only a bind can be idmapped"));
    }
    check_proc(&place, &kind, &subject)?;
    let whole = matches!(place.as_bytes(), b"proc" | b"sys" | b"dev");
    let new = matches!(kind, Kind::New { .. } | Kind::Legacy(_));
    let tmpfs = matches!(&kind, Kind::New { name, .. } if name.as_bytes() == b"tmpfs");
    // Later mounts and devices need their places made in it.
    let seal = options.own.set & attr::RDONLY != 0
        && (tmpfs || (place.as_bytes() == b"dev" && !options.remount));
    if seal {
        options.own.set &= !attr::RDONLY;
    }
    let plain = whole || type_name == "proc" || type_name == "sysfs";
    Ok(MountStep {
        on_proc: place.as_bytes() == b"proc" || PROC_FILES.contains(&place.as_bytes()),
        links: if plain { Links::Refused } else { Links::Inside },
        attributes: options.own.set,
        changes: if new { options.other_changes() } else { options.bind_changes() },
        subject,
        place,
        kind,
        seal,
    })
}

/// Only procfs may be at `/proc`, and little may be below.
fn check_proc(place: &CString, kind: &Kind, subject: &str) -> Result<(), Error> {
    let bytes = place.as_bytes();
    if bytes.starts_with(b"proc/") && !PROC_FILES.contains(&bytes) {
        return Err(Error::refused(subject, "nothing may be mounted here, inside /proc"));
    }
    let procfs = match kind {
        Kind::New { name, .. } => name.as_bytes() == b"proc",
        // Whether a bind's source is procfs is seen when it is open.
        Kind::Bind { .. } | Kind::Again { .. } => true,
        Kind::Legacy(_) => false,
    };
    if bytes == b"proc" && !procfs {
        return Err(Error::refused(subject, "only procfs may be mounted at /proc"));
    }
    Ok(())
}

fn again(options: &Options) -> Kind {
    let params = if options.bind { Vec::new() } else { options.params.clone() };
    Kind::Again { params }
}

fn wants_id_map(mount: &Mount, options: &Options) -> bool {
    options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()
}

fn bind(
    plan: &mut Plan,
    (mount, subject): (&Mount, &str),
    options: &Options,
    (linux, situation): (&Linux, &Situation),
) -> Result<Kind, Error> {
    let source = mount.source.as_deref().unwrap_or(Path::new(""));
    if source.as_os_str().is_empty() {
        return Err(Error::invalid(subject, "a bind needs a source"));
    }
    let source = path::host(source, &situation.bundle, subject)?;
    let id_map = match wants_id_map(mount, options) {
        true => Some((id_map(plan, mount, linux, subject)?, options.idmap == Some(true))),
        false => None,
    };
    let inside = brought(plan, &source).filter(|_| id_map.is_none());
    Ok(Kind::Bind { source, inside, recursive: options.recursive, id_map })
}

/// The way from the container's root to a source that is at or below an earlier mount's place.
fn brought(plan: &Plan, source: &CStr) -> Option<CString> {
    let below = |path: &[u8], top: &[u8]| {
        let rest = path.strip_prefix(top)?;
        (rest.is_empty() || rest.starts_with(b"/")).then(|| rest.to_vec())
    };
    let way = below(source.to_bytes(), plan.root.as_bytes())?;
    let way = way.strip_prefix(b"/")?;
    if way.split(|&byte| byte == b'/').any(|name| name == b"..") {
        // It may lead out of the root, where it is the host's again.
        return None;
    }
    let earlier = plan.mounts.iter().any(|step| below(way, step.place.as_bytes()).is_some());
    earlier.then(|| CString::new(way).ok()).flatten()
}

/// The user namespace of an idmapped mount: its own mappings, else those of the container.
fn id_map(plan: &mut Plan, mount: &Mount, linux: &Linux, subject: &str) -> Result<usize, Error> {
    let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
    if uids.is_empty() != gids.is_empty() {
        return Err(Error::invalid(subject, "uidMappings and gidMappings need each other"));
    }
    if !uids.is_empty() {
        return Ok(plan.id_map(IdMap::Fresh { uids: uids.clone(), gids: gids.clone() }));
    }
    let user = linux.namespaces.iter().find(|space| space.kind == NamespaceKind::User);
    match user.map(|space| &space.path) {
        None => Err(Error::invalid(subject, "idmap needs mappings or a user namespace")),
        Some(Some(path)) => Ok(plan.id_map(IdMap::At(path.clone()))),
        Some(None) => Ok(plan.id_map(IdMap::Fresh {
            uids: linux.uid_mappings.clone(),
            gids: linux.gid_mappings.clone(),
        })),
    }
}

fn fresh(
    (mount, subject): (&Mount, &str),
    options: &mut Options,
    linux: &Linux,
    situation: &Situation,
) -> Result<Kind, Error> {
    let type_name = match mount.kind.as_deref() {
        None | Some("" | "none") => return Err(Error::invalid(subject, "the type is missing")),
        Some("cgroup") => match &situation.cgroups {
            Cgroups::Legacy(hierarchies) => return legacy(hierarchies, subject),
            Cgroups::Unified { .. } | Cgroups::Absent => "cgroup2",
        },
        Some(name) => name,
    };
    if type_name == "devpts" {
        drop_unmapped_group(options, linux);
    }
    if options.own.set & attr::RDONLY != 0 && backed(type_name) {
        options.param("ro");
        options.vfs |= libc::MS_RDONLY;
    }
    label(options, type_name, linux, situation);
    let source = mount.source.as_deref().unwrap_or(Path::new(type_name));
    Ok(Kind::New {
        name: path::text(Path::new(type_name), subject)?,
        source: path::text(source, subject)?,
        old: old_data(options),
        fallback: fallback(type_name, situation, subject)?,
        copy_up: options.copy_up && type_name == "tmpfs",
        params: std::mem::take(&mut options.params),
    })
}

/// Whether read-only concerns the file system itself, not just this mount of it.
fn backed(type_name: &str) -> bool {
    !matches!(
        type_name,
        "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup2" | "devtmpfs" | "securityfs"
    )
}

/// A group of terminals that the user namespace has no number for cannot be set.
fn drop_unmapped_group(options: &mut Options, linux: &Linux) {
    let maps = &linux.gid_mappings;
    let covers = |map: &IdMapping, gid: u32| {
        gid.checked_sub(map.container_id).is_some_and(|offset| offset < map.size)
    };
    let group = options.value("gid").and_then(|gid| gid.parse::<u32>().ok());
    let Some(gid) = group.filter(|_| !maps.is_empty()) else { return };
    if !maps.iter().any(|map| covers(map, gid)) {
        options.params.retain(|param| param.key.as_bytes() != b"gid");
    }
}

/// The SELinux label goes to file systems that files are made in.
fn label(options: &mut Options, type_name: &str, linux: &Linux, situation: &Situation) {
    let unlabelled = matches!(type_name, "proc" | "sysfs" | "cgroup2");
    let Some(label) = linux.mount_label.as_ref().filter(|label| !label.is_empty()) else { return };
    if situation.selinux && !unlabelled && options.value("context").is_none() {
        options.param(&format!("context={label}"));
        // A label's commas need quotes where all options are one text.
        let comma = if options.data.is_empty() { "" } else { "," };
        let data = format!("{}{comma}context=\"{label}\"", options.data.to_string_lossy());
        options.data = CString::new(data).unwrap_or_default();
    }
}

fn old_data(options: &Options) -> Option<(CString, u64)> {
    let flags = options.vfs | old_flags(options.own.set);
    options.old_api.then(|| (options.data.clone(), flags))
}

/// Attributes as flags of mount(2).
pub(crate) fn old_flags(attributes: u64) -> u64 {
    let atime = match attributes & attr::ATIME {
        attr::NOATIME => libc::MS_NOATIME,
        attr::STRICTATIME => libc::MS_STRICTATIME,
        _ => libc::MS_RELATIME,
    };
    let table = [
        (attr::RDONLY, libc::MS_RDONLY),
        (attr::NOSUID, libc::MS_NOSUID),
        (attr::NODEV, libc::MS_NODEV),
        (attr::NOEXEC, libc::MS_NOEXEC),
        (attr::NODIRATIME, libc::MS_NODIRATIME),
        (attr::NOSYMFOLLOW, 256),
    ];
    let given = table.iter().filter(|(attribute, _)| attributes & attribute != 0);
    given.fold(atime, |flags, (_, flag)| flags | flag)
}

fn fallback(name: &str, situation: &Situation, subject: &str) -> Result<Option<Fallback>, Error> {
    let bound = |path: &str, recursive| {
        Ok(Some(Fallback { source: path::text(Path::new(path), subject)?, recursive }))
    };
    match (name, &situation.cgroups) {
        ("sysfs", _) => bound("/sys", true),
        ("mqueue", _) => bound("/dev/mqueue", true),
        ("cgroup2", Cgroups::Unified { own }) => {
            Ok(Some(Fallback { source: path::text(own, subject)?, recursive: false }))
        }
        _ => Ok(None),
    }
}

fn legacy(hierarchies: &[Hierarchy], subject: &str) -> Result<Kind, Error> {
    let single = |name: &str| {
        if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
            return Err(Error::invalid(subject, format!("{name:?} is no name of a hierarchy")));
        }
        path::text(Path::new(name), subject)
    };
    let one = |hierarchy: &Hierarchy| {
        let aliases = hierarchy.aliases.iter().filter(|alias| **alias != hierarchy.name);
        Ok(LegacyCgroup {
            name: single(&hierarchy.name)?,
            aliases: aliases.map(|alias| single(alias)).collect::<Result<_, Error>>()?,
            own: path::text(&hierarchy.own, subject)?,
        })
    };
    Ok(Kind::Legacy(hierarchies.iter().map(one).collect::<Result<_, Error>>()?))
}
