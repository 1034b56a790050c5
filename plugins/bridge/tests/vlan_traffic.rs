//! VLANs: which packets pass, and what is left of them. Needs root and a kernel with VLAN
//! filtering on bridges.

mod stage;

use lab::{Lab, Pod};
use serde_json::{Value, json};
use stage::{add, dual, ids, lab_with_vlans, link, plain, port, vlans};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Long enough for an answer, had there been one: the others come within a millisecond.
const IN_VAIN: Duration = Duration::from_millis(400);

/// A pod of layer 2 with the address 192.0.2.`host`.
fn member(lab: &Lab, host: u8, more: Value) -> (Pod, IpAddr) {
    let pod = lab.pod(&format!("p{host}"));
    add(lab, &pod, &plain(more));
    pod.ip(&format!("addr add 192.0.2.{host}/24 dev eth0"));
    (pod, Ipv4Addr::new(192, 0, 2, host).into())
}

#[test]
fn pods_reach_each_other_within_a_vlan_only() {
    let Some(lab) = lab_with_vlans("vlan-apart") else { return };
    let (a, _) = member(&lab, 1, json!({"vlan": 100}));
    let (_b, same) = member(&lab, 2, json!({"vlan": 100}));
    let (c, other) = member(&lab, 3, json!({"vlan": 200}));
    let (d, none) = member(&lab, 4, json!({}));
    a.ping(same).expect("the same VLAN");
    for stranger in [other, none] {
        a.ping_within(stranger, IN_VAIN).expect_err("another VLAN");
    }
    c.ping_within(same, IN_VAIN).expect_err("another VLAN");
    d.ping_within(same, IN_VAIN).expect_err("VLAN 1 is not the pods'");
}

#[test]
fn isolated_pods_reach_only_those_that_are_not() {
    let Some(lab) = lab_with_vlans("vlan-isolated") else { return };
    let (a, _) = member(&lab, 1, json!({"vlan": 100, "portIsolation": true}));
    let (_b, isolated) = member(&lab, 2, json!({"vlan": 100, "portIsolation": true}));
    let (_c, open) = member(&lab, 3, json!({"vlan": 100}));
    a.ping(open).expect("a port that is not isolated");
    a.ping_within(isolated, IN_VAIN).expect_err("an isolated port");
}

#[test]
fn a_trunk_carries_its_vlans_tagged() {
    let Some(lab) = lab_with_vlans("vlan-trunk") else { return };
    let (trunk, _) = member(&lab, 1, json!({"vlanTrunk": [{"minID": 99, "maxID": 101}]}));
    trunk.ip("addr flush dev eth0");
    for (id, host) in [(100, 11), (200, 12)] {
        let link = format!("link add link eth0 name v{id} type vlan id {id}");
        if !trunk.exec("ip", &link.split(' ').collect::<Vec<_>>()).status.success() {
            lab::skip("the kernel has no VLAN links");
            return;
        }
        trunk.ip(&format!("addr add 192.0.2.{host}/32 dev v{id}"));
        trunk.ip(&format!("link set v{id} up"));
    }
    let (_b, inside) = member(&lab, 2, json!({"vlan": 100}));
    let (_c, outside) = member(&lab, 3, json!({"vlan": 200}));
    trunk.ip("route add 192.0.2.2 dev v100 src 192.0.2.11");
    trunk.ip("route add 192.0.2.3 dev v200 src 192.0.2.12");
    trunk.ping(inside).expect("VLAN 100 through the trunk");
    trunk.ping_within(outside, IN_VAIN).expect_err("VLAN 200 is not in the trunk");
}

#[test]
fn a_forged_hardware_address_is_dropped() {
    let lab = Lab::new("bridge-forged");
    forged(&lab, &json!({"macspoofchk": true})).expect("without VLANs");
    let Some(lab) = lab_with_vlans("vlan-forged") else { return };
    forged(&lab, &json!({"macspoofchk": true, "vlan": 100})).expect("in a VLAN");
}

fn forged(lab: &Lab, more: &Value) -> Result<(), String> {
    let (a, _) = member(lab, 1, more.clone());
    let (_b, other) = member(lab, 2, more.clone());
    a.ping(other)?;
    let own = link(&a, "eth0")["address"].as_str().unwrap_or_default().to_owned();
    a.ip("link set eth0 address 02:00:00:00:00:99");
    assert!(a.ping_within(other, IN_VAIN).is_err(), "a forged address passed");
    a.ip(&format!("link set eth0 address {own}"));
    a.ping(other)
}

#[test]
fn vlans_are_those_of_the_reference() {
    let Some(reference) = lab::reference() else { return };
    let Some(lab) = lab_with_vlans("vlan-reference") else { return };
    // Of the reference, 1.6 brought CNI 1.1.0; before 1.8 every port was in VLAN 1 too, and before
    // 1.3 there were no trunks.
    let versions = lab.plugin_of(&reference, "bridge").version("1.0.0").ok();
    if !versions.to_string().contains("\"1.1.0\"") {
        return lab::skip("the reference plugins installed here are too old to compare VLANs");
    }
    let all = [
        json!({"vlan": 100}),
        json!({"vlan": 1}),
        json!({"vlan": 100, "preserveDefaultVlan": true}),
        json!({"vlanTrunk": [{"id": 30}, {"minID": 10, "maxID": 12}]}),
        json!({"vlanTrunk": [{"id": 30}], "preserveDefaultVlan": true}),
        json!({"vlan": 100, "vlanTrunk": [{"id": 30}, {"minID": 10, "maxID": 12}]}),
        json!({"vlan": 100, "vlanTrunk": [{"minID": 1, "maxID": 3}]}),
        json!({"vlanTrunk": [{"minID": 1, "maxID": 3}]}),
        json!({"vlanTrunk": []}),
    ];
    for (index, more) in all.into_iter().enumerate() {
        let mut conf = plain(more);
        let (pod, twin) = (lab.pod(&format!("a{index}")), lab.pod(&format!("b{index}")));
        let ours = add(&lab, &pod, &conf);
        // The reference of CNI 1.1.0 still knows this, which says the same.
        conf["cniVersion"] = json!("1.0.0");
        let theirs = lab.plugin_of(&reference, "bridge").add(&twin, "eth0", &conf);
        if !theirs.success() {
            lab::skip(&format!("the reference plugin does not know {conf}: {theirs}"));
            continue;
        }
        assert_eq!(vlans(&lab, port(&ours)), vlans(&lab, port(&theirs.ok())), "{conf}");
        lab.plugin("bridge").del(&twin, "eth0", &conf).ok();
        assert!(!twin.has_link("eth0"));
    }
}

#[test]
fn hosts_outside_see_the_nodes_address() {
    let Some(lab) = lab_with_vlans("vlan-masquerade") else { return };
    let (pod, outside) = (lab.pod("a"), lab.outside("host", &["192.0.2.0/24", "2001:db8::/64"]));
    add(&lab, &pod, &dual(&lab, json!({"vlan": 100, "ipMasq": true, "macspoofchk": true})));
    let _server = outside.tcp_echo(80);
    for index in [0, 1] {
        let reply = pod.tcp((outside.address(index), 80).into()).expect("the host outside");
        assert_eq!(reply.seen.ip(), outside.node_address(index));
    }
}

#[test]
fn two_vlans_of_a_bridge_are_joined_by_routing_only() {
    let Some(lab) = lab_with_vlans("vlan-routed") else { return };
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    add(&lab, &a, &dual(&lab, json!({"vlan": 100})));
    let mut conf = dual(&lab, json!({"vlan": 200, "name": "other"}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.89.0.0/16"}], [{"subnet": "fd89::/64"}]]);
    let other = add(&lab, &b, &conf);
    for index in [0, 1] {
        a.ping(lab::address(&other, index)).expect("through the node");
    }
    lab.node().ip("link set cni0.200 down");
    a.ping_within(lab::address(&other, 0), IN_VAIN).expect_err("no way but through the node");
    // What routes advertisements from pods would make is nothing the node wants.
    for name in ["cni0", "cni0.100", "cni0.200"] {
        assert_eq!(lab.node().sysctl(&format!("net/ipv6/conf/{name}/accept_ra")), "0", "{name}");
    }
}

#[test]
fn del_and_gc_leave_the_gateway_and_nothing_of_the_pod() {
    let Some(lab) = lab_with_vlans("vlan-removal") else { return };
    let (first, pod) = (lab.pod("first"), lab.pod("a"));
    let conf = dual(
        &lab,
        json!({"vlan": 100, "ipMasq": true, "macspoofchk": true,
        "vlanTrunk": [{"id": 300}]}),
    );
    add(&lab, &first, &conf);
    let before = lab.snapshot();
    let result = add(&lab, &pod, &conf);
    lab.plugin("bridge").check(&pod, "eth0", &conf, &result).ok();
    lab.plugin("bridge").del(&pod, "eth0", &conf).ok();
    before.assert_same(&lab.snapshot());
    lab.plugin("bridge").del(&pod, "eth0", &conf).ok();
    add(&lab, &pod, &conf);
    lab.plugin("bridge").gc(&conf, &[(first.id(), "eth0")]).ok();
    before.assert_same(&lab.snapshot());
    first.ping(Ipv4Addr::new(10, 88, 0, 1).into()).expect("the gateway");
}

#[test]
fn a_gateway_that_a_killed_add_left_half_made_is_completed() {
    let Some(lab) = lab_with_vlans("vlan-half") else { return };
    let (first, pod) = (lab.pod("first"), lab.pod("a"));
    let conf = dual(&lab, json!({"vlan": 100}));
    let result = add(&lab, &first, &conf);
    let peer = link(lab.node(), "cni0.100")["link"].as_str().unwrap_or_default().to_owned();
    assert_eq!(ids(&lab, &peer), [100]);
    lab.node().sh("bridge", &["vlan", "del", "vid", "100", "dev", &peer]);
    lab.node().sh("bridge", &["vlan", "add", "vid", "1", "pvid", "untagged", "dev", &peer]);
    lab.node().ip("link set cni0.100 down");
    lab.node().ip("addr flush dev cni0.100");
    let outcome = lab.plugin("bridge").check(&first, "eth0", &conf, &result);
    assert!(outcome.msg().contains("cni0.100"), "{outcome}");
    add(&lab, &pod, &conf);
    assert_eq!(ids(&lab, &peer), [100]);
    for space in [&first, &pod] {
        space.ping(Ipv4Addr::new(10, 88, 0, 1).into()).expect("the gateway");
    }
    lab.plugin("bridge").check(&first, "eth0", &conf, &result).ok();
}

#[test]
fn every_drift_of_vlans_is_named() {
    let Some(lab) = lab_with_vlans("vlan-drift") else { return };
    let conf = dual(&lab, json!({"vlan": 100, "vlanTrunk": [{"minID": 10, "maxID": 12}]}));
    for (index, (command, want)) in [
        ("bridge vlan del vid 11 dev PORT", "VLANs 10 to 12"),
        ("bridge vlan add vid 100 untagged dev PORT", "VLAN 100"),
        ("bridge vlan add vid 1 untagged dev PORT", "VLAN 1"),
        ("bridge vlan del vid 100 dev GATEWAY", "VLAN 100"),
        ("ip link set cni0.100 down", "cni0.100"),
        ("ip link set cni0 type bridge vlan_filtering 0", "VLANs apart"),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = lab.pod(&format!("a{index}"));
        let result = add(&lab, &pod, &conf);
        lab.plugin("bridge").check(&pod, "eth0", &conf, &result).ok();
        let gateway = link(lab.node(), "cni0.100")["link"].as_str().unwrap_or_default().to_owned();
        let command = command.replace("PORT", port(&result)).replace("GATEWAY", &gateway);
        let words: Vec<_> = command.split(' ').collect();
        lab.node().sh(words[0], &words[1..]);
        let outcome = lab.plugin("bridge").check(&pod, "eth0", &conf, &result);
        assert_eq!(outcome.code(), 103, "{command}: {outcome}");
        assert!(outcome.msg().contains(want), "{command}: {outcome}");
        lab.plugin("bridge").del(&pod, "eth0", &conf).ok();
    }
}
