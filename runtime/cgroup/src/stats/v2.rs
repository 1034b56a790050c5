//! Counters of v2 (kernel: admin-guide/cgroup-v2), in v1's terms, in which they are reported.

use super::text::{device, huge_sizes, number, of, pairs, pressure};
use super::{BlkioEntry, BlkioStats, HugetlbStats, MemoryEntry, MemoryStats, Stats};
use crate::convert::cpu_list;
use crate::dir::Dir;
use crate::error::Result;

/// Reads what the tree counts. In a hybrid layout that is less than all, and what v1 trees count is
/// left alone.
pub(super) fn read(dir: &Dir, stats: &mut Stats) -> Result<()> {
    processor(dir, stats)?;
    let set = |file| -> Result<Option<Vec<u32>>> {
        dir.try_read(file)?.map(|text| cpu_list(&text)).transpose()
    };
    if let Some(cpus) = set("cpuset.cpus.effective")? {
        stats.cpuset.cpus = cpus;
    }
    if let Some(mems) = set("cpuset.mems.effective")? {
        stats.cpuset.mems = mems;
    }
    if let Some(memory) = memory(dir)? {
        stats.memory = memory;
    }
    stats.memory.psi = pressure(dir, "memory.pressure")?;
    if let Some(current) = dir.try_read("pids.current")? {
        stats.pids.current = number(&current);
        let limit = of(dir, "pids.max")?;
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
    if let Some(text) = dir.try_read("io.stat")? {
        stats.blkio = devices(&text);
    }
    stats.blkio.psi = pressure(dir, "io.pressure")?;
    for size in huge_sizes() {
        let Some(usage) = dir.try_read(&format!("hugetlb.{size}.current"))? else { continue };
        let events = dir.try_read(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let failcnt = pairs(&events).get("max").copied().unwrap_or(0);
        stats.hugetlb.insert(size, HugetlbStats { usage: number(&usage), max: 0, failcnt });
    }
    Ok(())
}

fn processor(dir: &Dir, stats: &mut Stats) -> Result<()> {
    let all = pairs(&dir.try_read("cpu.stat")?.unwrap_or_default());
    let get = |name: &str| all.get(name).copied().unwrap_or(0);
    let nano = |name: &str| get(name).saturating_mul(1000);
    // A v1 tree's counters, read before, are more exact.
    if stats.cpu.usage.total == 0 {
        stats.cpu.usage.total = nano("usage_usec");
        stats.cpu.usage.user = nano("user_usec");
        stats.cpu.usage.kernel = nano("system_usec");
    }
    if all.contains_key("nr_periods") {
        stats.cpu.throttling.periods = get("nr_periods");
        stats.cpu.throttling.throttled_periods = get("nr_throttled");
        stats.cpu.throttling.throttled_time = nano("throttled_usec");
    }
    stats.cpu.psi = pressure(dir, "cpu.pressure")?;
    Ok(())
}

fn memory(dir: &Dir) -> Result<Option<MemoryStats>> {
    let Some(current) = dir.try_read("memory.current")? else { return Ok(None) };
    let raw = pairs(&dir.try_read("memory.stat")?.unwrap_or_default());
    let events = pairs(&dir.try_read("memory.events")?.unwrap_or_default());
    let usage = MemoryEntry {
        limit: of(dir, "memory.max")?,
        usage: number(&current),
        max: of(dir, "memory.peak")?,
        failcnt: events.get("max").copied().unwrap_or(0),
    };
    let mut swap = MemoryEntry::default();
    // v2 counts swap alone; what is reported is memory and swap together, as v1 has it.
    if let Some(current) = dir.try_read("memory.swap.current")? {
        let events = pairs(&dir.try_read("memory.swap.events")?.unwrap_or_default());
        swap = MemoryEntry {
            limit: of(dir, "memory.swap.max")?.saturating_add(usage.limit),
            usage: number(&current).saturating_add(usage.usage),
            max: 0,
            failcnt: events.get("max").copied().unwrap_or(0),
        };
    }
    let cache = raw.get("file").copied().unwrap_or(0);
    Ok(Some(MemoryStats { cache, usage, swap, raw, ..MemoryStats::default() }))
}

/// Lines such as `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`.
fn devices(text: &str) -> BlkioStats {
    let mut all = BlkioStats::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut all.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut all.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut all.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut all.io_serviced_recursive, "Read"),
                "wios" => (&mut all.io_serviced_recursive, "Write"),
                "dios" => (&mut all.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: number(value) });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_lines() {
        let got =
            devices("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=9\n7:1\n");
        let ops: Vec<_> =
            got.io_service_bytes_recursive.iter().map(|e| (e.op.as_str(), e.value)).collect();
        assert_eq!(ops, [("Read", 1), ("Write", 2), ("Discard", 5)]);
        assert_eq!(got.io_serviced_recursive.len(), 3);
    }
}
