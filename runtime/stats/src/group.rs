//! What a control group counts: only the files that are told, because each costs microseconds.

use crate::pressure;
use cgroup::{Cgroup, Driver, Request, Version};
use cri_api::v1::PsiStats;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Nanoseconds of a tick of `cpuacct.stat`: `USER_HZ` is 100 on every architecture.
const TICK: u64 = 10_000_000;

/// A v1 limit at or above this is none: the kernel rounds its largest number to pages.
const UNLIMITED: u64 = 1 << 62;

/// The directories of a group, by what they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    v1: HashMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) total: u64,
    pub(crate) user: u64,
    pub(crate) system: u64,
}

/// Time slices that a limit cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Throttled {
    pub(crate) periods: u64,
    pub(crate) throttled: u64,
    /// In nanoseconds.
    pub(crate) time: u64,
}

/// Memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) usage: u64,
    /// Most that was ever used, where the kernel keeps it.
    pub(crate) peak: Option<u64>,
    pub(crate) limit: Option<u64>,
    /// How often the limit was met.
    pub(crate) failures: u64,
    pub(crate) rss: u64,
    pub(crate) cache: u64,
    pub(crate) mapped: u64,
    pub(crate) kernel: u64,
    pub(crate) active_file: u64,
    pub(crate) inactive_file: u64,
    pub(crate) faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) swap: Option<u64>,
    pub(crate) swap_limit: Option<u64>,
}

impl Memory {
    /// What cannot be had back without harm: all but file pages that nobody looks at.
    pub(crate) fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }
}

/// Transfers of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) read_bytes: u64,
    pub(crate) reads: u64,
    pub(crate) write_bytes: u64,
    pub(crate) writes: u64,
}

impl Group {
    /// The group of a `linux.cgroupsPath`, or of a pod's parent.
    pub(crate) fn find(id: &str, path: &str, driver: Driver) -> Option<Group> {
        let request = Request { path: Some(path), driver, ..Request::new(id) };
        let paths = Cgroup::intended(&request).ok()?;
        let mut group = Group::default();
        for place in &paths.places {
            match place.version {
                Version::V2 => group.v2 = Some(place.dir()),
                Version::V1 => {
                    let dir = place.dir();
                    group.v1.extend(place.controllers.iter().map(|c| (c.clone(), dir.clone())));
                }
            }
        }
        Some(group)
    }

    fn v1(&self, controller: &str, file: &str) -> Option<String> {
        read(self.v1.get(controller)?, file)
    }

    fn v2(&self, file: &str) -> Option<String> {
        read(self.v2.as_ref()?, file)
    }

    pub(crate) fn cpu(&self) -> Option<Cpu> {
        if let Some(total) = self.v1("cpuacct", "cpuacct.usage") {
            let stat = self.v1("cpuacct", "cpuacct.stat")?;
            let ticks = pairs(&stat);
            let time = |name: &str| of(&ticks, name).saturating_mul(TICK);
            return Some(Cpu {
                total: number(&total)?,
                user: time("user"),
                system: time("system"),
            });
        }
        let stat = self.v2("cpu.stat")?;
        let all = pairs(&stat);
        let nano = |name: &str| of(&all, name).saturating_mul(1000);
        let (total, user, system) = (nano("usage_usec"), nano("user_usec"), nano("system_usec"));
        Some(Cpu { total, user, system })
    }

    pub(crate) fn throttled(&self) -> Option<Throttled> {
        let (text, factor, time) = match self.v1("cpu", "cpu.stat") {
            Some(text) => (text, 1, "throttled_time"),
            None => (self.v2("cpu.stat")?, 1000, "throttled_usec"),
        };
        let all = pairs(&text);
        let (periods, throttled) = (of(&all, "nr_periods"), of(&all, "nr_throttled"));
        Some(Throttled { periods, throttled, time: of(&all, time).saturating_mul(factor) })
    }

    pub(crate) fn memory(&self) -> Option<Memory> {
        match self.v1("memory", "memory.usage_in_bytes") {
            Some(usage) => self.memory_v1(number(&usage)?),
            None => self.memory_v2(),
        }
    }

    fn memory_v1(&self, usage: u64) -> Option<Memory> {
        let stat = self.v1("memory", "memory.stat")?;
        let all = pairs(&stat);
        let get = |name: &str| of(&all, name);
        let one = |file: &str| self.v1("memory", file).and_then(|text| number(&text));
        let limited = |limit: u64| (limit < UNLIMITED).then_some(limit);
        Some(Memory {
            usage,
            peak: one("memory.max_usage_in_bytes"),
            limit: limited(get("hierarchical_memory_limit")),
            failures: one("memory.failcnt").unwrap_or(0),
            rss: get("total_rss"),
            cache: get("total_cache"),
            mapped: get("total_mapped_file"),
            kernel: one("memory.kmem.usage_in_bytes").unwrap_or(0),
            active_file: get("total_active_file"),
            inactive_file: get("total_inactive_file"),
            faults: get("total_pgfault"),
            major_faults: get("total_pgmajfault"),
            swap: all.get("total_swap").copied(),
            swap_limit: all.get("hierarchical_memsw_limit").copied().and_then(limited),
        })
    }

    fn memory_v2(&self) -> Option<Memory> {
        let usage = number(&self.v2("memory.current")?)?;
        let stat = self.v2("memory.stat")?;
        let all = pairs(&stat);
        let get = |name: &str| of(&all, name);
        let one = |file: &str| self.v2(file).and_then(|text| number(&text));
        let events = self.v2("memory.events").unwrap_or_default();
        let events = pairs(&events);
        Some(Memory {
            usage,
            peak: one("memory.peak"),
            limit: one("memory.max"),
            failures: of(&events, "max"),
            rss: get("anon"),
            cache: get("file"),
            mapped: get("file_mapped"),
            kernel: get("kernel"),
            active_file: get("active_file"),
            inactive_file: get("inactive_file"),
            faults: get("pgfault"),
            major_faults: get("pgmajfault"),
            swap: one("memory.swap.current"),
            swap_limit: one("memory.swap.max"),
        })
    }

    /// Tasks of the group, and how many there may be.
    pub(crate) fn threads(&self) -> Option<(u64, Option<u64>)> {
        let read = |file| self.v1("pids", file).or_else(|| self.v2(file));
        Some((number(&read("pids.current")?)?, read("pids.max").and_then(|text| number(&text))))
    }

    /// Processes of the group itself.
    pub(crate) fn processes(&self) -> Option<Vec<u32>> {
        let named = ["pids", "memory", "cpu"].iter().find_map(|c| self.v1(c, "cgroup.procs"));
        let text = named.or_else(|| self.v2("cgroup.procs"))?;
        Some(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// How often the kernel killed a process for want of memory.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        let text = self.v1("memory", "memory.oom_control").or_else(|| self.v2("memory.events"))?;
        Some(of(&pairs(&text), "oom_kill"))
    }

    /// Stalls by `cpu`, `memory` or `io`; only v2 counts them.
    pub(crate) fn pressure(&self, resource: &str) -> Option<PsiStats> {
        pressure::parse(&self.v2(&format!("{resource}.pressure"))?)
    }

    pub(crate) fn devices(&self) -> Vec<Device> {
        if let Some(text) = self.v2("io.stat").filter(|_| !self.v1.contains_key("blkio")) {
            return text.lines().filter_map(device_v2).collect();
        }
        let mut all = Vec::new();
        let bytes = self.v1("blkio", "blkio.throttle.io_service_bytes_recursive");
        let calls = self.v1("blkio", "blkio.throttle.io_serviced_recursive");
        devices_v1(&bytes.unwrap_or_default(), &mut all, |one| {
            [&mut one.read_bytes, &mut one.write_bytes]
        });
        devices_v1(&calls.unwrap_or_default(), &mut all, |one| [&mut one.reads, &mut one.writes]);
        all
    }
}

/// A file of a group; none where the kernel or the group lacks it.
fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

/// A number; none for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn pairs(text: &str) -> HashMap<&str, u64> {
    let pair = |line: &'_ str| -> Option<(usize, u64)> {
        let space = line.find(' ')?;
        Some((space, line[space + 1..].trim().parse().ok()?))
    };
    text.lines().filter_map(|line| pair(line).map(|(end, value)| (&line[..end], value))).collect()
}

fn of(all: &HashMap<&str, u64>, name: &str) -> u64 {
    all.get(name).copied().unwrap_or(0)
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`
fn device_v2(line: &str) -> Option<Device> {
    let mut words = line.split_whitespace();
    let (major, minor) = device(words.next()?)?;
    let mut one = Device { major, minor, ..Device::default() };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let Some(value) = number(value) else { continue };
        match key {
            "rbytes" => one.read_bytes = value,
            "wbytes" => one.write_bytes = value,
            "rios" => one.reads = value,
            "wios" => one.writes = value,
            _ => {}
        }
    }
    Some(one)
}

/// Lines such as `8:0 Read 4096`.
fn devices_v1(text: &str, all: &mut Vec<Device>, fields: impl Fn(&mut Device) -> [&mut u64; 2]) {
    for line in text.lines() {
        let [name, operation, value] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            continue;
        };
        let (Some((major, minor)), Some(value)) = (device(name), number(value)) else { continue };
        let index = match operation {
            "Read" => 0,
            "Write" => 1,
            _ => continue,
        };
        let known = all.iter().position(|one| (one.major, one.minor) == (major, minor));
        let at = known.unwrap_or_else(|| {
            all.push(Device { major, minor, ..Device::default() });
            all.len() - 1
        });
        *fields(&mut all[at])[index] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_both_versions_are_the_same() {
        let one =
            Device { major: 8, minor: 0, read_bytes: 10, reads: 1, write_bytes: 20, writes: 2 };
        assert_eq!(device_v2("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0"), Some(one.clone()));
        let mut all = Vec::new();
        let bytes = "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n";
        devices_v1(bytes, &mut all, |one| [&mut one.read_bytes, &mut one.write_bytes]);
        devices_v1("8:0 Read 1\n8:0 Write 2\n", &mut all, |one| [&mut one.reads, &mut one.writes]);
        assert_eq!(all, [one]);
        assert_eq!(device_v2("7:0"), Some(Device { major: 7, ..Device::default() }));
    }

    #[test]
    fn lines_are_names_and_numbers() {
        let all = pairs("total_rss 4096\nbroken\nmax max\ntotal_cache 1\n");
        assert_eq!((of(&all, "total_rss"), of(&all, "total_cache"), of(&all, "max")), (4096, 1, 0));
    }

    #[test]
    fn the_working_set_leaves_out_idle_file_pages() {
        let memory = Memory { usage: 100, inactive_file: 30, ..Memory::default() };
        assert_eq!(memory.working_set(), 70);
        let memory = Memory { usage: 10, inactive_file: 30, ..Memory::default() };
        assert_eq!(memory.working_set(), 0);
    }

    #[test]
    fn a_group_of_this_machine_is_read() {
        let path = format!("/podloom-stats-{}", std::process::id());
        let request = Request { path: Some(&path), ..Request::new("x") };
        // Until it is kept, dropping it kills what is in it and removes it.
        let made = Cgroup::create(&request).unwrap();
        // What it takes after it has joined is the group's.
        let script = "sleep 0.1; x=$(yes | head -c 3000000); while :; do :; done";
        let mut busy = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        made.add(busy.id()).unwrap();
        let group = Group::find("x", &path, Driver::Cgroupfs).unwrap();
        for _ in 0..200 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            if group.processes().unwrap() == [busy.id()] && group.memory().unwrap().usage > 0 {
                break;
            }
        }
        let (memory, cpu) = (group.memory().unwrap(), group.cpu().unwrap());
        let (threads, processes) = (group.threads().unwrap(), group.processes().unwrap());
        busy.kill().unwrap();
        busy.wait().unwrap();
        drop(made);
        assert!(memory.usage > 0 && memory.working_set() <= memory.usage, "{memory:?}");
        assert!(cpu.total > 10_000_000, "{cpu:?}");
        assert_eq!((threads.0, processes), (1, vec![busy.id()]));
        assert!(group.memory().is_none(), "it is gone");
    }
}
