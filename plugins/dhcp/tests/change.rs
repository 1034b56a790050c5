//! What becomes of a lease in time: renewed, changed, refused, run out, and had again.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::address;
use serde_json::json;
use stage::{PATIENT, REQUEST, Site, seen, to_server};

const ROUTER: &str = "--dhcp-option=option:router,10.66.0.1";
/// dnsmasq leases for two minutes at least; these make a client ask earlier.
const T1: &str = "--dhcp-option=option:T1,3s";
const T2: &str = "--dhcp-option=option:T2,13s";

#[test]
fn short_leases_are_renewed_and_a_dead_server_costs_the_address_until_it_is_back() {
    let site = Site::new("dhcp-renew");
    let daemon = site.daemon(&["-resendmax", "1s"]);
    let kea = site.kea();
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    let first = site.expiry();
    let capture = site.server.capture();
    lab::until("renewed", PATIENT, || site.expiry() > first);
    let (_, client, to) = seen(&capture, REQUEST);
    assert_eq!((client, to.as_str()), (address(&result, 0).to_string(), "10.66.0.1"));
    // Beyond the end of the first lease.
    let second = site.expiry();
    lab::until("renewed again", PATIENT, || site.expiry() > second + 2_000);
    assert_eq!(pod.addresses("eth0"), [format!("{}/24", address(&result, 0))]);
    site.macvlan().check(&pod, "eth0", &conf, &result).ok();

    kea.crash();
    lab::until("rebinding is told by STATUS", PATIENT, || {
        let status = site.macvlan().status(&conf);
        !status.success() && status.code() == 51
    });
    lab::until("the address is given up", PATIENT, || pod.addresses("eth0").is_empty());
    assert!(!pod.ip("route").contains("default"));
    let check = site.lab.plugin("dhcp").check(&pod, "eth0", &conf, &result);
    assert!(check.code() == 103 && check.msg().contains("is lost"), "{check}");
    assert!(capture.frames().iter().filter_map(to_server).any(|(k, client, to)| {
        k == REQUEST && client == address(&result, 0).to_string() && to == "255.255.255.255"
    }));

    let _kea = site.kea();
    lab::until("it has an address again", PATIENT, || !pod.addresses("eth0").is_empty());
    lab::until("and its route", PATIENT, || pod.ip("route").contains("default via 10.66.0.1"));
    lab::until("STATUS is well", PATIENT, || site.macvlan().status(&conf).success());
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("tasks").count();
    assert_eq!(threads, 1);
    site.macvlan().del(&pod, "eth0", &conf).ok();
    assert!(site.records().is_empty());
}

#[test]
fn a_refused_lease_is_replaced_in_the_pod() {
    let site = Site::new("dhcp-nak");
    let _daemon = site.daemon(&[]);
    let server = site.dnsmasq(&[ROUTER, T1, T2, "--dhcp-authoritative"]);
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    let old = address(&result, 0).to_string();
    server.crash();
    std::fs::remove_file(site.file("dnsmasq.leases")).expect("leases");
    let range = "--dhcp-range=10.66.0.30,10.66.0.39,255.255.255.0,2m";
    let _server = site.dnsmasq(&[ROUTER, T1, T2, "--dhcp-authoritative", range]);
    lab::until("another address", PATIENT, || {
        let now = pod.addresses("eth0");
        now.len() == 1 && !now[0].starts_with(&old)
    });
    assert!(site.text("dnsmasq.log").contains("DHCPNAK"), "{}", site.text("dnsmasq.log"));
    assert!(site.text("daemon.log").contains("DHCPNAK"), "{}", site.text("daemon.log"));
    lab::until("its route", PATIENT, || pod.ip("route").contains("default via 10.66.0.1"));
    pod.ping("10.66.0.1".parse().expect("address")).expect("with the new address");
    let check = site.lab.plugin("dhcp").check(&pod, "eth0", &conf, &result);
    assert!(check.code() == 103 && check.msg().contains("10.66.0.3"), "{check}");
}

#[test]
fn changed_options_are_applied_in_the_pod() {
    let site = Site::new("dhcp-options");
    let _daemon = site.daemon(&[]);
    site.server.ip("addr add 10.66.0.2/24 dev eth0");
    let server = site.dnsmasq(&[ROUTER, T1, T2, "--dhcp-option=option:mtu,1400"]);
    let pod = site.lab.pod("a");
    let conf = site.conf(&json!({}));
    let result = site.macvlan().add(&pod, "eth0", &conf).ok();
    assert!(pod.ip("link show eth0").contains("mtu 1400"));
    server.crash();
    let routes =
        "--dhcp-option=option:classless-static-route,0.0.0.0/0,10.66.0.2,10.97.0.0/16,10.66.0.1";
    let server = site.dnsmasq(&[routes, T1, T2, "--dhcp-option=option:mtu,1300"]);
    lab::until("other routes", PATIENT, || {
        let routes = pod.ip("route");
        routes.contains("default via 10.66.0.2") && routes.contains("10.97.0.0/16 via 10.66.0.1")
    });
    assert!(!pod.ip("route").contains("default via 10.66.0.1"));
    lab::until("another MTU", PATIENT, || pod.ip("link show eth0").contains("mtu 1300"));
    assert_eq!(pod.addresses("eth0"), [format!("{}/24", address(&result, 0))]);
    server.crash();
    // Without the option the interface gets back what it had; with a greater one no more than that.
    let server = site.dnsmasq(&[ROUTER, T1, T2]);
    lab::until("its own MTU", PATIENT, || pod.ip("link show eth0").contains("mtu 1500"));
    lab::until("the first route", PATIENT, || pod.ip("route").contains("default via 10.66.0.1"));
    drop(server);
}
