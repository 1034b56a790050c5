//! A container's configuration, checked as a whole before anything exists: pure.

use crate::hook::Hook;
use crate::namespace::Namespaces;
use crate::process;
use crate::{Error, Kind, Result, sysctl};
use runtime_spec::{IdMapping, Linux, MemoryPolicyFlag, MemoryPolicyMode, NamespaceKind, Spec};
use std::ffi::CString;
use std::fmt::Write;

/// A container that can be made.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) process: Option<process::Plan>,
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
    pub(crate) sysctls: Vec<(CString, Vec<u8>)>,
    pub(crate) time_offsets: Option<Vec<u8>>,
    pub(crate) personality: Option<u64>,
    pub(crate) memory_policy: Option<(i32, Vec<u64>)>,
    pub(crate) hooks: Hooks,
    /// Devices to move: name on the host, name in the container.
    pub(crate) devices: Vec<(String, String)>,
    pub(crate) warnings: Vec<String>,
}

/// All hooks.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) prestart: Vec<Hook>,
    pub(crate) create_runtime: Vec<Hook>,
    pub(crate) create_container: Vec<Hook>,
    pub(crate) start_container: Vec<Hook>,
    pub(crate) poststart: Vec<Hook>,
    pub(crate) poststop: Vec<Hook>,
}

/// The kernel takes no more lines of ID mappings (user_namespaces(7)).
const MAPPINGS_MAX: usize = 340;

impl Plan {
    /// Checks a configuration.
    pub(crate) fn new(spec: &Spec) -> Result<Plan> {
        version(&spec.oci_version)?;
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let namespaces = Namespaces::new(spec)?;
        names(spec, &namespaces)?;
        mappings(linux, &namespaces)?;
        cgroups_path(linux)?;
        linux.intel_rdt.as_ref().map_or(Ok(()), crate::rdt::check)?;
        let mut warnings = Vec::new();
        let process = spec.process.as_ref().map(|wire| process::Plan::new(wire, &mut warnings));
        Ok(Plan {
            process: process.transpose()?,
            uids: linux.uid_mappings.clone(),
            gids: linux.gid_mappings.clone(),
            sysctls: sysctl::plan(&linux.sysctl, &namespaces)?,
            time_offsets: time_offsets(linux, &namespaces)?,
            personality: personality(linux)?,
            memory_policy: memory_policy(linux)?,
            hooks: Hooks::new(spec)?,
            devices: devices(linux, &namespaces)?,
            namespaces,
            warnings,
        })
    }
}

fn version(version: &str) -> Result<()> {
    let fail = |cause: &str| Err(Error::invalid(format!("ociVersion {version:?}"), cause));
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').map(str::parse::<u32>).collect();
    match numbers.as_slice() {
        [Ok(1), Ok(_), Ok(_)] => Ok(()),
        [Ok(_), Ok(_), Ok(_)] => fail("only versions 1.x are understood"),
        _ => fail("is no version, such as 1.3.0"),
    }
}

fn names(spec: &Spec, namespaces: &Namespaces) -> Result<()> {
    if spec.root.is_none() {
        return Err(Error::invalid("root", "is missing"));
    }
    for (key, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        let Some(value) = value.as_ref().filter(|value| !value.is_empty()) else { continue };
        if !namespaces.has(NamespaceKind::Uts) {
            return Err(Error::invalid(key, "needs a uts namespace: it would be the host's"));
        }
        if value.len() > 64 || value.contains('\0') {
            return Err(Error::invalid(key, "has more than 64 bytes, or a zero byte"));
        }
    }
    Ok(())
}

fn mappings(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    let given = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if given && !namespaces.has(NamespaceKind::User) {
        return Err(Error::invalid("linux.uidMappings", "needs a user namespace"));
    }
    if namespaces.is_new(NamespaceKind::User)
        && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty())
    {
        let cause = "a new user namespace needs both uidMappings and gidMappings";
        return Err(Error::invalid("linux.namespaces", cause));
    }
    for (key, list) in [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)]
    {
        if list.len() > MAPPINGS_MAX {
            let cause = format!("has {} entries; the kernel takes {MAPPINGS_MAX}", list.len());
            return Err(Error::invalid(format!("linux.{key}"), cause));
        }
        for (index, map) in list.iter().enumerate() {
            let room = |first: u32| first.checked_add(map.size).is_some();
            if map.size == 0 || !room(map.container_id) || !room(map.host_id) {
                let cause = "its size is zero, or it goes beyond the last ID";
                return Err(Error::invalid(format!("linux.{key}[{index}]"), cause));
            }
        }
    }
    Ok(())
}

fn cgroups_path(linux: &Linux) -> Result<()> {
    let path = linux.cgroups_path.as_deref().unwrap_or_default();
    if path.split(['/', ':']).any(|part| part == "..") || path.contains('\0') {
        return Err(Error::invalid(
            "linux.cgroupsPath",
            format!("{path:?} leads out of its place"),
        ));
    }
    Ok(())
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces) -> Result<Option<Vec<u8>>> {
    if linux.time_offsets.is_empty() {
        return Ok(None);
    }
    if !namespaces.is_new(NamespaceKind::Time) {
        return Err(Error::invalid("linux.timeOffsets", "needs a new time namespace"));
    }
    let mut text = String::new();
    for (clock, offset) in &linux.time_offsets {
        let subject = || format!("linux.timeOffsets.{clock}");
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::invalid(subject(), "want monotonic or boottime"));
        }
        if offset.nanosecs > 999_999_999 {
            return Err(Error::invalid(subject(), "has more nanoseconds than a second"));
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    Ok(Some(text.into_bytes()))
}

pub(crate) fn personality(linux: &Linux) -> Result<Option<u64>> {
    const LINUX32: u64 = 8;
    let Some(wire) = &linux.personality else { return Ok(None) };
    if let Some(flag) = wire.flags.first() {
        return Err(Error::invalid("linux.personality.flags", format!("{flag:?} is unknown")));
    }
    match wire.domain.as_str() {
        "LINUX" => Ok(Some(0)),
        "LINUX32" => Ok(Some(LINUX32)),
        other => Err(Error::invalid("linux.personality.domain", format!("{other:?} is unknown"))),
    }
}

fn memory_policy(linux: &Linux) -> Result<Option<(i32, Vec<u64>)>> {
    let Some(wire) = &linux.memory_policy else { return Ok(None) };
    let mode = match wire.mode {
        MemoryPolicyMode::Default => 0,
        MemoryPolicyMode::Preferred => 1,
        MemoryPolicyMode::Bind => 2,
        MemoryPolicyMode::Interleave => 3,
        MemoryPolicyMode::Local => 4,
        MemoryPolicyMode::PreferredMany => 5,
        MemoryPolicyMode::WeightedInterleave => 6,
    };
    let flags = wire.flags.iter().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlag::NumaBalancing => 1 << 13,
                MemoryPolicyFlag::RelativeNodes => 1 << 14,
                MemoryPolicyFlag::StaticNodes => 1 << 15,
            }
    });
    let nodes = wire.nodes.as_deref().filter(|nodes| !nodes.is_empty());
    let nodes = nodes.map(process::cpu_mask).transpose();
    let nodes =
        nodes.map_err(|error| error.within("linux.memoryPolicy.nodes"))?.unwrap_or_default();
    let wants_none = matches!(wire.mode, MemoryPolicyMode::Default | MemoryPolicyMode::Local);
    if wants_none != nodes.is_empty() && wire.mode != MemoryPolicyMode::Preferred {
        let cause = format!("does not go with {}", wire.mode.name());
        return Err(Error::invalid("linux.memoryPolicy.nodes", cause));
    }
    Ok(Some((mode | flags, nodes)))
}

fn devices(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    if !linux.net_devices.is_empty() && !namespaces.has(NamespaceKind::Network) {
        let cause = "needs a network namespace of the container";
        return Err(Error::invalid("linux.netDevices", cause));
    }
    let fine = |name: &str| {
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
        !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.contains(odd)
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for (host, device) in &linux.net_devices {
        let inside = device.name.as_ref().filter(|name| !name.is_empty()).unwrap_or(host);
        if !fine(host) || !fine(inside) {
            let cause = format!("{host:?} to {inside:?}: not names of network devices");
            return Err(Error::invalid("linux.netDevices", cause));
        }
        // Of a name with %d the kernel makes as many as are wanted.
        let plain = !inside.contains('%');
        if plain && found.iter().any(|(_, other)| other == inside) {
            let cause = format!("two devices would be {inside:?} in the container");
            return Err(Error::invalid("linux.netDevices", cause));
        }
        found.push((host.clone(), inside.clone()));
    }
    Ok(found)
}

impl Hooks {
    fn new(spec: &Spec) -> Result<Hooks> {
        let Some(wire) = &spec.hooks else { return Ok(Hooks::default()) };
        Ok(Hooks {
            prestart: Hook::list("prestart", &wire.prestart)?,
            create_runtime: Hook::list("createRuntime", &wire.create_runtime)?,
            create_container: Hook::list("createContainer", &wire.create_container)?,
            start_container: Hook::list_of_start(&wire.start_container, spec.process.as_ref())?,
            poststart: Hook::list("poststart", &wire.poststart)?,
            poststop: Hook::list("poststop", &wire.poststop)?,
        })
    }
}

/// Checks a `config.json` as `create` and `start` would, without effects.
///
/// # Errors
/// What is wrong, with the key's path.
pub fn check(config: &[u8], bundle: &std::path::Path) -> Result<()> {
    let spec = Spec::from_json(config)?;
    let plan = Plan::new(&spec)?;
    let situation = rootfs::Situation { bundle: bundle.to_owned(), ..Default::default() };
    rootfs::Plan::new(&spec, &situation)?;
    if let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) {
        seccomp::compile(profile)
            .map_err(|error| Error::invalid("linux.seccomp", error.to_string()))?;
    }
    let process = plan.process.is_some();
    if process { Ok(()) } else { Err(Error::new(Kind::Invalid, "process", "is missing")) }
}
