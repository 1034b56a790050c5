//! Limits in the words of the CRI, of the runtime specification, and of this interface.

use crate::v1alpha1::{
    HugepageLimit, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources,
    OptionalBool, OptionalInt64, OptionalUInt64,
};
use cri_api::v1 as cri;
use runtime_spec::Resources;

fn signed(value: i64) -> Option<OptionalInt64> {
    Some(OptionalInt64 { value }).filter(|_| value != 0)
}

fn unsigned(value: i64) -> Option<OptionalUInt64> {
    u64::try_from(value).ok().filter(|value| *value != 0).map(|value| OptionalUInt64 { value })
}

/// What kubelet asks for; in the CRI what is zero or empty says nothing.
pub(crate) fn from_cri(asked: &cri::LinuxContainerResources) -> LinuxResources {
    let memory = LinuxMemory {
        limit: signed(asked.memory_limit_in_bytes),
        swap: signed(asked.memory_swap_limit_in_bytes),
        ..LinuxMemory::default()
    };
    let cpu = LinuxCpu {
        shares: unsigned(asked.cpu_shares),
        quota: signed(asked.cpu_quota),
        period: unsigned(asked.cpu_period),
        cpus: asked.cpuset_cpus.clone(),
        mems: asked.cpuset_mems.clone(),
        ..LinuxCpu::default()
    };
    let pages = |page: &cri::HugepageLimit| HugepageLimit {
        page_size: page.page_size.clone(),
        limit: page.limit,
    };
    LinuxResources {
        memory: Some(memory),
        cpu: Some(cpu),
        hugepage_limits: asked.hugepage_limits.iter().map(pages).collect(),
        unified: asked.unified.clone().into_iter().collect(),
        ..LinuxResources::default()
    }
}

/// What the CRI has words for, and the names of the rest: limits that can be set when a container is
/// made, not changed later.
pub(crate) fn to_cri(asked: &LinuxResources) -> (cri::LinuxContainerResources, Vec<&'static str>) {
    let signed = |value: &Option<OptionalInt64>| value.as_ref().map_or(0, |value| value.value);
    let unsigned = |value: &Option<OptionalUInt64>| {
        value.as_ref().map_or(0, |value| i64::try_from(value.value).unwrap_or(i64::MAX))
    };
    let memory = asked.memory.unwrap_or_default();
    let cpu = asked.cpu.clone().unwrap_or_default();
    let pages = |page: &HugepageLimit| cri::HugepageLimit {
        page_size: page.page_size.clone(),
        limit: page.limit,
    };
    let resources = cri::LinuxContainerResources {
        cpu_period: unsigned(&cpu.period),
        cpu_quota: signed(&cpu.quota),
        cpu_shares: unsigned(&cpu.shares),
        memory_limit_in_bytes: signed(&memory.limit),
        memory_swap_limit_in_bytes: signed(&memory.swap),
        cpuset_cpus: cpu.cpus,
        cpuset_mems: cpu.mems,
        hugepage_limits: asked.hugepage_limits.iter().map(pages).collect(),
        unified: asked.unified.clone().into_iter().collect(),
        oom_score_adj: 0,
    };
    let rest = [
        ("memory.reservation", memory.reservation.is_some()),
        ("memory.kernel", memory.kernel.is_some()),
        ("memory.kernel_tcp", memory.kernel_tcp.is_some()),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disable_oom_killer", memory.disable_oom_killer.is_some()),
        ("cpu.realtime_runtime", cpu.realtime_runtime.is_some()),
        ("cpu.realtime_period", cpu.realtime_period.is_some()),
        ("pids", asked.pids.is_some()),
        ("blockio_class", asked.blockio_class.is_some()),
        ("rdt_class", asked.rdt_class.is_some()),
        ("devices", !asked.devices.is_empty()),
    ];
    (resources, rest.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect())
}

/// What a container has.
pub(crate) fn from_spec(limits: &Resources) -> LinuxResources {
    let signed = |value: Option<i64>| value.map(|value| OptionalInt64 { value });
    let unsigned = |value: Option<u64>| value.map(|value| OptionalUInt64 { value });
    let flag = |value: Option<bool>| value.map(|value| OptionalBool { value });
    let (memory, cpu) = (limits.memory.clone(), limits.cpu.clone());
    let rule = |rule: &runtime_spec::DeviceRule| LinuxDeviceCgroup {
        allow: rule.allow,
        r#type: rule.kind.map(|kind| kind.name().to_owned()).unwrap_or_default(),
        major: signed(rule.major),
        minor: signed(rule.minor),
        access: rule.access.clone().unwrap_or_default(),
    };
    let pages = |page: &runtime_spec::HugepageLimit| HugepageLimit {
        page_size: page.page_size.clone(),
        limit: page.limit,
    };
    LinuxResources {
        memory: memory.map(|memory| LinuxMemory {
            limit: signed(memory.limit),
            reservation: signed(memory.reservation),
            swap: signed(memory.swap),
            kernel: signed(memory.kernel),
            kernel_tcp: signed(memory.kernel_tcp),
            swappiness: unsigned(memory.swappiness),
            disable_oom_killer: flag(memory.disable_oom_killer),
            use_hierarchy: flag(memory.use_hierarchy),
        }),
        cpu: cpu.map(|cpu| LinuxCpu {
            shares: unsigned(cpu.shares),
            quota: signed(cpu.quota),
            period: unsigned(cpu.period),
            realtime_runtime: signed(cpu.realtime_runtime),
            realtime_period: unsigned(cpu.realtime_period),
            cpus: cpu.cpus.unwrap_or_default(),
            mems: cpu.mems.unwrap_or_default(),
        }),
        hugepage_limits: limits.hugepage_limits.iter().map(pages).collect(),
        unified: limits.unified.clone(),
        devices: limits.devices.iter().map(rule).collect(),
        pids: limits.pids.as_ref().and_then(|pids| pids.limit).map(|limit| LinuxPids { limit }),
        ..LinuxResources::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_go_there_and_back() {
        let asked = cri::LinuxContainerResources {
            cpu_shares: 512,
            cpu_quota: -1,
            memory_limit_in_bytes: 1 << 30,
            cpuset_cpus: "0-1".to_owned(),
            unified: [("memory.high".to_owned(), "max".to_owned())].into(),
            ..Default::default()
        };
        let (back, rest) = to_cri(&from_cri(&asked));
        assert_eq!((back, rest), (asked, Vec::new()));
    }

    #[test]
    fn what_the_cri_lacks_is_named() {
        let asked = LinuxResources { pids: Some(LinuxPids { limit: 5 }), ..Default::default() };
        assert_eq!(to_cri(&asked).1, ["pids"]);
    }
}
