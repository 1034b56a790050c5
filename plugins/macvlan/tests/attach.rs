//! Pods attached by macvlan in the lab: what they can reach, what is reported, what is left.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, Pod, address};
use serde_json::{Value, json};
use std::net::IpAddr;

/// A node whose link `lan0` leads to a neighbour with 10.33.0.254 and fd33::254.
fn node(name: &str) -> (Lab, Pod) {
    let lab = Lab::new(name);
    let neighbour = lab::lan(&lab);
    (lab, neighbour)
}

fn conf(lab: &Lab, keys: &Value) -> Value {
    let mut conf = lab::lan_conf(lab, "macvlan", &json!({"master": "lan0"}));
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    conf
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn pods_reach_each_other_and_the_link_at_once() {
    let (lab, _neighbour) = node("macvlan-reach");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let before = lab.snapshot();
    let keys = json!({"mac": "02:00:00:00:00:0a", "mtu": 1400});
    let first = lab.plugin("macvlan").add(&a, "eth0", &conf(&lab, &keys)).ok();
    let second = lab.plugin("macvlan").add(&b, "eth0", &conf(&lab, &json!({}))).ok();
    assert_eq!(b.ip("-6 addr show scope global tentative"), "");
    for index in [0, 1] {
        a.ping(address(&second, index)).expect("pod");
        b.ping(parse(["10.33.0.254", "fd33::254"][index])).expect("neighbour");
    }
    let interface = &first["interfaces"][0];
    assert_eq!((&interface["mac"], &interface["mtu"]), (&json!("02:00:00:00:00:0a"), &json!(1400)));
    assert_eq!(interface["sandbox"], json!(a.path()));
    assert_eq!(first["ips"][1]["interface"], 0);
    assert_eq!(second["interfaces"][0]["mtu"], 1500);
    for pod in [&a, &b] {
        lab.plugin("macvlan").del(pod, "eth0", &conf(&lab, &json!({}))).ok();
        assert!(!pod.ip("link show").contains("eth0"));
    }
    before.assert_same(&lab.snapshot());
}

#[test]
fn private_pods_reach_the_link_only() {
    let (lab, _neighbour) = node("macvlan-private");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let conf = conf(&lab, &json!({"mode": "private"}));
    lab.plugin("macvlan").add(&a, "eth0", &conf).ok();
    let second = lab.plugin("macvlan").add(&b, "eth0", &conf).ok();
    a.ping(parse("10.33.0.254")).expect("neighbour");
    assert!(a.ping(address(&second, 0)).is_err(), "private pods reach each other");
    lab.plugin("macvlan").status(&conf).ok();
}

#[test]
fn the_default_route_names_the_master() {
    let (lab, _neighbour) = node("macvlan-default");
    lab.node().ip("addr add 10.33.0.253/24 dev lan0");
    lab.node().ip("route add default via 10.33.0.254");
    let a = lab.pod("a");
    let conf = conf(&lab, &json!({"master": ""}));
    lab.plugin("macvlan").add(&a, "eth0", &conf).ok();
    a.ping(parse("10.33.0.254")).expect("neighbour");
}

#[test]
fn a_master_in_the_pod_is_used() {
    let (lab, neighbour) = node("macvlan-inside");
    let conf = conf(&lab, &json!({"master": "eth0", "linkInContainer": true}));
    let result = lab.plugin("macvlan").add(&neighbour, "mac0", &conf).ok();
    assert_eq!(result["interfaces"][0]["name"], "mac0");
    assert!(neighbour.ip("link show mac0").contains("mac0@eth0"));
    lab.plugin("macvlan").del(&neighbour, "mac0", &conf).ok();
    assert!(!neighbour.ip("link show").contains("mac0"));
}

#[test]
fn a_failure_leaves_nothing_and_can_be_tried_again() {
    let (lab, _neighbour) = node("macvlan-fail");
    let a = lab.pod("a");
    let before = lab.snapshot();
    let mut wrong = conf(&lab, &json!({}));
    wrong["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "192.0.2.1"}]);
    let failed = lab.plugin("macvlan").add(&a, "eth0", &wrong).error();
    assert!(failed["msg"].as_str().is_some_and(|text| text.contains("10.99.0.0/16")), "{failed}");
    assert!(!a.ip("link show").contains("eth0"), "the link stays");
    before.assert_same(&lab.snapshot());
    for (keys, text) in [
        (json!({"mtu": 9000}), "mtu 9000"),
        (json!({"master": "nosuch0"}), "nosuch0"),
        (json!({"master": ""}), "default route"),
    ] {
        let conf = conf(&lab, &keys);
        let failed = lab.plugin("macvlan").add(&a, "eth0", &conf).error();
        assert!(failed["msg"].as_str().is_some_and(|msg| msg.contains(text)), "{failed}");
        let status = lab.plugin("macvlan").status(&conf).error();
        assert_eq!(status["code"], 50, "{status}");
    }
    lab.plugin("macvlan").add(&a, "eth0", &conf(&lab, &json!({}))).ok();
}

#[test]
fn addresses_are_freed_without_the_pod() {
    let (lab, _neighbour) = node("macvlan-lease");
    let conf = conf(&lab, &json!({}));
    let before = lab.snapshot();
    let a = lab.pod("a");
    lab.plugin("macvlan").add(&a, "eth0", &conf).ok();
    a.delete();
    lab.plugin("macvlan").gc(&conf, &[(a.id(), "eth0")]).ok();
    assert!(!lab.snapshot().matching("10.33.0.1").is_empty(), "a valid attachment lost its lease");
    lab.plugin("macvlan").gc(&conf, &[]).ok();
    assert!(lab.snapshot().matching("data/net/10.33.").is_empty(), "GC keeps the lease");
    let b = lab.pod("b");
    lab.plugin("macvlan").add(&b, "eth0", &conf).ok();
    lab.plugin("macvlan").del_without_netns(&b, "eth0", &conf).ok();
    assert!(lab.snapshot().matching("data/net/10.33.").is_empty(), "DEL keeps the lease");
    b.delete();
    lab::until("the kernel takes the link", lab::PATIENCE, || {
        before.diff(&lab.snapshot()).without(&["run/"]).is_empty()
    });
}
