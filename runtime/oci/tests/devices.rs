//! Network devices of the host in a container.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

mod support;

use lab::Lab;
use serde_json::json;
use support::{Room, errors, text};

/// A host with a pair of devices, one of them for containers.
fn host(name: &str) -> Lab {
    let lab = Lab::new(name);
    let node = lab.node();
    node.ip("link add d0 type veth peer name d1");
    node.ip("link set d0 mtu 1400 address 02:00:5e:00:53:07 up");
    node.ip("link set d1 up");
    for address in
        ["192.0.2.7/24", "198.51.100.7/32", "203.0.113.9/24 scope link", "2001:db8::7/64 nodad"]
    {
        node.ip(&format!("address add {address} dev d0"));
    }
    lab
}

/// What lasts, and is of all scopes.
const KEPT: [&str; 3] = ["192.0.2.7/24", "198.51.100.7/32", "2001:db8::7/64"];

#[test]
fn a_device_moves_with_what_is_its_own_and_stays_in_its_namespace() {
    let Some(mut room) = Room::new("ip -o link show dev eth7; ip -o address show dev eth7") else {
        return;
    };
    let lab = host("oci-device");
    let pod = lab.pod("p");
    room.config["linux"]["namespaces"][1] = json!({"type": "network", "path": pod.path()});
    room.set("/linux/netDevices", json!({"d0": {"name": "eth7"}}));
    let seen = text(&lab.node().run(|| room.whole()));
    for word in KEPT.iter().chain(&["mtu 1400", "02:00:5e:00:53:07", "UP"]) {
        assert!(seen.contains(word), "{word}: {seen}");
    }
    assert!(!seen.contains("203.0.113.9"), "an address of the link's scope: {seen}");
    assert!(!lab.node().has_link("d0"));
    assert_eq!(pod.addresses("eth7"), KEPT, "the namespace's owner has it");
    // The second time it is not there.
    let failed = errors(&lab.node().run(|| room.whole()));
    assert!(failed.contains("linux.netDevices") && failed.contains("d0"), "{failed}");
    room.assert_gone();
}

#[test]
fn a_namespace_of_the_container_takes_it_along() {
    let Some(mut room) = Room::new("ip link show dev d0") else { return };
    let lab = host("oci-device-own");
    room.set("/linux/netDevices", json!({"d0": {}}));
    assert!(text(&lab.node().run(|| room.whole())).contains("d0"));
    lab::until("the pair is gone", support::PATIENCE, || !lab.node().has_link("d1"));
}

#[test]
fn names_are_free_or_the_kernels_choice() {
    let Some(mut room) = Room::new("true") else { return };
    let lab = host("oci-device-name");
    let pod = lab.pod("p");
    pod.ip("link add eth0 type veth peer name other");
    room.config["linux"]["namespaces"][1] = json!({"type": "network", "path": pod.path()});
    room.set("/linux/netDevices", json!({"d0": {"name": "eth0"}}));
    let failed = errors(&lab.node().run(|| room.whole()));
    assert!(failed.contains("already"), "{failed}");
    assert_eq!(lab.node().addresses("d0"), KEPT, "it was not touched");
    room.set("/linux/netDevices", json!({"d0": {"name": "eth%d"}, "d1": {"name": "eth%d"}}));
    text(&lab.node().run(|| room.whole()));
    assert!(pod.has_link("eth1") && pod.has_link("eth2"));
    assert_eq!(pod.addresses("eth1"), KEPT);
    room.assert_gone();
}

#[test]
fn a_creation_that_fails_gives_it_back() {
    let Some(mut room) = Room::new("true") else { return };
    let lab = host("oci-device-back");
    let pod = lab.pod("p");
    room.config["linux"]["namespaces"][1] = json!({"type": "network", "path": pod.path()});
    room.set("/linux/netDevices", json!({"d0": {"name": "eth7"}, "d1": {}}));
    room.set("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]}));
    let failed = errors(&lab.node().run(|| room.whole()));
    assert!(failed.contains("createRuntime"), "{failed}");
    assert_eq!(lab.node().addresses("d0"), KEPT);
    assert!(lab.node().has_link("d1") && !pod.has_link("eth7") && !pod.has_link("d1"));
    let up = lab.node().ip("link show dev d0");
    assert!(up.contains("UP"), "{up}");
    // A device that is not there is told, and the others come back.
    room.set("/linux/netDevices", json!({"d0": {}, "d9": {}}));
    let failed = errors(&lab.node().run(|| room.whole()));
    assert!(failed.contains("d9"), "{failed}");
    assert!(lab.node().has_link("d0") && !pod.has_link("d0"));
    room.assert_gone();
}
