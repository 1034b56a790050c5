//! The plugin that lets another attach the pod.

use super::{BRIDGE_DRIFTS, bridge_v4};
use crate::subject::{Needs, Subject};
use lab::Lab;
use serde_json::{Value, json};

/// What flanneld writes: the subnets by the addresses of their gateways.
const SUBNET_FILE: &str = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.1.1/24\n\
    FLANNEL_IPV6_NETWORK=fd88::/56\nFLANNEL_IPV6_SUBNET=fd88:0:0:1::1/64\n\
    FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

fn conf(lab: &Lab) -> Value {
    let file = lab.conf_dir().join("subnet.env");
    std::fs::write(&file, SUBNET_FILE).expect("the subnet file");
    json!({"cniVersion": "1.1.0", "name": "net", "type": "flannel", "subnetFile": file,
        "dataDir": lab.data_dir().join("flannel"),
        "delegate": {"bridge": "cni0", "hairpinMode": true},
        "ipam": {"dataDir": lab.data_dir(), "routes": [{"dst": "0.0.0.0/0"}]}})
}

/// flannel, dual-stack, with bridge and host-local.
pub fn flannel_dual() -> Subject {
    Subject {
        name: "flannel_dual",
        plugin: "flannel",
        conf: &|lab, _| conf(lab),
        makes: &[
            "kind veth",
            "mtu 1450",
            "file: data/net/10.88.1.",
            "file: data/net/fd88:0:0:1:",
            "file: data/flannel/",
        ],
        drifts: BRIDGE_DRIFTS,
        wrong: &[
            ("/subnetFile", "5", "subnetFile"),
            ("/dataDir", "[]", "dataDir"),
            ("/delegate", "\"bridge\"", "delegate"),
            ("/delegate/type", "5", "delegate.type"),
            ("/delegate/mtu", "\"1500\"", "mtu"),
            ("/ipam", "\"host-local\"", "ipam"),
            ("/ipam/routes", "[{\"dst\": true}]", "ipam.routes[0].dst"),
            ("/runtimeConfig", "[]", "runtimeConfig"),
        ],
        invalid: &[
            ("/delegate/name", "\"x\"", "delegate.name"),
            ("/delegate/ipam", "{}", "delegate.ipam"),
            ("/delegate/type", "\"../bridge\"", "delegate"),
            ("/delegate/type", "\"flannel\"", "delegate.type"),
            ("/delegate/bridge", "\"a/b\"", "bridge"),
        ],
        // Its delegate is what it misses first, and its pool is not its configuration's.
        needs: Needs::NOTHING,
        ..bridge_v4()
    }
}
