//! Counters of v1 (kernel: admin-guide/cgroup-v1).

use super::text::{by_device, huge_sizes, number, of, pairs};
use super::{BlkioStats, CpuStats, CpusetStats, HugetlbStats, MemoryEntry, MemoryStats, Stats};
use crate::convert::cpu_list;
use crate::dir::Dir;
use crate::error::Result;

/// Nanoseconds of a tick of `cpuacct.stat`: `USER_HZ` is 100 on every architecture.
const TICK: u64 = 10_000_000;

/// Reads what a tree with `controllers` counts.
pub(super) fn read(dir: &Dir, controllers: &[String], stats: &mut Stats) -> Result<()> {
    for controller in controllers {
        match controller.as_str() {
            "cpu" => throttling(dir, &mut stats.cpu)?,
            "cpuacct" => usage(dir, &mut stats.cpu)?,
            "cpuset" => stats.cpuset = cpuset(dir)?,
            "memory" => stats.memory = memory(dir)?,
            "pids" => {
                stats.pids.current = of(dir, "pids.current")?;
                let limit = of(dir, "pids.max")?;
                stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
            }
            "blkio" => stats.blkio = blkio(dir)?,
            "hugetlb" => {
                for size in huge_sizes() {
                    let file = |what| format!("hugetlb.{size}.{what}");
                    let one = HugetlbStats {
                        usage: of(dir, &file("usage_in_bytes"))?,
                        max: of(dir, &file("max_usage_in_bytes"))?,
                        failcnt: of(dir, &file("failcnt"))?,
                    };
                    stats.hugetlb.insert(size, one);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn throttling(dir: &Dir, cpu: &mut CpuStats) -> Result<()> {
    let all = pairs(&dir.try_read("cpu.stat")?.unwrap_or_default());
    let get = |name: &str| all.get(name).copied().unwrap_or(0);
    cpu.throttling.periods = get("nr_periods");
    cpu.throttling.throttled_periods = get("nr_throttled");
    cpu.throttling.throttled_time = get("throttled_time");
    Ok(())
}

fn usage(dir: &Dir, cpu: &mut CpuStats) -> Result<()> {
    let usage = &mut cpu.usage;
    usage.total = of(dir, "cpuacct.usage")?;
    let ticks = pairs(&dir.try_read("cpuacct.stat")?.unwrap_or_default());
    let time = |name: &str| ticks.get(name).copied().unwrap_or(0).saturating_mul(TICK);
    (usage.user, usage.kernel) = (time("user"), time("system"));
    let list = |text: &str| text.split_whitespace().map(number).collect::<Vec<_>>();
    usage.percpu = list(&dir.try_read("cpuacct.usage_percpu")?.unwrap_or_default());
    // A heading, then a line for each processor: its number, user, system.
    for line in dir.try_read("cpuacct.usage_all")?.unwrap_or_default().lines().skip(1) {
        if let [_, user, system] = list(line)[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(system);
        }
    }
    Ok(())
}

fn cpuset(dir: &Dir) -> Result<CpusetStats> {
    let set = |file| -> Result<Vec<u32>> { cpu_list(&dir.try_read(file)?.unwrap_or_default()) };
    let flag = |name: &str| of(dir, &format!("cpuset.{name}"));
    let level = dir.try_read("cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(CpusetStats {
        cpus: set("cpuset.cpus")?,
        cpu_exclusive: flag("cpu_exclusive")?,
        mems: set("cpuset.mems")?,
        mem_exclusive: flag("mem_exclusive")?,
        mem_hardwall: flag("mem_hardwall")?,
        memory_migrate: flag("memory_migrate")?,
        memory_spread_page: flag("memory_spread_page")?,
        memory_spread_slab: flag("memory_spread_slab")?,
        memory_pressure: flag("memory_pressure")?,
        sched_load_balance: flag("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    })
}

fn memory(dir: &Dir) -> Result<MemoryStats> {
    let raw = pairs(&dir.try_read("memory.stat")?.unwrap_or_default());
    let entry = |prefix: &str| -> Result<MemoryEntry> {
        let file = |what| format!("memory.{prefix}{what}");
        Ok(MemoryEntry {
            limit: of(dir, &file("limit_in_bytes"))?,
            usage: of(dir, &file("usage_in_bytes"))?,
            max: of(dir, &file("max_usage_in_bytes"))?,
            failcnt: of(dir, &file("failcnt"))?,
        })
    };
    Ok(MemoryStats {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

/// BFQ counts for itself; without it, or when it is not in use, the throttler counts.
fn blkio(dir: &Dir) -> Result<BlkioStats> {
    let read =
        |file: &str| -> Result<Vec<_>> { Ok(by_device(&dir.try_read(file)?.unwrap_or_default())) };
    let either = |name: &str| -> Result<Vec<_>> {
        let own = read(&format!("blkio.bfq.{name}"))?;
        if own.is_empty() { read(&format!("blkio.throttle.{name}")) } else { Ok(own) }
    };
    Ok(BlkioStats {
        io_service_bytes_recursive: either("io_service_bytes_recursive")?,
        io_serviced_recursive: either("io_serviced_recursive")?,
        io_queued_recursive: read("blkio.bfq.io_queued_recursive")?,
        io_service_time_recursive: read("blkio.bfq.io_service_time_recursive")?,
        io_wait_time_recursive: read("blkio.bfq.io_wait_time_recursive")?,
        io_merged_recursive: read("blkio.bfq.io_merged_recursive")?,
        io_time_recursive: read("blkio.bfq.time_recursive")?,
        sectors_recursive: read("blkio.bfq.sectors_recursive")?,
        psi: None,
    })
}
