//! Limits of a configuration as files of v2 (kernel: admin-guide/cgroup-v2).

use crate::convert::{cpu_list, cpu_weight, io_weight, swap_max};
use crate::error::{Error, Result};
use crate::layout::Version;
use crate::step::{Step, device, page_size, word};
use runtime_spec::{BlockIo, Cpu, Memory, Resources};
use std::collections::BTreeMap;

/// All writes for `resources`, less devices.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) for values that no kernel takes.
pub(crate) fn plan(resources: &Resources) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(cpu) = &resources.cpu {
        processor(cpu, &mut steps)?;
    }
    if let Some(memory) = &resources.memory {
        memory_files(memory, &mut steps)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|p| p.limit)
        && limit != 0
    {
        steps.push(Step::new("pids", "pids.max", max(limit)).or_same(limit < 0));
    }
    if let Some(block) = &resources.block_io {
        block_files(block, &mut steps)?;
    }
    for huge in &resources.hugepage_limits {
        let size = page_size(&huge.page_size)?;
        steps.push(Step::new("hugetlb", format!("hugetlb.{size}.max"), huge.limit));
        let reserved = format!("hugetlb.{size}.rsvd.max");
        steps.push(Step::new("hugetlb", reserved, huge.limit).or_same(true));
    }
    rdma(resources, &mut steps)?;
    unified(&resources.unified, &mut steps)?;
    for step in &mut steps {
        step.version = Version::V2;
    }
    Ok(steps)
}

/// A limit: negative is none.
fn max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn processor(cpu: &Cpu, steps: &mut Vec<Step>) -> Result<()> {
    if cpu.realtime_runtime.is_some_and(|r| r != 0) || cpu.realtime_period.is_some_and(|p| p != 0) {
        return Err(Error::new(
            crate::Kind::Unsupported,
            "cpu.realtimeRuntime, cpu.realtimePeriod",
            "cgroup v2 has no real-time budget",
        ));
    }
    if let Some(idle) = cpu.idle {
        steps.push(Step::new("cpu", "cpu.idle", idle).or_same(idle == 0));
    }
    // The kernel refuses a weight for an idle group.
    if cpu.idle != Some(1)
        && let Some(weight) = cpu.shares.and_then(cpu_weight)
    {
        steps.push(Step::new("cpu", "cpu.weight", weight));
    }
    if let Some(burst) = cpu.burst {
        steps.push(Step::new("cpu", "cpu.max.burst", burst).or_same(burst == 0));
    }
    let period = cpu.period.filter(|p| *p != 0);
    let quota = cpu.quota.filter(|q| *q != 0).map(max);
    match (quota, period) {
        (Some(quota), Some(period)) => {
            steps.push(Step::new("cpu", "cpu.max", format!("{quota} {period}")));
        }
        (Some(quota), None) => steps.push(Step::new("cpu", "cpu.max", quota)),
        (None, Some(period)) => {
            steps.push(Step { keep_first: true, ..Step::new("cpu", "cpu.max", period) });
        }
        (None, None) => {}
    }
    for (file, list) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(list) = list.as_deref().filter(|l| !l.is_empty()) {
            cpu_list(list)?;
            steps.push(Step::new("cpuset", file, list));
        }
    }
    Ok(())
}

fn memory_files(memory: &Memory, steps: &mut Vec<Step>) -> Result<()> {
    if let Some(swap) = swap_max(memory.swap, memory.limit)? {
        // Without swap in the kernel, none and any are the same.
        steps.push(Step::new("memory", "memory.swap.max", max(swap)).or_same(swap <= 0));
    }
    if let Some(limit) = memory.limit.filter(|l| *l != 0) {
        steps.push(Step::new("memory", "memory.max", max(limit)));
    }
    if let Some(low) = memory.reservation.filter(|l| *l != 0) {
        steps.push(Step::new("memory", "memory.low", max(low)));
    }
    Ok(())
}

fn block_files(block: &BlockIo, steps: &mut Vec<Step>) -> Result<()> {
    // BFQ's own file, where that scheduler is in use, has the range of v1.
    if let Some(weight) = block.weight
        && let Some(converted) = io_weight(weight)?
    {
        let file = Step::new("io", "io.bfq.weight", weight);
        steps.push(file.or_else("io.weight", format!("default {converted}")));
    }
    for on in &block.weight_device {
        let dev = device(on.major, on.minor)?;
        if let Some(weight) = on.weight
            && let Some(converted) = io_weight(weight)?
        {
            let file = Step::new("io", "io.bfq.weight", format!("{dev} {weight}"));
            steps.push(file.or_else("io.weight", format!("{dev} {converted}")));
        }
    }
    let throttles = [
        ("rbps", &block.throttle_read_bps_device),
        ("wbps", &block.throttle_write_bps_device),
        ("riops", &block.throttle_read_iops_device),
        ("wiops", &block.throttle_write_iops_device),
    ];
    for (key, list) in throttles {
        for limit in list {
            let dev = device(limit.major, limit.minor)?;
            // Zero lifts the limit on v1, where these values come from.
            let rate = if limit.rate == 0 { "max".to_owned() } else { limit.rate.to_string() };
            steps.push(Step::new("io", "io.max", format!("{dev} {key}={rate}")));
        }
    }
    Ok(())
}

/// RDMA has one file on both versions.
pub(crate) fn rdma(resources: &Resources, steps: &mut Vec<Step>) -> Result<()> {
    for (name, limit) in &resources.rdma {
        let mut line = word("rdma device", name)?.to_owned();
        for (key, value) in [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)] {
            if let Some(value) = value {
                line.push_str(&format!(" {key}={value}"));
            }
        }
        steps.push(Step::new("rdma", "rdma.max", line));
    }
    Ok(())
}

/// Files that the configuration names itself. Those by which a group is run, and not limited, are
/// refused: `cgroup.procs` would move any process of the host.
fn unified(files: &BTreeMap<String, String>, steps: &mut Vec<Step>) -> Result<()> {
    const OURS: &[&str] = &["procs", "threads", "kill", "freeze", "type", "subtree_control"];
    for (file, value) in files {
        let bad = |why: &str| Err(Error::invalid(format_args!("unified {file:?}"), why));
        let ok = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match file.split_once('.') {
            _ if !file.chars().all(ok) || file.len() > 255 => {
                return bad("want the name of a file, such as memory.high");
            }
            None | Some(("" | ".", _)) | Some((_, "" | ".")) => {
                return bad("want CONTROLLER.FILE, such as memory.high");
            }
            Some(("cgroup", name)) if OURS.contains(&name) => {
                return bad("is how the runtime runs the group, and no limit");
            }
            Some(_) => {}
        }
        // One device or interface per line: the kernel takes one line per write.
        for line in value.lines().filter(|l| !l.trim().is_empty()) {
            steps.push(Step::new("", file.clone(), line.trim()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
