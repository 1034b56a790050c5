//! Devices of the lab's node moved into pods: what they reach, and that they come back. Needs root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, Pod, for_golden};
use serde_json::{Value, json};
use std::net::IpAddr;

/// A node whose link `lan0` leads to a neighbour with 10.33.0.254 and fd33::254.
fn node(name: &str) -> (Lab, Pod) {
    let lab = Lab::new(name);
    let neighbour = lab::lan(&lab);
    (lab, neighbour)
}

fn conf(lab: &Lab) -> Value {
    lab::lan_conf(lab, "host-device", &json!({"device": "lan0"}))
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn a_device_goes_into_the_pod_and_comes_back() {
    let (lab, _neighbour) = node("device-move");
    let a = lab.pod("a");
    lab.node().ip("link set lan0 down");
    let before = lab.snapshot();
    let result = lab.plugin("host-device").add(&a, "eth0", &conf(&lab)).ok();
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(for_golden(&result, &a), golden);
    assert!(!lab.node().has_link("lan0"));
    for neighbour in ["10.33.0.254", "fd33::254"] {
        a.ping(parse(neighbour)).expect("neighbour");
    }
    lab.plugin("host-device").check(&a, "eth0", &conf(&lab), &result).ok();
    let again = lab.plugin("host-device").add(&lab.pod("b"), "eth0", &conf(&lab)).error();
    assert!(again["msg"].as_str().is_some_and(|msg| msg.contains("lan0")), "{again}");
    lab.plugin("host-device").status(&conf(&lab)).ok();
    for _ in 0..2 {
        lab.plugin("host-device").del(&a, "eth0", &conf(&lab)).ok();
        before.assert_same(&lab.snapshot());
    }
    lab.plugin("host-device").add(&a, "eth0", &conf(&lab)).ok();
}

#[test]
fn a_device_is_found_by_its_address() {
    let (lab, _neighbour) = node("device-mac");
    let a = lab.pod("a");
    let mac = lab.node().ip_json("link show lan0")[0]["address"].clone();
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "host-device", "hwaddr": mac});
    // The pod has a link of the device's name already, the node one of the pod's.
    a.ip("link add lan0 type veth peer name other");
    lab.node().ip("link add eth0 type veth peer name other");
    let result = lab.plugin("host-device").add(&a, "eth0", &conf).ok();
    assert_eq!(result["interfaces"][0]["mac"], mac);
    // A configuration that was edited since strands no device.
    let mut edited = conf.clone();
    edited["hwaddr"] = json!("nonsense");
    lab.plugin("host-device").del(&a, "eth0", &edited).ok();
    assert_eq!(lab.node().ip_json("link show lan0")[0]["address"], mac);
    assert_eq!(lab.node().ip_json("link show lan0")[0]["ifalias"], Value::Null);
}

#[test]
fn a_failure_gives_the_device_back_as_it_was() {
    let (lab, _neighbour) = node("device-fail");
    let a = lab.pod("a");
    let before = lab.snapshot();
    let mut wrong = conf(&lab);
    wrong["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "192.0.2.1"}]);
    let failed = lab.plugin("host-device").add(&a, "eth0", &wrong).error();
    assert!(failed["msg"].as_str().is_some_and(|msg| msg.contains("10.99.0.0/16")), "{failed}");
    assert!(!a.has_link("eth0"));
    // Up again too, as `lan` has set it.
    before.assert_same(&lab.snapshot());
    for (device, text) in [("nosuch0", "nosuch0"), ("lo", "loopback")] {
        let mut conf = conf(&lab);
        conf["device"] = json!(device);
        let failed = lab.plugin("host-device").add(&a, "eth0", &conf).error();
        assert!(failed["msg"].as_str().is_some_and(|msg| msg.contains(text)), "{failed}");
    }
    before.assert_same(&lab.snapshot());
}

#[test]
fn del_leaves_what_is_no_device_of_the_node() {
    let (lab, _neighbour) = node("device-foreign");
    let a = lab.pod("a");
    a.ip("link add eth0 type veth peer name other");
    let refused = lab.plugin("host-device").add(&a, "eth0", &conf(&lab)).error();
    assert_eq!(refused["code"], 102, "{refused}");
    // As a runtime does after a failed ADD.
    lab.plugin("host-device").del(&a, "eth0", &conf(&lab)).ok();
    assert!(a.has_link("eth0") && lab.node().has_link("lan0"));
}

#[test]
fn a_taken_name_keeps_no_device_in_the_pod() {
    let (lab, _neighbour) = node("device-taken");
    let a = lab.pod("a");
    lab.plugin("host-device").add(&a, "eth0", &conf(&lab)).ok();
    lab.node().ip("link add lan0 type veth peer name other");
    lab.plugin("host-device").del(&a, "eth0", &conf(&lab)).ok();
    assert!(!a.has_link("eth0"));
    let came_back = |name: &str| lab.node().ip_json(&format!("link show {name}"))[0].clone();
    assert_eq!(came_back("dev0")["ifalias"], "lan0");
    // Once its name is free, whoever comes next gives it that again.
    lab.node().ip("link del lan0");
    lab.node().ip("link set dev0 up");
    lab.plugin("host-device").gc(&conf(&lab), &[]).ok();
    assert_eq!(came_back("lan0")["ifalias"], Value::Null);
    assert!(!lab.node().has_link("dev0"));
}

#[test]
fn addresses_are_freed_and_names_given_back_without_the_pod() {
    let (lab, _neighbour) = node("device-gone");
    for with_path in [true, false] {
        let a = lab.pod(if with_path { "a" } else { "b" });
        lab.plugin("host-device").add(&a, "eth0", &conf(&lab)).ok();
        // What the kernel does with hardware when a namespace ends: it keeps the pod's name.
        let node = lab.node().path().display().to_string();
        a.ip(&format!("link set eth0 netns {node}"));
        a.delete();
        if with_path {
            lab.plugin("host-device").del(&a, "eth0", &conf(&lab)).ok();
        } else {
            lab.plugin("host-device").del_without_netns(&a, "eth0", &conf(&lab)).ok();
        }
        assert!(lab.node().has_link("lan0"), "the device keeps the pod's name");
        assert!(lab.snapshot().matching("data/net/10.33.").is_empty(), "DEL keeps the lease");
    }
}
