//! Filter of system calls: config-linux.md, Seccomp.

use crate::wire::nullable;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Filter of system calls (config-linux.md, Seccomp).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// What happens to calls that no rule names.
    pub default_action: SeccompAction,
    /// Error of the default action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures beside the native one.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<SeccompArch>,
    /// Flags of seccomp(2).
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<SeccompFlag>,
    /// Socket of the agent that answers notifications.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<PathBuf>,
    /// Data handed to that agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// Rules.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SyscallRule>,
}

/// A rule for some system calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Names.
    pub names: Vec<String>,
    /// What happens.
    pub action: SeccompAction,
    /// Error of `SCMP_ACT_ERRNO`, or data of `SCMP_ACT_TRACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SyscallArg>,
}

/// A condition on an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallArg {
    /// Which, 0 to 5.
    pub index: u32,
    /// To compare with; the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// To compare the masked argument with.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: SeccompOp,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompAction {
    /// Kills the thread.
    #[serde(rename = "SCMP_ACT_KILL")]
    Kill,
    /// Kills the process.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// Kills the thread.
    #[serde(rename = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// Sends SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// Fails with an error.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// Asks the tracer.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// Is made.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// Is made and logged.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// Asks the agent.
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

impl SeccompAction {
    /// All values.
    pub const ALL: &'static [SeccompAction] = &[
        SeccompAction::Kill,
        SeccompAction::KillProcess,
        SeccompAction::KillThread,
        SeccompAction::Trap,
        SeccompAction::Errno,
        SeccompAction::Trace,
        SeccompAction::Allow,
        SeccompAction::Log,
        SeccompAction::Notify,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            SeccompAction::Kill => "SCMP_ACT_KILL",
            SeccompAction::KillProcess => "SCMP_ACT_KILL_PROCESS",
            SeccompAction::KillThread => "SCMP_ACT_KILL_THREAD",
            SeccompAction::Trap => "SCMP_ACT_TRAP",
            SeccompAction::Errno => "SCMP_ACT_ERRNO",
            SeccompAction::Trace => "SCMP_ACT_TRACE",
            SeccompAction::Allow => "SCMP_ACT_ALLOW",
            SeccompAction::Log => "SCMP_ACT_LOG",
            SeccompAction::Notify => "SCMP_ACT_NOTIFY",
        }
    }
}

/// Architectures.
#[allow(non_camel_case_types, reason = "x86_64 is the name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompArch {
    /// x86.
    #[serde(rename = "SCMP_ARCH_X86")]
    X86,
    /// x86_64.
    #[serde(rename = "SCMP_ARCH_X86_64")]
    X86_64,
    /// x32.
    #[serde(rename = "SCMP_ARCH_X32")]
    X32,
    /// arm.
    #[serde(rename = "SCMP_ARCH_ARM")]
    Arm,
    /// aarch64.
    #[serde(rename = "SCMP_ARCH_AARCH64")]
    Aarch64,
    /// mips.
    #[serde(rename = "SCMP_ARCH_MIPS")]
    Mips,
    /// mips64.
    #[serde(rename = "SCMP_ARCH_MIPS64")]
    Mips64,
    /// mips64n32.
    #[serde(rename = "SCMP_ARCH_MIPS64N32")]
    Mips64N32,
    /// mipsel.
    #[serde(rename = "SCMP_ARCH_MIPSEL")]
    Mipsel,
    /// mipsel64.
    #[serde(rename = "SCMP_ARCH_MIPSEL64")]
    Mipsel64,
    /// mipsel64n32.
    #[serde(rename = "SCMP_ARCH_MIPSEL64N32")]
    Mipsel64N32,
    /// ppc.
    #[serde(rename = "SCMP_ARCH_PPC")]
    Ppc,
    /// ppc64.
    #[serde(rename = "SCMP_ARCH_PPC64")]
    Ppc64,
    /// ppc64le.
    #[serde(rename = "SCMP_ARCH_PPC64LE")]
    Ppc64le,
    /// s390.
    #[serde(rename = "SCMP_ARCH_S390")]
    S390,
    /// s390x.
    #[serde(rename = "SCMP_ARCH_S390X")]
    S390x,
    /// parisc.
    #[serde(rename = "SCMP_ARCH_PARISC")]
    Parisc,
    /// parisc64.
    #[serde(rename = "SCMP_ARCH_PARISC64")]
    Parisc64,
    /// riscv64.
    #[serde(rename = "SCMP_ARCH_RISCV64")]
    Riscv64,
    /// loongarch64.
    #[serde(rename = "SCMP_ARCH_LOONGARCH64")]
    Loongarch64,
    /// m68k.
    #[serde(rename = "SCMP_ARCH_M68K")]
    M68k,
    /// sh.
    #[serde(rename = "SCMP_ARCH_SH")]
    Sh,
    /// sheb.
    #[serde(rename = "SCMP_ARCH_SHEB")]
    Sheb,
}

impl SeccompArch {
    /// All values.
    pub const ALL: &'static [SeccompArch] = &[
        SeccompArch::X86,
        SeccompArch::X86_64,
        SeccompArch::X32,
        SeccompArch::Arm,
        SeccompArch::Aarch64,
        SeccompArch::Mips,
        SeccompArch::Mips64,
        SeccompArch::Mips64N32,
        SeccompArch::Mipsel,
        SeccompArch::Mipsel64,
        SeccompArch::Mipsel64N32,
        SeccompArch::Ppc,
        SeccompArch::Ppc64,
        SeccompArch::Ppc64le,
        SeccompArch::S390,
        SeccompArch::S390x,
        SeccompArch::Parisc,
        SeccompArch::Parisc64,
        SeccompArch::Riscv64,
        SeccompArch::Loongarch64,
        SeccompArch::M68k,
        SeccompArch::Sh,
        SeccompArch::Sheb,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            SeccompArch::X86 => "SCMP_ARCH_X86",
            SeccompArch::X86_64 => "SCMP_ARCH_X86_64",
            SeccompArch::X32 => "SCMP_ARCH_X32",
            SeccompArch::Arm => "SCMP_ARCH_ARM",
            SeccompArch::Aarch64 => "SCMP_ARCH_AARCH64",
            SeccompArch::Mips => "SCMP_ARCH_MIPS",
            SeccompArch::Mips64 => "SCMP_ARCH_MIPS64",
            SeccompArch::Mips64N32 => "SCMP_ARCH_MIPS64N32",
            SeccompArch::Mipsel => "SCMP_ARCH_MIPSEL",
            SeccompArch::Mipsel64 => "SCMP_ARCH_MIPSEL64",
            SeccompArch::Mipsel64N32 => "SCMP_ARCH_MIPSEL64N32",
            SeccompArch::Ppc => "SCMP_ARCH_PPC",
            SeccompArch::Ppc64 => "SCMP_ARCH_PPC64",
            SeccompArch::Ppc64le => "SCMP_ARCH_PPC64LE",
            SeccompArch::S390 => "SCMP_ARCH_S390",
            SeccompArch::S390x => "SCMP_ARCH_S390X",
            SeccompArch::Parisc => "SCMP_ARCH_PARISC",
            SeccompArch::Parisc64 => "SCMP_ARCH_PARISC64",
            SeccompArch::Riscv64 => "SCMP_ARCH_RISCV64",
            SeccompArch::Loongarch64 => "SCMP_ARCH_LOONGARCH64",
            SeccompArch::M68k => "SCMP_ARCH_M68K",
            SeccompArch::Sh => "SCMP_ARCH_SH",
            SeccompArch::Sheb => "SCMP_ARCH_SHEB",
        }
    }
}

/// Flags of seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompFlag {
    /// All threads get the filter.
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    /// Actions but allowing are logged.
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    /// Speculation stays on.
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    /// A call under notification is only interrupted by fatal signals.
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillableRecv,
}

impl SeccompFlag {
    /// All values.
    pub const ALL: &'static [SeccompFlag] = &[
        SeccompFlag::Tsync,
        SeccompFlag::Log,
        SeccompFlag::SpecAllow,
        SeccompFlag::WaitKillableRecv,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            SeccompFlag::Tsync => "SECCOMP_FILTER_FLAG_TSYNC",
            SeccompFlag::Log => "SECCOMP_FILTER_FLAG_LOG",
            SeccompFlag::SpecAllow => "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            SeccompFlag::WaitKillableRecv => "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        }
    }
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SeccompOp {
    /// Not equal.
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    /// Less.
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    /// Less or equal.
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    /// Equal.
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    /// Greater or equal.
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    /// Greater.
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    /// Equal under a mask.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

impl SeccompOp {
    /// All values.
    pub const ALL: &'static [SeccompOp] = &[
        SeccompOp::Ne,
        SeccompOp::Lt,
        SeccompOp::Le,
        SeccompOp::Eq,
        SeccompOp::Ge,
        SeccompOp::Gt,
        SeccompOp::MaskedEq,
    ];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            SeccompOp::Ne => "SCMP_CMP_NE",
            SeccompOp::Lt => "SCMP_CMP_LT",
            SeccompOp::Le => "SCMP_CMP_LE",
            SeccompOp::Eq => "SCMP_CMP_EQ",
            SeccompOp::Ge => "SCMP_CMP_GE",
            SeccompOp::Gt => "SCMP_CMP_GT",
            SeccompOp::MaskedEq => "SCMP_CMP_MASKED_EQ",
        }
    }
}
