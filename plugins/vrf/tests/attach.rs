//! Pods with interfaces in VRFs, in the lab: what each reaches, what is reported, what is left.
//! Needs root and a kernel with VRFs.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Lab, Outcome, Pod, for_golden};
use serde_json::{Value, json};

fn node(name: &str) -> Option<Lab> {
    lab::kernel_makes("vrf").then(|| Lab::new(name))
}

/// A network of the plugin `first`, on a bridge of its own where it is one.
fn network(lab: &Lab, first: &str, name: &str, ranges: &Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": name, "type": first, "bridge": name, "isGateway": true,
        "ipam": {"type": "host-local", "dataDir": lab.data_dir(), "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}})
}

fn pods(lab: &Lab, first: &str) -> Value {
    network(lab, first, "pods", &json!([[{"subnet": "10.66.0.0/24"}], [{"subnet": "fd66::/64"}]]))
}

fn vrf(name: &str, keys: &Value, result: &Value) -> Value {
    let mut conf =
        json!({"cniVersion": "1.1.0", "name": name, "type": "vrf", "prevResult": result});
    for (key, value) in keys.as_object().expect("keys") {
        conf[key] = value.clone();
    }
    conf
}

/// The pod's interface is put into VRF `blue` with table 10.
fn blue(result: &Value) -> Value {
    vrf("pods", &json!({"vrfname": "blue", "table": 10}), result)
}

fn pings(pod: &Pod, vrf: &str, to: &str) -> bool {
    pod.exec("ping", &["-n", "-c1", "-W3", "-I", vrf, to]).status.success()
}

fn routes(pod: &Pod, family: &str, table: &str) -> String {
    String::from_utf8_lossy(&pod.exec("ip", &[family, "route", "show", "table", table]).stdout)
        .into_owned()
}

fn drift(outcome: &Outcome, text: &str) {
    assert_eq!((outcome.code(), outcome.msg().contains(text)), (103, true), "{outcome}");
}

#[test]
fn an_interface_goes_with_its_addresses_and_routes_and_comes_back() {
    let Some(lab) = node("vrf-move") else { return };
    let pod = lab.pod("a");
    let conf = pods(&lab, "bridge");
    let result = lab.plugin("bridge").add(&pod, "eth0", &conf).ok();
    let addresses = pod.addresses("eth0");
    // What an earlier plugin put elsewhere stays there.
    pod.ip("route add 10.99.0.0/16 via 10.66.0.1 table 100");
    let told = lab.plugin("vrf").add(&pod, "eth0", &blue(&result)).ok();
    assert_eq!(told, result, "the result is passed on");
    let golden: Value = serde_json::from_str(include_str!("golden/result.json")).expect("JSON");
    let mut shown = for_golden(&told, &pod);
    shown["interfaces"][1]["name"] = "PORT".into();
    assert_eq!(shown, golden);
    assert_eq!(pod.addresses("eth0"), addresses);
    let link = pod.ip_json("link show eth0");
    assert_eq!(link[0]["master"], "blue");
    for (family, default) in [("-4", "via 10.66.0.1"), ("-6", "via fd66::1")] {
        assert!(routes(&pod, family, "10").contains(default), "{}", routes(&pod, family, "10"));
        assert!(!routes(&pod, family, "main").contains("default"));
    }
    assert!(routes(&pod, "-4", "100").contains("10.99.0.0/16"));
    // At once, both ways: nobody waits for a probe or a carrier.
    lab.node().ping(lab::address(&result, 0)).expect("over IPv4");
    lab.node().ping(lab::address(&result, 1)).expect("over IPv6");
    assert!(pings(&pod, "blue", "10.66.0.1") && pings(&pod, "blue", "fd66::1"));
    lab.plugin("vrf").check(&pod, "eth0", &blue(&result), &result).ok();
    lab.plugin("bridge").check(&pod, "eth0", &conf, &result).ok();
    lab.plugin("vrf").del(&pod, "eth0", &blue(&result)).ok();
    assert!(!pod.has_link("blue"), "the last member has left");
    assert_eq!(pod.addresses("eth0"), addresses);
    lab.node().ping(lab::address(&result, 1)).expect("as before");
    assert!(routes(&pod, "-4", "main").contains("default via 10.66.0.1"));
    lab.plugin("bridge").del(&pod, "eth0", &conf).ok();
    lab.plugin("vrf").del(&pod, "eth0", &blue(&result)).ok();
}

/// What a VRF is for: one address means another host in each.
#[test]
fn two_networks_with_the_same_addresses_are_kept_apart() {
    let Some(lab) = node("vrf-apart") else { return };
    let pod = lab.pod("a");
    let mut neighbours = Vec::new();
    for (ifname, name, vrfname) in [("eth0", "red0", "red"), ("eth1", "blue0", "blue")] {
        // Layer 2 to a neighbour with an address that both networks have.
        let far = lab.pod(name);
        let path = far.path().display().to_string();
        lab.node().ip(&format!("link add {name} type bridge"));
        lab.node().ip(&format!("link set {name} up"));
        lab.node().ip(&format!("link add {name}p type veth peer name eth0 netns {path}"));
        lab.node().ip(&format!("link set {name}p master {name} up"));
        far.ip("link set eth0 up");
        far.ip("addr add 10.67.0.9/24 dev eth0");
        far.ip(&format!("addr add 10.{}.0.1/32 dev eth0", if vrfname == "red" { 80 } else { 90 }));
        let mut conf = network(&lab, "bridge", name, &json!([[{"subnet": "10.67.0.0/24"}]]));
        conf["isGateway"] = json!(false);
        conf["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0", "gw": "10.67.0.9"}]);
        let result = lab.plugin("bridge").add(&pod, ifname, &conf).ok();
        let vrf = vrf(name, &json!({"vrfname": vrfname}), &result);
        lab.plugin("vrf").add(&pod, ifname, &vrf).ok();
        lab.plugin("vrf").check(&pod, ifname, &vrf, &result).ok();
        assert!(pings(&pod, vrfname, "10.67.0.9"), "{vrfname}");
        neighbours.push(far);
    }
    assert_eq!(pod.addresses("eth0"), pod.addresses("eth1"));
    assert!(pings(&pod, "red", "10.80.0.1") && !pings(&pod, "red", "10.90.0.1"));
    assert!(pings(&pod, "blue", "10.90.0.1") && !pings(&pod, "blue", "10.80.0.1"));
    let table = |name: &str| {
        pod.ip_json(&format!("link show {name}"))[0]["linkinfo"]["info_data"]["table"].clone()
    };
    assert_eq!((table("red"), table("blue")), (json!(1), json!(2)), "the lowest that are free");
}

/// ptp has deleted the connected route, and its gateway is reached by one of its own.
#[test]
fn the_routes_of_ptp_go_as_they_are() {
    let Some(lab) = node("vrf-ptp") else { return };
    let pod = lab.pod("a");
    let conf = pods(&lab, "ptp");
    let result = lab.plugin("ptp").add(&pod, "eth0", &conf).ok();
    let main = routes(&pod, "-4", "main");
    lab.plugin("vrf").add(&pod, "eth0", &blue(&result)).ok();
    let lines = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(|l| l.trim().to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&routes(&pod, "-4", "10")), {
        // Members of a VRF have their local addresses in its table too.
        let mut wanted = lines(&main);
        let own = lines(&routes(&pod, "-4", "10"));
        wanted.extend(
            own.into_iter().filter(|l| l.starts_with("local") || l.starts_with("broadcast")),
        );
        wanted.sort();
        wanted
    });
    lab.node().ping(lab::address(&result, 0)).expect("over IPv4");
    assert!(pings(&pod, "blue", &lab::address(&result, 1).to_string().replace("::2", "::1")));
    lab.plugin("vrf").del(&pod, "eth0", &blue(&result)).ok();
    assert_eq!(lines(&routes(&pod, "-4", "main")), lines(&main));
}

#[test]
fn a_vrf_stays_as_long_as_it_has_members() {
    let Some(lab) = node("vrf-last") else { return };
    let pod = lab.pod("a");
    let mut results = Vec::new();
    for (ifname, name, subnet) in [("eth0", "one", "10.71.0.0/24"), ("eth1", "two", "10.72.0.0/24")]
    {
        let conf = network(&lab, "bridge", name, &json!([[{"subnet": subnet}]]));
        let result = lab.plugin("bridge").add(&pod, ifname, &conf).ok();
        lab.plugin("vrf").add(&pod, ifname, &blue(&result)).ok();
        results.push(result);
    }
    // A second ADD changes nothing.
    lab.plugin("vrf").add(&pod, "eth1", &blue(&results[1])).ok();
    lab.plugin("vrf").del(&pod, "eth0", &blue(&results[0])).ok();
    assert!(pod.has_link("blue"));
    lab.plugin("vrf").check(&pod, "eth1", &blue(&results[1]), &results[1]).ok();
    // The configuration has another name by now.
    let renamed = vrf("pods", &json!({"vrfname": ""}), &results[1]);
    lab.plugin("vrf").del(&pod, "eth1", &renamed).ok();
    assert!(!pod.has_link("blue"));
    // One that a killed ADD has made and not used.
    pod.ip("link add blue type vrf table 10");
    lab.plugin("vrf").del(&pod, "eth9", &blue(&results[0])).ok();
    assert!(!pod.has_link("blue"));
    lab.plugin("vrf").del_without_netns(&pod, "eth0", &blue(&results[0])).ok();
    pod.delete();
    lab.plugin("vrf").del(&pod, "eth0", &blue(&results[0])).ok();
}

#[test]
fn what_is_taken_is_refused_and_left_alone() {
    let Some(lab) = node("vrf-taken") else { return };
    let pod = lab.pod("a");
    let result = lab.plugin("bridge").add(&pod, "eth0", &pods(&lab, "bridge")).ok();
    let refused = |keys: Value, text: &str| {
        let before = pod.ip("addr show") + &routes(&pod, "-4", "all");
        let outcome = lab.plugin("vrf").add(&pod, "eth0", &vrf("pods", &keys, &result));
        assert_eq!((outcome.code(), outcome.msg().contains(text)), (102, true), "{outcome}");
        assert_eq!(pod.ip("addr show") + &routes(&pod, "-4", "all"), before);
    };
    refused(json!({"vrfname": "eth0"}), "a veth called eth0");
    pod.ip("link add blue type vrf table 11");
    refused(json!({"vrfname": "blue", "table": 10}), "has table 11, not 10");
    lab.plugin("vrf").add(&pod, "eth0", &vrf("pods", &json!({"vrfname": "blue"}), &result)).ok();
    refused(json!({"vrfname": "red"}), "belongs to blue, a vrf");
    let missing = lab.plugin("vrf").add(&pod, "eth7", &blue(&result));
    assert_eq!((missing.code(), missing.msg().contains("eth7")), (7, true), "{missing}");
}

#[test]
fn each_drift_is_named() {
    let Some(lab) = node("vrf-drift") else { return };
    let pod = lab.pod("a");
    let result = lab.plugin("bridge").add(&pod, "eth0", &pods(&lab, "bridge")).ok();
    lab.plugin("vrf").add(&pod, "eth0", &blue(&result)).ok();
    let check = |conf: &Value| lab.plugin("vrf").check(&pod, "eth0", conf, &result);
    check(&blue(&result)).ok();
    let other = vrf("pods", &json!({"vrfname": "blue", "table": 11}), &result);
    drift(&check(&other), "has table 10, not 11");
    pod.ip("route del default table 10");
    drift(&check(&blue(&result)), "0.0.0.0/0");
    // In another table it is not what members of the VRF go by.
    pod.ip("route add default dev eth0");
    drift(&check(&blue(&result)), "0.0.0.0/0");
    pod.ip("link set blue down");
    drift(&check(&blue(&result)), "VRF blue: is down");
    pod.ip("link set eth0 nomaster");
    pod.ip("link set blue up");
    drift(&check(&blue(&result)), "eth0: is not in VRF blue");
    pod.ip("link del blue");
    drift(&check(&blue(&result)), "VRF blue: is gone");
    lab.plugin("vrf").del(&pod, "eth0", &blue(&result)).ok();
    pod.ip("link del eth0");
    drift(&check(&blue(&result)), "eth0: is gone");
    lab.plugin("vrf").del(&pod, "eth0", &blue(&result)).ok();
}

/// Where the kernel has no VRFs, STATUS says so before a pod finds out.
#[test]
fn a_kernel_without_vrfs_is_told() {
    let lab = Lab::new("vrf-none");
    let pod = lab.pod("a");
    let conf = blue(&json!({"cniVersion": "1.1.0", "interfaces": [], "ips": []}));
    if lab
        .node()
        .exec("ip", &["link", "add", "probe", "type", "vrf", "table", "9"])
        .status
        .success()
    {
        lab.plugin("vrf").status(&conf).ok();
        return;
    }
    assert_eq!(lab.plugin("vrf").status(&conf).code(), 50);
    pod.ip("link add eth0 type veth peer name far");
    let failed = lab.plugin("vrf").add(&pod, "eth0", &conf);
    assert_eq!((failed.code(), failed.msg().contains("VRF blue")), (100, true), "{failed}");
    lab.plugin("vrf").del(&pod, "eth0", &conf).ok();
}
