//! What this runtime can do (features.md).

use crate::capability;
use runtime_spec::{
    CgroupFeatures, Enabled, Features, LinuxFeatures, MemoryPolicyFeatures, MemoryPolicyFlag,
    MemoryPolicyMode, MountExtensions, NamespaceKind, RdtFeatures, SeccompAction, SeccompFeatures,
    SeccompFlag, SeccompOp,
};

const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Options of mounts (config.md, Linux mount options).
const MOUNT_OPTIONS: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime \
    loud mand noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime \
    nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev \
    rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro \
    rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime \
    suid symfollow sync tmpcopyup unbindable idmap ridmap";

fn texts(words: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// What this runtime can do, whatever the host has.
pub fn features() -> Features {
    let on = || Some(Enabled { enabled: Some(true) });
    let linux = LinuxFeatures {
        namespaces: texts(NamespaceKind::ALL.iter().map(|kind| kind.name())),
        capabilities: capability::names().collect(),
        cgroup: Some(CgroupFeatures {
            v1: Some(true),
            v2: Some(true),
            systemd: Some(true),
            systemd_user: Some(true),
            rdma: Some(true),
        }),
        seccomp: Some(SeccompFeatures {
            enabled: Some(true),
            actions: texts(SeccompAction::ALL.iter().map(|action| action.name())),
            operators: texts(SeccompOp::ALL.iter().map(|op| op.name())),
            archs: texts([
                "SCMP_ARCH_X86_64",
                "SCMP_ARCH_X86",
                "SCMP_ARCH_X32",
                "SCMP_ARCH_AARCH64",
                "SCMP_ARCH_ARM",
            ]),
            known_flags: texts(SeccompFlag::ALL.iter().map(|flag| flag.name())),
            supported_flags: texts(SeccompFlag::ALL.iter().map(|flag| flag.name())),
        }),
        apparmor: on(),
        selinux: on(),
        intel_rdt: Some(RdtFeatures {
            enabled: Some(true),
            schemata: Some(true),
            monitoring: Some(true),
        }),
        memory_policy: Some(MemoryPolicyFeatures {
            modes: texts(MemoryPolicyMode::ALL.iter().map(|mode| mode.name())),
            flags: texts(MemoryPolicyFlag::ALL.iter().map(|flag| flag.name())),
        }),
        mount_extensions: Some(MountExtensions { idmap: on() }),
        net_devices: on(),
    };
    Features {
        oci_version_min: runtime_spec::VERSION_MIN.to_owned(),
        oci_version_max: runtime_spec::VERSION.to_owned(),
        hooks: texts(HOOKS),
        mount_options: texts(MOUNT_OPTIONS.split_whitespace()),
        linux: Some(linux),
        annotations: std::collections::BTreeMap::from([(
            "io.podloom.oci.version".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        )]),
        potentially_unsafe_config_annotations: texts(["org.systemd.property."]),
    }
}
