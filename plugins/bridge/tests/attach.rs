//! ADD: what a pod and its node have afterwards. Needs root.

mod stage;

use lab::Lab;
use serde_json::{Value, json};
use stage::{add, dual, leases, link, plain, port};
use std::time::{Duration, Instant};

/// `result` with what differs from run to run replaced by its kind.
fn stable(result: &Value) -> String {
    let mut result = result.clone();
    let list = result.get_mut("interfaces").and_then(Value::as_array_mut);
    for interface in list.into_iter().flatten() {
        for key in ["mac", "sandbox"] {
            if interface.get(key).is_some() {
                interface[key] = json!(key.to_uppercase());
            }
        }
        if interface["name"].as_str().is_some_and(|name| name.starts_with("veth")) {
            interface["name"] = json!("PORT");
        }
    }
    format!("{result:#}\n")
}

#[test]
fn each_version_has_its_golden_result() {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let lab = Lab::new("bridge-golden");
        let pod = lab.pod("a");
        let mut conf = dual(
            &lab,
            json!({"cniVersion": version, "mtu": 1400,
            "dns": {"nameservers": ["10.88.0.1"], "search": ["a.example"]}}),
        );
        conf["ipam"]["routes"] =
            json!([{"dst": "0.0.0.0/0"}, {"dst": "10.96.0.0/12", "gw": "10.88.0.9", "mtu": 1300}]);
        let text = stable(&add(&lab, &pod, &conf));
        let path = format!("{}/tests/golden/{version}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("PODLOOM_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("write");
        }
        assert_eq!(text, std::fs::read_to_string(&path).expect(&path), "{version}");
    }
}

#[test]
fn pods_reach_each_other_and_the_node_at_once() {
    let lab = Lab::new("bridge-reach");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let conf = dual(&lab, json!({}));
    let start = Instant::now();
    add(&lab, &a, &conf);
    let result = add(&lab, &b, &conf);
    // Detection of duplicates takes IPv6 a second, and asking for a carrier in vain 50 ms.
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    assert!(!a.ip("-6 addr show dev eth0 scope global").contains("tentative"));
    // The first packet arrives: the port forwards when ADD returns.
    for index in [0, 1] {
        let first = Duration::from_millis(500);
        a.ping_within(lab::address(&result, index), first).expect("the other pod");
    }
    a.ping("10.88.0.1".parse().expect("ip")).expect("the gateway");
    a.ping("fd88::1".parse().expect("ip")).expect("the gateway");
    assert_eq!(lab.node().sysctl("net/ipv4/ip_forward"), "1");
    assert_eq!(lab.node().sysctl("net/ipv6/conf/all/forwarding"), "1");
    assert_eq!(lab.node().sysctl("net/ipv6/conf/cni0/accept_ra"), "0");
    assert_eq!(a.sysctl("net/ipv4/conf/eth0/arp_notify"), "1");
    assert_eq!(a.sysctl("net/ipv6/conf/eth0/accept_dad"), "0");
    assert_eq!(a.sysctl("net/ipv6/conf/eth0/keep_addr_on_down"), "1");
}

#[test]
fn a_default_route_of_the_ipam_plugin_is_welcome() {
    let lab = Lab::new("bridge-default");
    let pod = lab.pod("a");
    let mut conf = dual(&lab, json!({}));
    conf["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    add(&lab, &pod, &conf);
    let routes = pod.ip_json("route show default");
    assert_eq!(routes.as_array().map(Vec::len), Some(1), "{routes}");
    assert_eq!(routes[0]["gateway"], "10.88.0.1");
}

#[test]
fn routes_have_all_their_attributes() {
    let lab = Lab::new("bridge-routes");
    let pod = lab.pod("a");
    let mut conf = dual(&lab, json!({}));
    conf["ipam"]["routes"] = json!([
        {"dst": "10.1.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 50, "table": 99},
        {"dst": "10.2.0.0/16", "scope": 253},
        {"dst": "fd01::/64", "mtu": 1350, "priority": 77, "gw": "fd88::9"}
    ]);
    add(&lab, &pod, &conf);
    let all = pod.ip("route show table all");
    let has = |words: &str| assert!(all.contains(words), "{words}: {all}");
    has("10.1.0.0/16 via 10.88.0.1 dev eth0 table 99 metric 50 mtu 1300 advmss 1200");
    has("10.2.0.0/16 dev eth0 scope link");
    has("fd01::/64 via fd88::9 dev eth0 metric 77 mtu 1350");
}

#[test]
fn a_layer_two_pod_is_up_without_addresses() {
    let lab = Lab::new("bridge-l2");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let result = add(&lab, &a, &plain(json!({"hairpinMode": true, "portIsolation": true})));
    assert!(result.get("ips").is_none(), "{result}");
    assert_eq!(a.addresses("eth0"), Vec::<String>::new());
    assert_eq!(link(&a, "eth0")["operstate"], "UP");
    let settings = link(lab.node(), port(&result))["linkinfo"]["info_slave_data"].clone();
    assert_eq!((&settings["hairpin"], &settings["isolated"]), (&json!(true), &json!(true)));
    let conf = plain(json!({"disableContainerInterface": true, "promiscMode": true}));
    let result = add(&lab, &b, &conf);
    assert_eq!(link(&b, "eth0")["operstate"], "DOWN");
    let flags = link(lab.node(), "cni0")["flags"].to_string();
    assert!(flags.contains("PROMISC"), "{flags}");
    lab.plugin("bridge").check(&b, "eth0", &conf, &result).ok();
}

#[test]
fn the_hardware_address_is_the_one_asked_for() {
    let lab = Lab::new("bridge-mac");
    let pod = lab.pod("a");
    let conf = plain(json!({"runtimeConfig": {"mac": "02:00:00:00:00:07"}}));
    let plugin = lab.plugin("bridge").env("CNI_ARGS", "UNKNOWN=1;MAC=02:00:00:00:00:01");
    let result = plugin.add(&pod, "eth0", &conf).ok();
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07");
    assert_eq!(link(&pod, "eth0")["address"], "02:00:00:00:00:07");
    let result = plugin.add(&pod, "eth1", &plain(json!({}))).ok();
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:01");
}

#[test]
fn an_existing_interface_is_an_error_that_harms_nobody() {
    let lab = Lab::new("bridge-twice");
    let pod = lab.pod("a");
    let conf = dual(&lab, json!({"ipMasq": true, "ipMasqBackend": "nftables"}));
    let result = add(&lab, &pod, &conf);
    let before = lab.snapshot();
    let again = lab.plugin("bridge").add(&pod, "eth0", &conf);
    assert_eq!(again.code(), 102);
    assert!(again.msg().contains("eth0"), "{again}");
    before.assert_same(&lab.snapshot());
    lab.plugin("bridge").check(&pod, "eth0", &conf, &result).ok();
    // An interface that somebody else made is none of ours either.
    pod.ip("link add eth7 type veth peer name eth8");
    let before = lab.snapshot();
    let other = lab.plugin("bridge").add(&pod, "eth7", &conf);
    assert_eq!(other.code(), 102);
    before.assert_same(&lab.snapshot());
}

#[test]
fn a_failed_add_leaves_only_the_bridge() {
    let lab = Lab::new("bridge-undo");
    let pod = lab.pod("a");
    let all = json!({"ipMasq": true, "ipMasqBackend": "nftables", "macspoofchk": true});
    let conf = dual(&lab, all);
    // The first pod makes everything that is shared.
    let first = lab.pod("first");
    add(&lab, &first, &conf);
    let before = lab.snapshot();
    let broken = |edit: fn(&mut Value)| {
        let mut conf = conf.clone();
        edit(&mut conf);
        conf
    };
    for conf in [
        // The kernel refuses a route, IPAM an address, the bridge another subnet.
        broken(|c| c["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}])),
        broken(|c| c["ipam"]["ranges"] = json!([[{"subnet": "10.88.0.0/33"}]])),
        broken(|c| c["ipam"]["ranges"] = json!([[{"subnet": "10.77.0.0/24"}]])),
        broken(|c| c["ipam"]["type"] = json!("no-such-plugin")),
    ] {
        let outcome = lab.plugin("bridge").add(&pod, "eth0", &conf);
        outcome.error();
        assert!(!pod.has_link("eth0"), "{outcome}");
        before.assert_same(&lab.snapshot());
    }
    assert_eq!(leases(&lab).len(), 2);
    add(&lab, &pod, &conf);
}

#[test]
fn a_conflicting_address_is_named_or_replaced() {
    let lab = Lab::new("bridge-force");
    let (a, b, c) = (lab.pod("a"), lab.pod("b"), lab.pod("c"));
    add(&lab, &a, &dual(&lab, json!({})));
    let mut conf = dual(&lab, json!({"name": "other"}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.77.0.0/24"}]]);
    let refused = lab.plugin("bridge").add(&b, "eth0", &conf);
    assert_eq!(refused.code(), 102);
    let msg = refused.msg();
    assert!(msg.contains("10.88.0.1/16") && msg.contains("10.77.0.1/24"), "{msg}");
    conf["forceAddress"] = json!(true);
    add(&lab, &c, &conf);
    assert!(lab.node().addresses("cni0").contains(&"10.77.0.1/24".to_owned()));
    assert!(!lab.node().addresses("cni0").contains(&"10.88.0.1/16".to_owned()));
    // IPv6 subnets that do not overlap live side by side.
    assert!(lab.node().addresses("cni0").contains(&"fd88::1/64".to_owned()));
}

#[test]
fn another_link_of_the_bridges_name_is_an_error() {
    let lab = Lab::new("bridge-name");
    let pod = lab.pod("a");
    lab.node().ip("link add cni0 type veth peer name x0");
    let outcome = lab.plugin("bridge").add(&pod, "eth0", &dual(&lab, json!({})));
    assert_eq!(outcome.code(), 102);
    assert!(outcome.msg().contains("not a bridge"), "{outcome}");
    assert_eq!(lab.plugin("bridge").status(&dual(&lab, json!({}))).code(), 51);
    assert_eq!(leases(&lab), Vec::<String>::new());
}

#[test]
fn ipv6_is_turned_on_where_it_is_needed() {
    let lab = Lab::new("bridge-v6-off");
    let pod = lab.pod("a");
    pod.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    pod.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    add(&lab, &pod, &dual(&lab, json!({})));
    assert!(pod.addresses("eth0").iter().any(|a| a.starts_with("fd88::")));
    pod.ping("fd88::1".parse().expect("ip")).expect("the gateway");
    let other = lab.pod("b");
    other.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let mut conf = dual(&lab, json!({}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.88.0.0/16"}]]);
    add(&lab, &other, &conf);
    assert_eq!(other.sysctl("net/ipv6/conf/eth0/disable_ipv6"), "1");
}

#[test]
fn enabledad_finds_a_duplicate() {
    let lab = Lab::new("bridge-dad");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let mut conf = dual(&lab, json!({"enabledad": true}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "fd88::/64"}]]);
    add(&lab, &a, &conf);
    assert_eq!(a.sysctl("net/ipv6/conf/eth0/accept_dad"), "1");
    assert!(!a.ip("addr show dev eth0 scope global").contains("tentative"));
    // Another network's leases know nothing of this one's.
    conf["name"] = json!("other");
    let outcome = lab.plugin("bridge").add(&b, "eth0", &conf);
    assert_eq!(outcome.code(), 102);
    assert!(outcome.msg().contains("fd88::2"), "{outcome}");
    assert!(!b.has_link("eth0"));
}
