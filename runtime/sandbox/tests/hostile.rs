//! Requests that must be refused before anything is done.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod stage;

use cri_api::v1::{
    DnsConfig, IdMapping, NamespaceMode, PodSandboxConfig, PortMapping, UserNamespace,
};
use sandbox::{Kind, Settings};
use stage::{Stage, pod, with_spaces};

type Change = Box<dyn Fn(PodSandboxConfig) -> PodSandboxConfig + Send + Sync>;

/// What is asked, with a part of the message that must come.
struct Case {
    what: String,
    change: Change,
    says: &'static str,
}

fn case(
    what: impl Into<String>,
    says: &'static str,
    change: impl Fn(&mut PodSandboxConfig) + Send + Sync + 'static,
) -> Case {
    let change = move |mut config: PodSandboxConfig| {
        change(&mut config);
        config
    };
    Case { what: what.into(), change: Box::new(change), says }
}

fn sysctl(key: &str, value: &str) -> Case {
    let (k, v) = (key.to_owned(), value.to_owned());
    case(format!("sysctl {key:?} = {value:?}"), "sysctl", move |config| {
        config.linux.get_or_insert_default().sysctls.insert(k.clone(), v.clone());
    })
}

fn sysctls() -> Vec<Case> {
    let keys = [
        // A second key behind the first, as joined by other runtimes.
        "kernel.shm_rmid_forced+kernel.core_pattern",
        "kernel.shm_rmid_forced,kernel.core_pattern",
        "kernel.shm_rmid_forced\nkernel.core_pattern",
        "kernel.shm_rmid_forced=1 kernel.core_pattern",
        // The whole node's.
        "kernel.core_pattern",
        "kernel.modprobe",
        "kernel.panic",
        "kernel.hostname",
        "vm.overcommit_memory",
        "fs.file-max",
        "user.max_user_namespaces",
        "fs.mqueuex.msg_max",
        "network.x",
        // Ways out of the directory.
        "net.ipv4/../../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net/./ipv4",
        "net..ipv4",
        "net.ipv4.",
        "net.",
        "net",
        "/net/ipv4/ip_forward",
        ".net.ipv4",
        "net.ipv4.ip_forward\0",
        "",
    ];
    let mut cases: Vec<Case> = keys.iter().map(|key| sysctl(key, "1")).collect();
    for value in ["1+kernel.core_pattern=|/bin/sh", "1\nx", "1\0", "\u{202e}1", &"9".repeat(5000)] {
        cases.push(sysctl("kernel.shm_rmid_forced", value));
    }
    cases.push(case("the same key twice", "twice", |config| {
        for key in ["net.ipv4.ip_forward", "net/ipv4/ip_forward"] {
            let linux = config.linux.get_or_insert_default();
            linux.sysctls.insert(key.to_owned(), "1".to_owned());
        }
    }));
    for (key, mode) in [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc")] {
        cases.push(case(format!("{key} of the node"), "shares", move |config| {
            config.linux.get_or_insert_default().sysctls.insert(key.to_owned(), "1".to_owned());
            *config = with_spaces(std::mem::take(config), |spaces| match mode {
                "network" => spaces.network = NamespaceMode::Node.into(),
                _ => spaces.ipc = NamespaceMode::Node.into(),
            });
        }));
    }
    cases
}

fn names() -> Vec<Case> {
    let mut cases = vec![
        case("no metadata", "metadata", |config| config.metadata = None),
        case("no name", "metadata.name", |config| {
            config.metadata.get_or_insert_default().name.clear();
        }),
    ];
    for bad in ["a;K8S_POD_NAMESPACE=kube-system", "a\nb", "../../etc", "a\0", &"x".repeat(2000)] {
        for field in ["name", "namespace", "uid"] {
            let bad = bad.to_owned();
            cases.push(case(format!("{field} {bad:.20?}"), "metadata", move |config| {
                let metadata = config.metadata.get_or_insert_default();
                match field {
                    "name" => metadata.name.clone_from(&bad),
                    "namespace" => metadata.namespace.clone_from(&bad),
                    _ => metadata.uid.clone_from(&bad),
                }
            }));
        }
    }
    for bad in ["a b", "a\n127.0.0.1 bank", "-a", "a..b", "a/b", "\u{e9}", &"a".repeat(65)] {
        let bad = bad.to_owned();
        cases.push(case(format!("hostname {bad:?}"), "hostname", move |config| {
            config.hostname.clone_from(&bad);
        }));
    }
    for bad in ["logs", "/var/log/../../etc", "/a\nb", "./x", "/.."] {
        cases.push(case(format!("log directory {bad:?}"), "log_directory", move |config| {
            config.log_directory = bad.to_owned();
        }));
    }
    for bad in ["/../etc", "a/../../b", "/", "//", "/a/./b", "a:b:c", "/x\ny"] {
        cases.push(case(format!("cgroup parent {bad:?}"), "cgroup_parent", move |config| {
            config.linux.get_or_insert_default().cgroup_parent = bad.to_owned();
        }));
    }
    cases
}

fn ports() -> Vec<Case> {
    let port = |container_port, host_port, protocol, host_ip: &str| PortMapping {
        container_port,
        host_port,
        protocol,
        host_ip: host_ip.to_owned(),
    };
    let mut cases = Vec::new();
    for bad in [
        port(80, 65_536, 0, ""),
        port(80, -1, 0, ""),
        port(0, 80, 0, ""),
        port(70_000, 80, 0, ""),
        port(80, 80, 9, ""),
        port(80, 80, 0, "127.0.0.1; reboot"),
        port(80, 80, 0, "node"),
    ] {
        cases.push(case(format!("{bad:?}"), "port_mappings", move |config| {
            config.port_mappings = vec![bad.clone()];
        }));
    }
    let twice = port(80, 80, 0, "");
    cases.push(case("a port twice", "twice", move |config| {
        config.port_mappings = vec![twice.clone(), twice.clone()];
    }));
    cases
}

fn network() -> Vec<Case> {
    let mut cases = Vec::new();
    let dns = |servers: &[&str], searches: &[&str], options: &[&str]| {
        let own = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
        DnsConfig { servers: own(servers), searches: own(searches), options: own(options) }
    };
    for bad in [
        dns(&["10.0.0.1\nnameserver 6.6.6.6"], &[], &[]),
        dns(&["ns.example.org"], &[], &[]),
        dns(&["fe80::1%eth0 options"], &[], &[]),
        dns(&[], &["a b"], &[]),
        dns(&[], &["a\nnameserver 6.6.6.6"], &[]),
        dns(&[], &[""], &[]),
        dns(&[], &[], &["ndots:5\nsearch evil"]),
    ] {
        cases.push(case(format!("{bad:?}"), "dns_config", move |config| {
            config.dns_config = Some(bad.clone());
        }));
    }
    for (key, bad) in [
        ("kubernetes.io/ingress-bandwidth", "10X"),
        ("kubernetes.io/egress-bandwidth", "-1M"),
        ("kubernetes.io/egress-bandwidth", "1"),
        ("kubernetes.io/egress-bandwidth", "99999999999999999999P"),
        ("podloom.dev/networks", "podnet"),
        ("podloom.dev/networks", "offered@eth0"),
        ("podloom.dev/networks", "offered@../x"),
        ("podloom.dev/networks", "offered@lo"),
        ("podloom.dev/networks", "offered@a-name-that-is-too-long"),
        ("podloom.dev/networks", "offered,offered@eth1"),
        ("podloom.dev/ips", "10.0.0.0/8; x"),
        ("podloom.dev/mac", "02:00:00:00:00"),
    ] {
        let says = if key.ends_with("networks") { "network" } else { "annotation" };
        cases.push(case(format!("{key}: {bad}"), says, move |config| {
            config.annotations.insert(key.to_owned(), bad.to_owned());
        }));
    }
    cases
}

fn spaces() -> Vec<Case> {
    let range = |container_id, host_id, length| IdMapping { host_id, container_id, length };
    let user = |mode: NamespaceMode, uids: Vec<IdMapping>| {
        Some(UserNamespace { mode: mode.into(), gids: uids.clone(), uids })
    };
    let good = || vec![range(0, 100_000, 65_536)];
    let pod_mode = NamespaceMode::Pod;
    let bad_users = [
        user(pod_mode, vec![]),
        user(pod_mode, vec![range(0, 100_000, 0)]),
        user(pod_mode, vec![range(0, u32::MAX, 2)]),
        user(pod_mode, vec![range(0, 1000, 10), range(5, 3000, 10)]),
        user(pod_mode, vec![range(0, 1000, 10), range(10, 1005, 10)]),
        user(pod_mode, vec![range(1, 1000, 10)]),
        user(NamespaceMode::Node, good()),
        user(NamespaceMode::Container, good()),
        user(NamespaceMode::Target, good()),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for bad in bad_users {
        cases.push(case(format!("{bad:?}"), "userns_options", move |config| {
            *config = with_spaces(std::mem::take(config), |s| s.userns_options = bad.clone());
        }));
    }
    for field in ["network", "ipc", "pid"] {
        let node = NamespaceMode::Node.into();
        cases.push(case(format!("user ids with the node's {field}"), "share", move |config| {
            *config = with_spaces(std::mem::take(config), |s| {
                s.userns_options = user(NamespaceMode::Pod, vec![range(0, 100_000, 65_536)]);
                match field {
                    "network" => s.network = node,
                    "ipc" => s.ipc = node,
                    _ => s.pid = node,
                }
            });
        }));
    }
    for (field, mode) in [("network", 1), ("network", 3), ("ipc", 3), ("pid", 3), ("pid", 77)] {
        let says = "namespace_options";
        cases.push(case(format!("{field} mode {mode}"), says, move |config| {
            *config = with_spaces(std::mem::take(config), |s| match field {
                "network" => s.network = mode,
                "ipc" => s.ipc = mode,
                _ => s.pid = mode,
            });
        }));
    }
    cases
}

#[test]
fn hostile_requests_are_refused_before_anything_is_done() {
    let mut stage = Stage::new("hostile");
    stage.settings.networks.on_request = vec!["offered".to_owned()];
    stage.settings.networks.addresses_on_request = true;
    // Were anything started, it would fail otherwise.
    stage.settings.shim = "/nonexistent/shim".into();
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let opened = stage.snapshot();
        let cases = [sysctls(), names(), ports(), network(), spaces()];
        for case in cases.iter().flatten() {
            let outcome = pods.run((case.change)(pod("evil")), "").await;
            let e = outcome.expect_err(&case.what);
            assert_eq!(e.kind(), Kind::Invalid, "{}: {e}", case.what);
            assert!(e.to_string().contains(case.says), "{}: {e}", case.what);
            assert!(!e.to_string().contains(['\n', '\0']), "{}: one line: {e}", case.what);
        }
        for handler in ["nobody", "../x", "a\nb"] {
            let e = pods.run(pod("evil"), handler).await.expect_err(handler);
            assert_eq!(e.kind(), Kind::Invalid, "{e}");
        }
        opened.assert_same(&stage.snapshot());
        assert!(pods.list().is_empty());
        for id in ["", "..", "/", "*", "zz"] {
            assert_eq!(pods.get(id).expect_err(id).kind(), Kind::NotFound);
        }
    });
    stage.assert_clean(&before);
}

#[test]
fn systemd_needs_a_slice() {
    let mut stage = Stage::new("slice");
    let driver = cgroup::Driver::Systemd;
    stage.settings = Settings { cgroup_driver: driver, ..stage.settings.clone() };
    stage.run(async {
        let (pods, _) = stage.open().await;
        let mut config = pod("a");
        config.linux.get_or_insert_default().cgroup_parent = "/kubepods/pod1".to_owned();
        let e = pods.run(config, "").await.expect_err("no slice");
        assert_eq!(e.kind(), Kind::Invalid, "{e}");
        assert!(e.advice().contains("systemd"), "{e}");
    });
}

#[test]
fn directories_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new("closed");
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(stage::on_the_node("a"), "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        for path in [sandbox.run_dir(), sandbox.state_dir()] {
            for dir in [path, path.parent().expect("parent")] {
                let mode = std::fs::metadata(dir).expect("dir").permissions().mode();
                assert_eq!(mode & 0o077, 0, "{}: {mode:o}", dir.display());
            }
        }
        pods.remove(&id).await.expect("remove");
    });
}
