//! What a pod sends in others' names is dropped, and nothing else. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helper fails the test"
)]

mod stage;

use serde_json::{Value, json};
use stage::{Attached, SOON, Stage, WAYS};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const OTHER: Mac = [0x02, 0, 0, 0, 0, 0x99];
const ALL_NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];

fn ether(from: Mac, to: Mac, protocol: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from, &protocol.to_be_bytes(), body].concat()
}

fn sum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |b| u32::from(*b)));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap()
}

fn v4(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(_) => panic!("{text}"),
    }
}

fn v6(text: &str) -> Vec<u8> {
    text.parse::<Ipv6Addr>().unwrap().octets().to_vec()
}

/// An answer that tells where `ip` is.
fn arp(sender: Mac, hardware: Mac, ip: &str) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 2];
    let body = [&fixed[..], &hardware, &v4(ip), &BROADCAST, &v4("10.9.0.3")].concat();
    ether(sender, BROADCAST, 0x0806, &body)
}

fn udp(source_port: u16) -> Vec<u8> {
    // To port 8080, 12 bytes, without a checksum.
    [&source_port.to_be_bytes()[..], &[0x1f, 0x90, 0, 12, 0, 0], b"data"].concat()
}

fn ipv4(sender: Mac, ip: &str, source_port: u16) -> Vec<u8> {
    let payload = udp(source_port);
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut head =
        [&[0x45, 0][..], &length, &[0, 0, 0x40, 0, 64, 17, 0, 0], &v4(ip), &v4("10.9.0.3")]
            .concat();
    let check = sum(&head).to_be_bytes();
    head[10..12].copy_from_slice(&check);
    ether(sender, BROADCAST, 0x0800, &[head, payload].concat())
}

fn ipv6(sender: Mac, ip: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let ends = [v6(ip), v6("ff02::1")].concat();
    let head = [&[0x60, 0, 0, 0][..], &length, &[next, 255], &ends].concat();
    let mut payload = payload.to_vec();
    // Behind hop-by-hop options bridges look at the checksum of ICMPv6 (RFC 4443, 2.3).
    if let Some(start) = [(58, 0), (0, 8)].iter().find(|(n, _)| *n == next).map(|(_, at)| *at) {
        let message = payload.split_off(start);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let check = sum(&[&ends[..], &length, &[0, 0, 0, 58], &message].concat()).to_be_bytes();
        payload.extend([&message[..2], &check, &message[4..]].concat());
    }
    ether(sender, ALL_NODES, 0x86dd, &[head, payload].concat())
}

/// An ICMPv6 message without its checksum.
fn icmp(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], rest].concat()
}

fn advertisement(target: &str) -> Vec<u8> {
    icmp(136, &[&[0x20, 0, 0, 0][..], &v6(target)].concat())
}

struct Frames {
    forged: Vec<(&'static str, Vec<u8>)>,
    honest: Vec<(&'static str, Vec<u8>)>,
}

fn frames(mac: Mac, link_local: &str) -> Frames {
    let own = "10.9.0.2";
    let own6 = "fd00:9::2";
    let router = icmp(134, &[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    // The same behind a header of hop-by-hop options, to get past simple filters (RFC 7113).
    let hidden = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &router].concat();
    let redirect = icmp(137, &[&[0; 4][..], &v6("fe80::1"), &v6("2001:db8::1")].concat());
    let udp6 = |port| udp(port);
    let forged = vec![
        ("ARP for the gateway", arp(mac, mac, "10.9.0.1")),
        ("another hardware address", ipv4(OTHER, own, 5000)),
        ("ARP with another hardware address", arp(mac, OTHER, own)),
        ("another IPv4 address", ipv4(mac, "10.9.0.77", 5000)),
        ("an IPv4 address of the world", ipv4(mac, "198.51.100.7", 5000)),
        ("a DHCP server", ipv4(mac, own, 67)),
        ("another IPv6 address", ipv6(mac, "fd00:9::77", 17, &udp6(5000))),
        ("another link-local address", ipv6(mac, "fe80::1", 17, &udp6(5000))),
        ("a DHCPv6 server", ipv6(mac, own6, 17, &udp6(547))),
        ("a router", ipv6(mac, link_local, 58, &router)),
        ("a router behind options", ipv6(mac, link_local, 0, &hidden)),
        ("a redirect", ipv6(mac, link_local, 58, &redirect)),
        ("a neighbour that it is not", ipv6(mac, own6, 58, &advertisement("fd00:9::1"))),
        ("a router's link-local address", ipv6(mac, own6, 58, &advertisement("fe80::1"))),
        ("spanning tree", ether(mac, BROADCAST, 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])),
        ("an unknown protocol", ether(mac, BROADCAST, 0x88b5, b"unknown protocol")),
    ];
    let honest = vec![
        ("ARP", arp(mac, mac, own)),
        ("an ARP probe", arp(mac, mac, "0.0.0.0")),
        ("IPv4", ipv4(mac, own, 5000)),
        ("a DHCP client", ipv4(mac, "0.0.0.0", 68)),
        ("IPv6", ipv6(mac, own6, 17, &udp6(5000))),
        ("link-local", ipv6(mac, link_local, 17, &udp6(5000))),
        ("a neighbour that it is", ipv6(mac, own6, 58, &advertisement(own6))),
        ("its link-local address", ipv6(mac, link_local, 58, &advertisement(link_local))),
    ];
    Frames { forged, honest }
}

fn mac_of(pod: &Attached) -> Mac {
    let bytes: Vec<u8> = pod.mac.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// The kernel gives it when it hears of the carrier, a moment later.
fn link_local(pod: &Attached) -> String {
    let told = || {
        let info = pod.pod.ip_json("-6 addr show dev eth0 scope link");
        let list = info[0]["addr_info"].as_array().cloned().unwrap_or_default();
        list.iter().find_map(|a| a["local"].as_str().map(str::to_owned))
    };
    lab::until("a link-local address", lab::PATIENCE, || told().is_some());
    told().expect("it stays")
}

/// The names of the frames that `to` gets of those that `from` sends.
fn arriving(
    from: &Attached,
    to: &Attached,
    frames: &[(&'static str, Vec<u8>)],
) -> Vec<&'static str> {
    let capture = to.pod.capture();
    let begins = |seen: &lab::Frame, sent: &[u8]| seen.bytes.starts_with(sent);
    // A bridge passes nothing on until it has heard of its port's carrier.
    let first = ipv4(mac_of(from), "10.9.0.2", 5002);
    lab::until("the way", lab::PATIENCE, || {
        from.pod.send_frame("eth0", &first);
        capture.find(Duration::from_millis(20), |seen| begins(seen, &first)).is_some()
    });
    for (_, frame) in frames {
        from.pod.send_frame("eth0", frame);
    }
    // What a link brings keeps its order: with the last one here, all are.
    let last = ipv4(mac_of(from), "10.9.0.2", 5001);
    from.pod.send_frame("eth0", &last);
    capture.find(Duration::from_secs(4), |seen| begins(seen, &last)).expect("the last frame");
    let seen = capture.frames();
    let has_arrived = |sent: &[u8]| seen.iter().any(|frame| begins(frame, sent));
    frames.iter().filter(|(_, sent)| has_arrived(sent)).map(|(name, _)| *name).collect()
}

fn names(frames: &[(&'static str, Vec<u8>)]) -> Vec<&'static str> {
    frames.iter().map(|(name, _)| *name).collect()
}

fn guarded(stage: &Stage, pod: &Attached) -> Value {
    stage.conf(pod, &json!({"antiSpoofing": true}))
}

#[test]
fn forged_frames_are_dropped_and_honest_ones_are_not() {
    for way in WAYS {
        let stage = Stage::new("spoof", way);
        for family in ["iptables", "ip6tables"] {
            stage.lab.node().set_sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "0");
        }
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
        let (all, of_b) =
            (frames(mac_of(&a), &link_local(&a)), frames(mac_of(&b), &link_local(&b)));
        assert_eq!(arriving(&a, &b, &all.forged), names(&all.forged), "without a guard");
        let conf = guarded(&stage, &a);
        stage.run("ADD", &a, &conf).ok();
        assert_eq!(arriving(&a, &b, &all.forged), Vec::<&str>::new(), "{way}");
        assert_eq!(arriving(&a, &b, &all.honest), names(&all.honest), "{way}");
        stage.run("CHECK", &a, &conf).ok();
        // Others are not looked at.
        let last_of_b = arriving_any(&b, &a, &of_b.forged[3].1);
        assert!(last_of_b, "{way}: b has no guard");
        stage.run("DEL", &a, &conf).ok();
        assert_eq!(arriving(&a, &b, &all.forged), names(&all.forged), "{way}: after");
        stage.assert_bare();
    }
}

fn arriving_any(from: &Attached, to: &Attached, frame: &[u8]) -> bool {
    let capture = to.pod.capture();
    from.pod.send_frame("eth0", frame);
    capture.find(Duration::from_secs(4), |seen| seen.bytes.starts_with(frame)).is_some()
}

#[test]
fn a_guarded_pod_talks_as_before() {
    for way in WAYS {
        let stage = Stage::new("talk", way);
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
        let _servers = (a.pod.tcp_echo(80), b.pod.tcp_echo(80), stage.outside.tcp_echo(80));
        for pod in [&a, &b] {
            stage.run("ADD", pod, &guarded(&stage, pod)).ok();
        }
        for family in [0, 1] {
            assert_eq!(a.pod.tcp(b.address(family, 80)).expect("b").server, "b");
            assert_eq!(b.pod.tcp(a.address(family, 80)).expect("a").server, "a");
            a.pod.tcp(stage.outside_address(family, 80)).expect("outside");
            // With neighbours forgotten, they are found again.
            a.pod.ip("neigh flush all");
            a.pod.tcp(b.address(family, 80)).expect("b again");
        }
        // An address that it gives itself is not its own.
        a.pod.ip("addr add 10.9.0.66/24 dev eth0");
        let stolen = b.pod.tcp_within("10.9.0.66:80".parse().unwrap(), SOON);
        stolen.expect_err("nobody hears where it is");
    }
}

#[test]
fn changes_of_the_guard_are_told() {
    let stage = Stage::new("guard-drift", "iptables");
    let a = stage.pod("a", 9, 2);
    let conf = guarded(&stage, &a);
    let node = stage.lab.node();
    for what in ["flush", "delete"] {
        stage.run("ADD", &a, &conf).ok();
        stage.run("CHECK", &a, &conf).ok();
        // A link-local address that comes later is no drift.
        a.pod.ip("addr add fe80::77/64 dev eth0 nodad");
        stage.run("CHECK", &a, &conf).ok();
        a.pod.ip("addr del fe80::77/64 dev eth0");
        node.sh("nft", &[what, "table", "netdev", "podloom_firewall"]);
        let error = stage.run("CHECK", &a, &conf).error();
        assert_eq!(error["code"], 103, "{error}");
        assert!(error["msg"].as_str().unwrap().contains(&a.port), "{error}");
        stage.run("DEL", &a, &conf).ok();
    }
    stage.assert_bare();
}

#[test]
fn guards_of_links_that_are_gone_are_collected() {
    let stage = Stage::new("guard-gc", "nftables");
    let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
    for pod in [&a, &b] {
        stage.run("ADD", pod, &guarded(&stage, pod)).ok();
    }
    stage.lab.node().ip(&format!("link del {}", a.port));
    // Whether the record is there or not.
    std::fs::remove_dir_all(stage.lab.run_dir().join("firewall/records")).unwrap();
    let conf = guarded(&stage, &b);
    stage.plugin().gc(&conf, &[("pod-b", "eth0")]).ok();
    assert_eq!(stage.rules_with(&a.port), Vec::<String>::new());
    assert_eq!(stage.rules_with("10.9.0.2").len(), 0, "{}", stage.rules());
    stage.run("CHECK", &b, &conf).ok();
    stage.plugin().gc(&conf, &[]).ok();
    for text in ["10.9.0.", "veth"] {
        assert_eq!(stage.rules_with(text), Vec::<String>::new());
    }
}

#[test]
fn an_interface_without_an_end_on_the_node_is_refused() {
    let stage = Stage::new("no-end", "iptables");
    let a = stage.pod("a", 9, 2);
    let conf = guarded(&stage, &a);
    let before = stage.rules();
    for (ifname, cause) in [("lo", "lo"), ("eth7", "eth7")] {
        let error = stage.plugin().attachment("ADD", &a.pod, ifname, &conf).error();
        assert_eq!(error["code"], 2, "{error}");
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.contains("antiSpoofing") && msg.contains(cause), "{error}");
    }
    assert_eq!(stage.rules(), before);
}
