//! A process: config.md, Process.

use crate::wire::{is_false, nullable};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A process of a container (config.md, Process).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal as its standard streams.
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminal: bool,
    /// Size of the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    #[serde(default)]
    pub user: User,
    /// Program and arguments.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The whole environment, `KEY=value`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working directory, absolute.
    #[serde(default)]
    pub cwd: PathBuf,
    /// Capabilities; without it the process has those of the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Limits of resources.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Whether execve can gain no privileges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_new_privileges: bool,
    /// AppArmor profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// Adjustment of the score for the out-of-memory killer, -1000 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// Priority of its input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// Scheduling policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Processors of a process that is added to the container.
    #[serde(rename = "execCPUAffinity", default, skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// Size of a terminal, in characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Who a process runs as (config.md, POSIX-platform User).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User ID in the container.
    #[serde(default)]
    pub uid: u32,
    /// Group ID in the container.
    #[serde(default)]
    pub gid: u32,
    /// File mode creation mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// Name, of other platforms; not used here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Sets of capabilities, by name such as `CAP_CHOWN`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The bounding set.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// The effective set.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// The inheritable set.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// The permitted set.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// The ambient set.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// One limit of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rlimit {
    /// Name such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Limit in force.
    pub soft: u64,
    /// Ceiling of the soft limit.
    pub hard: u64,
}

/// Priority of input and output, as of ioprio_set(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IoPriority {
    /// Class.
    pub class: IoPriorityClass,
    /// Priority within the class, 0 (highest) to 7.
    #[serde(default)]
    pub priority: i64,
}

/// Classes of input and output priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IoPriorityClass {
    /// Always first.
    #[serde(rename = "IOPRIO_CLASS_RT")]
    RealTime,
    /// The usual one.
    #[serde(rename = "IOPRIO_CLASS_BE")]
    BestEffort,
    /// Only when nobody else asks.
    #[serde(rename = "IOPRIO_CLASS_IDLE")]
    Idle,
}

impl IoPriorityClass {
    /// All values.
    pub const ALL: &'static [IoPriorityClass] =
        &[IoPriorityClass::RealTime, IoPriorityClass::BestEffort, IoPriorityClass::Idle];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            IoPriorityClass::RealTime => "IOPRIO_CLASS_RT",
            IoPriorityClass::BestEffort => "IOPRIO_CLASS_BE",
            IoPriorityClass::Idle => "IOPRIO_CLASS_IDLE",
        }
    }
}

/// Scheduling policy, as of sched_setattr(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// Policy.
    pub policy: SchedulerPolicy,
    /// Nice value of `SCHED_OTHER` and `SCHED_BATCH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// Static priority of `SCHED_FIFO` and `SCHED_RR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Flags.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<SchedulerFlag>,
    /// Run time of `SCHED_DEADLINE`, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<u64>,
    /// Deadline of `SCHED_DEADLINE`, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Period of `SCHED_DEADLINE`, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
}

/// Scheduling policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SchedulerPolicy {
    /// The usual one.
    #[serde(rename = "SCHED_OTHER")]
    Other,
    /// First in, first out.
    #[serde(rename = "SCHED_FIFO")]
    Fifo,
    /// Round robin.
    #[serde(rename = "SCHED_RR")]
    RoundRobin,
    /// Batch.
    #[serde(rename = "SCHED_BATCH")]
    Batch,
    /// Reserved by the kernel; not implemented there.
    #[serde(rename = "SCHED_ISO")]
    Iso,
    /// Idle.
    #[serde(rename = "SCHED_IDLE")]
    Idle,
    /// Deadlines.
    #[serde(rename = "SCHED_DEADLINE")]
    Deadline,
}

impl SchedulerPolicy {
    /// All values.
    pub const ALL: &'static [SchedulerPolicy] = &[
        SchedulerPolicy::Other,
        SchedulerPolicy::Fifo,
        SchedulerPolicy::RoundRobin,
        SchedulerPolicy::Batch,
        SchedulerPolicy::Iso,
        SchedulerPolicy::Idle,
        SchedulerPolicy::Deadline,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            SchedulerPolicy::Other => "SCHED_OTHER",
            SchedulerPolicy::Fifo => "SCHED_FIFO",
            SchedulerPolicy::RoundRobin => "SCHED_RR",
            SchedulerPolicy::Batch => "SCHED_BATCH",
            SchedulerPolicy::Iso => "SCHED_ISO",
            SchedulerPolicy::Idle => "SCHED_IDLE",
            SchedulerPolicy::Deadline => "SCHED_DEADLINE",
        }
    }
}

/// Flags of a scheduling policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SchedulerFlag {
    /// Children start with the usual policy.
    #[serde(rename = "SCHED_FLAG_RESET_ON_FORK")]
    ResetOnFork,
    /// Reclaims unused run time.
    #[serde(rename = "SCHED_FLAG_RECLAIM")]
    Reclaim,
    /// Signals an overrun.
    #[serde(rename = "SCHED_FLAG_DL_OVERRUN")]
    DlOverrun,
    /// Keeps the policy.
    #[serde(rename = "SCHED_FLAG_KEEP_POLICY")]
    KeepPolicy,
    /// Keeps the parameters.
    #[serde(rename = "SCHED_FLAG_KEEP_PARAMS")]
    KeepParams,
    /// Clamps utilisation from below.
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MIN")]
    UtilClampMin,
    /// Clamps utilisation from above.
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MAX")]
    UtilClampMax,
}

impl SchedulerFlag {
    /// All values.
    pub const ALL: &'static [SchedulerFlag] = &[
        SchedulerFlag::ResetOnFork,
        SchedulerFlag::Reclaim,
        SchedulerFlag::DlOverrun,
        SchedulerFlag::KeepPolicy,
        SchedulerFlag::KeepParams,
        SchedulerFlag::UtilClampMin,
        SchedulerFlag::UtilClampMax,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            SchedulerFlag::ResetOnFork => "SCHED_FLAG_RESET_ON_FORK",
            SchedulerFlag::Reclaim => "SCHED_FLAG_RECLAIM",
            SchedulerFlag::DlOverrun => "SCHED_FLAG_DL_OVERRUN",
            SchedulerFlag::KeepPolicy => "SCHED_FLAG_KEEP_POLICY",
            SchedulerFlag::KeepParams => "SCHED_FLAG_KEEP_PARAMS",
            SchedulerFlag::UtilClampMin => "SCHED_FLAG_UTIL_CLAMP_MIN",
            SchedulerFlag::UtilClampMax => "SCHED_FLAG_UTIL_CLAMP_MAX",
        }
    }
}

/// Processors of an added process, as lists such as `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuAffinity {
    /// While the runtime sets it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// Once it runs.
    #[serde(rename = "final", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}
