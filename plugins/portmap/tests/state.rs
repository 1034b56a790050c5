//! Who owns which rules: several networks, conflicts, kills, drift, garbage. Needs root.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod stage;

use lab::Kill;
use serde_json::{Value, json};
use stage::{Attached, BACKENDS, Stage, map, map_at};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn one(pod: &Attached, backend: &str) -> Value {
    pod.conf(backend, json!([map(8080, 80, "tcp")]), &json!({}))
}

#[test]
fn del_of_one_network_leaves_the_mappings_of_the_others() {
    for backend in BACKENDS {
        let stage = Stage::new("networks");
        let a = stage.pod("a", 2);
        let _server = a.pod.tcp_echo(80);
        let first = one(&a, backend);
        let second = a.conf(backend, json!([map(9090, 80, "tcp")]), &json!({"name": "second"}));
        stage.run("ADD", &a, &first).ok();
        stage.run("ADD", &a, &second).ok();
        stage.run("DEL", &a, &first).ok();
        assert_eq!(stage.outside.tcp(stage.node_address(0, 9090)).expect(backend).server, "a");
        stage.run("CHECK", &a, &second).ok();
        assert_eq!(stage.run("CHECK", &a, &first).code(), 103);
        stage.run("DEL", &a, &second).ok();
        stage.assert_bare();
    }
}

#[test]
fn a_network_may_be_attached_twice() {
    for backend in BACKENDS {
        let stage = Stage::new("twice");
        let a = stage.pod("a", 2);
        let _server = a.pod.tcp_echo(80);
        let first = one(&a, backend);
        let mut second = a.conf(backend, json!([map(9090, 80, "tcp")]), &json!({}));
        second["prevResult"]["interfaces"][1]["name"] = json!("eth1");
        let plugin = stage.lab.plugin("portmap");
        stage.run("ADD", &a, &first).ok();
        plugin.add(&a.pod, "eth1", &second).ok();
        for port in [8080, 9090] {
            assert_eq!(stage.outside.tcp(stage.node_address(0, port)).expect(backend).server, "a");
        }
        stage.run("CHECK", &a, &first).ok();
        plugin.attachment("CHECK", &a.pod, "eth1", &second).ok();
        stage.gc(&first, &[("pod-a", "eth0"), ("pod-a", "eth1")]).ok();
        stage.run("DEL", &a, &first).ok();
        plugin.attachment("CHECK", &a.pod, "eth1", &second).ok();
        plugin.del(&a.pod, "eth1", &second).ok();
        stage.assert_bare();
    }
}

#[test]
fn a_port_that_is_taken_is_refused() {
    for backend in BACKENDS {
        let stage = Stage::new("conflict");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        stage.run("ADD", &a, &one(&a, backend)).ok();
        let before = stage.rules();
        for other in [map(8080, 81, "tcp"), map_at(8080, 81, "tcp", "192.0.2.9")] {
            let conf = b.conf(backend, json!([map(1, 1, "tcp"), other]), &json!({"name": "n2"}));
            let error = stage.run("ADD", &b, &conf).error();
            assert_eq!(error["code"], 102, "{error}");
            let msg = error["msg"].as_str().unwrap();
            assert!(msg.contains("pod-a") && msg.contains("\"net\""), "{msg}");
            stage.run("DEL", &b, &conf).ok();
        }
        assert_eq!(stage.rules(), before);
        let free = b.conf(backend, json!([map(8080, 80, "udp")]), &json!({}));
        stage.run("ADD", &b, &free).ok();
        stage.run("DEL", &b, &free).ok();
        stage.run("DEL", &a, &one(&a, backend)).ok();
        stage.run("ADD", &b, &one(&b, backend)).ok();
        stage.run("DEL", &b, &one(&b, backend)).ok();
        stage.assert_bare();
    }
}

#[test]
fn a_claim_without_rules_gives_way() {
    for backend in BACKENDS {
        let stage = Stage::new("stale");
        let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
        let _server = b.pod.tcp_echo(80);
        stage.run("ADD", &a, &one(&a, backend)).ok();
        let node = stage.lab.node();
        if backend == "iptables" {
            for program in ["iptables", "ip6tables"] {
                node.sh(program, &["-t", "nat", "-F"]);
            }
        } else {
            for family in ["ip", "ip6"] {
                node.sh("nft", &["delete", "table", family, "cni_hostport"]);
            }
        }
        assert_eq!(stage.run("CHECK", &a, &one(&a, backend)).code(), 103);
        stage.run("ADD", &b, &one(&b, backend)).ok();
        assert_eq!(stage.outside.tcp(stage.node_address(0, 8080)).expect(backend).server, "b");
        stage.run("DEL", &a, &one(&a, backend)).ok();
        stage.run("CHECK", &b, &one(&b, backend)).ok();
        stage.run("DEL", &b, &one(&b, backend)).ok();
        stage.assert_bare();
    }
}

#[test]
fn a_retry_after_a_kill_makes_no_doubles() {
    for backend in BACKENDS {
        let stage = Stage::new("kill");
        let a = stage.pod("a", 2);
        let ports = json!([map(8080, 80, "tcp"), map(5353, 53, "udp")]);
        let conf = a.conf(backend, ports, &json!({}));
        stage.run("ADD", &a, &conf).ok();
        let clean = sorted(stage.container_rules());
        stage.run("DEL", &a, &conf).ok();
        for micros in (0..6000).step_by(400) {
            let kill = Kill::After(Duration::from_micros(micros));
            let killed = stage.lab.plugin("portmap").kill(kill).add(&a.pod, "eth0", &conf);
            drop(killed);
            // What a killed plugin started may still be at work.
            lab::until("no program runs", lab::PATIENCE, || !is_running(&stage));
            stage.run("ADD", &a, &conf).ok();
            assert_eq!(sorted(stage.container_rules()), clean, "{backend} {micros}");
            let kill = Kill::After(Duration::from_micros(micros / 2));
            drop(stage.lab.plugin("portmap").kill(kill).del(&a.pod, "eth0", &conf));
            stage.run("DEL", &a, &conf).ok();
            stage.assert_bare();
        }
    }
}

/// Whether a program that a killed plugin started is still at work in the node.
fn is_running(stage: &Stage) -> bool {
    let node = std::fs::metadata(stage.lab.node().path()).unwrap().ino();
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let space = std::fs::read_link(process.path().join("ns/net")).unwrap_or_default();
        name.contains("tables") && space.to_string_lossy() == format!("net:[{node}]")
    })
}

#[test]
fn verbs_may_be_repeated_and_need_little() {
    for backend in BACKENDS {
        let stage = Stage::new("repeat");
        let a = stage.pod("a", 2);
        let conf = one(&a, backend);
        stage.run("DEL", &a, &conf).ok();
        stage.run("ADD", &a, &conf).ok();
        let once = stage.rules();
        stage.run("ADD", &a, &conf).ok();
        let counted = |text: &str| text.lines().filter(|l| l.contains("dnat")).count();
        assert_eq!(counted(&once), counted(&stage.rules()));
        // Neither namespace, nor mappings, nor a result, nor a valid configuration.
        let bare = json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap", "backend": 5});
        stage.lab.plugin("portmap").del_without_netns(&a.pod, "eth0", &bare).ok();
        stage.assert_bare();
        stage.run("DEL", &a, &conf).ok();
        let none = a.conf(backend, json!([]), &json!({}));
        assert_eq!(stage.run("ADD", &a, &none).ok()["ips"], none["prevResult"]["ips"]);
        stage.run("CHECK", &a, &none).ok();
        // A retry that asks for less takes the rest away.
        stage.run("ADD", &a, &conf).ok();
        stage.run("ADD", &a, &none).ok();
        stage.assert_bare();
        let mut alone = conf.clone();
        alone.as_object_mut().unwrap().remove("prevResult");
        assert_eq!(stage.run("ADD", &a, &alone).code(), 7);
    }
}

#[test]
fn one_family_needs_nothing_of_the_other() {
    for backend in BACKENDS {
        let stage = Stage::new("v4only");
        let a = stage.pod("a", 2);
        let mut conf = one(&a, backend);
        conf["prevResult"]["ips"].as_array_mut().unwrap().pop();
        // Programs that fail, and tell that they were started.
        let bin = stage.lab.tmp_dir().join("bin");
        let told = stage.lab.tmp_dir().join("told");
        std::fs::create_dir_all(&bin).unwrap();
        for program in ["ip6tables", "ip6tables-restore", "ip6tables-save"] {
            let script = format!("#!/bin/sh\ntouch {}\nexit 1\n", told.display());
            std::fs::write(bin.join(program), script).unwrap();
            std::fs::set_permissions(bin.join(program), Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let plugin = stage.lab.plugin("portmap").env("PATH", path);
        for verb in ["ADD", "CHECK", "DEL"] {
            plugin.attachment(verb, &a.pod, "eth0", &conf).ok();
        }
        assert!(!told.exists(), "ip6tables was started");
        let six = stage.lab.node().sh("ip6tables", &["-t", "nat", "-S"]);
        assert!(!six.contains("CNI"), "{six}");
        stage.assert_bare();
    }
}

#[test]
fn gc_frees_what_no_attachment_owns() {
    for backend in BACKENDS {
        let stage = Stage::new("gc");
        let (a, b, c) = (stage.pod("a", 2), stage.pod("b", 3), stage.pod("c", 4));
        let conf_b = b.conf(backend, json!([map(8081, 80, "tcp")]), &json!({}));
        let conf_c = c.conf(backend, json!([map(8082, 80, "tcp")]), &json!({"name": "other"}));
        stage.run("ADD", &a, &one(&a, backend)).ok();
        stage.run("ADD", &b, &conf_b).ok();
        stage.run("ADD", &c, &conf_c).ok();
        stage.gc(&one(&a, backend), &[("pod-b", "eth0")]).ok();
        assert!(!stage.rules().contains("8080"));
        stage.run("CHECK", &b, &conf_b).ok();
        stage.run("CHECK", &c, &conf_c).ok();
        assert_eq!(stage.registry().iter().filter(|n| n.starts_with("ports/")).count(), 2);
        // Rules whose registry is gone are found all the same.
        std::fs::remove_dir_all(stage.lab.run_dir().join("portmap")).unwrap();
        stage.gc(&one(&a, backend), &[]).ok();
        stage.gc(&conf_c, &[]).ok();
        stage.assert_bare();
    }
}

#[test]
fn drift_is_named() {
    for backend in BACKENDS {
        let stage = Stage::new("drift");
        let a = stage.pod("a", 2);
        let conf = one(&a, backend);
        stage.run("ADD", &a, &conf).ok();
        let node = stage.lab.node();
        if backend == "iptables" {
            let jump = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"];
            let args = [&["-t", "nat", "-D", "PREROUTING"][..], &jump].concat();
            node.sh("iptables", &args);
        } else {
            node.sh("nft", &["flush", "chain", "ip", "cni_hostport", "prerouting"]);
        }
        let error = stage.run("CHECK", &a, &conf).error();
        assert_eq!(error["code"], 103);
        assert!(error.to_string().to_lowercase().contains("prerouting"), "{error}");
        // The next ADD of anybody repairs what is shared.
        let b = stage.pod("b", 3);
        let conf_b = b.conf(backend, json!([map(8081, 80, "tcp")]), &json!({}));
        stage.run("ADD", &b, &conf_b).ok();
        stage.run("CHECK", &a, &conf).ok();
        let wider = a.conf(backend, json!([map(8080, 80, "tcp"), map(99, 9, "udp")]), &json!({}));
        assert_eq!(stage.run("CHECK", &a, &wider).code(), 103);
        let other = if backend == "iptables" { "nftables" } else { "iptables" };
        assert_eq!(stage.run("CHECK", &a, &one(&a, other)).code(), 103, "the right backend");
    }
}

#[test]
fn status_says_whether_the_backend_works() {
    let stage = Stage::new("status");
    let plugin = stage.lab.plugin("portmap");
    let conf = |backend: Option<&str>| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap"});
        if let Some(backend) = backend {
            conf["backend"] = json!(backend);
        }
        conf
    };
    for backend in [None, Some("iptables"), Some("nftables")] {
        plugin.status(&conf(backend)).ok();
    }
    assert_eq!(plugin.status(&conf(Some("ipfw"))).code(), 7);
    let hidden = stage.lab.plugin("portmap").hiding("/usr/sbin");
    let error = hidden.status(&conf(Some("iptables"))).error();
    assert_eq!(error["code"], 50, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("iptables"), "{error}");
    let hidden = stage.lab.plugin("portmap").hiding("/usr/sbin");
    hidden.status(&conf(None)).ok();
}

/// Compares with a file of `tests/golden`; with `BLESS` set, writes it.
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
}

#[test]
fn the_rules_are_as_on_record() {
    let stage = Stage::new("golden");
    let (a, b) = (stage.pod("a", 2), stage.pod("b", 3));
    let ports = json!([
        map(8080, 80, "tcp"),
        map(5353, 53, "UDP"),
        map(3868, 3868, "sctp"),
        map_at(8081, 80, "tcp", "192.0.2.9"),
        map_at(8082, 80, "tcp", "0.0.0.0"),
        map_at(8083, 80, "tcp", "2001:db8::1"),
        map_at(8084, 80, "tcp", "::"),
    ]);
    let keys = json!({"masqAll": true, "conditionsV4": ["ip saddr { 192.0.2.0/24, 10.0.0.0/8 }"],
        "conditionsV6": ["iifname \"eth*\" ip6 daddr != 2001:db8::/33"]});
    stage.run("ADD", &a, &a.conf("nftables", ports, &json!({}))).ok();
    stage.run("ADD", &b, &b.conf("nftables", json!([map(90, 90, "tcp")]), &keys)).ok();
    for family in ["ip", "ip6"] {
        let listed = stage.lab.node().sh("nft", &["list", "table", family, "cni_hostport"]);
        golden(&format!("{family}.nft"), &listed);
    }
}
