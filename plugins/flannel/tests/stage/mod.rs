//! Nodes as flanneld leaves them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by several test programs; a test's helper fails the test"
)]

use lab::Lab;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where flanneld writes on this node.
pub fn subnet_file(lab: &Lab) -> PathBuf {
    lab.conf_dir().join("subnet.env")
}

/// What flanneld writes on node `number` of a dual-stack cluster: the subnets by the addresses of
/// their gateways.
pub fn flanneld(lab: &Lab, number: u8, mtu: u32) {
    let text = format!(
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.{number}.1/24\n\
         FLANNEL_IPV6_NETWORK=fd00:244::/56\nFLANNEL_IPV6_SUBNET=fd00:244:0:{number}::1/64\n\
         FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
    );
    std::fs::write(subnet_file(lab), text).expect("the subnet file");
}

/// The network of this name, as kube-flannel configures it.
pub fn network(lab: &Lab, name: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": name, "type": "flannel",
        "subnetFile": subnet_file(lab), "dataDir": lab.data_dir().join("flannel"),
        "delegate": {"hairpinMode": true, "isDefaultGateway": true},
        "ipam": {"dataDir": lab.data_dir()}})
}

/// The records on the node.
pub fn records(lab: &Lab) -> Vec<String> {
    let entries = std::fs::read_dir(lab.data_dir().join("flannel")).into_iter().flatten();
    let mut names: Vec<_> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The leases of a network.
pub fn leases(lab: &Lab, network: &str) -> usize {
    lab.snapshot().matching(&format!("file: data/{network}/")).len()
}
