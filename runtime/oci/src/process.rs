//! A process, from its configuration to what the kernel is told: pure.

use crate::capability::Sets;
use crate::sys::Strings;
use crate::{Error, Result};
use runtime_spec as spec;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

/// A process that can be made: every value in range, every string ready for the kernel.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) args: Strings,
    pub(crate) env: Strings,
    /// `HOME` is looked up in the container, as the configuration names none.
    pub(crate) home: bool,
    /// Where the program may be, in this order.
    pub(crate) programs: Vec<CString>,
    pub(crate) cwd: CString,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: Option<u32>,
    pub(crate) capabilities: Sets,
    pub(crate) limits: Vec<(u32, u64, u64)>,
    pub(crate) no_new_privileges: bool,
    pub(crate) apparmor: Option<Vec<u8>>,
    pub(crate) selinux: Option<Vec<u8>>,
    pub(crate) oom_score: Option<i32>,
    pub(crate) terminal: bool,
    pub(crate) size: Option<spec::ConsoleSize>,
    pub(crate) io_priority: Option<u32>,
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) initial_cpus: Option<Vec<u64>>,
    pub(crate) final_cpus: Option<Vec<u64>>,
}

/// `sched_attr` of sched_setattr(2), its first version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Scheduler {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Highest ID that stands for somebody: the next one means "no change" to the kernel.
const ID_MAX: u32 = u32::MAX - 1;

fn text(subject: &str, value: &[u8]) -> Result<CString> {
    CString::new(value).map_err(|_| Error::invalid(subject, "holds a zero byte"))
}

fn texts(subject: &str, values: &[String]) -> Result<Vec<CString>> {
    let each =
        |(index, value): (usize, &String)| text(&format!("{subject}[{index}]"), value.as_bytes());
    values.iter().enumerate().map(each).collect()
}

impl Plan {
    /// What waits in the place of a process that the configuration does not have: it can be created
    /// and deleted, and never started (runtime.md, Start).
    pub(crate) fn unset() -> Plan {
        Plan {
            args: Strings::new(Vec::new()),
            env: Strings::new(Vec::new()),
            home: false,
            programs: Vec::new(),
            cwd: c"/".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            umask: None,
            capabilities: Sets::default(),
            limits: Vec::new(),
            no_new_privileges: true,
            apparmor: None,
            selinux: None,
            oom_score: None,
            terminal: false,
            size: None,
            io_priority: None,
            scheduler: None,
            initial_cpus: None,
            final_cpus: None,
        }
    }

    /// Checks a process. What is odd but harmless is told in `warnings`.
    pub(crate) fn new(wire: &spec::Process, warnings: &mut Vec<String>) -> Result<Plan> {
        let args = texts("process.args", &wire.args)?;
        let Some(program) = wire.args.first().filter(|program| !program.is_empty()) else {
            return Err(Error::invalid("process.args", "names no program"));
        };
        if !wire.cwd.is_absolute() {
            return Err(Error::invalid("process.cwd", "must be an absolute path"));
        }
        let (environment, home) = environment(&wire.env)?;
        // Without the key a process gets none: what is not asked for is not given.
        let sets = wire.capabilities.as_ref().map(|wire| Sets::new(wire, warnings));
        let label = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
        let cpus = wire.exec_cpu_affinity.as_ref();
        let plan = Plan {
            programs: programs(program, &wire.env)?,
            args: Strings::new(args),
            env: Strings::new(environment),
            home,
            cwd: text("process.cwd", wire.cwd.as_os_str().as_bytes())?,
            uid: id("process.user.uid", wire.user.uid)?,
            gid: id("process.user.gid", wire.user.gid)?,
            groups: groups(&wire.user.additional_gids)?,
            umask: wire.user.umask.map(|mask| mask & 0o777),
            capabilities: sets.unwrap_or_default(),
            limits: limits(&wire.rlimits)?,
            no_new_privileges: wire.no_new_privileges,
            apparmor: label(&wire.apparmor_profile).map(|name| format!("exec {name}").into_bytes()),
            selinux: label(&wire.selinux_label).map(String::into_bytes),
            oom_score: oom_score(wire.oom_score_adj)?,
            terminal: wire.terminal,
            size: wire.console_size.clone(),
            io_priority: wire.io_priority.as_ref().map(io_priority).transpose()?,
            scheduler: wire.scheduler.as_ref().map(scheduler).transpose()?,
            initial_cpus: cpus.and_then(|c| c.initial.as_deref()).map(cpu_mask).transpose()?,
            final_cpus: cpus.and_then(|c| c.last.as_deref()).map(cpu_mask).transpose()?,
        };
        Ok(plan)
    }
}

fn id(subject: &str, id: u32) -> Result<u32> {
    if id > ID_MAX {
        return Err(Error::invalid(
            subject,
            format!("{id} is out of range: want at most {ID_MAX}"),
        ));
    }
    Ok(id)
}

fn groups(wire: &[u32]) -> Result<Vec<u32>> {
    wire.iter()
        .enumerate()
        .map(|(index, gid)| id(&format!("process.user.additionalGids[{index}]"), *gid))
        .collect()
}

fn oom_score(wire: Option<i32>) -> Result<Option<i32>> {
    match wire {
        Some(score) if !(-1000..=1000).contains(&score) => Err(Error::invalid(
            "process.oomScoreAdj",
            format!("{score} is out of range: want -1000 to 1000"),
        )),
        other => Ok(other),
    }
}

/// The environment; of a variable given twice the last counts. Tells whether HOME is missing, for
/// which the last entry is then kept free.
pub(crate) fn environment(wire: &[String]) -> Result<(Vec<CString>, bool)> {
    let mut seen = std::collections::HashMap::new();
    let mut kept: Vec<Option<CString>> = Vec::with_capacity(wire.len() + 1);
    for (index, entry) in wire.iter().enumerate() {
        let subject = format!("process.env[{index}]");
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::invalid(subject, format!("{entry:?}: want NAME=value")));
        };
        if let Some(earlier) = seen.insert(name, kept.len()) {
            kept[earlier] = None;
        }
        kept.push(Some(text(&subject, entry.as_bytes())?));
    }
    let last = wire.iter().rev().find_map(|entry| entry.strip_prefix("HOME="));
    let home = last.is_none_or(str::is_empty);
    if home {
        if let Some(empty) = seen.get("HOME") {
            kept[*empty] = None;
        }
        kept.push(Some(c"HOME=/".to_owned()));
    }
    Ok((kept.into_iter().flatten().collect(), home))
}

/// Where the program may be: itself when it has a slash, otherwise below each absolute directory of
/// the container's PATH.
fn programs(program: &str, env: &[String]) -> Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![text("process.args[0]", program.as_bytes())?]);
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| {
            text("process.env", format!("{}/{program}", dir.trim_end_matches('/')).as_bytes())
        })
        .collect()
}

/// Names of limits in the order of their numbers (getrlimit(2)).
const LIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

fn limits(wire: &[spec::Rlimit]) -> Result<Vec<(u32, u64, u64)>> {
    let mut found: Vec<(u32, u64, u64)> = Vec::with_capacity(wire.len());
    for (index, limit) in wire.iter().enumerate() {
        let subject = format!("process.rlimits[{index}]");
        let known = limit.kind.strip_prefix("RLIMIT_");
        let which = known.and_then(|name| LIMITS.iter().position(|known| *known == name));
        let Some(which) = which.map(|which| which as u32) else {
            return Err(Error::invalid(subject, format!("{:?} is no limit", limit.kind)));
        };
        if found.iter().any(|(other, ..)| *other == which) {
            return Err(Error::invalid(subject, format!("{} is listed twice", limit.kind)));
        }
        if limit.soft > limit.hard {
            return Err(Error::invalid(subject, "the soft limit is above the hard one"));
        }
        found.push((which, limit.soft, limit.hard));
    }
    Ok(found)
}

fn io_priority(wire: &spec::IoPriority) -> Result<u32> {
    let class = match wire.class {
        spec::IoPriorityClass::RealTime => 1,
        spec::IoPriorityClass::BestEffort => 2,
        spec::IoPriorityClass::Idle => 3,
    };
    match u32::try_from(wire.priority) {
        Ok(priority @ 0..=7) => Ok((class << 13) | priority),
        _ => Err(Error::invalid("process.ioPriority.priority", "want 0 to 7")),
    }
}

fn scheduler(wire: &spec::Scheduler) -> Result<Scheduler> {
    let policy = match wire.policy {
        spec::SchedulerPolicy::Other => 0,
        spec::SchedulerPolicy::Fifo => 1,
        spec::SchedulerPolicy::RoundRobin => 2,
        spec::SchedulerPolicy::Batch => 3,
        spec::SchedulerPolicy::Iso => 4,
        spec::SchedulerPolicy::Idle => 5,
        spec::SchedulerPolicy::Deadline => 6,
    };
    let nice = wire.nice.unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid("process.scheduler.nice", "want -20 to 19"));
    }
    let Ok(priority @ 0..=99) = u32::try_from(wire.priority.unwrap_or(0)) else {
        return Err(Error::invalid("process.scheduler.priority", "want 0 to 99"));
    };
    if priority != 0 && policy != 1 && policy != 2 {
        let cause = "only SCHED_FIFO and SCHED_RR have one";
        return Err(Error::invalid("process.scheduler.priority", cause));
    }
    let times = [wire.runtime, wire.deadline, wire.period];
    if policy != 6 && times.iter().any(Option::is_some) {
        let cause = "runtime, deadline and period are of SCHED_DEADLINE only";
        return Err(Error::invalid("process.scheduler", cause));
    }
    let [runtime, deadline, period] = times.map(Option::unwrap_or_default);
    let flags = wire.flags.iter().fold(0, |flags, flag| flags | flag_bit(*flag));
    let size = size_of::<Scheduler>() as u32;
    Ok(Scheduler { size, policy, flags, nice, priority, runtime, deadline, period })
}

fn flag_bit(flag: spec::SchedulerFlag) -> u64 {
    match flag {
        spec::SchedulerFlag::ResetOnFork => 0x01,
        spec::SchedulerFlag::Reclaim => 0x02,
        spec::SchedulerFlag::DlOverrun => 0x04,
        spec::SchedulerFlag::KeepPolicy => 0x08,
        spec::SchedulerFlag::KeepParams => 0x10,
        spec::SchedulerFlag::UtilClampMin => 0x20,
        spec::SchedulerFlag::UtilClampMax => 0x40,
    }
}

/// A list such as `0-3,7` as a mask for sched_setaffinity(2) and set_mempolicy(2).
pub(crate) fn cpu_mask(list: &str) -> Result<Vec<u64>> {
    const MAX: usize = 8192;
    let wrong =
        || Error::invalid(format!("{list:?}"), format!("want a list such as 0-3,7 below {MAX}"));
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < MAX);
        let (Some(first), Some(last)) = (number(first), number(last)) else { return Err(wrong()) };
        if first > last {
            return Err(wrong());
        }
        mask.resize(mask.len().max(last / 64 + 1), 0);
        for bit in first..=last {
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    Ok(mask)
}
