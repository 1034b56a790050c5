//! What `verbose` tells: JSON by the key `info`, under which clients look for `pid` and the like.

use container::Container;
use sandbox::{Attached, Namespaces, Pid, Sandbox};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

/// Largest OCI configuration that is shown, in bytes.
const LARGEST_SPEC: u64 = 4 << 20;

fn info(shown: &Value) -> HashMap<String, String> {
    HashMap::from([("info".to_owned(), shown.to_string())])
}

/// Of a pod.
pub(crate) fn pod_info(pod: &Sandbox) -> HashMap<String, String> {
    let network = pod.network();
    let shim = pod.shim().map(|shim| json!({ "pid": shim.about().pid, "dir": shim.dir() }));
    let attachment = |one: &Attached| {
        let result: Value = serde_json::from_str(&one.result).unwrap_or_default();
        json!({ "network": one.network, "interface": one.ifname, "result": result })
    };
    let attachments: Vec<Value> = network.attachments.iter().map(attachment).collect();
    info(&json!({
        "sandboxID": pod.id(),
        "state": format!("{:?}", pod.state()),
        "reason": pod.reason(),
        "runtimeHandler": pod.handler(),
        "shim": shim.unwrap_or_else(|e| json!({ "error": e.to_string() })),
        "hostname": pod.hostname(),
        "cgroupParent": pod.cgroup_parent(),
        "runDir": pod.run_dir(),
        "stateDir": pod.state_dir(),
        "namespaces": namespaces(pod.namespaces()),
        "networkNamespace": network.netns,
        "ips": network.ips,
        "attachments": attachments,
    }))
}

fn namespaces(spaces: &Namespaces) -> Value {
    let pid = match &spaces.pid {
        Pid::Container => "container".to_owned(),
        Pid::Node => "node".to_owned(),
        Pid::Pod(path) => path.display().to_string(),
    };
    json!({
        "network": spaces.net,
        "ipc": spaces.ipc,
        "uts": spaces.uts,
        "pid": pid,
        "user": spaces.user.as_ref().map(|user| &user.path),
    })
}

/// Of a container, with the OCI configuration that it was made from.
pub(crate) fn container_info(container: &Container) -> HashMap<String, String> {
    let status = container.status();
    info(&json!({
        "sandboxID": container.sandbox_id(),
        "pid": status.pid,
        "snapshotKey": container.snapshot(),
        "runtimeHandler": container.handler(),
        "cgroupsPath": container.cgroups_path(),
        "runDir": container.run_dir(),
        "stateDir": container.state_dir(),
        "runtimeSpec": spec(container),
    }))
}

/// The bundle's configuration; null for a container whose bundle is gone, as after a boot.
fn spec(container: &Container) -> Value {
    let mut text = Vec::new();
    let file = File::open(container.run_dir().join("config.json"));
    let read = file.and_then(|file| file.take(LARGEST_SPEC).read_to_end(&mut text));
    read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or(Value::Null)
}
