//! Groups made by systemd, as scopes and slices, over D-Bus.

mod annotations;
mod bus;
mod props;

pub use annotations::{HARMLESS, PREFIX, properties};
pub use dbus::{Property, Value};

use crate::error::{Error, Kind, Result};
use crate::group::Request;
use crate::layout::Layout;
use crate::path::{RelPath, Unit};
use crate::paths::Paths;
use bus::Bus;
use dbus::{Answer, Out};
use props::{NEWER, Names, property};
use runtime_spec::Resources;
use std::time::Duration;

/// How long systemd may take to start or change a unit. A loaded host needs seconds; one whose
/// systemd hangs must not hang us.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the unit, and tells the group under which the manager's units lie.
pub(crate) fn start(unit: &Unit, request: &Request<'_>) -> Result<RelPath> {
    let mut all = base_properties(unit, request)?;
    if let Some(resources) = request.resources {
        let names =
            names(Layout::detect()?.hierarchies().iter().any(|h| !h.controllers.is_empty()));
        all.extend(of_resources(resources, names, request.rootless)?);
    }
    all.extend(request.properties.iter().cloned());
    let mut bus = Bus::connect(request.rootless, PATIENCE)?;
    let base = match request.rootless {
        true => RelPath::parse(&bus.property("ControlGroup")?)?,
        false => RelPath::default(),
    };
    match start_unit(&mut bus, unit, &all) {
        Ok(()) => Ok(base),
        Err(e) => {
            // It may start after all, later: nobody would stop it then. Why it did not start is
            // what the caller reports.
            if e.kind() == Kind::Timeout || e.kind() == Kind::Systemd {
                let _ = stop(&unit.name, request.rootless, Duration::from_secs(5));
            }
            Err(e)
        }
    }
}

fn base_properties(unit: &Unit, request: &Request<'_>) -> Result<Vec<Property>> {
    let text = |name, value: String| property(name, Value::Text(value));
    let on = |name| property(name, Value::Bool(true));
    let mut all = vec![
        text("Description", described(request.id)),
        property("DefaultDependencies", Value::Bool(false)),
        on("MemoryAccounting"),
        on("CPUAccounting"),
        on("IOAccounting"),
        on("TasksAccounting"),
    ];
    if unit.is_slice() {
        let wants = unit.slice.iter().cloned().collect();
        all.push(property("Wants", Value::Texts(wants)));
        return Ok(all);
    }
    let pid = request.pid.ok_or_else(|| {
        Error::invalid(&unit.name, "systemd makes a scope only around a process; give its pid")
    })?;
    all.push(text("Slice", unit.slice.clone().unwrap_or_else(|| "-.slice".to_owned())));
    all.push(on("Delegate"));
    if !request.properties.iter().any(|given| given.name == COLLECT) {
        // One whose process died before it could start counts as failed, and would stay for ever.
        all.push(text(COLLECT, "inactive-or-failed".to_owned()));
    }
    all.push(property("PIDs", Value::Numbers(vec![pid])));
    Ok(all)
}

/// What the unit of a container is described as.
pub(crate) fn described(id: &str) -> String {
    format!("container {id}")
}

/// What a unit is described as; none where there is no such unit, or no systemd that would have it.
pub(crate) fn description(unit: &str, user: bool) -> Result<Option<String>> {
    let mut bus = match Bus::connect(user, PATIENCE) {
        Err(e) if e.kind() == Kind::Io => return Ok(None),
        connected => connected?,
    };
    let mut body = Out::default();
    body.text(unit)?;
    match bus.manager("GetUnit", "s", &body)? {
        Answer::Done(path) => {
            let path = path.first();
            let path = path.ok_or_else(|| Error::new(Kind::Systemd, unit, "it named no unit"))?;
            bus.unit_property(path, "Description").map(Some)
        }
        Answer::Refused { name, .. } if name == MISSING => Ok(None),
        Answer::Refused { name, text } => Err(refused(unit, "find", &name, &text)),
    }
}

fn names(v1: bool) -> Names {
    if v1 { Names::V1 } else { Names::V2 }
}

fn of_resources(resources: &Resources, names: Names, user: bool) -> Result<Vec<Property>> {
    let numbers = match resources.devices.is_empty() {
        true => String::new(),
        false => std::fs::read_to_string("/proc/devices")
            .map_err(|e| Error::call("/proc/devices", "read", e))?,
    };
    let mut all = props::properties(resources, names, &numbers)?;
    if user {
        // A user's systemd may not install device filters.
        all.retain(|p| !p.name.starts_with("Device"));
    }
    Ok(all)
}

fn start_unit(bus: &mut Bus, unit: &Unit, all: &[Property]) -> Result<()> {
    let mut kept = all.to_vec();
    let mut fresh = true;
    loop {
        let mut body = Out::default();
        body.text(&unit.name)?;
        body.text("replace")?;
        body.properties(&kept)?;
        body.no_units()?;
        match bus.manager("StartTransientUnit", "ssa(sv)a(sa(sv))", &body)? {
            Answer::Done(job) => return wait(bus, &unit.name, &job, "start"),
            Answer::Refused { name, .. } if name == EXISTS && unit.is_slice() => return Ok(()),
            // A unit of that name that failed and was not forgotten.
            Answer::Refused { name, .. } if name == EXISTS && fresh => {
                fresh = false;
                reset_failed(bus, &unit.name)?;
            }
            Answer::Refused { name, text } => {
                if !drop_newer(&mut kept, &name) {
                    return Err(refused(&unit.name, "start", &name, &text));
                }
            }
        }
    }
}

const COLLECT: &str = "CollectMode";
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const MISSING: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// Leaves out what an older systemd does not know; false when that cannot be the reason.
fn drop_newer(kept: &mut Vec<Property>, error: &str) -> bool {
    let unknown = [
        "org.freedesktop.DBus.Error.PropertyReadOnly",
        "org.freedesktop.DBus.Error.UnknownProperty",
        "org.freedesktop.DBus.Error.InvalidArgs",
    ];
    let before = kept.len();
    if unknown.contains(&error) {
        kept.retain(|p| !NEWER.contains(&p.name.as_str()));
    }
    kept.len() < before
}

fn refused(unit: &str, verb: &str, name: &str, text: &str) -> Error {
    let kind = match name {
        EXISTS => Kind::InUse,
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => Kind::NoPermission,
        _ => Kind::Systemd,
    };
    Error::new(kind, unit, format_args!("systemd does not {verb} the unit: {text} ({name})"))
}

fn wait(bus: &mut Bus, unit: &str, job: &[String], verb: &str) -> Result<()> {
    let job = job.first().ok_or_else(|| Error::new(Kind::Systemd, unit, "it named no job"))?;
    match bus.wait_job(job)?.as_str() {
        "done" => Ok(()),
        other => Err(Error::new(Kind::Systemd, unit, format_args!("{verb}: the job is {other}"))),
    }
}

fn reset_failed(bus: &mut Bus, unit: &str) -> Result<()> {
    let mut body = Out::default();
    body.text(unit)?;
    match bus.manager("ResetFailedUnit", "s", &body)? {
        Answer::Done(_) => Ok(()),
        Answer::Refused { name, .. } if name == MISSING => Ok(()),
        Answer::Refused { name, text } => Err(refused(unit, "reset", &name, &text)),
    }
}

/// Stops the unit and lets systemd forget that it failed, if it did. A unit that is gone is no error.
pub(crate) fn stop(unit: &str, user: bool, limit: Duration) -> Result<()> {
    let mut bus = Bus::connect(user, limit.max(Duration::from_secs(1)))?;
    let mut body = Out::default();
    body.text(unit)?;
    body.text("replace")?;
    match bus.manager("StopUnit", "ss", &body)? {
        Answer::Done(job) => wait(&mut bus, unit, &job, "stop")?,
        Answer::Refused { name, .. } if name == MISSING => {}
        Answer::Refused { name, text } => return Err(refused(unit, "stop", &name, &text)),
    }
    reset_failed(&mut bus, unit)
}

/// Tells systemd new limits of a unit that runs.
pub(crate) fn update(paths: &Paths, unit: &str, resources: &Resources) -> Result<()> {
    let v1 = paths.places.iter().any(|p| !p.controllers.is_empty());
    let mut kept = of_resources(resources, names(v1), paths.user)?;
    if kept.is_empty() {
        return Ok(());
    }
    let mut bus = Bus::connect(paths.user, PATIENCE)?;
    loop {
        let mut body = Out::default();
        body.text(unit)?;
        // Until the next boot only, as the unit itself.
        body.boolean(true);
        body.properties(&kept)?;
        match bus.manager("SetUnitProperties", "sba(sv)", &body)? {
            Answer::Done(_) => return Ok(()),
            Answer::Refused { name, text } => {
                if !drop_newer(&mut kept, &name) {
                    return Err(refused(unit, "change", &name, &text));
                }
            }
        }
    }
}
