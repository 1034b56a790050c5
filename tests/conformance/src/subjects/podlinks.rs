//! Plugins whose interface is wholly in the pod.

use super::{IPAM_WRONG, POD_DRIFTS, bridge_v4, network};
use crate::subject::Subject;
use lab::{Drift, Lab};
use serde_json::json;

/// Sees that the node has a link `lan0` for others to be on top of.
fn below(lab: &Lab) {
    if !lab.node().has_link("lan0") {
        lab.node().ip("link add lan0 type veth peer name lan1");
        lab.node().ip("link set lan0 up");
        lab.node().ip("link set lan1 up");
    }
}

const LEASES: &[&str] = &["file: data/net/10.88.", "file: data/net/fd88:"];

/// macvlan on a link of the node.
pub fn macvlan_dual() -> Subject {
    Subject {
        name: "macvlan_dual",
        plugin: "macvlan",
        conf: &|lab, _| {
            below(lab);
            network("macvlan", lab, true, json!({"master": "lan0"}))
        },
        makes: LEASES,
        drifts: POD_DRIFTS,
        collects: false,
        wrong: &[("/mtu", "\"1500\"", "mtu"), ("/master", "5", "master"), IPAM_WRONG],
        invalid: &[
            ("/mtu", "67", "mtu"),
            ("/mode", "\"l2\"", "mode"),
            ("/mac", "\"x\"", "mac"),
            ("/master", "\"nosuch0\"", "master"),
        ],
        ..bridge_v4()
    }
}

/// ipvlan on a link of the node.
pub fn ipvlan_dual() -> Subject {
    Subject {
        name: "ipvlan_dual",
        plugin: "ipvlan",
        kernel: "ipvlan",
        conf: &|lab, _| {
            below(lab);
            network("ipvlan", lab, true, json!({"master": "lan0"}))
        },
        // Its hardware address is that of the link below, and changes with it.
        drifts: &[
            (Drift::LinkDeleted, "eth0"),
            (Drift::LinkDown, "eth0"),
            (Drift::AddressDeleted, "10.88."),
            (Drift::RoutesDeleted, "0.0.0.0/0"),
            (Drift::MtuChanged, "eth0"),
            (Drift::LeasesDeleted, "10.88."),
        ],
        invalid: &[
            ("/mtu", "67", "mtu"),
            ("/mode", "\"bridge\"", "mode"),
            ("/master", "\"nosuch0\"", "master"),
            ("/ipam", "{}", "ipam"),
        ],
        sweep: 3,
        ..macvlan_dual()
    }
}

/// vlan on a link of the node; each pod in a VLAN of its own.
pub fn vlan_dual() -> Subject {
    Subject {
        name: "vlan_dual",
        plugin: "vlan",
        kernel: "vlan",
        conf: &|lab, number| {
            below(lab);
            network("vlan", lab, true, json!({"master": "lan0", "vlanId": 100 + u16::from(number)}))
        },
        wrong: &[("/vlanId", "\"5\"", "vlanId"), ("/master", "5", "master"), IPAM_WRONG],
        invalid: &[
            ("/mtu", "67", "mtu"),
            ("/vlanId", "4095", "vlanId"),
            ("/master", "\"\"", "master"),
            ("/master", "\"nosuch0\"", "master"),
        ],
        sweep: 3,
        ..macvlan_dual()
    }
}

/// dummy.
pub fn dummy_dual() -> Subject {
    Subject {
        name: "dummy_dual",
        plugin: "dummy",
        kernel: "dummy",
        conf: &|lab, _| network("dummy", lab, true, json!({})),
        wrong: &[("/dns", "5", "dns"), IPAM_WRONG],
        invalid: &[("/ipam", "{}", "ipam")],
        sweep: 3,
        ..macvlan_dual()
    }
}

/// host-device with one device for each pod.
pub fn host_device_dual() -> Subject {
    Subject {
        name: "host_device_dual",
        plugin: "host-device",
        conf: &|lab, number| {
            let device = format!("dev{number}");
            if number > 0
                && !lab.node().has_link(&device)
                && !lab.node().has_link(&format!("far{number}"))
            {
                lab.node().ip(&format!("link add {device} type veth peer name far{number}"));
            }
            network("host-device", lab, true, json!({"device": device}))
        },
        // A device that is deleted, or gets another size, does not come back as it was.
        drifts: &[
            (Drift::LinkDown, "eth0"),
            (Drift::AddressDeleted, "10.88."),
            (Drift::RoutesDeleted, "0.0.0.0/0"),
            (Drift::LeasesDeleted, "10.88."),
        ],
        wrong: &[
            ("/device", "5", "device"),
            ("/runtimeConfig/deviceID", "5", "runtimeConfig.deviceID"),
            IPAM_WRONG,
        ],
        invalid: &[
            ("/device", "\"a/b\"", "device"),
            ("/device", "\"nosuch0\"", "nosuch0"),
            ("/device", "\"lo\"", "lo"),
            ("/runtimeConfig/deviceID", "\"../x\"", "deviceID"),
        ],
        sweep: 3,
        ..macvlan_dual()
    }
}

/// tap with addresses.
pub fn tap_dual() -> Subject {
    Subject {
        name: "tap_dual",
        plugin: "tap",
        conf: &|lab, _| network("tap", lab, true, json!({"multiQueue": true, "owner": 107})),
        wrong: &[
            ("/multiQueue", "\"x\"", "multiQueue"),
            ("/owner", "\"root\"", "owner"),
            IPAM_WRONG,
        ],
        invalid: &[
            ("/mtu", "67", "mtu"),
            ("/mac", "\"x\"", "mac"),
            ("/bridge", "\"nosuch0\"", "nosuch0"),
        ],
        sweep: 3,
        ..macvlan_dual()
    }
}
