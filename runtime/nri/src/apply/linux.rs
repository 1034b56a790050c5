//! What is particular to Linux.

use super::{limits, unfit};
use crate::merge::unmarked;
use crate::v1alpha1::{
    IoPrioClass, LinuxContainerAdjustment, LinuxDevice, LinuxIoPriority, LinuxMemoryPolicy,
    LinuxNamespace, LinuxNetDevice, LinuxRdt, LinuxScheduler, LinuxSchedulerPolicy, LinuxSeccomp,
    MpolFlag, MpolMode,
};
use container::Result;
use runtime_spec::{
    Device, DeviceRule, IoPriority, Linux, MemoryPolicy, Namespace, NetDevice, Scheduler, Seccomp,
    Spec,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// A value of the specification by its name there.
fn named<T: serde::de::DeserializeOwned>(field: &str, name: &str) -> Result<T> {
    let value = Value::String(name.to_owned());
    serde_json::from_value(value).map_err(|_| unfit(field, format!("{name:?} is not known")))
}

pub(super) fn apply(spec: &mut Spec, asked: LinuxContainerAdjustment) -> Result<()> {
    let process = spec.process.get_or_insert_default();
    if let Some(score) = asked.oom_score_adj {
        let score = i32::try_from(score.value).ok().filter(|s| (-1000..=1000).contains(s));
        let wrong = || unfit("oom_score_adj", "is not in -1000 to 1000");
        process.oom_score_adj = Some(score.ok_or_else(wrong)?);
    }
    if let Some(priority) = asked.io_priority {
        process.io_priority = io_priority(&priority)?;
    }
    if let Some(of) = asked.scheduler {
        process.scheduler = scheduler(&of)?;
    }
    let linux = spec.linux.get_or_insert_default();
    for device in asked.devices {
        add_device(linux, device)?;
    }
    if !asked.cgroups_path.is_empty() {
        linux.cgroups_path = Some(cgroups_path(asked.cgroups_path)?);
    }
    if let Some(policy) = asked.seccomp_policy {
        linux.seccomp = Some(seccomp(policy)?);
    }
    namespaces(linux, asked.namespaces)?;
    sysctls(linux, asked.sysctl)?;
    net_devices(linux, asked.net_devices)?;
    if let Some(policy) = asked.memory_policy {
        linux.memory_policy = Some(memory_policy(policy)?);
    }
    if let Some(resources) = asked.resources {
        limits::apply(linux, resources)?;
    }
    if let Some(of) = asked.rdt {
        rdt(linux, of);
    }
    Ok(())
}

fn io_priority(asked: &LinuxIoPriority) -> Result<Option<IoPriority>> {
    if asked.class() == IoPrioClass::IoprioClassNone {
        return Ok(None);
    }
    let class = named("io_priority", asked.class().as_str_name())?;
    Ok(Some(IoPriority { class, priority: asked.priority.into() }))
}

fn scheduler(asked: &LinuxScheduler) -> Result<Option<Scheduler>> {
    if asked.policy() == LinuxSchedulerPolicy::SchedNone {
        return Ok(None);
    }
    let some = |value: u64| Some(value).filter(|value| *value != 0);
    let flags = asked.flags().map(|flag| named("scheduler", flag.as_str_name()));
    Ok(Some(Scheduler {
        policy: named("scheduler", asked.policy().as_str_name())?,
        nice: Some(asked.nice).filter(|nice| *nice != 0),
        priority: Some(asked.priority).filter(|priority| *priority != 0),
        flags: flags.collect::<Result<_>>()?,
        runtime: some(asked.runtime),
        deadline: some(asked.deadline),
        period: some(asked.period),
    }))
}

fn add_device(linux: &mut Linux, asked: LinuxDevice) -> Result<()> {
    let (path, removed) = unmarked(&asked.path);
    let path = Path::new(path);
    linux.devices.retain(|old| old.path != path);
    if removed {
        return Ok(());
    }
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(unfit("devices", format!("{:?} is no place in a container", asked.path)));
    }
    let kind = named("devices", &asked.r#type)?;
    let mode = asked.file_mode.map(|mode| mode.value);
    linux.devices.push(Device {
        path: path.to_owned(),
        kind,
        major: asked.major,
        minor: asked.minor,
        file_mode: mode,
        uid: asked.uid.map(|id| id.value),
        gid: asked.gid.map(|id| id.value),
    });
    // Whoever may open it may use it so.
    let allows = |bits: u32| mode.is_none_or(|mode| mode & bits != 0);
    let mut access = String::new();
    for (letter, is_allowed) in
        [('r', allows(0o444)), ('w', allows(0o222)), ('m', asked.r#type == "b")]
    {
        access.extend(is_allowed.then_some(letter));
    }
    linux.resources.get_or_insert_default().devices.push(DeviceRule {
        allow: true,
        kind: Some(kind),
        major: Some(asked.major),
        minor: Some(asked.minor),
        access: Some(access),
    });
    Ok(())
}

fn cgroups_path(asked: String) -> Result<String> {
    let climbs = Path::new(&asked).components().any(|part| part == Component::ParentDir);
    let is_known = asked.starts_with('/') || asked.split(':').count() == 3;
    match is_known && !climbs && !asked.contains(['\0', '\n']) {
        true => Ok(asked),
        false => {
            let cause = format!("{asked:?}: want an absolute path, or slice:prefix:name");
            Err(unfit("cgroups_path", cause))
        }
    }
}

fn seccomp(asked: LinuxSeccomp) -> Result<Seccomp> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let calls: Vec<Value> = asked
        .syscalls
        .into_iter()
        .map(|call| {
            let argument = |arg: crate::v1alpha1::LinuxSeccompArg| {
                json!({"index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op})
            };
            let args: Vec<_> = call.args.into_iter().map(argument).collect();
            let errno = call.errno_ret.map(|errno| errno.value);
            json!({"names": call.names, "action": call.action, "errnoRet": errno, "args": args})
        })
        .collect();
    let whole = json!({
        "defaultAction": asked.default_action,
        "defaultErrnoRet": asked.default_errno.map(|errno| errno.value),
        "architectures": asked.architectures,
        "flags": asked.flags,
        "listenerPath": some(asked.listener_path),
        "listenerMetadata": some(asked.listener_metadata),
        "syscalls": calls,
    });
    serde_json::from_value(whole).map_err(|e| unfit("seccomp_policy", e))
}

fn namespaces(linux: &mut Linux, asked: Vec<LinuxNamespace>) -> Result<()> {
    for LinuxNamespace { r#type, path } in asked {
        let (name, removed) = unmarked(&r#type);
        let kind = named("namespaces", name)?;
        linux.namespaces.retain(|old| old.kind != kind);
        if !removed {
            let path = Some(path).filter(|path| !path.is_empty()).map(Into::into);
            linux.namespaces.push(Namespace { kind, path });
        }
    }
    Ok(())
}

fn sysctls(linux: &mut Linux, asked: BTreeMap<String, String>) -> Result<()> {
    for (key, value) in asked {
        let (name, removed) = unmarked(&key);
        let odd = |text: &str| text.contains(['\0', '\n', '+', ',']);
        if name.is_empty() || odd(name) || name.contains("..") || value.contains(['\0', '\n']) {
            return Err(unfit("sysctl", format!("{key:?} is none")));
        }
        match removed {
            true => drop(linux.sysctl.remove(name)),
            false => drop(linux.sysctl.insert(name.to_owned(), value)),
        }
    }
    Ok(())
}

fn net_devices(linux: &mut Linux, asked: BTreeMap<String, LinuxNetDevice>) -> Result<()> {
    for (key, device) in asked {
        let (name, removed) = unmarked(&key);
        let is_name = |name: &str| {
            (1..16).contains(&name.len())
                && !name.contains(['/', '\0', ':', '%'])
                && !name.contains(char::is_whitespace)
        };
        if removed {
            linux.net_devices.remove(name);
            continue;
        }
        let inside = Some(device.name).filter(|name| !name.is_empty());
        if !is_name(name) || inside.as_deref().is_some_and(|inside| !is_name(inside)) {
            return Err(unfit("net_devices", format!("{name:?} as {inside:?}")));
        }
        linux.net_devices.insert(name.to_owned(), NetDevice { name: inside });
    }
    Ok(())
}

fn memory_policy(asked: LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    let mode = MpolMode::try_from(asked.mode).map_err(|e| unfit("memory_policy", e))?;
    let flag = |flag: i32| {
        let flag = MpolFlag::try_from(flag).map_err(|e| unfit("memory_policy", e))?;
        named("memory_policy", flag.as_str_name())
    };
    Ok(MemoryPolicy {
        mode: named("memory_policy", mode.as_str_name())?,
        nodes: Some(asked.nodes).filter(|nodes| !nodes.is_empty()),
        flags: asked.flags.into_iter().map(flag).collect::<Result<_>>()?,
    })
}

fn rdt(linux: &mut Linux, asked: LinuxRdt) {
    if asked.remove {
        linux.intel_rdt = None;
    }
    if asked.clos_id.is_none() && asked.schemata.is_none() && asked.enable_monitoring.is_none() {
        return;
    }
    let rdt = linux.intel_rdt.get_or_insert_default();
    if let Some(class) = asked.clos_id {
        rdt.clos_id = Some(class.value);
    }
    if let Some(schemata) = asked.schemata {
        rdt.schemata = schemata.value;
    }
    if let Some(monitored) = asked.enable_monitoring {
        rdt.enable_monitoring = monitored.value;
    }
}
