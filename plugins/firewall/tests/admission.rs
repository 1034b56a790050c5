//! Packets are forwarded for pods that are admitted, and for no others. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's helper fails the test"
)]

mod stage;

use lab::{Kill, Lab};
use serde_json::{Value, json};
use stage::{Attached, SOON, Stage, WAYS};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

const IPTABLES: [&str; 2] = ["iptables", "legacy"];

fn plain(stage: &Stage, pod: &Attached) -> Value {
    stage.conf(pod, &json!({}))
}

#[test]
fn what_a_pod_sends_is_forwarded_and_so_is_the_answer() {
    for way in IPTABLES {
        let stage = Stage::new("admit", way);
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
        let _servers = (stage.outside.tcp_echo(80), a.pod.tcp_echo(80));
        let reach = |pod: &Attached, family, limit| {
            pod.pod.tcp_within(stage.outside_address(family, 80), limit).map(|reply| reply.server)
        };
        reach(&a, 0, SOON).expect_err("the node drops");
        let result = stage.run("ADD", &a, &plain(&stage, &a)).ok();
        assert_eq!(result["ips"], a.result()["ips"], "prevResult is passed on");
        for family in [0, 1] {
            assert_eq!(reach(&a, family, lab::PATIENCE).expect(way), "outside");
            reach(&b, family, SOON).expect_err("not admitted");
            let inward = stage.outside.tcp_within(a.address(family, 80), SOON);
            inward.expect_err("only what answers comes in");
        }
        stage.run("CHECK", &a, &plain(&stage, &a)).ok();
        stage.run("DEL", &a, &plain(&stage, &a)).ok();
        reach(&a, 0, SOON).expect_err("removed");
        stage.assert_bare();
    }
}

#[test]
fn the_operators_chain_decides_first() {
    for way in WAYS {
        let stage = Stage::new("admin", way);
        let a = stage.pod("a", 9, 2);
        let _server = (stage.outside.tcp_echo(80), stage.outside.tcp_echo(81));
        for chain in ["CNI-ADMIN", "SITE"] {
            let conf = stage.conf(&a, &json!({"iptablesAdminChainName": chain}));
            stage.run("ADD", &a, &conf).ok();
            let node = stage.lab.node();
            let to = stage.outside.address(0).to_string();
            let words = "-p tcp -d TO --dport 81 -j DROP".replace("TO", &to);
            let rule: Vec<_> = ["-A", chain].into_iter().chain(words.split(' ')).collect();
            match stage.programs() {
                Some([program, _]) => drop(node.sh(&program, &rule)),
                None => {
                    let line = format!(
                        "add rule inet podloom_firewall {chain} ip daddr {to} tcp dport 81 drop"
                    );
                    node.sh("nft", &line.split(' ').collect::<Vec<_>>());
                }
            }
            a.pod.tcp(stage.outside_address(0, 80)).expect(way);
            let denied = a.pod.tcp_within(stage.outside_address(0, 81), SOON);
            denied.expect_err("the operator's word");
            stage.run("CHECK", &a, &conf).ok();
            stage.run("DEL", &a, &conf).ok();
            assert!(stage.rules().contains("81"), "{way}: the operator's rule stays");
            match stage.programs() {
                Some([program, _]) => drop(node.sh(&program, &["-F", chain])),
                None => {
                    drop(node.sh("nft", &["flush", "chain", "inet", "podloom_firewall", chain]))
                }
            }
            stage.assert_bare();
        }
    }
}

#[test]
fn nftables_admit_before_rules_that_follow() {
    let stage = Stage::new("nft", "nftables");
    let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
    let _server = stage.outside.tcp_echo(80);
    stage.run("ADD", &a, &plain(&stage, &a)).ok();
    stage.lab.node().sh("nft", &["add", "rule", "inet", "podloom_firewall", "forward", "drop"]);
    for family in [0, 1] {
        a.pod.tcp(stage.outside_address(family, 80)).expect("admitted");
        let other = b.pod.tcp_within(stage.outside_address(family, 80), SOON);
        other.expect_err("not admitted");
    }
    stage.run("CHECK", &a, &plain(&stage, &a)).ok();
    stage.run("DEL", &a, &plain(&stage, &a)).ok();
    stage.assert_bare();
}

#[test]
fn an_address_that_was_given_again_stays_admitted() {
    for way in WAYS {
        let stage = Stage::new("again", way);
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 9, 3));
        let conf_a = plain(&stage, &a);
        let mut conf_b = plain(&stage, &b);
        conf_b["prevResult"]["ips"] = conf_a["prevResult"]["ips"].clone();
        stage.run("ADD", &a, &conf_a).ok();
        // The runtime lost sight of a; its addresses are b's now.
        stage.run("ADD", &b, &conf_b).ok();
        for _ in 0..2 {
            stage.run("DEL", &a, &conf_a).ok();
            stage.run("CHECK", &b, &conf_b).ok();
        }
        stage.plugin().gc(&conf_b, &[("pod-b", "eth0")]).ok();
        stage.run("CHECK", &b, &conf_b).ok();
        stage.run("DEL", &b, &conf_b).ok();
        stage.assert_bare();
    }
}

#[test]
fn a_reload_by_somebody_else_is_told_and_healed() {
    for way in WAYS {
        let stage = Stage::new("flush", way);
        let a = stage.pod("a", 9, 2);
        let conf = stage.conf(&a, &json!({"ingressPolicy": "isolated", "antiSpoofing": true}));
        stage.run("ADD", &a, &conf).ok();
        stage.run("CHECK", &a, &conf).ok();
        let node = stage.lab.node();
        for program in stage.programs().into_iter().flatten() {
            node.sh(&program, &["-F"]);
        }
        if way != "legacy" {
            node.sh("nft", &["flush", "ruleset"]);
        }
        let error = stage.run("CHECK", &a, &conf).error();
        assert_eq!(error["code"], 103, "{error}");
        stage.run("ADD", &a, &conf).ok();
        stage.run("CHECK", &a, &conf).ok();
        stage.run("DEL", &a, &conf).ok();
        stage.assert_bare();
    }
}

#[test]
fn every_drift_is_named() {
    for way in WAYS {
        let stage = Stage::new("drift", way);
        let a = stage.pod("a", 9, 2);
        let conf = stage.conf(&a, &json!({"ingressPolicy": "same-bridge"}));
        let node = stage.lab.node();
        let breaks: Vec<Vec<&str>> = match way {
            "nftables" => vec![
                "nft delete element inet podloom_firewall pods4 {10.9.0.2}".split(' ').collect(),
                "nft flush chain inet podloom_firewall forward".split(' ').collect(),
                "nft flush chain inet podloom_firewall isolation".split(' ').collect(),
            ],
            _ => vec![
                "-D CNI-FORWARD -s 10.9.0.2/32 -j ACCEPT".split(' ').collect(),
                "-D CNI-FORWARD 1".split(' ').collect(),
                "-D FORWARD 1".split(' ').collect(),
                "-D FORWARD 2".split(' ').collect(),
                "-F CNI-ISOLATION-STAGE-1".split(' ').collect(),
                "-F CNI-ISOLATION-STAGE-2".split(' ').collect(),
            ],
        };
        for words in breaks {
            stage.run("ADD", &a, &conf).ok();
            stage.run("CHECK", &a, &conf).ok();
            match stage.programs() {
                Some([program, _]) => drop(node.sh(&program, &words)),
                None => drop(node.sh(words[0], &words[1..])),
            }
            let broken = stage.rules();
            let error = stage.run("CHECK", &a, &conf).error();
            assert_eq!(error["code"], 103, "{way}: {words:?}: {error}");
            assert_eq!(stage.rules(), broken, "CHECK changes nothing");
        }
        stage.run("ADD", &a, &conf).ok();
        stage.run("CHECK", &a, &conf).ok();
        stage.run("DEL", &a, &conf).ok();
        stage.assert_bare();
    }
}

#[test]
fn ipv4_alone_needs_no_ip6tables() {
    let stage = Stage::new("v4", "iptables");
    let a = stage.pod("a", 9, 2);
    let mut conf = stage.conf(&a, &json!({"ingressPolicy": "isolated"}));
    conf["prevResult"]["ips"].as_array_mut().unwrap().pop();
    let dir = stage.lab.tmp_dir().join("v4");
    std::fs::create_dir(&dir).unwrap();
    for program in ["iptables", "iptables-save", "iptables-restore"] {
        let file = std::fs::canonicalize(format!("/usr/sbin/{program}")).unwrap();
        let copy = dir.join("xtables-nft-multi");
        if !copy.exists() {
            std::fs::copy(file, copy).unwrap();
        }
        symlink("xtables-nft-multi", dir.join(program)).unwrap();
    }
    let path = dir.to_string_lossy().into_owned();
    let plugin = stage.plugin().env("PATH", path).hiding("/usr/sbin");
    plugin.status(&conf).ok();
    for verb in ["ADD", "CHECK", "DEL"] {
        let outcome = plugin.attachment(verb, &a.pod, "eth0", &conf);
        assert!(outcome.success(), "{outcome}");
        if verb == "ADD" {
            assert!(stage.rules().contains("-s 10.9.0.2/32 -j ACCEPT"));
        }
    }
    stage.assert_bare();
}

#[test]
fn many_at_once_make_each_shared_rule_once() {
    for way in WAYS {
        let stage = Stage::new("many", way);
        let pods: Vec<_> = (2..10).map(|n| stage.pod(&format!("p{n}"), 9, n)).collect();
        let conf = |pod| stage.conf(pod, &json!({"ingressPolicy": "isolated"}));
        let all = |verb| {
            std::thread::scope(|scope| {
                for pod in &pods {
                    let (stage, conf) = (&stage, conf(pod));
                    scope.spawn(move || stage.run(verb, pod, &conf).ok());
                }
            });
        };
        all("ADD");
        all("CHECK");
        if way != "nftables" {
            for text in [
                "-j CNI-FORWARD",
                "-j CNI-ADMIN",
                "-A FORWARD -m comment --comment \"CNI firewall plugin rules (ingress",
            ] {
                let found = stage.rules_with(text);
                assert_eq!(found.len(), 2, "{way}: {text}: one of each family: {found:#?}");
            }
            assert_eq!(stage.rules_with("-i br9 -o br9").len(), 2);
        }
        all("DEL");
        stage.assert_bare();
    }
}

#[test]
fn what_runs_decides_without_a_backend() {
    let stage = Stage::new("default", "iptables");
    let a = stage.pod("a", 9, 2);
    let mut conf = plain(&stage, &a);
    conf.as_object_mut().unwrap().remove("backend");
    // No bus, so no firewalld.
    let nowhere = stage.lab.tmp_dir().join("no-bus");
    let nowhere = format!("unix:path={}", nowhere.display());
    let plugin = || stage.plugin().env("DBUS_SYSTEM_BUS_ADDRESS", nowhere.clone());
    plugin().attachment("ADD", &a.pod, "eth0", &conf).ok();
    assert!(stage.rules().contains("-A CNI-FORWARD -s 10.9.0.2/32 -j ACCEPT"));
    plugin().attachment("CHECK", &a.pod, "eth0", &conf).ok();
    plugin().attachment("DEL", &a.pod, "eth0", &conf).ok();
    // No iptables either.
    let empty = stage.lab.tmp_dir().to_string_lossy().into_owned();
    let bare = || plugin().env("PATH", empty.clone()).hiding("/usr/sbin");
    bare().attachment("ADD", &a.pod, "eth0", &conf).ok();
    assert!(stage.rules().contains("elements = { 10.9.0.2"), "{}", stage.rules());
    // What ADD chose counts where iptables is back.
    plugin().attachment("CHECK", &a.pod, "eth0", &conf).ok();
    plugin().attachment("DEL", &a.pod, "eth0", &conf).ok();
    stage.assert_bare();
}

#[test]
fn an_add_that_fails_leaves_nothing() {
    let stage = Stage::new("fails", "iptables");
    let a = stage.pod("a", 9, 2);
    // The last step of all fails: there is no daemon.
    let mut conf = stage.conf(&a, &json!({"ingressPolicy": "isolated", "antiSpoofing": true}));
    conf["backend"] = json!("firewalld");
    let nowhere = format!("unix:path={}", stage.lab.tmp_dir().join("no-bus").display());
    let plugin = stage.plugin().env("DBUS_SYSTEM_BUS_ADDRESS", nowhere);
    let error = plugin.attachment("ADD", &a.pod, "eth0", &conf).error();
    assert_eq!(error["code"], 104, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("firewalld"), "{error}");
    assert_eq!(plugin.status(&conf).code(), 50);
    stage.assert_bare();
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
    for way in ["iptables", "nftables"] {
        let stage = Stage::new("golden", way);
        let (a, b) = (stage.pod("a", 9, 2), stage.pod("b", 8, 3));
        // What follows from a random hardware address would differ each time.
        a.pod.ip("link set eth0 address 02:00:00:00:00:02");
        a.pod.ip("-6 addr flush dev eth0 scope link");
        let keys = json!({"ingressPolicy": "isolated", "antiSpoofing": true});
        stage.run("ADD", &a, &stage.conf(&a, &keys)).ok();
        stage.run("ADD", &b, &stage.conf(&b, &json!({"ingressPolicy": "same-bridge"}))).ok();
        golden(way, &stage.rules());
    }
}

#[test]
fn what_a_killed_call_leaves_is_completed_or_removed() {
    for way in WAYS {
        let stage = Stage::new("killed", way);
        let a = stage.pod("a", 9, 2);
        let conf = stage.conf(&a, &json!({"ingressPolicy": "isolated", "antiSpoofing": true}));
        for (turn, call) in (20..400).step_by(17).enumerate() {
            let killed = stage.plugin().kill(Kill::AtSyscall(call));
            let done = killed.attachment("ADD", &a.pod, "eth0", &conf).success();
            match turn % 3 {
                0 => stage.run("DEL", &a, &conf),
                1 => stage.plugin().gc(&conf, &[]),
                _ => {
                    stage.run("ADD", &a, &conf).ok();
                    stage.run("CHECK", &a, &conf).ok();
                    let killed = stage.plugin().kill(Kill::AtSyscall(call / 2));
                    killed.attachment("DEL", &a.pod, "eth0", &conf);
                    stage.run("DEL", &a, &conf)
                }
            }
            .ok();
            stage.assert_bare();
            if done {
                break;
            }
        }
    }
}

#[test]
fn leftovers_of_nobody_are_collected_after_two_looks() {
    let stage = Stage::new("leftovers", "iptables");
    let a = stage.pod("a", 9, 2);
    let conf = plain(&stage, &a);
    stage.run("ADD", &a, &conf).ok();
    let node = stage.lab.node();
    for ip in ["10.9.0.77", "10.9.0.78"] {
        let host = format!("{ip}/32");
        node.sh("iptables", &["-A", "CNI-FORWARD", "-s", &host, "-j", "ACCEPT"]);
    }
    let record = json!({"kind": "cniCacheV1", "result": {"ips": [{"address": "10.9.0.78/24"}]}});
    let results = stage.lab.cache_dir().join("results");
    let gc = || stage.plugin().gc(&conf, &[("pod-a", "eth0")]).ok();
    let left = || stage.rules_with("10.9.0.77").len() + stage.rules_with("10.9.0.78").len();
    std::fs::write(results.join("other-pod-eth0"), record.to_string()).unwrap();
    gc();
    gc();
    assert_eq!(left(), 2, "a pod may be about to be recorded");
    make_old(&stage.lab);
    gc();
    assert_eq!(stage.rules_with("10.9.0.77"), Vec::<String>::new());
    stage.run("CHECK", &a, &conf).ok();
    // What a runtime knows stays, and so does everything where nothing is known.
    std::fs::write(results.join("torn"), "{").unwrap();
    for _ in 0..2 {
        gc();
        make_old(&stage.lab);
    }
    assert_eq!(left(), 1);
    std::fs::remove_file(results.join("torn")).unwrap();
    // A record of somebody who runs plugins for the runtime counts too.
    let beside = stage.lab.cache_dir().join("multus/results");
    std::fs::create_dir_all(&beside).unwrap();
    std::fs::rename(results.join("other-pod-eth0"), beside.join("other-pod-net1")).unwrap();
    for _ in 0..2 {
        gc();
        make_old(&stage.lab);
    }
    assert_eq!(left(), 1);
    std::fs::remove_file(beside.join("other-pod-net1")).unwrap();
    gc();
    make_old(&stage.lab);
    gc();
    assert_eq!(left(), 0);
    stage.run("DEL", &a, &conf).ok();
    stage.assert_bare();
}

/// The last look was a while ago.
fn make_old(lab: &Lab) {
    if let Ok(file) = std::fs::File::open(lab.run_dir().join("firewall/suspects")) {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(120);
        file.set_modified(then).unwrap();
    }
}

#[test]
fn a_pod_without_addresses_or_with_a_forged_result_harms_nobody() {
    let stage = Stage::new("forged", "iptables");
    let a = stage.pod("a", 9, 2);
    let mut conf = stage.conf(&a, &json!({"ingressPolicy": "isolated"}));
    conf["prevResult"]["interfaces"][0]["name"] = json!("x\n-F FORWARD");
    let before = stage.rules();
    assert_eq!(stage.run("ADD", &a, &conf).code(), 7);
    assert_eq!(stage.rules(), before);
    let mut empty = plain(&stage, &a);
    empty["prevResult"]["ips"] = json!([]);
    for verb in ["ADD", "CHECK", "DEL"] {
        let outcome = stage.run(verb, &a, &empty);
        assert!(outcome.success(), "{outcome}");
    }
    let server: SocketAddr = stage.outside_address(0, 80);
    a.pod.tcp_within(server, SOON).expect_err("nobody admitted it");
    stage.assert_bare();
}
