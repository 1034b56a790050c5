//! Limits by control groups.

use super::unfit;
use crate::v1alpha1::{LinuxCpu, LinuxMemory, LinuxResources};
use container::Result;
use runtime_spec::{Cpu, DeviceKind, DeviceRule, HugepageLimit, Linux, Memory, Pids};

pub(super) fn apply(linux: &mut Linux, asked: LinuxResources) -> Result<()> {
    if asked.blockio_class.as_ref().is_some_and(|class| !class.value.is_empty()) {
        return Err(unfit("blockio_class", "this node has no classes of block I/O"));
    }
    match asked.rdt_class.map(|class| class.value) {
        None => {}
        Some(class) if class.is_empty() => linux.intel_rdt = None,
        Some(class) => {
            linux.intel_rdt.get_or_insert_default().clos_id = Some(class);
        }
    }
    let limits = linux.resources.get_or_insert_default();
    if let Some(asked) = asked.memory {
        memory(limits.memory.get_or_insert_default(), &asked);
    }
    if let Some(asked) = asked.cpu {
        cpu(limits.cpu.get_or_insert_default(), asked);
    }
    // Nothing set is nothing said.
    limits.memory.take_if(|memory| *memory == Memory::default());
    limits.cpu.take_if(|cpu| *cpu == Cpu::default());
    for pages in asked.hugepage_limits {
        limits.hugepage_limits.retain(|old| old.page_size != pages.page_size);
        limits
            .hugepage_limits
            .push(HugepageLimit { page_size: pages.page_size, limit: pages.limit });
    }
    for file in asked.unified.keys() {
        if file.contains(['/', '\0']) || file.starts_with('.') || file.starts_with("cgroup.") {
            return Err(unfit("unified", format!("{file:?} is no limit")));
        }
    }
    limits.unified.extend(asked.unified);
    if let Some(pids) = asked.pids {
        limits.pids = Some(Pids { limit: Some(pids.limit) });
    }
    for rule in asked.devices {
        let kind = DeviceKind::ALL.iter().find(|kind| kind.name() == rule.r#type).copied();
        if kind.is_none() && !rule.r#type.is_empty() {
            return Err(unfit("devices", format!("kind {:?} is not known", rule.r#type)));
        }
        limits.devices.push(DeviceRule {
            allow: rule.allow,
            kind,
            major: rule.major.map(|number| number.value),
            minor: rule.minor.map(|number| number.value),
            access: Some(rule.access).filter(|access| !access.is_empty()),
        });
    }
    Ok(())
}

fn memory(limits: &mut Memory, asked: &LinuxMemory) {
    let signed = |was: &mut Option<i64>, new: &Option<crate::v1alpha1::OptionalInt64>| {
        if let Some(new) = new {
            *was = Some(new.value);
        }
    };
    signed(&mut limits.limit, &asked.limit);
    // Who limits memory and says nothing of swap wants none, as in the CRI.
    if limits.swap.is_some() && asked.swap.is_none() {
        signed(&mut limits.swap, &asked.limit);
    }
    signed(&mut limits.swap, &asked.swap);
    signed(&mut limits.reservation, &asked.reservation);
    signed(&mut limits.kernel, &asked.kernel);
    signed(&mut limits.kernel_tcp, &asked.kernel_tcp);
    if let Some(new) = &asked.swappiness {
        limits.swappiness = Some(new.value);
    }
    if let Some(new) = &asked.disable_oom_killer {
        limits.disable_oom_killer = Some(new.value);
    }
    if let Some(new) = &asked.use_hierarchy {
        limits.use_hierarchy = Some(new.value);
    }
}

fn cpu(limits: &mut Cpu, asked: LinuxCpu) {
    macro_rules! set {
        ($($field:ident),*) => {$(
            if let Some(new) = &asked.$field {
                limits.$field = Some(new.value);
            }
        )*};
    }
    set!(shares, quota, period, realtime_runtime, realtime_period);
    for (was, new) in [(&mut limits.cpus, asked.cpus), (&mut limits.mems, asked.mems)] {
        if !new.is_empty() {
            *was = Some(new);
        }
    }
}
