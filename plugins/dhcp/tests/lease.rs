//! Leases of a real server, by the main plugins that are used with dhcp.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::address;
use serde_json::json;
use stage::{RELEASE, Site, seen};

#[test]
fn a_pod_gets_what_the_server_gives_and_gives_it_back() {
    let site = Site::new("dhcp-lease");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&[
        "--dhcp-option=option:router,10.66.0.1",
        "--dhcp-option=option:dns-server,10.66.0.53",
        "--dhcp-option=option:mtu,1400",
        "--dhcp-option=option:domain-search,a.example,b.example",
        "--domain=pods.example",
    ]);
    let pod = site.lab.pod("a");
    let before = site.lab.snapshot();
    let conf = site.conf(&json!({"provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"},
        {"option": "vendor-class-identifier", "value": "podloom"}], "priority": 77}));
    let plugin = site.macvlan().env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web-1");
    let result = plugin.add(&pod, "eth0", &conf).ok();
    assert!(address(&result, 0).to_string().starts_with("10.66.0.1"), "{result}");
    assert_eq!(result["ips"][0]["gateway"], "10.66.0.1");
    assert_eq!(result["routes"], json!([{"dst": "0.0.0.0/0", "gw": "10.66.0.1", "priority": 77}]));
    assert_eq!(result["dns"]["nameservers"], json!(["10.66.0.53"]));
    assert_eq!(result["dns"]["domain"], "pods.example");
    assert_eq!(result["dns"]["search"], json!(["a.example", "b.example"]));
    assert_eq!(result["interfaces"][0]["mtu"], 1400);
    assert!(pod.ip("route").contains("default via 10.66.0.1 dev eth0 metric 77"));
    pod.ping("10.66.0.1".parse().expect("address")).expect("the server's host");
    plugin.check(&pod, "eth0", &conf, &result).ok();
    plugin.status(&conf).ok();
    assert!(site.text("dnsmasq.leases").contains(" web-1 "), "{}", site.text("dnsmasq.leases"));
    assert!(site.text("dnsmasq.log").contains("vendor class: podloom"));
    // The same identity as the reference's: either goes on with the other's address.
    let id = format!("00:{}", hex(&format!("{}/net/eth0", pod.id())));
    assert!(site.text("dnsmasq.leases").contains(&id), "{}", site.text("dnsmasq.leases"));

    let capture = site.server.capture();
    plugin.del(&pod, "eth0", &conf).ok();
    let (_, client, to) = seen(&capture, RELEASE);
    assert_eq!((client, to.as_str()), (address(&result, 0).to_string(), "10.66.0.1"));
    lab::until("the server has the address back", stage::PATIENT, || {
        !site.text("dnsmasq.leases").contains("10.66.0.1")
    });
    plugin.del(&pod, "eth0", &conf).ok();
    before.assert_same(&site.lab.snapshot());
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

#[test]
fn classless_routes_take_the_place_of_the_router() {
    let site = Site::new("dhcp-routes");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&[
        "--dhcp-option=option:router,10.66.0.1",
        "--dhcp-option=option:classless-static-route,10.99.0.0/16,10.66.0.1,10.98.7.0/24,0.0.0.0",
    ]);
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    let routes = pod.ip("route");
    assert!(routes.contains("10.99.0.0/16 via 10.66.0.1 dev eth0"), "{routes}");
    assert!(routes.contains("10.98.7.0/24 dev eth0 scope link"), "{routes}");
    assert!(!routes.contains("default"), "{routes}");
    site.macvlan().check(&pod, "eth0", &conf, &result).ok();
    site.macvlan().del(&pod, "eth0", &conf).ok();
    assert!(site.records().is_empty());
}

#[test]
fn both_families_by_macvlan() {
    let site = Site::new("dhcp-dual");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&[
        "--dhcp-range=fd66::100,fd66::1ff,64,2m",
        "--enable-ra",
        "--dhcp-option=option6:dns-server,[fd66::53]",
        "--dhcp-option=option6:domain-search,six.example",
    ]);
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({"families": ["ipv4", "ipv6"]}));
    let start = std::time::Instant::now();
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(result["ips"].as_array().map(Vec::len), Some(2), "{result}");
    let v6 = address(&result, 1).to_string();
    assert!(v6.starts_with("fd66::1"), "{result}");
    assert_eq!(result["ips"][1]["address"], format!("{v6}/128"));
    let servers = result["dns"]["nameservers"].as_array().expect("servers");
    assert!(servers.contains(&json!("fd66::53")), "{result}");
    assert_eq!(result["dns"]["search"], json!(["six.example"]));
    pod.ping("10.66.0.1".parse().expect("address")).expect("by IPv4");
    // The way to neighbours is told by the router.
    lab::until("by IPv6", stage::PATIENT, || pod.ping("fd66::1".parse().expect("address")).is_ok());
    site.macvlan().check(&pod, "eth0", &conf, &result).ok();
    assert!(site.text("dnsmasq.leases").contains(&v6));
    site.macvlan().del(&pod, "eth0", &conf).ok();
    lab::until("the server has both back", stage::PATIENT, || {
        let leases = site.text("dnsmasq.leases");
        !leases.contains(&v6) && !leases.contains("10.66.0.1")
    });
    assert!(site.records().is_empty());
}

#[test]
fn ipv6_alone() {
    let site = Site::new("dhcp-v6");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&["--dhcp-range=fd66::100,fd66::1ff,64,2m"]);
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({"families": ["ipv6"]}));
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    assert_eq!(result["ips"].as_array().map(Vec::len), Some(1), "{result}");
    let again = site.macvlan().del(&pod, "eth0", &conf);
    again.ok();
    let second = site.macvlan().add(&pod, "eth0", &conf).ok();
    assert_eq!(address(&second, 0), address(&result, 0), "the identity is the same");
}

#[test]
fn bridge_and_its_pods() {
    let site = Site::new("dhcp-bridge");
    let _daemon = site.daemon(&[]);
    let _server =
        site.dnsmasq(&["--dhcp-option=option:router,10.66.0.1", "--dhcp-option=option:mtu,1450"]);
    site.lab.node().ip("link add cni0 type bridge");
    site.lab.node().ip("link set cni0 up");
    site.lab.node().ip("link set lan0 master cni0");
    let conf = site.conf_of("bridge", &json!({"bridge": "cni0"}), &json!({}));
    let (a, b) = (site.lab.pod("a"), site.lab.pod("b"));
    let plugin = site.lab.plugin("bridge");
    let first = plugin.add(&a, "eth0", &conf).ok();
    let second = plugin.add(&b, "eth0", &conf).ok();
    assert_ne!(address(&first, 0), address(&second, 0));
    a.ping(address(&second, 0)).expect("the other pod");
    a.ping("10.66.0.1".parse().expect("address")).expect("the server's host");
    plugin.check(&a, "eth0", &conf, &first).ok();
    // What is there already is refused, and its lease stays.
    assert_eq!(plugin.add(&a, "eth0", &conf).code(), 102);
    plugin.check(&a, "eth0", &conf, &first).ok();
    plugin.gc(&conf, &[(b.id(), "eth0")]).ok();
    assert_eq!(site.records().len(), 1);
    assert!(!a.has_link("eth0"));
    let capture = site.server.capture();
    plugin.check(&b, "eth0", &conf, &second).ok();
    plugin.del(&b, "eth0", &conf).ok();
    assert_eq!(seen(&capture, RELEASE).1, address(&second, 0).to_string());
    plugin.del(&a, "eth0", &conf).ok();
    assert!(site.records().is_empty());
}

#[test]
fn ipvlan_shares_a_hardware_address() {
    if !lab::kernel_makes("ipvlan") {
        return;
    }
    let site = Site::new("dhcp-ipvlan");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&[]);
    let conf = site.conf_of("ipvlan", &json!({"master": "lan0"}), &json!({}));
    let (a, b) = (site.lab.pod("a"), site.lab.pod("b"));
    let plugin = site.lab.plugin("ipvlan");
    let first = plugin.add(&a, "eth0", &conf).ok();
    let second = plugin.add(&b, "eth0", &conf).ok();
    assert_ne!(address(&first, 0), address(&second, 0));
    a.ping("10.66.0.1".parse().expect("address")).expect("the server's host");
    plugin.del(&a, "eth0", &conf).ok();
    plugin.del(&b, "eth0", &conf).ok();
    assert!(site.records().is_empty());
}

#[test]
fn every_version_of_results() {
    let site = Site::new("dhcp-versions");
    let _daemon = site.daemon(&[]);
    let _server = site.dnsmasq(&["--dhcp-option=option:router,10.66.0.1"]);
    for (n, version) in ["0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"].iter().enumerate() {
        let pod = site.lab.pod(&format!("p{n}"));
        let mut conf = site.conf(&json!({"priority": 5}));
        conf["cniVersion"] = (*version).into();
        let result = site.macvlan().add(&pod, "eth0", &conf).ok();
        assert_eq!(result["cniVersion"], *version);
        assert!(address(&result, 0).to_string().starts_with("10.66.0.1"), "{result}");
        site.macvlan().del(&pod, "eth0", &conf).ok();
    }
}
