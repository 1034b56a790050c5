//! Limits of a configuration as files of v1 (kernel: admin-guide/cgroup-v1).
//!
//! `memory.kernel` and `memory.useHierarchy` are ignored: the specification calls them obsolete, and
//! current kernels have no such limit. That of buffers of TCP, `memory.kernelTCP`, they still have.

use crate::convert::{cpu_list, swap_max};
use crate::error::{Error, Kind, Result};
use crate::plan_v2;
use crate::step::{Step, device, page_size, word};
use runtime_spec::{BlockIo, Cpu, Memory, Resources};

/// All writes for `resources`, less devices.
///
/// # Errors
/// [`Kind::Invalid`] for values that no kernel takes, [`Kind::Unsupported`] for files of v2.
pub(crate) fn plan(resources: &Resources) -> Result<Vec<Step>> {
    if let Some(file) = resources.unified.keys().next() {
        return Err(Error::new(
            Kind::Unsupported,
            format_args!("unified {file:?}"),
            "the controllers of this machine are those of cgroup v1",
        ));
    }
    let mut steps = Vec::new();
    if let Some(memory) = &resources.memory {
        memory_files(memory, &mut steps)?;
    }
    if let Some(cpu) = &resources.cpu {
        processor(cpu, &mut steps)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit)
        && limit != 0
    {
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        steps.push(Step::new("pids", "pids.max", value).or_same(limit < 0));
    }
    if let Some(block) = &resources.block_io {
        block_files(block, &mut steps)?;
    }
    for huge in &resources.hugepage_limits {
        let size = page_size(&huge.page_size)?;
        steps.push(Step::new("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), huge.limit));
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        steps.push(Step::new("hugetlb", reserved, huge.limit).or_same(true));
    }
    if let Some(network) = &resources.network {
        if let Some(class) = network.class_id.filter(|c| *c != 0) {
            steps.push(Step::new("net_cls", "net_cls.classid", class));
        }
        for on in &network.priorities {
            let line = format!("{} {}", word("network.priorities", &on.name)?, on.priority);
            steps.push(Step::new("net_prio", "net_prio.ifpriomap", line));
        }
    }
    plan_v2::rdma(resources, &mut steps)?;
    Ok(steps)
}

fn memory_files(memory: &Memory, steps: &mut Vec<Step>) -> Result<()> {
    // The sum is written as it is, but it must make sense.
    let lifted = swap_max(memory.swap, memory.limit)? == Some(-1);
    if let Some(limit) = memory.limit.filter(|l| *l != 0) {
        steps.push(Step::new("memory", "memory.limit_in_bytes", limit));
    }
    match memory.swap.filter(|s| *s != 0) {
        _ if lifted => {
            steps.push(Step::new("memory", "memory.memsw.limit_in_bytes", -1).or_same(true));
        }
        Some(sum) => steps.push(Step::new("memory", "memory.memsw.limit_in_bytes", sum)),
        None => {}
    }
    if let Some(soft) = memory.reservation.filter(|l| *l != 0) {
        steps.push(Step::new("memory", "memory.soft_limit_in_bytes", soft));
    }
    if let Some(buffers) = memory.kernel_tcp.filter(|l| *l != 0) {
        let file = "memory.kmem.tcp.limit_in_bytes";
        steps.push(Step::new("memory", file, buffers).or_same(buffers < 0));
    }
    if let Some(eager) = memory.swappiness {
        if eager > 100 {
            return Err(Error::invalid(format_args!("memory.swappiness {eager}"), "want 0 to 100"));
        }
        steps.push(Step::new("memory", "memory.swappiness", eager));
    }
    if let Some(off) = memory.disable_oom_killer {
        steps.push(Step::new("memory", "memory.oom_control", u8::from(off)).or_same(!off));
    }
    Ok(())
}

fn processor(cpu: &Cpu, steps: &mut Vec<Step>) -> Result<()> {
    if let Some(idle) = cpu.idle {
        steps.push(Step::new("cpu", "cpu.idle", idle).or_same(idle == 0));
    }
    if cpu.idle != Some(1)
        && let Some(shares) = cpu.shares.filter(|s| *s != 0)
    {
        // The kernel would clamp without a word.
        if !(2..=262_144).contains(&shares) {
            return Err(Error::invalid(format_args!("cpu.shares {shares}"), "want 2 to 262144"));
        }
        steps.push(Step::new("cpu", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period.filter(|p| *p != 0) {
        steps.push(Step::new("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota.filter(|q| *q != 0) {
        steps.push(Step::new("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst {
        steps.push(Step::new("cpu", "cpu.cfs_burst_us", burst).or_same(burst == 0));
    }
    if let Some(period) = cpu.realtime_period.filter(|p| *p != 0) {
        steps.push(Step::new("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|r| *r != 0) {
        steps.push(Step::new("cpu", "cpu.rt_runtime_us", runtime));
    }
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(list) = list.as_deref().filter(|l| !l.is_empty()) {
            cpu_list(list)?;
            steps.push(Step::new("cpuset", file, list));
        }
    }
    Ok(())
}

fn block_files(block: &BlockIo, steps: &mut Vec<Step>) -> Result<()> {
    let weight = |file: &str, other: &str, value: String| {
        Step::new("blkio", file, &value).or_else(other, &value)
    };
    let ranged = |w: Option<u16>| match w.filter(|w| *w != 0) {
        Some(w) => crate::convert::io_weight(w).map(|_| Some(w)),
        None => Ok(None),
    };
    if let Some(w) = ranged(block.weight)? {
        steps.push(weight("blkio.weight", "blkio.bfq.weight", w.to_string()));
    }
    if let Some(w) = ranged(block.leaf_weight)? {
        steps.push(Step::new("blkio", "blkio.leaf_weight", w));
    }
    for on in &block.weight_device {
        let dev = device(on.major, on.minor)?;
        if let Some(w) = ranged(on.weight)? {
            let line = format!("{dev} {w}");
            steps.push(weight("blkio.weight_device", "blkio.bfq.weight_device", line));
        }
        if let Some(w) = ranged(on.leaf_weight)? {
            steps.push(Step::new("blkio", "blkio.leaf_weight_device", format!("{dev} {w}")));
        }
    }
    let throttles = [
        ("read_bps", &block.throttle_read_bps_device),
        ("write_bps", &block.throttle_write_bps_device),
        ("read_iops", &block.throttle_read_iops_device),
        ("write_iops", &block.throttle_write_iops_device),
    ];
    for (key, list) in throttles {
        for limit in list {
            let line = format!("{} {}", device(limit.major, limit.minor)?, limit.rate);
            steps.push(Step::new("blkio", format!("blkio.throttle.{key}_device"), line));
        }
    }
    Ok(())
}
