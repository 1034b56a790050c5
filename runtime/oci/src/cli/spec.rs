//! spec: a configuration to start from.

use super::Call;
use super::flags::{Flag, Given, switch, value_or};
use oci::{Error, Result};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

pub(super) fn spec(call: &Call) -> Result<u8> {
    const FLAGS: [Flag; 2] = [value_or("bundle", 'b'), switch("rootless")];
    let given = Given::read(&FLAGS, &call.args, true)?;
    let path = Path::new(given.get("bundle").unwrap_or(".")).join("config.json");
    let mut document = template();
    if given.has("rootless") {
        make_rootless(&mut document);
    }
    let fail =
        |error: std::io::Error| Error::invalid(path.display().to_string(), error.to_string());
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Error::invalid("configuration", error.to_string()))?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(fail)?;
    file.write_all(format!("{text}\n").as_bytes()).map_err(fail)?;
    Ok(0)
}

fn template() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": runtime_spec::VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "podloom",
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces(),
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Those of runc: on cgroup v1 a namespace for groups is left to who wants it.
fn namespaces() -> Vec<Value> {
    let groups = cgroup::Layout::detect().is_ok_and(|found| found.mode() == cgroup::Mode::V2);
    let kinds = ["pid", "network", "ipc", "uts", "mount"].into_iter();
    kinds.chain(groups.then_some("cgroup")).map(|kind| json!({"type": kind})).collect()
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
    ])
}

/// What a user without root's rights can have: a user namespace with itself as root, the host's
/// network, and mounts that need neither.
fn make_rootless(document: &mut Value) {
    let ids = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    let linux = &mut document["linux"];
    linux["uidMappings"] = map(ids[0]);
    linux["gidMappings"] = map(ids[1]);
    linux["resources"] = Value::Null;
    if let Some(list) = linux["namespaces"].as_array_mut() {
        list.retain(|namespace| namespace["type"] != "network");
        list.push(json!({"type": "user"}));
    }
    let Some(mounts) = document["mounts"].as_array_mut() else { return };
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    for mount in mounts {
        if mount["destination"] == "/sys" {
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
        }
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}
