//! What a control group counts: only the files that are told, because each costs microseconds.

use crate::files::{Dir, Tops};
use crate::pressure;
use cgroup::{Cgroup, Request, Version};
use cri_api::v1::PsiStats;

/// Nanoseconds of a tick of `cpuacct.stat`: `USER_HZ` is 100 on every architecture.
const TICK: u64 = 10_000_000;

/// A v1 limit at or above this is none: the kernel rounds its largest number to pages.
const UNLIMITED: u64 = 1 << 62;

/// The directories of a group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    v1: V1,
    v2: Option<Dir>,
}

/// Those of v1, by what they count.
#[derive(Debug, Default)]
struct V1 {
    cpu: Option<Dir>,
    cpuacct: Option<Dir>,
    memory: Option<Dir>,
    pids: Option<Dir>,
    blkio: Option<Dir>,
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
    pub(crate) limit: Option<u64>,
    pub(crate) rss: u64,
    pub(crate) cache: u64,
    pub(crate) mapped: u64,
    pub(crate) active_file: u64,
    pub(crate) inactive_file: u64,
    pub(crate) faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) swap: Option<u64>,
    pub(crate) swap_limit: Option<u64>,
    /// That of the kernel, where it is told with the others.
    kernel: Option<u64>,
}

/// What metrics tell beyond that.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Peaks {
    /// Most that was ever used, in bytes, where the kernel keeps it.
    pub(crate) peak: Option<u64>,
    /// How often the limit was met.
    pub(crate) failures: u64,
    /// How often the kernel killed a process for want of memory.
    pub(crate) oom_kills: Option<u64>,
    /// Memory of the kernel, in bytes.
    pub(crate) kernel: u64,
}

impl Memory {
    /// With what both versions count, in the order of the fields; a kernel may leave a count out.
    fn of(usage: u64, counts: [Option<u64>; 7]) -> Memory {
        let counts = counts.map(Option::unwrap_or_default);
        let [rss, cache, mapped, active_file, inactive_file, faults, major_faults] = counts;
        Memory {
            usage,
            rss,
            cache,
            mapped,
            active_file,
            inactive_file,
            faults,
            major_faults,
            ..Memory::default()
        }
    }

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
    pub(crate) fn find(request: &Request<'_>, tops: &mut Tops) -> Option<Group> {
        let paths = Cgroup::intended(request).ok()?;
        let mut group = Group::default();
        for place in &paths.places {
            let Some(dir) = tops.dir(&place.mount, place.path.as_str()) else { continue };
            match place.version {
                Version::V2 => group.v2 = Some(dir),
                Version::V1 => {
                    for controller in &place.controllers {
                        group.v1.put(controller, &dir);
                    }
                }
            }
        }
        Some(group)
    }

    /// Processor time used, in nanoseconds.
    pub(crate) fn cpu_total(&self) -> Option<u64> {
        let v1 = file(self.v1.cpuacct.as_ref(), "cpuacct.usage", number);
        v1.or_else(|| {
            let [total] = numbers(self.v2.as_ref(), "cpu.stat", ["usage_usec"])?;
            Some(total?.saturating_mul(1000))
        })
    }

    /// Processor time, and what a limit cut of it.
    pub(crate) fn cpu(&self) -> (Option<Cpu>, Option<Throttled>) {
        let (cpu, throttled) = (self.cpu_v1(), self.throttled_v1());
        if cpu.is_some() && throttled.is_some() {
            return (cpu, throttled);
        }
        let (other, others) = self.cpu_v2().unzip();
        (cpu.or(other), throttled.or(others))
    }

    fn cpu_v1(&self) -> Option<Cpu> {
        let dir = self.v1.cpuacct.as_ref();
        let total = file(dir, "cpuacct.usage", number)?;
        let ticks = numbers(dir, "cpuacct.stat", ["user", "system"])?;
        let [user, system] = ticks.map(|ticks| ticks.unwrap_or(0).saturating_mul(TICK));
        Some(Cpu { total, user, system })
    }

    fn throttled_v1(&self) -> Option<Throttled> {
        let names = ["nr_periods", "nr_throttled", "throttled_time"];
        let all = numbers(self.v1.cpu.as_ref(), "cpu.stat", names)?;
        let [periods, throttled, time] = all.map(Option::unwrap_or_default);
        Some(Throttled { periods, throttled, time })
    }

    fn cpu_v2(&self) -> Option<(Cpu, Throttled)> {
        let times = ["usage_usec", "user_usec", "system_usec"];
        let cuts = ["nr_periods", "nr_throttled", "throttled_usec"];
        let look = |text: &str| Some((pick(text, times), pick(text, cuts)));
        let (times, cuts) = file(self.v2.as_ref(), "cpu.stat", look)?;
        let nano = |micro: u64| micro.saturating_mul(1000);
        let [total, user, system] = times.map(|time| nano(time.unwrap_or(0)));
        let [periods, throttled, time] = cuts.map(Option::unwrap_or_default);
        Some((Cpu { total, user, system }, Throttled { periods, throttled, time: nano(time) }))
    }

    pub(crate) fn memory(&self) -> Option<Memory> {
        match file(self.v1.memory.as_ref(), "memory.usage_in_bytes", number) {
            Some(usage) => self.memory_v1(usage),
            None => self.memory_v2(),
        }
    }

    fn memory_v1(&self, usage: u64) -> Option<Memory> {
        let names = [
            "total_rss",
            "total_cache",
            "total_mapped_file",
            "total_active_file",
            "total_inactive_file",
            "total_pgfault",
            "total_pgmajfault",
        ];
        let others = ["hierarchical_memory_limit", "hierarchical_memsw_limit", "total_swap"];
        let look = |text: &str| Some((pick(text, names), pick(text, others)));
        let (counts, [limit, swap_limit, swap]) =
            file(self.v1.memory.as_ref(), "memory.stat", look)?;
        let limited = |limit: &u64| *limit < UNLIMITED;
        Some(Memory {
            limit: limit.filter(limited),
            swap,
            swap_limit: swap_limit.filter(limited),
            ..Memory::of(usage, counts)
        })
    }

    fn memory_v2(&self) -> Option<Memory> {
        let dir = self.v2.as_ref();
        let usage = file(dir, "memory.current", number)?;
        let names = [
            "anon",
            "file",
            "file_mapped",
            "active_file",
            "inactive_file",
            "pgfault",
            "pgmajfault",
        ];
        let look = |text: &str| Some((pick(text, names), pick(text, ["kernel"])));
        let (counts, [kernel]) = file(dir, "memory.stat", look)?;
        Some(Memory {
            limit: file(dir, "memory.max", number),
            swap: file(dir, "memory.swap.current", number),
            swap_limit: file(dir, "memory.swap.max", number),
            kernel: Some(kernel.unwrap_or(0)),
            ..Memory::of(usage, counts)
        })
    }

    /// What there is beside `memory`, which was just read.
    pub(crate) fn peaks(&self, memory: &Memory) -> Peaks {
        if let Some(kernel) = memory.kernel {
            let dir = self.v2.as_ref();
            let events = numbers(dir, "memory.events", ["max", "oom_kill"]);
            let [failures, oom_kills] = events.unwrap_or_default();
            let peak = file(dir, "memory.peak", number);
            return Peaks { peak, failures: failures.unwrap_or(0), oom_kills, kernel };
        }
        let dir = self.v1.memory.as_ref();
        let oom = numbers(dir, "memory.oom_control", ["oom_kill"]);
        Peaks {
            peak: file(dir, "memory.max_usage_in_bytes", number),
            failures: file(dir, "memory.failcnt", number).unwrap_or(0),
            oom_kills: oom.and_then(|[kills]| kills),
            kernel: file(dir, "memory.kmem.usage_in_bytes", number).unwrap_or(0),
        }
    }

    /// Tasks of the group, and how many there may be.
    pub(crate) fn threads(&self) -> Option<(u64, Option<u64>)> {
        let of = |dir: Option<&Dir>| {
            Some((file(dir, "pids.current", number)?, file(dir, "pids.max", number)))
        };
        of(self.v1.pids.as_ref()).or_else(|| of(self.v2.as_ref()))
    }

    /// What `look` makes of the list of the group's own processes.
    fn procs<T>(&self, look: impl Fn(&str) -> T) -> Option<T> {
        let V1 { pids, memory, cpu, .. } = &self.v1;
        let mut dirs = [pids, memory, cpu, &self.v2].into_iter().flatten();
        dirs.find_map(|dir| dir.list("cgroup.procs", |text| Some(look(text))))
    }

    /// Processes of the group itself.
    pub(crate) fn processes(&self) -> Option<Vec<u32>> {
        self.procs(|text| text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// How many they are.
    pub(crate) fn process_count(&self) -> Option<usize> {
        self.procs(|text| text.lines().count())
    }

    /// Stalls by `cpu`, `memory` or `io`; only v2 counts them.
    pub(crate) fn pressure(&self, resource: &str) -> Option<PsiStats> {
        file(self.v2.as_ref(), &format!("{resource}.pressure"), pressure::parse)
    }

    pub(crate) fn devices(&self) -> Vec<Device> {
        let mut all = Vec::new();
        let Some(dir) = self.v1.blkio.as_ref() else {
            let look = |text: &str| Some(text.lines().filter_map(device_v2).collect());
            return file(self.v2.as_ref(), "io.stat", look).unwrap_or_default();
        };
        let mut read = |name: &str, fields: fn(&mut Device) -> [&mut u64; 2]| {
            file(Some(dir), name, |text| {
                devices_v1(text, &mut all, fields);
                Some(())
            })
        };
        // A kernel that does not count them has neither file.
        let _bytes = read("blkio.throttle.io_service_bytes_recursive", |one| {
            [&mut one.read_bytes, &mut one.write_bytes]
        });
        let _calls =
            read("blkio.throttle.io_serviced_recursive", |one| [&mut one.reads, &mut one.writes]);
        all
    }
}

impl V1 {
    fn put(&mut self, controller: &str, dir: &Dir) {
        let place = match controller {
            "cpu" => &mut self.cpu,
            "cpuacct" => &mut self.cpuacct,
            "memory" => &mut self.memory,
            "pids" => &mut self.pids,
            "blkio" => &mut self.blkio,
            _ => return,
        };
        *place = Some(dir.clone());
    }
}

/// What `look` makes of a file of a group; none where the kernel or the group lacks it.
fn file<T>(dir: Option<&Dir>, name: &str, look: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    dir?.record(name, look)
}

/// A number; none for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The numbers of `names` in a file of the group.
fn numbers<const N: usize>(
    dir: Option<&Dir>,
    name: &str,
    names: [&str; N],
) -> Option<[Option<u64>; N]> {
    file(dir, name, |text| Some(pick(text, names)))
}

/// The numbers of `names`, in a text whose lines are a name and a number each.
fn pick<const N: usize>(text: &str, names: [&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        if let Some(at) = names.iter().position(|wanted| *wanted == name) {
            found[at] = number(value);
        }
    }
    found
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
        let text = "total_rss 4096\nbroken\nmax max\ntotal_cache 1\nrss 7\n";
        let names = ["total_rss", "total_cache", "max", "absent", "broken"];
        assert_eq!(pick(text, names), [Some(4096), Some(1), None, None, None]);
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
        let group = Group::find(&request, &mut Tops::default()).unwrap();
        for _ in 0..200 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            if group.processes().unwrap() == [busy.id()] && group.memory().unwrap().usage > 0 {
                break;
            }
        }
        let (memory, cpu) = (group.memory().unwrap(), group.cpu().0.unwrap());
        let (peaks, total) = (group.peaks(&memory), group.cpu_total().unwrap());
        let (threads, processes) = (group.threads().unwrap(), group.processes().unwrap());
        busy.kill().unwrap();
        busy.wait().unwrap();
        drop(made);
        assert!(memory.usage > 0 && memory.working_set() <= memory.usage, "{memory:?}");
        assert!(cpu.total > 10_000_000 && total >= cpu.total, "{cpu:?}");
        assert!(peaks.peak.is_none_or(|peak| peak > 0) && peaks.oom_kills == Some(0), "{peaks:?}");
        assert_eq!((threads.0, processes), (1, vec![busy.id()]));
        assert!(group.memory().is_none(), "it is gone");
    }
}
