//! Pods attached by vlan in the lab: what they can reach, what is reported, what is left. Needs root
//! and a kernel with VLAN links.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, Pod, for_golden};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// A node whose link `lan0` leads to a neighbour with 10.33.0.254 and fd33::254 in VLAN 100, and
/// 10.34.0.254 in VLAN 200.
fn node(name: &str) -> Option<(Lab, Pod)> {
    if !lab::kernel_makes("vlan") {
        return None;
    }
    let lab = Lab::new(name);
    let neighbour = lab::lan(&lab);
    neighbour.ip("addr flush dev eth0 scope global");
    for (id, address) in [(100, "10.33.0.254/24"), (200, "10.34.0.254/24")] {
        neighbour.ip(&format!("link add link eth0 name v{id} type vlan id {id}"));
        neighbour.ip(&format!("link set v{id} up"));
        neighbour.ip(&format!("addr add {address} dev v{id}"));
    }
    neighbour.ip("addr add fd33::254/64 dev v100 nodad");
    Some((lab, neighbour))
}

fn conf(lab: &Lab, id: u16) -> Value {
    lab::lan_conf(lab, "vlan", &json!({"master": "lan0", "vlanId": id}))
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn a_pod_is_in_its_vlan_and_in_no_other() {
    let Some((lab, _neighbour)) = node("vlan-reach") else { return };
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let before = lab.snapshot();
    let mut small = conf(&lab, 100);
    small["mtu"] = json!(1400);
    let result = lab.plugin("vlan").add(&a, "eth0", &small).ok();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&result, &a), golden);
    for neighbour in ["10.33.0.254", "fd33::254"] {
        a.ping(parse(neighbour)).expect("the same VLAN");
    }
    let mut other = conf(&lab, 200);
    other["ipam"] = json!({"type": "static", "addresses": [{"address": "10.34.0.1/24"},
        {"address": "10.33.0.9/24"}]});
    lab.plugin("vlan").add(&b, "eth0", &other).ok();
    b.ping(parse("10.34.0.254")).expect("the same VLAN");
    b.ping_within(parse("10.33.0.254"), Duration::from_millis(400)).expect_err("another VLAN");
    lab.plugin("vlan").check(&a, "eth0", &small, &result).ok();
    let mut moved = small.clone();
    moved["vlanId"] = json!(101);
    let drift = lab.plugin("vlan").check(&a, "eth0", &moved, &result).error();
    assert!(drift["msg"].as_str().is_some_and(|msg| msg.contains("VLAN 100")), "{drift}");
    lab.plugin("vlan").del(&a, "eth0", &small).ok();
    lab.plugin("vlan").del(&b, "eth0", &other).ok();
    before.assert_same(&lab.snapshot());
}

#[test]
fn a_vlan_of_a_link_goes_to_one_pod() {
    let Some((lab, _neighbour)) = node("vlan-taken") else { return };
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    lab.plugin("vlan").add(&a, "eth0", &conf(&lab, 100)).ok();
    let before = lab.snapshot();
    let refused = lab.plugin("vlan").add(&b, "eth0", &conf(&lab, 100)).error();
    assert_eq!(refused["code"], 102, "{refused}");
    assert!(refused["msg"].as_str().is_some_and(|msg| msg.contains("VLAN 100 of lan0")));
    before.assert_same(&lab.snapshot());
    lab.plugin("vlan").del(&a, "eth0", &conf(&lab, 100)).ok();
    lab.plugin("vlan").add(&b, "eth0", &conf(&lab, 100)).ok();
}

#[test]
fn a_master_in_the_pod_is_used() {
    let Some((lab, neighbour)) = node("vlan-inside") else { return };
    let mut conf = conf(&lab, 300);
    conf["master"] = json!("eth0");
    conf["linkInContainer"] = json!(true);
    lab.plugin("vlan").add(&neighbour, "v0", &conf).ok();
    assert!(neighbour.ip("link show v0").contains("v0@eth0"));
    lab.plugin("vlan").del(&neighbour, "v0", &conf).ok();
    assert!(!neighbour.has_link("v0"));
}

#[test]
fn a_failure_leaves_nothing_and_a_lost_master_strands_nobody() {
    let Some((lab, _neighbour)) = node("vlan-fail") else { return };
    let a = lab.pod("a");
    let before = lab.snapshot();
    for (key, value, text) in
        [("mtu", json!(9000), "mtu 9000"), ("master", json!("nosuch0"), "nosuch0")]
    {
        let mut conf = conf(&lab, 100);
        conf[key] = value;
        let failed = lab.plugin("vlan").add(&a, "eth0", &conf).error();
        assert!(failed["msg"].as_str().is_some_and(|msg| msg.contains(text)), "{failed}");
        assert_eq!(lab.plugin("vlan").status(&conf).error()["code"], 50);
    }
    assert!(!a.has_link("eth0"));
    before.assert_same(&lab.snapshot());
    lab.plugin("vlan").add(&a, "eth0", &conf(&lab, 100)).ok();
    lab.node().ip("link del lan0");
    lab.plugin("vlan").del(&a, "eth0", &conf(&lab, 100)).ok();
    assert!(lab.snapshot().matching("data/net/10.33.").is_empty(), "DEL keeps the lease");
}
