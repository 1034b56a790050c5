//! A profile checked and put in terms of the kernel: verdicts, comparisons, rows of the table.

use crate::error::{Error, Warning};
use crate::table::{self, Row};
use runtime_spec::{Seccomp, SeccompAction, SeccompFlag, SeccompOp, SyscallArg, SyscallRule};

/// Largest error number (`MAX_ERRNO`); the kernel would cut larger ones to it.
const MAX_ERRNO: u32 = 4095;
/// Data of a verdict that goes to a tracer has 16 bits.
const MAX_DATA: u32 = 0xffff;
const EPERM: u32 = 1;
/// `SECCOMP_RET_*` of linux/seccomp.h.
const KILL_PROCESS: u32 = 0x8000_0000;
/// Kills the thread; also what calls of unlisted architectures get.
pub(crate) const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
/// What calls newer than the profile get.
pub(crate) const ENOSYS: u32 = ERRNO | 38;
/// What the runtime tells its failures with after the filter is installed: an agent that does not
/// have the listener yet would never answer.
const REPORTING: &str = "write";

/// How a masked argument compares with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) index: u8,
    pub(crate) mask: u64,
    pub(crate) compare: Compare,
    pub(crate) value: u64,
}

/// Conditions that must all hold, and the verdict then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alternative {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) verdict: u32,
}

/// A checked profile.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Verdict of calls without rules.
    pub(crate) default: u32,
    /// Whether calls newer than the profile fail with `ENOSYS`.
    pub(crate) newer_unknown: bool,
    pub(crate) alternatives: Vec<Alternative>,
    /// Calls and an alternative of theirs, in the order of the profile.
    pub(crate) rules: Vec<(Row, u32)>,
    /// All calls that the profile names.
    pub(crate) named: Vec<Row>,
    pub(crate) warnings: Vec<Warning>,
    /// Whether a verdict asks the agent.
    pub(crate) listens: bool,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(crate) flags: u32,
}

impl Plan {
    /// Checks a profile.
    pub(crate) fn new(profile: &Seccomp) -> Result<Self, Error> {
        if profile.default_action == SeccompAction::Notify {
            return Err(Error::NotifyDefault);
        }
        let subject = || "linux.seccomp.defaultAction".to_owned();
        let default = verdict(profile.default_action, profile.default_errno_ret, subject)?;
        let mut plan = Self {
            default,
            newer_unknown: !matches!(default & 0xffff_0000, ALLOW | LOG | TRACE)
                && default != ENOSYS,
            alternatives: Vec::with_capacity(profile.syscalls.len()),
            rules: Vec::with_capacity(512),
            named: Vec::with_capacity(512),
            warnings: Vec::new(),
            listens: false,
            flags: 0,
        };
        for (number, rule) in profile.syscalls.iter().enumerate() {
            plan.add(profile, rule, number)?;
        }
        plan.flags = flags(&profile.flags, plan.listens);
        Ok(plan)
    }

    fn add(&mut self, profile: &Seccomp, rule: &SyscallRule, number: usize) -> Result<(), Error> {
        let subject = || format!("linux.seccomp.syscalls[{number}]");
        let verdict = verdict(rule.action, rule.errno_ret, subject)?;
        if rule.action == SeccompAction::Notify {
            notifiable(profile, rule, subject)?;
            self.listens = true;
        }
        let conditions = rule
            .args
            .iter()
            .map(|arg| condition(arg, subject))
            .collect::<Result<Vec<Condition>, Error>>()?;
        let redundant = verdict == self.default;
        let first = self.alternatives.len();
        if !redundant {
            self.alternatives.extend(alternatives(&conditions, verdict));
        }
        let own = first as u32..self.alternatives.len() as u32;
        for name in &rule.names {
            if name.is_empty() {
                return Err(Error::EmptyName { subject: subject() });
            }
            let Some(row) = table::row(name) else {
                self.unknown(name);
                continue;
            };
            self.named.push(row);
            if redundant {
                continue;
            }
            self.rules.extend(own.clone().map(|alternative| (row, alternative)));
            if let Some((through, call)) = multiplexed(name) {
                self.add_multiplexed(through, call, (conditions.is_empty(), verdict));
            }
        }
        Ok(())
    }

    /// A rule for the same job done through `socketcall` or `ipc`. Conditions on arguments in
    /// memory cannot be checked; where they matter, the stricter verdict wins.
    fn add_multiplexed(&mut self, through: &str, call: Condition, rule: (bool, u32)) {
        let (unconditional, verdict) = rule;
        let Some(row) = table::row(through) else { return };
        if unconditional || stricter(verdict, self.default) {
            self.rules.push((row, self.alternatives.len() as u32));
            self.alternatives.push(Alternative { conditions: vec![call], verdict });
        }
    }

    fn unknown(&mut self, name: &str) {
        let warning = Warning::UnknownCall(name.to_owned());
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// The verdict of an action.
fn verdict(
    action: SeccompAction,
    number: Option<u32>,
    subject: impl Fn() -> String,
) -> Result<u32, Error> {
    let with = |base: u32, max: u32| {
        let value = number.unwrap_or(EPERM);
        if value > max {
            return Err(Error::ErrnoTooLarge { subject: subject(), value, max });
        }
        Ok(base | value)
    };
    let plain = match action {
        SeccompAction::Errno => return with(ERRNO, MAX_ERRNO),
        SeccompAction::Trace => return with(TRACE, MAX_DATA),
        SeccompAction::Kill | SeccompAction::KillThread => KILL_THREAD,
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::Trap => TRAP,
        SeccompAction::Allow => ALLOW,
        SeccompAction::Log => LOG,
        SeccompAction::Notify => NOTIFY,
    };
    match number {
        None => Ok(plain),
        Some(_) => Err(Error::ErrnoNotTaken { subject: subject(), action }),
    }
}

fn notifiable(
    profile: &Seccomp,
    rule: &SyscallRule,
    subject: impl Fn() -> String,
) -> Result<(), Error> {
    if profile.listener_path.is_none() {
        return Err(Error::ListenerMissing { subject: subject() });
    }
    match rule.names.iter().find(|name| *name == REPORTING) {
        Some(name) => Err(Error::NotifyRefused { subject: subject(), name: name.clone() }),
        None => Ok(()),
    }
}

fn condition(arg: &SyscallArg, subject: impl Fn() -> String) -> Result<Condition, Error> {
    if arg.index > 5 {
        return Err(Error::ArgumentIndex { subject: subject(), index: arg.index });
    }
    let (mask, compare, value) = match arg.op {
        SeccompOp::Ne => (u64::MAX, Compare::Unequal, arg.value),
        SeccompOp::Lt => (u64::MAX, Compare::Less, arg.value),
        SeccompOp::Le => (u64::MAX, Compare::LessOrEqual, arg.value),
        SeccompOp::Eq => (u64::MAX, Compare::Equal, arg.value),
        SeccompOp::Ge => (u64::MAX, Compare::GreaterOrEqual, arg.value),
        SeccompOp::Gt => (u64::MAX, Compare::Greater, arg.value),
        SeccompOp::MaskedEq => (arg.value, Compare::Equal, arg.value_two & arg.value),
    };
    Ok(Condition { index: arg.index as u8, mask, compare, value })
}

/// One alternative; or one for each condition, if an argument is named twice.
fn alternatives(conditions: &[Condition], verdict: u32) -> Vec<Alternative> {
    let twice = conditions.iter().enumerate().any(|(at, condition)| {
        conditions[..at].iter().any(|earlier| earlier.index == condition.index)
    });
    if !twice {
        return vec![Alternative { conditions: conditions.to_vec(), verdict }];
    }
    conditions
        .iter()
        .map(|condition| Alternative { conditions: vec![*condition], verdict })
        .collect()
}

/// Whether the kernel prefers the first of two verdicts: it compares actions as signed numbers.
fn stricter(one: u32, other: u32) -> bool {
    let rank = |verdict: u32| (verdict & 0xffff_0000).cast_signed();
    rank(one) < rank(other)
}

/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
pub(crate) mod flag {
    pub(crate) const TSYNC: u32 = 1;
    pub(crate) const LOG: u32 = 1 << 1;
    pub(crate) const SPEC_ALLOW: u32 = 1 << 2;
    pub(crate) const NEW_LISTENER: u32 = 1 << 3;
    pub(crate) const TSYNC_ESRCH: u32 = 1 << 4;
    pub(crate) const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

fn flags(wanted: &[SeccompFlag], listens: bool) -> u32 {
    let mut flags = if listens { flag::NEW_LISTENER } else { 0 };
    for wish in wanted {
        flags |= match wish {
            // With a listener the kernel cannot return the thread that failed.
            SeccompFlag::Tsync if listens => flag::TSYNC | flag::TSYNC_ESRCH,
            SeccompFlag::Tsync => flag::TSYNC,
            SeccompFlag::Log => flag::LOG,
            SeccompFlag::SpecAllow => flag::SPEC_ALLOW,
            // It is about listeners only, and refused by the kernel without one.
            SeccompFlag::WaitKillableRecv if listens => flag::WAIT_KILLABLE_RECV,
            SeccompFlag::WaitKillableRecv => 0,
        };
    }
    flags
}

/// How a call is made through `socketcall` (linux/net.h) or `ipc` (linux/ipc.h).
fn multiplexed(name: &str) -> Option<(&'static str, Condition)> {
    let socket = |number| (number, u64::MAX, "socketcall");
    // The upper half of ipc's number is a version.
    let ipc = |number| (number, 0xffff, "ipc");
    let (value, mask, through) = match name {
        "socket" => socket(1),
        "bind" => socket(2),
        "connect" => socket(3),
        "listen" => socket(4),
        "accept" => socket(5),
        "getsockname" => socket(6),
        "getpeername" => socket(7),
        "socketpair" => socket(8),
        "send" => socket(9),
        "recv" => socket(10),
        "sendto" => socket(11),
        "recvfrom" => socket(12),
        "shutdown" => socket(13),
        "setsockopt" => socket(14),
        "getsockopt" => socket(15),
        "sendmsg" => socket(16),
        "recvmsg" => socket(17),
        "accept4" => socket(18),
        "recvmmsg" => socket(19),
        "sendmmsg" => socket(20),
        "semop" => ipc(1),
        "semget" => ipc(2),
        "semctl" => ipc(3),
        "semtimedop" => ipc(4),
        "msgsnd" => ipc(11),
        "msgrcv" => ipc(12),
        "msgget" => ipc(13),
        "msgctl" => ipc(14),
        "shmat" => ipc(21),
        "shmdt" => ipc(22),
        "shmget" => ipc(23),
        "shmctl" => ipc(24),
        _ => return None,
    };
    Some((through, Condition { index: 0, mask, compare: Compare::Equal, value }))
}
