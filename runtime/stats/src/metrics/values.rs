//! Values of the metrics.

use super::collected::Collected;
use super::table::Name;
use crate::call::Call;
use crate::group::{Cpu, Device, Group, Memory, Peaks};
use crate::network::Interface;
use crate::processes;
use ::container::Container;
use cri_api::v1::PsiStats;

const NANOSECOND: u64 = 1_000_000_000;
const MICROSECOND: u64 = 1_000_000;

/// What a control group counts. Its memory is returned, whose file is the slowest to read.
pub(super) fn group(call: &Call<'_>, group: &Group, into: &mut Collected) -> Option<Memory> {
    let (cpu, throttled) = group.cpu();
    if let Some(cpu) = cpu {
        of_cpu(&cpu, into);
    }
    if let Some(throttled) = throttled {
        into.add(Name::CfsPeriods, &[], throttled.periods);
        into.add(Name::CfsThrottled, &[], throttled.throttled);
        into.add(Name::CfsThrottledTime, &[], throttled.time / NANOSECOND);
    }
    let memory = group.memory();
    if let Some(memory) = &memory {
        let peaks = group.peaks(memory);
        of_memory(memory, &peaks, into);
        into.add_some(Name::OomEvents, peaks.oom_kills);
    }
    for (resource, stalled, waiting) in [
        ("cpu", Name::CpuStalled, Name::CpuWaiting),
        ("memory", Name::MemoryStalled, Name::MemoryWaiting),
        ("io", Name::IoStalled, Name::IoWaiting),
    ] {
        let psi: Option<PsiStats> = group.pressure(resource);
        into.add_some(stalled, psi.and_then(|psi| psi.full).map(|full| full.total / MICROSECOND));
        into.add_some(waiting, psi.and_then(|psi| psi.some).map(|some| some.total / MICROSECOND));
    }
    for one in group.devices() {
        device(&call.devices.name(one.major, one.minor), &one, into);
    }
    memory
}

fn of_cpu(cpu: &Cpu, into: &mut Collected) {
    into.add(Name::CpuUsage, &[], cpu.total / NANOSECOND);
    into.add(Name::CpuUser, &[], cpu.user / NANOSECOND);
    into.add(Name::CpuSystem, &[], cpu.system / NANOSECOND);
}

fn of_memory(memory: &Memory, peaks: &Peaks, into: &mut Collected) {
    for (name, value) in [
        (Name::MemoryUsage, memory.usage),
        (Name::MemoryWorkingSet, memory.working_set()),
        (Name::MemoryRss, memory.rss),
        (Name::MemoryCache, memory.cache),
        (Name::MemoryMapped, memory.mapped),
        (Name::MemoryKernel, peaks.kernel),
        (Name::MemoryFailures, peaks.failures),
        (Name::MemoryActiveFile, memory.active_file),
        (Name::MemoryInactiveFile, memory.inactive_file),
        // Kernels that do not count swap for groups let none be used by them.
        (Name::MemorySwap, memory.swap.unwrap_or(0)),
        (Name::MemoryPeak, peaks.peak.unwrap_or(memory.usage)),
    ] {
        into.add(name, &[], value);
    }
    into.add(Name::MemoryFaults, &["pgfault", "hierarchy"], memory.faults);
    into.add(Name::MemoryFaults, &["pgmajfault", "hierarchy"], memory.major_faults);
}

/// Transfers of a block device.
pub(super) fn device(name: &str, one: &Device, into: &mut Collected) {
    let (major, minor) = (one.major.to_string(), one.minor.to_string());
    into.add(Name::FsReadBytes, &[name], one.read_bytes);
    into.add(Name::FsReads, &[name], one.reads);
    into.add(Name::FsWriteBytes, &[name], one.write_bytes);
    into.add(Name::FsWrites, &[name], one.writes);
    into.add(Name::DeviceUsage, &[name, &major, &minor, "Read"], one.read_bytes);
    into.add(Name::DeviceUsage, &[name, &major, &minor, "Write"], one.write_bytes);
}

/// Counters of an interface.
pub(super) fn interface(one: &Interface, into: &mut Collected) {
    let label = [one.name.as_str()];
    for (name, value) in [
        (Name::ReceiveBytes, one.received.bytes),
        (Name::ReceivePackets, one.received.packets),
        (Name::ReceiveDropped, one.received.dropped),
        (Name::ReceiveErrors, one.received.errors),
        (Name::TransmitBytes, one.sent.bytes),
        (Name::TransmitPackets, one.sent.packets),
        (Name::TransmitDropped, one.sent.dropped),
        (Name::TransmitErrors, one.sent.errors),
    ] {
        into.add(name, &label, value);
    }
}

/// All of a container.
pub(super) fn container(call: &Call<'_>, container: &Container, into: &mut Collected) {
    let status = container.status();
    if let Some(of) = call.shared.group(container) {
        if let Some(memory) = group(call, &of, into) {
            limits(&memory, into);
        }
        if let Some((threads, most)) = of.threads() {
            into.add(Name::Threads, &[], threads);
            into.add(Name::ThreadsMax, &[], most.unwrap_or(0));
        }
        if let Some(pids) = of.processes() {
            let (files, sockets) = processes::files(&pids);
            into.add(Name::Processes, &[], u64::try_from(pids.len()).unwrap_or(u64::MAX));
            into.add(Name::Files, &[], files);
            into.add(Name::Sockets, &[], sockets);
        }
    }
    if let Some(limit) = processes::open_files_limit(status.pid) {
        into.add(Name::Ulimits, &["max_open_files"], limit);
    }
    let seconds = |nanoseconds: i64| u64::try_from(nanoseconds).unwrap_or(0) / NANOSECOND;
    into.add(Name::LastSeen, &[], seconds(into.at));
    into.add(Name::Started, &[], seconds(status.started_at));
    layer(call, container, into);
    if let Some(resources) = &status.resources {
        let set = |value: i64| u64::try_from(value).unwrap_or(0);
        into.add(Name::SpecPeriod, &[], set(resources.cpu_period));
        if resources.cpu_quota > 0 {
            into.add(Name::SpecQuota, &[], set(resources.cpu_quota));
        }
        into.add(Name::SpecShares, &[], set(resources.cpu_shares));
    }
}

fn limits(memory: &Memory, into: &mut Collected) {
    into.add(Name::SpecMemory, &[], memory.limit.unwrap_or(0));
    into.add(Name::SpecReservation, &[], 0);
    into.add(Name::SpecSwap, &[], memory.swap_limit.unwrap_or(0));
}

fn layer(call: &Call<'_>, container: &Container, into: &mut Collected) {
    let label = [""];
    if let Some(size) = call.shared.layers.of(container) {
        into.add(Name::FsUsage, &label, size.bytes);
    }
    let Some(disk) = call.disk(container) else { return };
    into.add(Name::FsLimit, &label, disk.f_blocks.saturating_mul(disk.f_frsize));
    into.add(Name::FsInodes, &label, disk.f_files);
    into.add(Name::FsInodesFree, &label, disk.f_ffree);
}
