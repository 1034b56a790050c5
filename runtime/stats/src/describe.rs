//! Usage in the CRI's messages.

use crate::group::{Group, Memory};
use crate::network::{self, Interface};
use crate::service::Shared;
use ::container::Container;
use cri_api::v1;
use cri_api::v1::UInt64Value;
use sandbox::Sandbox;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}

fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

/// What a container uses.
pub(crate) fn container(shared: &Shared, container: &Container) -> v1::ContainerStats {
    let group = shared.group(container);
    let group = group.as_deref();
    let memory = group.and_then(Group::memory);
    let size = shared.layers.of(container);
    v1::ContainerStats {
        attributes: Some(v1::ContainerAttributes {
            id: container.id().to_owned(),
            metadata: Some(container.metadata().clone()),
            labels: container.config().labels.clone(),
            annotations: container.annotations(),
        }),
        cpu: group.and_then(|group| cpu(shared, container.id(), group, container.started_at())),
        memory: group.zip(memory.as_ref()).map(|(group, memory)| of_memory(group, memory)),
        writable_layer: size.map(|size| v1::FilesystemUsage {
            timestamp: size.at,
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: mountpoint(container) }),
            used_bytes: value(size.bytes),
            inodes_used: value(size.inodes),
        }),
        swap: memory.as_ref().and_then(swap),
        io: group.and_then(io),
    }
}

fn mountpoint(container: &Container) -> String {
    container.state_dir().parent().unwrap_or(container.state_dir()).display().to_string()
}

fn cpu(shared: &Shared, id: &str, group: &Group, begun: i64) -> Option<v1::CpuUsage> {
    let used = group.cpu_total()?;
    let timestamp = now();
    let rate = shared.rates.of(id, (timestamp, used), begun);
    Some(v1::CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(used),
        usage_nano_cores: rate.map(|value| UInt64Value { value }),
        psi: group.pressure("cpu"),
    })
}

fn of_memory(group: &Group, memory: &Memory) -> v1::MemoryUsage {
    let working_set = memory.working_set();
    v1::MemoryUsage {
        timestamp: now(),
        working_set_bytes: value(working_set),
        available_bytes: memory.limit.and_then(|limit| value(limit.saturating_sub(working_set))),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.faults),
        major_page_faults: value(memory.major_faults),
        psi: group.pressure("memory"),
    }
}

fn swap(memory: &Memory) -> Option<v1::SwapUsage> {
    let used = memory.swap?;
    let available = memory.swap_limit.map(|limit| limit.saturating_sub(used));
    Some(v1::SwapUsage {
        timestamp: now(),
        swap_available_bytes: available.map(|value| UInt64Value { value }),
        swap_usage_bytes: value(used),
    })
}

fn io(group: &Group) -> Option<v1::IoUsage> {
    Some(v1::IoUsage { timestamp: now(), psi: Some(group.pressure("io")?) })
}

/// What a pod uses, `running` being its containers that run.
pub(crate) fn pod(
    shared: &Shared,
    pod: &Sandbox,
    running: &[Arc<Container>],
) -> v1::PodSandboxStats {
    let group = shared.group_of_pod(pod);
    let group = group.as_deref();
    let memory = group.and_then(Group::memory);
    let linux = v1::LinuxPodSandboxStats {
        cpu: group.and_then(|group| cpu(shared, pod.id(), group, pod.created_at())),
        memory: group.zip(memory.as_ref()).map(|(group, memory)| of_memory(group, memory)),
        network: network::interfaces(pod, running).map(|all| of_network(&all)),
        process: Some(processes(shared, running)),
        containers: running.iter().map(|one| container(shared, one)).collect(),
        io: group.and_then(io),
    };
    v1::PodSandboxStats {
        attributes: Some(v1::PodSandboxAttributes {
            id: pod.id().to_owned(),
            metadata: Some(pod.metadata().clone()),
            labels: pod.config().labels.clone(),
            annotations: pod.config().annotations.clone(),
        }),
        linux: Some(linux),
        windows: None,
    }
}

fn processes(shared: &Shared, running: &[Arc<Container>]) -> v1::ProcessUsage {
    let groups = running.iter().filter_map(|one| shared.group(one));
    let count: usize = groups.filter_map(|group| group.process_count()).sum();
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    v1::ProcessUsage { timestamp: now(), process_count: value(count) }
}

fn of_network(all: &[Interface]) -> v1::NetworkUsage {
    let (default, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.name == "eth0");
    v1::NetworkUsage {
        timestamp: now(),
        default_interface: default.first().map(|one| interface(one)),
        interfaces: others.into_iter().map(interface).collect(),
    }
}

fn interface(one: &Interface) -> v1::NetworkInterfaceUsage {
    v1::NetworkInterfaceUsage {
        name: one.name.clone(),
        rx_bytes: value(one.received.bytes),
        rx_errors: value(one.received.errors),
        tx_bytes: value(one.sent.bytes),
        tx_errors: value(one.sent.errors),
    }
}
