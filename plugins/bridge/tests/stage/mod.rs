//! What the tests of this plugin share: configurations, and a node with pods.
#![allow(dead_code, reason = "each test program uses its part")]

use lab::{Lab, Pod};
use serde_json::{Value, json};

/// A configuration of layer 2 only, with `more` keys.
pub(crate) fn plain(more: Value) -> Value {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge",
        "bridge": "cni0"});
    extend(&mut conf, more);
    conf
}

/// A dual-stack configuration with host-local, with `more` keys.
pub(crate) fn dual(lab: &Lab, more: Value) -> Value {
    let mut conf = plain(json!({"isDefaultGateway": true, "ipam": {
        "type": "host-local", "dataDir": lab.data_dir(),
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd88::/64"}]]}}));
    extend(&mut conf, more);
    conf
}

fn extend(conf: &mut Value, more: Value) {
    if let (Some(conf), Value::Object(more)) = (conf.as_object_mut(), more) {
        conf.extend(more);
    }
}

/// The name of the port on the node in a result.
pub(crate) fn port(result: &Value) -> &str {
    result["interfaces"][1]["name"].as_str().unwrap_or_default()
}

/// `conf` with `result` as `prevResult`.
pub(crate) fn with_result(conf: &Value, result: &Value) -> Value {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    conf
}

/// What the kernel says of one link, details included.
pub(crate) fn link(space: &lab::Ns, name: &str) -> Value {
    space.ip_json(&format!("-d link show dev {name}"))[0].clone()
}

/// The leases that are held.
pub(crate) fn leases(lab: &Lab) -> Vec<String> {
    let names = std::fs::read_dir(lab.data_dir().join("net")).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
}

/// ADD of `eth0`, which must succeed.
pub(crate) fn add(lab: &Lab, pod: &Pod, conf: &Value) -> Value {
    lab.plugin("bridge").add(pod, "eth0", conf).ok()
}

/// A lab, unless the kernel cannot.
pub(crate) fn lab_with_vlans(name: &str) -> Option<Lab> {
    let lab = Lab::new(name);
    let made =
        lab.node().exec("ip", &["link", "add", "x", "type", "bridge", "vlan_filtering", "1"]);
    if !made.status.success() {
        lab::skip("the kernel has no VLAN filtering on bridges");
        return None;
    }
    lab.node().ip("link del x");
    Some(lab)
}

/// The VLANs of a link, as (ID, flags).
pub(crate) fn vlans(lab: &Lab, name: &str) -> Vec<(u64, String)> {
    let out = lab.node().sh("bridge", &["-j", "vlan", "show", "dev", name]);
    let all: Value = serde_json::from_str(&out).unwrap_or_default();
    let list = all[0]["vlans"].as_array().cloned().unwrap_or_default();
    let entry = |v: &Value| {
        let first = v["vlan"].as_u64().unwrap_or_default();
        let last = v["vlanEnd"].as_u64().unwrap_or(first);
        let flags = v["flags"].to_string();
        (first..=last).map(move |id| (id, flags.clone())).collect::<Vec<_>>()
    };
    list.iter().flat_map(entry).collect()
}

/// The IDs of a link's VLANs.
pub(crate) fn ids(lab: &Lab, name: &str) -> Vec<u64> {
    vlans(lab, name).into_iter().map(|(id, _)| id).collect()
}
