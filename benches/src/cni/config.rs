//! Network configurations of the scenarios.

use super::Backend;
use crate::node::Node;
use serde_json::{Value, json};

/// The network of every scenario; large enough for 20,000 leases.
pub(crate) const SUBNET: &str = "10.64.0.0/16";
/// Its gateway.
pub(crate) const GATEWAY: &str = "10.64.0.1";
/// Its prefix length.
pub(crate) const PREFIX: u8 = 16;
/// The name of every network.
pub(crate) const NETWORK: &str = "bench";
/// The bridge of every node.
pub(crate) const BRIDGE: &str = "cni0";

fn ipam(node: &Node) -> Value {
    json!({ "type": "host-local", "dataDir": node.data(), "ranges": [[{ "subnet": SUBNET }]] })
}

/// A bridge that is the pods' gateway.
pub(crate) fn bridge(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": NETWORK, "type": "bridge", "bridge": BRIDGE,
        "isGateway": true, "isDefaultGateway": true, "ipam": ipam(node),
    })
}

/// The same with traffic to the outside masqueraded.
pub(crate) fn masquerade(node: &Node, backend: Backend) -> Value {
    let mut config = bridge(node);
    config["ipMasq"] = json!(true);
    config["ipMasqBackend"] = json!(backend.as_str());
    config
}

/// A link of its own for every pod.
pub(crate) fn ptp(node: &Node) -> Value {
    network(node, "ptp", json!({}))
}

/// A network of `plugin` with addresses and a default route.
pub(crate) fn network(node: &Node, plugin: &str, keys: Value) -> Value {
    let mut ipam = ipam(node);
    ipam["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    let mut config =
        json!({ "cniVersion": "1.0.0", "name": NETWORK, "type": plugin, "ipam": ipam });
    if let (Some(config), Value::Object(keys)) = (config.as_object_mut(), keys) {
        config.extend(keys);
    }
    config
}

/// Addresses alone.
pub(crate) fn host_local(node: &Node) -> Value {
    json!({ "cniVersion": "1.0.0", "name": NETWORK, "type": "host-local", "ipam": ipam(node) })
}

/// `mappings` ports, TCP and UDP in turn, from host port `first` on, behind an attachment that
/// another plugin made before.
pub(crate) fn portmap(node: &Node, backend: Backend, first: usize, mappings: usize) -> Value {
    let ports: Vec<Value> = (0..mappings)
        .map(|n| {
            let protocol = if n % 2 == 0 { "tcp" } else { "udp" };
            json!({ "hostPort": first + n, "containerPort": 80 + n, "protocol": protocol })
        })
        .collect();
    json!({
        "cniVersion": "1.0.0", "name": NETWORK, "type": "portmap", "backend": backend.as_str(),
        "capabilities": { "portMappings": true }, "runtimeConfig": { "portMappings": ports },
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": BRIDGE },
                { "name": "veth0" },
                { "name": "eth0", "sandbox": node.pod(0) },
            ],
            "ips": [{ "address": format!("10.64.0.2/{PREFIX}"), "gateway": GATEWAY, "interface": 2 }],
        },
    })
}
