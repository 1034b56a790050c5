//! Limits as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)).
//!
//! systemd must know the limits: it writes those it knows again, whenever it is reloaded. All are
//! then also written to the files, so that what it does not know, or rounds, holds as well.

use crate::convert::{cpu_list, cpu_weight, io_weight, swap_max};
use crate::devices::{Rule, V1};
use crate::error::Result;
use dbus::{Property, Value};
use runtime_spec::{Cpu, Memory, Resources};

/// Properties that systemd has only since some release: left out when it refuses them (v236, v242,
/// v244, v244, v253).
pub(crate) const NEWER: &[&str] =
    &["CollectMode", "CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "OOMPolicy"];

/// `infinity`, as D-Bus has it.
const INFINITY: u64 = u64::MAX;

pub(crate) fn property(name: &str, value: Value) -> Property {
    Property { name: name.to_owned(), value }
}

/// A limit in bytes or pieces: negative is none.
fn limit(name: &str, n: i64) -> Property {
    property(name, Value::U64(u64::try_from(n).unwrap_or(INFINITY)))
}

/// Whether the controllers are those of v2, which decides the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    V1,
    V2,
}

/// The properties that say what `resources` says, as far as systemd can. `numbers` is the text of
/// `/proc/devices`.
pub(crate) fn properties(
    resources: &Resources,
    names: Names,
    numbers: &str,
) -> Result<Vec<Property>> {
    let mut all = Vec::new();
    if let Some(memory) = &resources.memory {
        memory_limits(memory, names, &mut all)?;
    }
    if let Some(cpu) = &resources.cpu {
        processor(cpu, names, &mut all)?;
    }
    if let Some(pids) = resources.pids.as_ref().and_then(|p| p.limit).filter(|n| *n != 0) {
        all.push(limit("TasksMax", pids));
    }
    if let Some(weight) = resources.block_io.as_ref().and_then(|b| b.weight)
        && let Some(converted) = io_weight(weight)?
    {
        all.push(match names {
            Names::V2 => property("IOWeight", Value::U64(converted)),
            Names::V1 => property("BlockIOWeight", Value::U64(u64::from(weight))),
        });
    }
    if names == Names::V2 {
        for (file, value) in &resources.unified {
            all.extend(unified(file, value.trim())?);
        }
    }
    if !resources.devices.is_empty() {
        all.extend(devices(&Rule::parse_all(&resources.devices)?, numbers));
    }
    Ok(all)
}

fn memory_limits(memory: &Memory, names: Names, all: &mut Vec<Property>) -> Result<()> {
    let max = if names == Names::V2 { "MemoryMax" } else { "MemoryLimit" };
    all.extend(memory.limit.filter(|n| *n != 0).map(|n| limit(max, n)));
    if names == Names::V2 {
        all.extend(memory.reservation.filter(|n| *n != 0).map(|n| limit("MemoryLow", n)));
        all.extend(swap_max(memory.swap, memory.limit)?.map(|n| limit("MemorySwapMax", n)));
    }
    Ok(())
}

fn processor(cpu: &Cpu, names: Names, all: &mut Vec<Property>) -> Result<()> {
    match (names, cpu.shares.filter(|s| *s != 0)) {
        // Zero is systemd's word for idle; older releases refuse it, and the file is written anyway.
        (Names::V2, _) if cpu.idle == Some(1) => {}
        (Names::V2, shares) => {
            let weight = shares.and_then(cpu_weight);
            all.extend(weight.map(|w| property("CPUWeight", Value::U64(w))));
        }
        (Names::V1, shares) => {
            all.extend(shares.map(|s| property("CPUShares", Value::U64(s))));
        }
    }
    quota(cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0), all);
    if names == Names::V2 {
        for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
            if let Some(list) = list.as_deref().filter(|l| !l.is_empty()) {
                all.push(property(name, Value::Bytes(cpu_mask(list)?)));
            }
        }
    }
    Ok(())
}

/// systemd counts microseconds per second, in steps of 10 ms; rounded up, so that the kernel's
/// limit, which is exact, is the one that is felt.
fn quota(quota: i64, period: u64, all: &mut Vec<Property>) {
    if period != 0 {
        all.push(property("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    let per_second = match u64::try_from(quota) {
        Ok(0) => return,
        Err(_) => INFINITY,
        Ok(quota) => {
            let period = if period == 0 { 100_000 } else { period };
            let exact = u128::from(quota) * 1_000_000 / u128::from(period);
            u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(INFINITY)
        }
    };
    all.push(property("CPUQuotaPerSecUSec", Value::U64(per_second)));
}

/// The property of a file of v2, if systemd has one.
fn unified(file: &str, value: &str) -> Result<Option<Property>> {
    let number = || match value {
        "max" => Some(INFINITY),
        n => n.parse().ok(),
    };
    let name = match file {
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "cpuset.cpus" => {
            return Ok(Some(property("AllowedCPUs", Value::Bytes(cpu_mask(value)?))));
        }
        "cpuset.mems" => {
            return Ok(Some(property("AllowedMemoryNodes", Value::Bytes(cpu_mask(value)?))));
        }
        "memory.oom.group" => {
            let policy = if value == "1" { "kill" } else { "continue" };
            return Ok(Some(property("OOMPolicy", Value::Text(policy.to_owned()))));
        }
        _ => return Ok(None),
    };
    // What is no number is refused by the kernel, with the file's name.
    Ok(number().map(|n| property(name, Value::U64(n))))
}

/// Device rules as systemd's list of what is allowed. Where it has no form for a rule, its filter is
/// left open: the program (or the v1 group) decides then alone, as it does in any case.
fn devices(rules: &[Rule], numbers: &str) -> Vec<Property> {
    let open = || {
        vec![
            property("DevicePolicy", Value::Text("auto".to_owned())),
            property("DeviceAllow", Value::Pairs(Vec::new())),
        ]
    };
    let Ok(state) = V1::of(rules) else { return open() };
    let Some(pairs) = state.allowed(numbers) else { return open() };
    // The empty list first: what is set adds to what was there.
    vec![
        property("DevicePolicy", Value::Text("strict".to_owned())),
        property("DeviceAllow", Value::Pairs(Vec::new())),
        property("DeviceAllow", Value::Pairs(pairs)),
    ]
}

/// Such a list as bytes of a mask, lowest first, as systemd's `AllowedCPUs` wants it.
fn cpu_mask(text: &str) -> Result<Vec<u8>> {
    let list = cpu_list(text)?;
    let mut mask = vec![0; list.iter().max().map_or(0, |m| *m as usize / 8 + 1)];
    for n in list {
        mask[n as usize / 8] |= 1 << (n % 8);
    }
    Ok(mask)
}

#[cfg(test)]
#[path = "props_tests.rs"]
mod tests;
