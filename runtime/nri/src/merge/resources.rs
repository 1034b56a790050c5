//! Limits: each has an owner of its own.

use crate::owners::{Claims, Conflict};
use crate::v1alpha1::{Field, LinuxResources};

macro_rules! each_limit {
    ($do:ident) => {
        $do! {
            memory: limit MemLimit, reservation MemReservation, swap MemSwapLimit,
                kernel MemKernelLimit, kernel_tcp MemTcpLimit, swappiness MemSwappiness,
                disable_oom_killer MemDisableOomKiller, use_hierarchy MemUseHierarchy;
            cpu: shares CpuShares, quota CpuQuota, period CpuPeriod,
                realtime_runtime CpuRealtimeRuntime, realtime_period CpuRealtimePeriod;
        }
    };
}

/// One plugin sets these.
///
/// # Errors
/// Another has set one of them.
pub(super) fn claim(claims: &mut Claims<'_>, asked: &LinuxResources) -> Result<(), Conflict> {
    macro_rules! claim_each {
        ($($group:ident: $($field:ident $name:ident),*;)*) => {$(
            if let Some(group) = &asked.$group {$(
                if group.$field.is_some() {
                    claims.claim(Field::$name)?;
                }
            )*}
        )*};
    }
    each_limit!(claim_each);
    if let Some(cpu) = &asked.cpu {
        if !cpu.cpus.is_empty() {
            claims.claim(Field::CpuSetCpUs)?;
        }
        if !cpu.mems.is_empty() {
            claims.claim(Field::CpuSetMems)?;
        }
    }
    for pages in &asked.hugepage_limits {
        claims.claim_entry(Field::HugepageLimits, &pages.page_size)?;
    }
    for file in asked.unified.keys() {
        claims.claim_entry(Field::CgroupsUnified, file)?;
    }
    for (is_set, field) in [
        (asked.blockio_class.is_some(), Field::BlockioClass),
        (asked.rdt_class.is_some(), Field::RdtClass),
        (asked.pids.is_some(), Field::PidsLimit),
    ] {
        if is_set {
            claims.claim(field)?;
        }
    }
    Ok(())
}

/// Puts what is set in `asked` over what was.
pub(super) fn overlay(was: &mut LinuxResources, asked: LinuxResources) {
    macro_rules! set_each {
        ($($group:ident: $($field:ident $name:ident),*;)*) => {$(
            if let Some(group) = &asked.$group {
                let was = was.$group.get_or_insert_default();
                $(if group.$field.is_some() {
                    was.$field.clone_from(&group.$field);
                })*
            }
        )*};
    }
    each_limit!(set_each);
    if let Some(cpu) = asked.cpu {
        let was = was.cpu.get_or_insert_default();
        for (was, new) in [(&mut was.cpus, cpu.cpus), (&mut was.mems, cpu.mems)] {
            if !new.is_empty() {
                *was = new;
            }
        }
    }
    for pages in asked.hugepage_limits {
        was.hugepage_limits.retain(|old| old.page_size != pages.page_size);
        was.hugepage_limits.push(pages);
    }
    was.unified.extend(asked.unified);
    was.devices.extend(asked.devices);
    was.blockio_class = asked.blockio_class.or(was.blockio_class.take());
    was.rdt_class = asked.rdt_class.or(was.rdt_class.take());
    was.pids = asked.pids.or(was.pids.take());
}
