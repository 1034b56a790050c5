//! Capabilities by name, as bit masks.

/// Names in the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Highest capability that is known, by number.
pub(crate) const LAST: u32 = NAMES.len() as u32 - 1;

/// `CAP_SYS_RESOURCE` as a mask.
pub(crate) const SYS_RESOURCE: u64 = 1 << 24;

/// The five sets of a process, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// The capability's number; any case, with or without `CAP_`.
pub(crate) fn number(name: &str) -> Option<u32> {
    let name = name.to_ascii_uppercase();
    let short = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES.iter().position(|known| *known == short).map(|n| n as u32)
}

/// All names, as configurations write them.
pub(crate) fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

impl Sets {
    /// The sets of a configuration. Names that no kernel of today knows are left out and told of:
    /// the specification wants a warning, not a failure.
    pub(crate) fn new(wire: &runtime_spec::Capabilities, warnings: &mut Vec<String>) -> Sets {
        let mut mask = |names: &[String]| {
            names.iter().fold(0_u64, |mask, name| match number(name) {
                Some(bit) => mask | (1 << bit),
                None => {
                    warnings
                        .push(format!("ignoring unknown or unavailable capabilities: [{name}]"));
                    mask
                }
            })
        };
        let (bounding, effective) = (mask(&wire.bounding), mask(&wire.effective));
        let (permitted, inheritable) = (mask(&wire.permitted), mask(&wire.inheritable));
        let ambient = mask(&wire.ambient);
        // A capability can only be ambient while it is permitted and inheritable.
        let vain = ambient & !(permitted & inheritable);
        warnings.extend(names().enumerate().filter(|(bit, _)| vain & (1 << bit) != 0).map(
            |(_, name)| {
                format!(
                    "can't raise ambient capability {name}: it is not permitted and inheritable"
                )
            },
        ));
        let ambient = ambient & !vain;
        Sets { bounding, effective: effective & permitted, permitted, inheritable, ambient }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, bit) in
            [("CAP_CHOWN", 0), ("sys_admin", 21), ("CAP_SETFCAP", 31), ("CAP_BPF", 39)]
        {
            assert_eq!(number(name), Some(bit), "{name}");
        }
        assert_eq!(number("CAP_FLY"), None);
        assert_eq!(number("CAP_SYS_RESOURCE").map(|n| 1 << n), Some(SYS_RESOURCE));
    }

    #[test]
    fn unknown_names_warn_and_ambient_needs_inheritable() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let wire = runtime_spec::Capabilities {
            permitted: list(&["CAP_KILL", "CAP_FLY"]),
            ambient: list(&["CAP_KILL"]),
            ..Default::default()
        };
        let mut warnings = Vec::new();
        let sets = Sets::new(&wire, &mut warnings);
        assert_eq!((sets.permitted, sets.ambient, sets.inheritable), (1 << 5, 0, 0));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[1].contains("ambient capability CAP_KILL"), "{warnings:?}");
    }
}
