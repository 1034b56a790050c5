//! The built-in filter of system calls: what programs need, without what reaches past the container.

use crate::{Error, Kind, Result};
use runtime_spec::{Capabilities, Seccomp, SeccompAction, SyscallRule};
use std::sync::OnceLock;

/// What all containers may call.
const BASE: &str = include_str!("seccomp.json");

/// Calls that a capability brings with it, because the kernel asks for it in any case.
const BY_CAPABILITY: &[(&str, &[&str])] = &[
    ("CAP_BPF", &["bpf"]),
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_CHROOT", &["chroot"]),
    ("CAP_SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp", "process_madvise"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYSLOG", &["syslog"]),
    (
        "CAP_SYS_ADMIN",
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
];

/// [`BASE`], read once: every container has it.
fn base() -> Result<Seccomp> {
    static READ: OnceLock<Seccomp> = OnceLock::new();
    if let Some(read) = READ.get() {
        return Ok(read.clone());
    }
    let read = parse(BASE.as_bytes(), "built-in seccomp profile")?;
    Ok(READ.get_or_init(|| read).clone())
}

/// The filter of a process with these capabilities.
///
/// # Errors
/// Never, but for a faulty build.
pub(crate) fn built_in(capabilities: &Capabilities) -> Result<Seccomp> {
    let mut profile = base()?;
    let has = |name: &str| capabilities.bounding.iter().any(|own| own == name);
    let mut more: Vec<&str> = BY_CAPABILITY
        .iter()
        .filter(|(capability, _)| has(capability))
        .flat_map(|(_, calls)| *calls)
        .copied()
        .collect();
    more.sort_unstable();
    more.dedup();
    if more.is_empty() {
        return Ok(profile);
    }
    // What is allowed as a whole needs no rules on its arguments, and no other answer.
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| !more.contains(&name.as_str()));
    }
    profile.syscalls.retain(|rule| !rule.names.is_empty());
    profile.syscalls.push(SyscallRule {
        names: more.into_iter().map(str::to_owned).collect(),
        action: SeccompAction::Allow,
        errno_ret: None,
        args: Vec::new(),
    });
    Ok(profile)
}

/// Reads a profile.
///
/// # Errors
/// It is no profile of the runtime specification.
pub(crate) fn parse(text: &[u8], subject: &str) -> Result<Seccomp> {
    serde_json::from_slice(text).map_err(|e| {
        let e = Error::new(Kind::Invalid, subject, format!("is no seccomp profile: {e}"));
        e.with_advice("write it as linux.seccomp of the OCI runtime specification")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp::compile;

    fn with(capabilities: &[&str]) -> Seccomp {
        let bounding = capabilities.iter().map(|c| (*c).to_owned()).collect();
        built_in(&Capabilities { bounding, ..Capabilities::default() }).expect("a profile")
    }

    fn allows(profile: &Seccomp, call: &str) -> bool {
        profile.syscalls.iter().any(|rule| {
            rule.action == SeccompAction::Allow
                && rule.args.is_empty()
                && rule.names.iter().any(|name| name == call)
        })
    }

    #[test]
    fn capabilities_bring_their_calls() {
        let plain = with(&[]);
        for call in ["mount", "bpf", "clone", "unshare", "keyctl", "io_uring_setup", "syslog"] {
            assert!(!allows(&plain, call), "{call}");
        }
        for call in ["read", "openat", "futex", "chroot", "ptrace"] {
            assert!(allows(&plain, call), "{call}");
        }
        let admin = with(&["CAP_SYS_ADMIN"]);
        for call in ["mount", "clone", "clone3", "unshare"] {
            assert!(allows(&admin, call), "{call}");
        }
        assert!(!allows(&admin, "keyctl"));
        assert!(allows(&with(&["CAP_SYS_TIME"]), "clock_settime"));
    }

    #[test]
    fn every_shape_of_the_profile_compiles() {
        let all: Vec<_> = BY_CAPABILITY.iter().map(|(capability, _)| *capability).collect();
        for set in [&all[..0], &all[..1], &all[..]] {
            let program = compile(&with(set)).expect("compiles");
            let unknown = program.warnings();
            assert!(unknown.is_empty(), "{unknown:?}");
        }
    }
}
