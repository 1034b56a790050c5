//! Packets really reach the pod, by every protocol, family and way. Needs root.

mod stage;

use serde_json::json;
use stage::{BACKENDS, Stage, map, map_at};
use std::net::SocketAddr;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(300);

#[test]
fn a_port_is_reached_from_outside_and_from_the_node() {
    for backend in BACKENDS {
        let stage = Stage::new("reach");
        let a = stage.pod("a", 2);
        let _servers = (a.pod.tcp_echo(80), a.pod.udp_echo(53));
        let mappings = json!([map(8080, 80, "tcp"), map(5353, 53, "udp")]);
        let conf = a.conf(backend, mappings, &json!({}));
        let result = stage.run("ADD", &a, &conf).ok();
        assert_eq!(result["ips"], conf["prevResult"]["ips"], "prevResult is passed on");
        for family in [0, 1] {
            let (tcp, udp) = (stage.node_address(family, 8080), stage.node_address(family, 5353));
            for from in [&*stage.outside, stage.lab.node()] {
                assert_eq!(from.tcp(tcp).expect(backend).server, "a");
                assert_eq!(from.udp(udp).expect(backend).server, "a");
            }
            let seen = stage.outside.tcp(tcp).expect(backend).seen.ip();
            assert_eq!(seen, stage.outside.address(family), "the client is not hidden");
            assert_eq!(a.pod.tcp(tcp).expect("the pod reaches itself").server, "a");
        }
        let loopback: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(stage.lab.node().tcp(loopback).expect(backend).server, "a");
        stage.run("CHECK", &a, &conf).ok();
        stage.run("DEL", &a, &conf).ok();
        stage.outside.tcp_within(stage.node_address(0, 8080), SOON).expect_err("removed");
        stage.assert_bare();
    }
}

#[test]
fn sctp_is_forwarded() {
    for backend in BACKENDS {
        let stage = Stage::new("sctp");
        let a = stage.pod("a", 2);
        let conf = a.conf(backend, json!([map(3868, 38, "sctp")]), &json!({}));
        stage.run("ADD", &a, &conf).ok();
        for (family, ip) in [(0, a.v4), (1, a.v6)] {
            let _server = a.pod.sctp_echo(ip, 38);
            let to = stage.node_address(family, 3868);
            let reply = stage.outside.sctp_from(5000, to, lab::PATIENCE).expect(backend);
            assert_eq!(reply.server, "a");
        }
        stage.run("DEL", &a, &conf).ok();
        stage.assert_bare();
    }
}

#[test]
fn a_host_address_is_the_only_one_that_forwards() {
    for backend in BACKENDS {
        let stage = Stage::new("hostip");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let _servers = (a.pod.tcp_echo(80), b.pod.tcp_echo(80));
        let own = stage.outside.node_address(0).to_string();
        let first = json!([
            map_at(80, 80, "tcp", "192.0.2.9"),
            map_at(81, 80, "tcp", "0.0.0.0"),
            map_at(82, 80, "tcp", "::"),
        ]);
        stage.run("ADD", &a, &a.conf(backend, first, &json!({}))).ok();
        let second = b.conf(backend, json!([map_at(80, 80, "tcp", &own)]), &json!({}));
        stage.run("ADD", &b, &second).ok();
        let server = |to: &str| stage.outside.tcp(to.parse().unwrap()).map(|r| r.server).ok();
        let refused = |to: String| stage.outside.tcp_within(to.parse().unwrap(), SOON).is_err();
        let (v4, v6) = (stage.outside.node_address(0), stage.outside.node_address(1));
        assert_eq!(server("192.0.2.9:80").as_deref(), Some("a"));
        assert_eq!(server(&format!("{v4}:80")).as_deref(), Some("b"));
        assert_eq!(server(&format!("{v4}:81")).as_deref(), Some("a"));
        assert_eq!(server(&format!("[{v6}]:82")).as_deref(), Some("a"));
        assert!(refused(format!("[{v6}]:81")), "0.0.0.0 is IPv4");
        assert!(refused(format!("{v4}:82")), ":: is IPv6");
    }
}

#[test]
fn only_packets_for_the_node_are_caught() {
    // CVE-2025-67499: a rule without this test took the port of every address.
    for backend in BACKENDS {
        let stage = Stage::new("hijack");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let _servers = (a.pod.tcp_echo(80), b.pod.tcp_echo(8080), stage.outside.tcp_echo(8080));
        let conf = a.conf(backend, json!([map(8080, 80, "tcp")]), &json!({}));
        stage.run("ADD", &a, &conf).ok();
        for (family, other) in [(0, b.v4), (1, b.v6)] {
            let far = SocketAddr::new(stage.outside.address(family), 8080);
            assert_eq!(b.pod.tcp(far).expect("forwarded").server, "outside");
            assert_eq!(stage.lab.node().tcp(far).expect("sent").server, "outside");
            let pod = SocketAddr::new(other, 8080);
            assert_eq!(stage.outside.tcp(pod).expect("to a pod").server, "b");
        }
    }
}

#[test]
fn masquerading_is_as_asked_for() {
    for backend in BACKENDS {
        let stage = Stage::new("masq");
        let a = stage.pod("a", 2);
        let _server = a.pod.tcp_echo(80);
        let mappings = json!([map(8080, 80, "tcp")]);
        let all = a.conf(backend, mappings.clone(), &json!({"masqAll": true, "markMasqBit": 9}));
        if backend == "nftables" {
            stage
                .run("ADD", &a, &a.conf(backend, mappings.clone(), &json!({"masqAll": true})))
                .ok();
        } else {
            stage.run("ADD", &a, &all).ok();
        }
        for (family, node) in [(0, "10.9.0.1"), (1, "fd00:9::1")] {
            let seen = stage.outside.tcp(stage.node_address(family, 8080)).expect(backend).seen;
            assert_eq!(seen.ip().to_string(), node, "masqAll hides the client");
        }
        // A retry with other wishes replaces the rules.
        let off = a.conf(backend, mappings, &json!({"snat": false}));
        stage.run("ADD", &a, &off).ok();
        let seen = stage.outside.tcp(stage.node_address(0, 8080)).expect(backend).seen;
        assert_eq!(seen.ip(), stage.outside.address(0));
        a.pod.tcp_within(stage.node_address(0, 8080), SOON).expect_err("no hairpin without snat");
        stage.run("CHECK", &a, &off).ok();
        stage.run("DEL", &a, &off).ok();
        stage.assert_bare();
    }
}

#[test]
fn conditions_hold_for_their_attachment_only() {
    for (backend, v4, v6) in [
        ("iptables", json!(["-s", "192.0.2.2"]), json!(["!", "-s", "2001:db8::2"])),
        ("nftables", json!(["ip", "saddr", "192.0.2.2"]), json!(["ip6 saddr != 2001:db8::2"])),
    ] {
        let stage = Stage::new("conditions");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let _servers = (a.pod.tcp_echo(80), b.pod.tcp_echo(80));
        let keys = json!({"conditionsV4": v4, "conditionsV6": v6});
        let first = a.conf(backend, json!([map(8080, 80, "tcp")]), &keys);
        stage.run("ADD", &a, &first).ok();
        let second = b.conf(backend, json!([map(8081, 80, "tcp")]), &json!({"name": "other"}));
        stage.run("ADD", &b, &second).ok();
        let reaches = |port, family| {
            let reply = stage.outside.tcp(stage.node_address(family, port));
            reply.map(|r| r.server).expect(backend)
        };
        assert_eq!((reaches(8080, 0).as_str(), reaches(8081, 0).as_str()), ("a", "b"));
        assert_eq!(reaches(8081, 1), "b");
        stage.outside.tcp_within(stage.node_address(1, 8080), SOON).expect_err("excluded");
        let node = stage.lab.node();
        node.tcp_within(stage.node_address(0, 8080), SOON).expect_err("not the node");
        stage.run("CHECK", &a, &first).ok();
        stage.run("CHECK", &b, &second).ok();
        stage.run("DEL", &b, &second).ok();
        assert_eq!(reaches(8080, 0), "a");
        stage.run("DEL", &a, &first).ok();
        stage.assert_bare();
    }
}

#[test]
fn an_external_chain_marks() {
    let stage = Stage::new("external");
    let a = stage.pod("a", 2);
    let _server = a.pod.tcp_echo(80);
    let node = stage.lab.node();
    let conf = a.conf(
        "iptables",
        json!([map(8080, 80, "tcp")]),
        &json!({"externalSetMarkChain": "MARK-IT"}),
    );
    let error = stage.run("ADD", &a, &conf).error();
    assert_eq!(error["code"], 104, "a chain that is not there is an error: {error}");
    stage.assert_bare();
    for program in ["iptables", "ip6tables"] {
        node.sh(program, &["-t", "nat", "-N", "MARK-IT"]);
        node.sh(program, &["-t", "nat", "-A", "MARK-IT", "-j", "MARK", "--or-mark", "0x4"]);
        let masq =
            ["-t", "nat", "-A", "POSTROUTING", "-m", "mark", "--mark", "4", "-j", "MASQUERADE"];
        node.sh(program, &masq);
    }
    stage.run("ADD", &a, &conf).ok();
    assert_eq!(a.pod.tcp(stage.node_address(0, 8080)).expect("hairpin").server, "a");
    stage.run("CHECK", &a, &conf).ok();
    stage.run("DEL", &a, &conf).ok();
    assert!(!stage.rules().contains("CNI-HOSTPORT-MASQ"));
    stage.assert_bare();
}
