//! A container's control group, from wish to record.

use crate::state::{self, Dir, Record};
use crate::{ContainerId, Error, Kind, Result, Runtime, pid};
use cgroup::{Cgroup, Driver, Joiner, Layout, Mode, Request};
use runtime_spec::{DeviceKind, DeviceRule, Resources, Spec};

/// Properties of a unit that annotations may set: they change when it is collected, not what its
/// processes may do (CVE-2024-3154).
const PROPERTIES: [&str; 3] = ["CollectMode", "TimeoutStopUSec", "TimeoutStopSec"];

/// A group on its way; dropped before it is kept, it is removed.
pub(crate) enum Group {
    /// The caller wants none.
    Disabled,
    /// Made, with what a child needs to enter it.
    Made(cgroup::Created, Joiner),
    /// Made by systemd, which needs the process first.
    Late,
}

impl From<cgroup::Error> for Error {
    fn from(error: cgroup::Error) -> Error {
        let kind = match error.kind() {
            cgroup::Kind::Invalid => Kind::Invalid,
            cgroup::Kind::Unsupported | cgroup::Kind::ControllerMissing => Kind::Unsupported,
            cgroup::Kind::Timeout => Kind::Timeout,
            _ => Kind::System(error.errno().map(rustix::io::Errno::from_raw_os_error)),
        };
        let text = error.to_string();
        let cause = text.strip_prefix(error.subject()).unwrap_or(&text);
        let cause = cause.trim_start_matches([':', ' ']).to_owned();
        Error::new(kind, format!("cgroup {}", error.subject()), cause)
    }
}

fn request<'a>(runtime: &Runtime, id: &'a ContainerId, spec: &'a Spec) -> Request<'a> {
    let linux = spec.linux.as_ref();
    Request {
        path: linux.and_then(|linux| linux.cgroups_path.as_deref()).filter(|path| !path.is_empty()),
        driver: runtime.cgroups.unwrap_or_default(),
        rootless: runtime.rootless,
        resources: linux.and_then(|linux| linux.resources.as_ref()),
        ..Request::new(id.as_str())
    }
}

impl Group {
    /// Makes the group, unless it can only be made with its process.
    pub(crate) fn before(runtime: &Runtime, id: &ContainerId, spec: &Spec) -> Result<Group> {
        match runtime.cgroups {
            None => Ok(Group::Disabled),
            Some(Driver::Systemd) => Ok(Group::Late),
            Some(Driver::Cgroupfs) => {
                let made = Cgroup::create(&request(runtime, id, spec))?;
                made.apply(&resources(runtime, spec))?;
                let joiner = made.joiner()?;
                Ok(Group::Made(made, joiner))
            }
        }
    }

    /// Makes it with its process, if it was not made before.
    pub(crate) fn after(
        self,
        runtime: &Runtime,
        id: &ContainerId,
        pid: i32,
        spec: &Spec,
    ) -> Result<Group> {
        let Group::Late = self else { return Ok(self) };
        let properties = cgroup::systemd::properties(&spec.annotations, &PROPERTIES)?;
        // With the devices that every container has: systemd denies what it is not told of, whatever
        // the group's own program allows.
        let resources = resources(runtime, spec);
        let request = Request {
            pid: Some(pid.unsigned_abs()),
            properties: &properties,
            resources: Some(&resources),
            ..request(runtime, id, spec)
        };
        let made = Cgroup::create(&request)?;
        made.apply(&resources)?;
        made.add(pid.unsigned_abs())?;
        let joiner = made.joiner()?;
        Ok(Group::Made(made, joiner))
    }

    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Group::Late)
    }

    /// What the child joins by itself, and whether it is born in the v2 group.
    pub(crate) fn joiner(&self) -> Option<(&Joiner, bool)> {
        match self {
            Group::Made(_, joiner) => Some((joiner, joiner.clone_into().is_some())),
            Group::Disabled | Group::Late => None,
        }
    }

    pub(crate) fn paths(&self) -> cgroup::Paths {
        match self {
            Group::Made(made, _) => made.paths().clone(),
            Group::Disabled | Group::Late => cgroup::Paths::default(),
        }
    }

    pub(crate) fn keep(self) -> Cgroup {
        match self {
            Group::Made(made, _) => made.keep(),
            Group::Disabled | Group::Late => Cgroup::load(cgroup::Paths::default()),
        }
    }

    /// What a mount of type `cgroup` shows.
    pub(crate) fn shown(&self) -> Result<rootfs::Cgroups> {
        let paths = self.paths();
        if paths.is_none() {
            return Ok(rootfs::Cgroups::Absent);
        }
        if Layout::detect()?.mode() == Mode::V2 {
            let own = paths.places.first().map(cgroup::Place::dir).unwrap_or_default();
            return Ok(rootfs::Cgroups::Unified { own });
        }
        let shown = paths.places.iter().map(|place| {
            let name = place.mount.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let others = place.controllers.iter().filter(|other| **other != name);
            let aliases = others.filter(|other| !other.contains('=')).cloned().collect();
            rootfs::Hierarchy { name, aliases, own: place.dir() }
        });
        Ok(rootfs::Cgroups::Legacy(shown.collect()))
    }
}

/// Devices that every container may use (config-linux.md, Default Devices): kind, major and minor
/// number, access. Terminals are those of its devpts; making a device file gives no access.
const DEVICES: [(DeviceKind, Option<i64>, Option<i64>, &str); 10] = [
    (DeviceKind::Char, None, None, "m"),
    (DeviceKind::Block, None, None, "m"),
    (DeviceKind::Char, Some(1), Some(3), "rwm"),
    (DeviceKind::Char, Some(1), Some(5), "rwm"),
    (DeviceKind::Char, Some(1), Some(7), "rwm"),
    (DeviceKind::Char, Some(1), Some(8), "rwm"),
    (DeviceKind::Char, Some(1), Some(9), "rwm"),
    (DeviceKind::Char, Some(5), Some(0), "rwm"),
    (DeviceKind::Char, Some(5), Some(2), "rwm"),
    (DeviceKind::Char, Some(136), None, "rwm"),
];

/// The limits of a configuration. Devices that it does not name are denied, but for those that
/// every container has.
fn resources(runtime: &Runtime, spec: &Spec) -> Resources {
    let wire = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    let mut resources = wire.cloned().unwrap_or_default();
    if runtime.rootless && resources.devices.is_empty() {
        // Without rights there is no device to be had, and no right to say so.
        return resources;
    }
    if resources.devices.is_empty() {
        let all = DeviceRule { access: Some("rwm".to_owned()), ..DeviceRule::default() };
        resources.devices.push(all);
    }
    resources.devices.extend(DEVICES.iter().map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind: Some(*kind),
        major: *major,
        minor: *minor,
        access: Some((*access).to_owned()),
    }));
    resources
}

/// Removes the group of a container whose record was never written.
pub(crate) fn remove_unrecorded(runtime: &Runtime, id: &ContainerId, spec: &Spec) -> Result<()> {
    if runtime.cgroups != Some(Driver::Cgroupfs) {
        return Ok(());
    }
    match Cgroup::create(&request(runtime, id, spec)) {
        Ok(made) => Ok(made.keep().destroy(crate::delete::PATIENCE)?),
        // Processes in it are another container's: this one had none yet.
        Err(error) if error.kind() == cgroup::Kind::InUse => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The group that systemd made for a process, when its maker was killed before it could record that.
/// It is taken to be the container's only while that process is in it, or when the process is dead and
/// nothing is in it: another container may have the unit.
pub(crate) fn unrecorded_unit(
    runtime: &Runtime,
    id: &ContainerId,
    dir: &Dir,
    record: &Record,
) -> Result<Option<cgroup::Paths>> {
    if runtime.cgroups != Some(Driver::Systemd) {
        return Ok(None);
    }
    let is_alive = pid::is_alive(record.pid, record.start_time);
    let spec = dir.read(state::CONFIG).and_then(|text| Ok(Spec::from_json(&text)?));
    let spec = match spec {
        // Which unit it would be, nobody can tell; none holds it up.
        Err(_) if !is_alive => return Ok(None),
        read => read?,
    };
    let paths = Cgroup::intended(&request(runtime, id, &spec))?;
    let group = Cgroup::load(paths.clone());
    let is_own = match is_alive {
        true => group.pids()?.contains(&record.pid.unsigned_abs()),
        false => group.is_left_over(id.as_str())?,
    };
    Ok(is_own.then_some(paths))
}

/// The group of a container whose record is damaged: by its configuration, when that names it.
pub(crate) fn of_damaged(runtime: &Runtime, spec: &Spec) -> Result<Option<Cgroup>> {
    let path = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    let Some(path) = path.filter(|path| path.starts_with('/')) else { return Ok(None) };
    if runtime.cgroups != Some(Driver::Cgroupfs) {
        return Ok(None);
    }
    let path = cgroup::RelPath::parse(path)?;
    let place = |tree: &cgroup::Hierarchy| cgroup::Place {
        mount: tree.mount.clone(),
        path: path.clone(),
        version: tree.version,
        controllers: tree.controllers.clone(),
        made: usize::from(!path.is_root()),
    };
    let places = Layout::detect()?.hierarchies().iter().map(place).collect();
    Ok(Some(Cgroup::load(cgroup::Paths { places, ..cgroup::Paths::default() })))
}
