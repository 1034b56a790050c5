//! Pods attached by ptp in the lab: what they can reach, what is reported, what a failure leaves.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, Pod, address};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

fn conf(lab: &Lab, keys: &Value) -> Value {
    let mut conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "ptp",
        "ipam": {
            "type": "host-local", "dataDir": lab.data_dir(),
            "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        }
    });
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    conf
}

fn with_routes(mut conf: Value, routes: Value) -> Value {
    conf["ipam"]["routes"] = routes;
    conf
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// A loopback interface that is up, as every pod has one.
fn pod(lab: &Lab, name: &str) -> Pod {
    let pod = lab.pod(name);
    pod.ip("link set lo up");
    pod
}

#[test]
fn pods_reach_each_other_the_node_and_the_world_at_once() {
    let lab = Lab::new("ptp-reach");
    let outside = lab.outside("world", &["192.0.2.0/24", "2001:db8::/64"]);
    let (a, b) = (pod(&lab, "a"), pod(&lab, "b"));
    let conf = conf(&lab, &json!({"ipMasq": true, "ipMasqBackend": "nftables"}));
    lab.plugin("ptp").add(&a, "eth0", &conf).ok();
    let result = lab.plugin("ptp").add(&b, "eth0", &conf).ok();
    // Nothing that a packet needs waits for duplicate address detection, a second or two.
    assert_eq!(b.ip("-6 addr show scope global tentative"), "");
    let link = result["interfaces"][0]["name"].as_str().expect("name");
    assert_eq!(lab.node().ip(&format!("-6 addr show dev {link} tentative")), "");
    let on_node = lab.node().ip(&format!("-6 addr show dev {link} scope link"));
    assert_eq!(on_node.matches("inet6 fe80:").count(), 1, "{on_node}");
    for index in [0, 1] {
        a.ping(address(&result, index)).expect("pod");
        a.ping(parse(["10.22.0.1", "fd00:22::1"][index])).expect("gateway");
        a.ping(outside.address(index)).expect("world");
        let echo = outside.tcp_echo(8000 + u16::try_from(index).expect("port"));
        let to =
            SocketAddr::new(outside.address(index), 8000 + u16::try_from(index).expect("port"));
        let reply = a.tcp(to).expect("echo");
        assert_eq!(reply.seen.ip(), outside.node_address(index), "masqueraded");
        drop(echo);
    }
    let echo = b.tcp_echo(9000);
    let to = SocketAddr::new(address(&result, 0), 9000);
    assert_eq!(a.tcp(to).expect("echo").seen.ip(), parse("10.22.0.2"), "inside: as it is");
    drop(echo);
}

#[test]
fn the_pod_and_the_node_have_exactly_the_planned_routes() {
    let lab = Lab::new("ptp-routes");
    let a = pod(&lab, "a");
    let routes = json!([{"dst": "0.0.0.0/0", "mtu": 1400, "advmss": 1300, "priority": 7},
                        {"dst": "10.9.0.0/16", "gw": "10.22.0.9"},
                        {"dst": "10.8.0.0/16", "table": 100}]);
    let conf = with_routes(conf(&lab, &json!({"mtu": 1450})), routes);
    let result = lab.plugin("ptp").add(&a, "eth0", &conf).ok();
    let lines = |text: String| -> Vec<String> {
        let mut lines: Vec<_> = text.lines().map(|l| l.trim().replace("  ", " ")).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        lines(a.ip("-4 route show")),
        [
            "10.22.0.0/16 via 10.22.0.1 dev eth0 proto boot src 10.22.0.2",
            "10.22.0.1 dev eth0 proto boot scope link src 10.22.0.2",
            "10.9.0.0/16 via 10.22.0.9 dev eth0 proto boot onlink",
            "default via 10.22.0.1 dev eth0 proto boot metric 7 mtu 1400 advmss 1300",
        ]
        .map(|line| line.replace("proto boot ", "").replace(" proto boot", ""))
    );
    assert_eq!(lines(a.ip("route show table 100")), ["10.8.0.0/16 via 10.22.0.1 dev eth0"]);
    let six = a.ip("-6 route show");
    assert!(six.contains("fd00:22::/64 via fd00:22::1 dev eth0 src fd00:22::2"), "{six}");
    assert!(!six.contains("fd00:22::/64 dev eth0"), "neighbours are not on the link: {six}");
    let link = result["interfaces"][0]["name"].as_str().expect("name").to_owned();
    let node = lab.node().ip(&format!("route show dev {link}"));
    assert_eq!(node.trim(), "10.22.0.2 scope link");
    assert_eq!(lab.node().sysctl("net/ipv6/conf/all/forwarding"), "1");
}

#[test]
fn the_result_is_golden() {
    let lab = Lab::new("ptp-golden");
    let a = pod(&lab, "a");
    let conf = conf(&lab, &json!({"mtu": 1450, "dns": {"nameservers": ["10.22.0.1"]}}));
    let mut result = lab.plugin("ptp").add(&a, "eth0", &conf).ok();
    for interface in result["interfaces"].as_array_mut().expect("interfaces") {
        assert_eq!(interface["mac"].as_str().map(str::len), Some(17));
        interface["mac"] = json!("MAC");
    }
    assert_eq!(result["interfaces"][1]["sandbox"], json!(a.path()));
    result["interfaces"][1]["sandbox"] = json!("POD");
    // Its hash has the pod's ID in it, which is the lab's.
    let name = result["interfaces"][0]["name"].take();
    assert_eq!(name.as_str().map(|n| (n.len(), n.starts_with("veth"))), Some((15, true)));
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    assert_eq!(result, golden);
}

#[test]
fn a_failure_at_any_step_leaves_nothing() {
    let lab = Lab::new("ptp-fail");
    let a = pod(&lab, "a");
    let good = conf(&lab, &json!({"ipMasq": true, "ipMasqBackend": "nftables"}));
    // What the first ADD on a node turns on for good.
    lab.plugin("ptp").add(&a, "eth0", &good).ok();
    lab.plugin("ptp").del(&a, "eth0", &good).ok();
    let before = lab.snapshot();
    let failing = [
        ("route", with_routes(good.clone(), json!([{"dst": "10.9.0.0/16", "gw": "224.0.0.1"}]))),
        ("masquerade", {
            let mut conf = good.clone();
            conf["ipMasqBackend"] = json!("iptables");
            conf
        }),
        ("gateway", {
            let mut conf = good.clone();
            conf["ipam"]["ranges"] = json!([[{"subnet": "10.22.0.0/16", "gateway": "fd00::1"}]]);
            conf
        }),
    ];
    for (step, conf) in failing {
        // Without programs iptables cannot work; they are also looked for where they usually are.
        let plugin = lab.plugin("ptp").env("XTABLES_LIBDIR", "/nonexistent");
        let outcome = plugin.add(&a, "eth0", &conf);
        assert!(!outcome.success(), "{step}: {outcome}");
        assert!(!a.has_link("eth0"), "{step}");
        before.assert_same(&lab.snapshot());
    }
    lab.plugin("ptp").add(&a, "eth0", &good).ok();
}

#[test]
fn ipv6_is_turned_on_where_the_pod_has_it_off() {
    let lab = Lab::new("ptp-v6-off");
    let a = pod(&lab, "a");
    for scope in ["all", "default", "lo"] {
        a.set_sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1");
    }
    let result = lab.plugin("ptp").add(&a, "eth0", &conf(&lab, &json!({}))).ok();
    a.ping(parse("fd00:22::1")).expect("gateway");
    assert_eq!(a.sysctl("net/ipv6/conf/lo/disable_ipv6"), "0");
    assert_eq!(result["ips"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_interface_of_another_making_survives_del() {
    let lab = Lab::new("ptp-foreign");
    let a = pod(&lab, "a");
    a.ip("link add eth0 type bridge");
    a.ip("link add eth1 type veth peer name peer1");
    let conf = conf(&lab, &json!({}));
    for ifname in ["eth0", "eth1"] {
        let refused = lab.plugin("ptp").add(&a, ifname, &conf);
        assert_eq!(refused.code(), 102, "{refused}");
        lab.plugin("ptp").del(&a, ifname, &conf).ok();
        assert!(a.has_link(ifname), "the runtime's DEL after a refused ADD took it away");
    }
}

#[test]
fn a_pod_made_anew_under_the_same_id_can_be_attached() {
    let lab = Lab::new("ptp-anew");
    let first = pod(&lab, "a");
    let conf = conf(&lab, &json!({}));
    lab.plugin("ptp").add(&first, "eth0", &conf).ok();
    // The node rebooted its pod without DEL: leases are released, the old namespace lingers.
    std::fs::remove_dir_all(lab.data_dir()).expect("leases");
    let second = pod(&lab, "b").with_id(first.id());
    lab.plugin("ptp").add(&second, "eth0", &conf).ok();
    assert!(!first.has_link("eth0") && second.has_link("eth0"));
}
