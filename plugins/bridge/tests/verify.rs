//! CHECK names every kind of drift; STATUS says what ADD would miss. Needs root.

mod stage;

use lab::{Drift, Lab};
use serde_json::{Value, json};
use stage::{add, dual, link, plain, port};

type Change = fn(&Lab, &lab::Pod, &Value);

/// Each change behind the plugin's back, and words of the message it must get.
const CHANGES: [(Change, &str); 17] = [
    (|l, p, r| Drift::LinkDeleted.apply(l, p, "eth0", r), "interface eth0: is gone"),
    (|l, p, r| Drift::LinkDown.apply(l, p, "eth0", r), "interface eth0: is down"),
    (|l, p, r| Drift::MacChanged.apply(l, p, "eth0", r), "interface eth0: has hardware address"),
    (|l, p, r| Drift::MtuChanged.apply(l, p, "eth0", r), "interface eth0: has MTU 1333"),
    (|l, p, r| Drift::AddressDeleted.apply(l, p, "eth0", r), "address 10.88.0.2/16 on eth0"),
    (|_, p, _| drop(p.ip("route del default")), "route 0.0.0.0/0 via 10.88.0.1"),
    (|_, p, _| drop(p.ip("route change default via 10.88.0.9")), "route 0.0.0.0/0"),
    (|l, p, r| Drift::HostLinkDown.apply(l, p, "eth0", r), "interface veth"),
    (|l, p, r| Drift::PortRemoved.apply(l, p, "eth0", r), "is not on bridge cni0 any more"),
    (
        |l, p, r| Drift::GatewayDeleted.apply(l, p, "eth0", r),
        "gateway address 10.88.0.1/16 on cni0",
    ),
    (|l, p, r| Drift::RulesFlushed.apply(l, p, "eth0", r), "macspoofchk"),
    (|l, p, r| Drift::LeasesDeleted.apply(l, p, "eth0", r), "10.88.0.2"),
    (
        |l, _, _| drop(l.node().sh("nft", &["delete", "table", "inet", "cni_plugins_masquerade"])),
        "masq",
    ),
    (
        |l, _, r| drop(l.node().ip(&format!("link set {} type bridge_slave hairpin off", port(r)))),
        "hairpinMode",
    ),
    (
        |l, _, r| drop(l.node().ip(&format!("link set {} type bridge_slave isolated on", port(r)))),
        "portIsolation",
    ),
    (|l, _, _| l.node().set_sysctl("net/ipv4/ip_forward", "0"), "does not forward"),
    (|l, _, _| drop(l.node().ip("link set cni0 promisc on")), "promisc"),
];

fn full(lab: &Lab) -> Value {
    dual(
        lab,
        json!({"ipMasq": true, "ipMasqBackend": "nftables", "macspoofchk": true,
        "hairpinMode": true}),
    )
}

#[test]
fn every_drift_has_its_message() {
    let mut messages: Vec<String> = Vec::new();
    for (change, words) in CHANGES {
        let lab = Lab::new("bridge-drift");
        let pod = lab.pod("a");
        let conf = full(&lab);
        let result = add(&lab, &pod, &conf);
        lab.plugin("bridge").check(&pod, "eth0", &conf, &result).ok();
        change(&lab, &pod, &result);
        let outcome = lab.plugin("bridge").check(&pod, "eth0", &conf, &result);
        let msg = outcome.msg().replace(port(&result), "PORT");
        assert!(outcome.msg().contains(words), "{words}: {outcome}");
        assert_eq!(outcome.code(), 103, "{outcome}");
        messages.push(msg);
    }
    let all = messages.len();
    messages.sort();
    messages.dedup();
    // A default route that is gone and one that was changed are the same to whoever needs it.
    assert_eq!(messages.len(), all - 1, "{messages:#?}");
}

#[test]
fn the_bridge_itself_is_checked() {
    let lab = Lab::new("bridge-drift-bridge");
    let (pod, conf) = (lab.pod("a"), full(&lab));
    let result = add(&lab, &pod, &conf);
    let check = || lab.plugin("bridge").check(&pod, "eth0", &conf, &result);
    lab.node().ip("link set cni0 address 02:00:00:00:00:55");
    assert!(check().msg().contains("interface cni0: has hardware address"));
    lab.node().ip("link set cni0 down");
    assert!(check().msg().contains("interface cni0: is down"));
    assert_eq!(lab.plugin("bridge").status(&conf).code(), 51);
    lab.node().ip("link del cni0");
    assert!(check().msg().contains("bridge cni0: is gone"));
    lab.node().ip("link add cni0 type veth peer name x0");
    assert!(check().msg().contains("is now a veth"));
}

#[test]
fn what_later_plugins_add_is_no_drift() {
    let lab = Lab::new("bridge-tolerant");
    let (pod, conf) = (lab.pod("a"), full(&lab));
    let mut result = add(&lab, &pod, &conf);
    pod.ip("addr add 192.0.2.7/24 dev eth0");
    pod.ip("route add 198.51.100.0/24 via 10.88.0.1");
    result["interfaces"]
        .as_array_mut()
        .expect("interfaces")
        .push(json!({"name": "ifb0", "mac": "02:00:00:00:00:01"}));
    lab.plugin("bridge").check(&pod, "eth0", &conf, &result).ok();
}

#[test]
fn the_hardware_address_of_the_bridge_stays() {
    let lab = Lab::new("bridge-steady");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let conf = plain(json!({}));
    let result = add(&lab, &a, &conf);
    let address = link(lab.node(), "cni0")["address"].clone();
    assert_eq!(result["interfaces"][0]["mac"], address);
    add(&lab, &b, &conf);
    lab.plugin("bridge").del(&a, "eth0", &conf).ok();
    assert_eq!(link(lab.node(), "cni0")["address"], address);
}

#[test]
fn status_knows_the_backends() {
    let lab = Lab::new("bridge-status");
    let conf = |backend| dual(&lab, json!({"ipMasq": true, "ipMasqBackend": backend}));
    lab.plugin("bridge").status(&conf("nftables")).ok();
    lab.plugin("bridge").status(&conf("iptables")).ok();
    let hidden = lab.plugin("bridge").env("PATH", "/nonexistent");
    let hidden = hidden.hiding("/usr/sbin").status(&conf("iptables"));
    assert_eq!(hidden.code(), 50, "{hidden}");
    let mut missing = conf("nftables");
    missing["ipam"]["type"] = json!("no-such-plugin");
    assert_eq!(lab.plugin("bridge").status(&missing).code(), 50);
}
