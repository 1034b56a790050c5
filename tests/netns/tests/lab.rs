//! The lab itself: what it makes works, what it measures is true, and nothing stays.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

use lab::{Drift, Kill, Lab, Pod};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(150);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A pod wired by hand, behind the node at .1.
fn wired(lab: &Lab, name: &str, subnet: u8) -> Pod {
    let pod = lab.pod(name);
    let node = lab.node();
    let path = pod.path().display().to_string();
    node.ip(&format!("link add v{name} type veth peer name p{name}"));
    node.ip(&format!("link set p{name} netns {path}"));
    node.ip(&format!("link set v{name} up"));
    node.ip(&format!("addr add 10.{subnet}.0.1/24 dev v{name}"));
    node.ip(&format!("addr add fd00:{subnet}::1/64 dev v{name} nodad"));
    pod.ip(&format!("link set p{name} name eth0 up"));
    pod.ip(&format!("addr add 10.{subnet}.0.2/24 dev eth0"));
    pod.ip(&format!("addr add fd00:{subnet}::2/64 dev eth0 nodad"));
    pod.ip(&format!("route add default via 10.{subnet}.0.1"));
    pod.ip(&format!("-6 route add default via fd00:{subnet}::1"));
    pod
}

fn forwarding(lab: &Lab) {
    lab.node().set_sysctl("net/ipv4/ip_forward", "1");
    lab.node().set_sysctl("net/ipv6/conf/all/forwarding", "1");
}

#[test]
fn probes_reach_across_the_node_and_tell_who_answered() {
    let lab = Lab::new("probes");
    let host = lab.outside("host1", &["192.0.2.0/24", "2001:db8::/64"]);
    let pod = wired(&lab, "a", 1);
    forwarding(&lab);
    for (to, host_ip) in [("10.1.0.2", host.address(0)), ("fd00:1::2", host.address(1))] {
        host.ping(ip(to)).expect("ping in");
        pod.ping(host_ip).expect("ping out");
        let to = SocketAddr::new(ip(to), 700);
        let (_tcp, _udp, _sctp) =
            (pod.tcp_echo(700), pod.udp_echo(700), pod.sctp_echo(to.ip(), 700));
        let replies = [
            host.tcp(to).expect("tcp"),
            host.udp(to).expect("udp"),
            host.sctp_from(4000, to, lab::PATIENCE).expect("sctp"),
        ];
        for reply in replies {
            assert_eq!(reply.server, "a");
            assert_eq!(reply.seen.ip(), host_ip);
            assert_eq!(reply.seen, reply.local);
        }
    }
    let nobody = host.ping_within(ip("10.1.0.77"), SHORT).expect_err("nobody is there");
    assert!(nobody.contains("host1 -> 10.1.0.77"), "{nobody}");
    host.tcp_within(SocketAddr::new(ip("10.1.0.2"), 701), SHORT).expect_err("nobody listens");
}

#[test]
fn translation_shows_in_the_reply_the_capture_and_conntrack() {
    let lab = Lab::new("translation");
    let host = lab.outside("host1", &["192.0.2.0/24"]);
    let pod = wired(&lab, "a", 1);
    forwarding(&lab);
    lab.node().sh("nft", &["add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c ip saddr 10.1.0.0/24 oif out0 masquerade"]);
    let capture = host.capture();
    let (_sctp, _udp) = (host.sctp_echo(host.address(0), 9), host.udp_echo(9));
    let to = SocketAddr::new(host.address(0), 9);
    let reply = pod.sctp_from(4001, to, lab::PATIENCE).expect("sctp");
    assert_eq!((reply.server.as_str(), reply.seen.ip()), ("host1", host.node_address(0)));
    assert_eq!(pod.udp(to).expect("udp").seen.ip(), host.node_address(0));
    let frame = capture
        .find(lab::PATIENCE, |f| !f.outgoing && f.ip().is_some_and(|(_, _, p)| p == 132))
        .expect("the INIT is captured");
    assert_eq!(frame.ip().expect("ip").0, host.node_address(0));
    assert_eq!(frame.ports(), Some((4001, 9)));
    let entries = lab.conntrack();
    assert!(
        entries.iter().any(|e| e.contains("sctp") && e.contains("src=10.1.0.2")),
        "{entries:?}"
    );
}

#[test]
fn a_snapshot_sees_each_kind_of_state_and_its_end() {
    let lab = Lab::new("snapshot");
    let node = lab.node();
    let before = lab.snapshot();
    node.ip("link add br9 type bridge");
    node.ip("link add v9 type veth peer name w9");
    node.ip("link set v9 master br9 up");
    node.ip("link set br9 up");
    node.ip("addr add 10.9.0.1/24 dev br9");
    node.ip("rule add from 10.9.0.0/24 lookup 99");
    node.sh("iptables", &["-t", "nat", "-N", "NINE"]);
    node.sh("ip6tables", &["-t", "nat", "-N", "NINE6"]);
    node.sh("nft", &["add table inet nine"]);
    std::fs::write(lab.data_dir().join("10.9.0.2"), "nine").expect("a lease");
    std::fs::write(lab.run_dir().join("nine"), "nine").expect("a state file");
    let with = lab.snapshot();
    for text in [
        "link: br9 kind bridge",
        "link: v9 kind veth",
        "address: br9 10.9.0.1/24",
        "10.9.0.0/24",
        "rule: ",
        "iptables-save: *nat :NINE -",
        "ip6tables-save: *nat :NINE6 -",
        "nft: table inet nine",
        "file: data/10.9.0.2 \"nine\"",
        "file: run/nine",
    ] {
        assert!(!with.matching(text).is_empty(), "{text}: not in\n{}", before.diff(&with));
        assert!(before.diff(&with).added.iter().any(|l| l.contains(text)), "{text}");
    }
    node.ip("link del br9");
    node.ip("link del v9");
    node.ip("rule del from 10.9.0.0/24 lookup 99");
    node.sh("nft", &["flush ruleset"]);
    std::fs::remove_file(lab.data_dir().join("10.9.0.2")).expect("remove");
    std::fs::remove_file(lab.run_dir().join("nine")).expect("remove");
    before.assert_same(&lab.snapshot());
}

#[test]
fn everything_is_removed_on_drop_and_after_a_panic() {
    let lab = Lab::new("drop");
    let pod = wired(&lab, "a", 1);
    let root = lab.root().to_owned();
    assert!(root.join("ns/node").exists());
    drop(pod);
    drop(lab);
    assert!(!root.exists());
    let panicked = std::thread::spawn(|| {
        let lab = Lab::new("panic");
        let _pod = wired(&lab, "a", 1);
        std::panic::panic_any(lab.root().to_owned());
    });
    let root = panicked.join().expect_err("it panics");
    let root = root.downcast::<std::path::PathBuf>().expect("a path");
    assert!(!root.exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(&*root.to_string_lossy()));
}

#[test]
fn a_deleted_namespace_takes_its_links() {
    let lab = Lab::new("gone");
    let pod = wired(&lab, "a", 1);
    pod.delete();
    assert!(!pod.path().exists());
    lab::until("the veth goes", lab::PATIENCE, || !lab.node().has_link("va"));
}

#[test]
fn private_directories_hide_the_machines() {
    let lab = Lab::new("private");
    lab.node().run_private(&lab.private_dirs(), || {
        std::fs::create_dir_all("/var/lib/cni/networks").expect("a private directory");
        assert_eq!(std::fs::read_dir("/run").expect("/run").count(), 0);
    });
    assert!(lab.root().join("private/var/lib/cni/networks").exists());
}

/// The parts that run plugins, proven on the reference.
#[test]
fn plugins_run_are_killed_and_drift() {
    let Some(reference) = lab::reference() else { return };
    let lab = Lab::new("plugins");
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "cni0",
        "isGateway": true, "ipam": {"type": "host-local", "dataDir": lab.data_dir(),
        "subnet": "10.9.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}});
    let bridge = || lab.plugin_of(&reference, "bridge");
    let (a, b) = (lab.pod("a"), lab.pod("b"));
    let first = bridge().add(&a, "eth0", &conf).ok();
    a.ping(ip("10.9.0.1")).expect("the node answers");
    let before = lab.snapshot();
    let killed = bridge().kill(Kill::AtSyscall(40)).add(&b, "eth0", &conf);
    assert!(killed.killed(), "{killed}");
    assert!(bridge().kill(Kill::After(Duration::ZERO)).add(&b, "eth0", &conf).killed());
    bridge().del(&b, "eth0", &conf).ok();
    before.assert_same(&lab.snapshot());
    let result = bridge().add(&b, "eth0", &conf).ok();
    b.ping(lab::address(&first, 0)).expect("the other pod answers");
    bridge().check(&b, "eth0", &conf, &result).ok();
    Drift::PortRemoved.apply(&lab, &b, "eth0", &result);
    assert!(!bridge().check(&b, "eth0", &conf, &result).success());
    Drift::LeasesDeleted.apply(&lab, &b, "eth0", &result);
    Drift::AddressDeleted.apply(&lab, &b, "eth0", &result);
    assert_eq!(b.addresses("eth0"), Vec::<String>::new());
    let bad = bridge().env("CNI_IFNAME", "a/b").add(&b, "eth0", &Value::Null);
    assert!(!bad.msg().is_empty());
}
