//! Pods attached by ipvlan in the lab: what they can reach, what is reported, what is left. Needs
//! root and a kernel with ipvlan.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, Pod, address, for_golden};
use serde_json::{Value, json};
use std::net::IpAddr;

/// A node whose link `lan0` leads to a neighbour with 10.33.0.254 and fd33::254.
fn node(name: &str) -> Option<(Lab, Pod)> {
    if !lab::kernel_makes("ipvlan") {
        return None;
    }
    let lab = Lab::new(name);
    let neighbour = lab::lan(&lab);
    Some((lab, neighbour))
}

fn conf(lab: &Lab) -> Value {
    lab::lan_conf(lab, "ipvlan", &json!({"master": "lan0"}))
}

fn with(lab: &Lab, key: &str, value: Value) -> Value {
    let mut conf = conf(lab);
    conf[key] = value;
    conf
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn pods_share_the_address_of_the_link_and_reach_all_at_once() {
    let Some((lab, _neighbour)) = node("ipvlan-reach") else { return };
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let before = lab.snapshot();
    let first = lab.plugin("ipvlan").add(&a, "eth0", &with(&lab, "mtu", json!(1400))).ok();
    let second = lab.plugin("ipvlan").add(&b, "eth0", &conf(&lab)).ok();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&first, &a), golden);
    assert_eq!(b.ip("-6 addr show scope global tentative"), "");
    for index in [0, 1] {
        a.ping(address(&second, index)).expect("pod");
        b.ping(parse(["10.33.0.254", "fd33::254"][index])).expect("neighbour");
    }
    let below = lab.node().ip_json("link show lan0");
    assert_eq!(first["interfaces"][0]["mac"], below[0]["address"]);
    lab.plugin("ipvlan").check(&a, "eth0", &with(&lab, "mtu", json!(1400)), &first).ok();
    for pod in [&a, &b] {
        lab.plugin("ipvlan").del(pod, "eth0", &conf(&lab)).ok();
        assert!(!pod.ip("link show").contains("eth0"));
    }
    before.assert_same(&lab.snapshot());
}

#[test]
fn the_link_routes_for_pods_of_layer_3() {
    for mode in ["l3", "l3s"] {
        let Some((lab, neighbour)) = node("ipvlan-routed") else { return };
        let a = lab.pod("a");
        let mut conf = with(&lab, "mode", json!(mode));
        conf["ipam"] = json!({"type": "static", "addresses": [{"address": "10.55.0.1/32"}]});
        let result = lab.plugin("ipvlan").add(&a, "eth0", &conf).ok();
        a.ip("route add default dev eth0");
        // The neighbour finds the pod behind the node's own address.
        lab.node().ip("addr add 10.33.0.253/24 dev lan0");
        neighbour.ip("route add 10.55.0.0/24 via 10.33.0.253");
        a.ping(parse("10.33.0.254")).expect("neighbour");
        let mut other = conf.clone();
        other["mode"] = json!("l2");
        let drift = lab.plugin("ipvlan").check(&a, "eth0", &other, &result).error();
        assert!(drift["msg"].as_str().is_some_and(|msg| msg.contains("mode")), "{drift}");
        lab.plugin("ipvlan").check(&a, "eth0", &conf, &result).ok();
    }
}

#[test]
fn an_earlier_plugin_gives_the_link_and_the_addresses() {
    let Some((lab, _neighbour)) = node("ipvlan-chained") else { return };
    let a = lab.pod("a");
    let mut conf = with(&lab, "master", json!(""));
    conf["prevResult"] = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "lan0"}],
        "ips": [{"address": "10.33.0.77/24", "gateway": "10.33.0.254"}],
        "routes": [{"dst": "0.0.0.0/0"}]});
    conf["ipam"].take();
    let result = lab.plugin("ipvlan").add(&a, "eth0", &conf).ok();
    assert_eq!(result["ips"][0]["interface"], 0, "{result}");
    assert_eq!(a.addresses("eth0"), ["10.33.0.77/24"]);
    a.ping(parse("10.33.0.254")).expect("neighbour");
    lab.plugin("ipvlan").check(&a, "eth0", &conf, &result).ok();
    lab.plugin("ipvlan").del(&a, "eth0", &conf).ok();
    assert!(!a.ip("link show").contains("eth0"));
}

#[test]
fn a_master_in_the_pod_is_used() {
    let Some((lab, neighbour)) = node("ipvlan-inside") else { return };
    let mut conf = with(&lab, "master", json!("eth0"));
    conf["linkInContainer"] = json!(true);
    lab.plugin("ipvlan").add(&neighbour, "ip0", &conf).ok();
    assert!(neighbour.ip("link show ip0").contains("ip0@eth0"));
    lab.plugin("ipvlan").del(&neighbour, "ip0", &conf).ok();
    assert!(!neighbour.ip("link show").contains("ip0"));
}

#[test]
fn a_failure_leaves_nothing_and_can_be_tried_again() {
    let Some((lab, _neighbour)) = node("ipvlan-fail") else { return };
    let a = lab.pod("a");
    let before = lab.snapshot();
    let mut wrong = conf(&lab);
    wrong["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "192.0.2.1"}]);
    let failed = lab.plugin("ipvlan").add(&a, "eth0", &wrong).error();
    assert!(failed["msg"].as_str().is_some_and(|text| text.contains("10.99.0.0/16")), "{failed}");
    assert!(!a.ip("link show").contains("eth0"), "the link stays");
    before.assert_same(&lab.snapshot());
    for (key, value, text) in
        [("mtu", json!(9000), "mtu 9000"), ("master", json!("nosuch0"), "nosuch0")]
    {
        let conf = with(&lab, key, value);
        let failed = lab.plugin("ipvlan").add(&a, "eth0", &conf).error();
        assert!(failed["msg"].as_str().is_some_and(|msg| msg.contains(text)), "{failed}");
        assert_eq!(lab.plugin("ipvlan").status(&conf).error()["code"], 50);
    }
    lab.plugin("ipvlan").add(&a, "eth0", &conf(&lab)).ok();
    // The master may vanish before its pods do.
    lab.node().ip("link del lan0");
    lab.plugin("ipvlan").del(&a, "eth0", &conf(&lab)).ok();
}
