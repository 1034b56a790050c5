//! The bundles: one root file system, and configurations of two kinds.

use crate::error::{About, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Four namespaces, two mounts, no limits.
    Minimal,
    /// What a pod's container has: all namespaces but the user one, the default filter, dropped
    /// capabilities, masked and read-only paths, limits, ten mounts.
    Kubernetes,
}

impl Shape {
    pub(crate) const BOTH: [Shape; 2] = [Shape::Minimal, Shape::Kubernetes];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Shape::Minimal => "minimal",
            Shape::Kubernetes => "kubernetes",
        }
    }
}

/// Calls that need no capability and harm nobody, one a line.
const ALLOWED_CALLS: &str = include_str!("../../data/allowed-calls.txt");

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The root file system of every container: the payload, twice, and places for mounts.
pub(crate) fn make_rootfs(at: &Path, payload: &Path) -> Result<()> {
    for dir in ["proc", "dev", "sys", "etc", "run/secrets", "tmp"] {
        let dir = at.join(dir);
        std::fs::create_dir_all(&dir).about(dir.display())?;
    }
    for name in ["true", "pause"] {
        std::fs::copy(payload, at.join(name)).about(payload.display())?;
    }
    for file in ["etc/hosts", "etc/resolv.conf"] {
        std::fs::write(at.join(file), "").about(file)?;
    }
    Ok(())
}

/// Writes a bundle and gives its directory.
pub(crate) fn write(dir: &Path, config: &Value) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).about(dir.display())?;
    let file = dir.join("config.json");
    std::fs::write(&file, format!("{config:#}\n")).about(file.display())?;
    Ok(dir.to_owned())
}

/// What a configuration is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) shape: Shape,
    pub(crate) rootfs: &'a Path,
    /// A file of the host, mounted twice.
    pub(crate) shared: &'a Path,
    pub(crate) cgroup: &'a str,
    /// `/true` or `/pause`.
    pub(crate) program: &'a str,
}

/// The configuration.
pub(crate) fn config(subject: &Subject<'_>) -> Value {
    let mut config = json!({
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "root": { "path": subject.rootfs },
        "process": {
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": [subject.program],
            "env": ["PATH=/usr/bin:/bin"],
        },
        "mounts": [
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ],
        "linux": {
            "cgroupsPath": subject.cgroup,
            "namespaces": namespaces(&["pid", "mount", "ipc", "uts"]),
        },
    });
    if subject.shape == Shape::Kubernetes {
        dress(&mut config, subject);
    }
    config
}

fn namespaces(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({ "type": kind })).collect()
}

fn dress(config: &mut Value, subject: &Subject<'_>) {
    let all = ["pid", "mount", "ipc", "uts", "network", "cgroup"];
    config["linux"]["namespaces"] = namespaces(&all);
    config["linux"]["seccomp"] = seccomp();
    config["linux"]["maskedPaths"] = json!([
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware"
    ]);
    config["linux"]["readonlyPaths"] =
        json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    config["linux"]["resources"] = resources();
    let process = &mut config["process"];
    process["noNewPrivileges"] = true.into();
    process["oomScoreAdj"] = 999.into();
    process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }]);
    process["capabilities"] = json!({
        "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
    });
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.extend(more_mounts(subject.shared));
    }
}

fn more_mounts(shared: &Path) -> [Value; 8] {
    let safe = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&safe[..], more].concat();
    let shared = shared.display().to_string();
    [
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &safe),
        mount("/sys", "sysfs", "sysfs", &with(&["ro"])),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &with(&["relatime", "ro"])),
        mount("/dev/shm", "tmpfs", "shm", &with(&["mode=1777", "size=65536k"])),
        mount("/run/secrets", "tmpfs", "tmpfs", &with(&["size=1024k"])),
        mount("/etc/hosts", "bind", &shared, &["rbind", "rprivate", "ro"]),
        mount("/etc/resolv.conf", "bind", &shared, &["rbind", "rprivate", "rw"]),
    ]
}

fn mount(at: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": at, "type": kind, "source": source, "options": options })
}

fn resources() -> Value {
    let allow = |kind: &str, major: u32, minor: u32| json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": "rwm" });
    json!({
        "memory": { "limit": 134_217_728 },
        "cpu": { "shares": 102, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 1024 },
        "devices": [
            { "allow": false, "access": "rwm" },
            allow("c", 1, 3), allow("c", 1, 5), allow("c", 1, 7), allow("c", 1, 8),
            allow("c", 1, 9), allow("c", 5, 0), allow("c", 5, 2),
        ],
    })
}

/// The default filter of containers: everything is refused but these calls, some by argument.
pub(crate) fn seccomp() -> Value {
    let calls: Vec<&str> = ALLOWED_CALLS.lines().collect();
    let when = |call: &str, index: u32, value: u64, op: &str| json!({ "names": [call], "action": "SCMP_ACT_ALLOW", "args": [{ "index": index, "value": value, "op": op }] });
    let mut rules = vec![json!({ "names": calls, "action": "SCMP_ACT_ALLOW" })];
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        rules.push(when("personality", 0, persona, "SCMP_CMP_EQ"));
    }
    // AF_VSOCK reaches the host.
    rules.push(when("socket", 0, 40, "SCMP_CMP_NE"));
    rules.push(json!({
        "names": ["clone"], "action": "SCMP_ACT_ALLOW",
        // No flag that makes a namespace.
        "args": [{ "index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
    }));
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(shape: Shape) -> Value {
        let (rootfs, shared) = (Path::new("/r"), Path::new("/s"));
        config(&Subject { shape, rootfs, shared, cgroup: "/x", program: "/true" })
    }

    #[test]
    fn the_kubernetes_shape_has_all_of_it() {
        let config = subject(Shape::Kubernetes);
        assert_eq!(config["mounts"].as_array().unwrap().len(), 10);
        assert_eq!(config["linux"]["namespaces"].as_array().unwrap().len(), 6);
        assert!(ALLOWED_CALLS.lines().count() >= 350);
        assert_eq!(config["linux"]["maskedPaths"].as_array().unwrap().len(), 9);
    }

    #[test]
    fn the_allowed_calls_are_sorted_names() {
        let calls: Vec<_> = ALLOWED_CALLS.lines().collect();
        assert!(calls.is_sorted() && calls.contains(&"execve"));
        for refused in ["mount", "bpf", "init_module", "clone3", "ptrace"] {
            assert!(!calls.contains(&refused), "{refused}");
        }
    }

    #[test]
    fn the_minimal_shape_has_no_filter_and_no_limits() {
        let config = subject(Shape::Minimal);
        assert!(config["linux"]["seccomp"].is_null() && config["linux"]["resources"].is_null());
    }
}
