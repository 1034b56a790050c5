//! The life of pods on a real kernel, with our plugins and our shim.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod stage;

use cri_api::v1::{DnsConfig, IdMapping, NamespaceMode, PortMapping, UserNamespace};
use sandbox::{Change, Kind, Pid, Sandbox, State};
use stage::{Stage, on_the_node, pod, with_spaces};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Runs a program in the pod's network namespace.
fn inside(pod: &Sandbox, args: &[&str]) -> String {
    let netns = pod.namespaces().net.clone().expect("network namespace");
    let mut command = std::process::Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).args(args);
    let done = command.output().expect("nsenter");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn a_pod_lives_and_leaves_nothing() {
    let stage = Stage::new("life");
    let before = stage.snapshot();
    stage.run(async {
        let (pods, recovered) = stage.open().await;
        assert!(recovered.errors.is_empty() && recovered.ready.is_empty());
        pods.network_status().await.expect("the network is ready");
        let mut events = pods.events();
        let mut config = pod("web-0");
        config.log_directory = stage.lab.tmp_dir().join("logs/web").to_string_lossy().into_owned();
        config.dns_config = Some(DnsConfig {
            servers: vec!["10.96.0.10".to_owned(), "fe80::1%eth0".to_owned()],
            searches: vec!["default.svc.cluster.local".to_owned(), "svc".to_owned()],
            options: vec!["ndots:5".to_owned()],
        });
        config.port_mappings =
            vec![PortMapping { container_port: 80, host_port: 8080, ..PortMapping::default() }];
        let id = pods.run(config.clone(), "").await.expect("run");
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        let sandbox = pods.get(&id[..8]).expect("by a prefix");
        assert_eq!((sandbox.state(), sandbox.config()), (State::Ready, &config));
        let network = sandbox.network();
        assert_eq!(network.ips.len(), 2, "dual stack: {network:?}");
        assert!(network.ips[0].is_ipv4() && network.ips[1].is_ipv6(), "in the plugins' order");
        assert_eq!(network.attachments[0].ifname, "eth0");
        let links = inside(&sandbox, &["ip", "-o", "addr"]);
        assert!(links.contains("127.0.0.1/8") && links.contains("eth0"), "{links}");
        assert_files(&sandbox, &network.ips);
        assert!(Path::new(&config.log_directory).is_dir());
        assert_reachable(&stage, &sandbox);
        let spaces = sandbox.namespaces();
        for path in [&spaces.net, &spaces.ipc, &spaces.uts] {
            let path = path.as_ref().expect("own");
            assert!(path.exists(), "{}", path.display());
        }
        assert_eq!((spaces.pid.clone(), spaces.user.clone()), (Pid::Pod(pid_of(&sandbox)), None));
        assert!(sandbox.shim().is_ok());
        pods.stop(&id).await.expect("stop");
        assert_eq!(sandbox.state(), State::NotReady);
        assert_eq!(sandbox.shim().expect_err("stopped").kind(), Kind::Precondition);
        assert!(sandbox.network().ips.is_empty() && sandbox.network().netns.is_none());
        assert!(!spaces.net.as_ref().expect("path").exists());
        pods.stop(&id).await.expect("again");
        assert_eq!(pods.list().len(), 1, "stopped pods are listed");
        pods.remove(&id).await.expect("remove");
        pods.remove(&id).await.expect("again");
        assert_eq!(pods.stop(&id).await.expect_err("gone").kind(), Kind::NotFound);
        let mut changes = Vec::new();
        while let Ok(event) = events.try_recv() {
            assert_eq!(event.id, id);
            changes.push(event.change);
        }
        assert_eq!(changes, [Change::Ready, Change::Stopped, Change::Removed]);
    });
    stage.assert_clean(&before);
}

fn pid_of(sandbox: &Sandbox) -> std::path::PathBuf {
    sandbox.run_dir().join("ns/pid")
}

fn assert_files(sandbox: &Sandbox, ips: &[std::net::IpAddr]) {
    let read = |path: &Path| fs::read_to_string(path).expect("file");
    let files = sandbox.files();
    assert_eq!(
        read(&files.resolv_conf),
        "search default.svc.cluster.local svc\nnameserver 10.96.0.10\nnameserver fe80::1%eth0\n\
         options ndots:5\n"
    );
    assert_eq!(read(&files.hostname), "web-0\n");
    let hosts = read(&files.hosts);
    for ip in ips {
        assert!(hosts.contains(&format!("{ip}\tweb-0\n")), "{hosts}");
    }
    let shm = rustix::fs::statfs(&files.shm).expect("statfs");
    assert_eq!(shm.f_type, 0x0102_1994, "tmpfs");
    assert_eq!(shm.f_blocks * u64::try_from(shm.f_bsize).expect("size"), 64 << 20);
}

/// The node's port leads into the pod.
fn assert_reachable(stage: &Stage, sandbox: &Sandbox) {
    let path = sandbox.namespaces().net.clone().expect("own");
    let space = netns::Netns::open(&path).expect("namespace");
    let socket = space.run(|| std::net::TcpListener::bind("0.0.0.0:80")).expect("enter");
    let listener = socket.expect("bind");
    std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"hello")
    });
    let outside = stage.lab.outside("client", &["192.0.2.0/24"]);
    let to = SocketAddr::new(outside.node_address(0), 8080);
    let text = outside.run(|| {
        use std::io::Read;
        let mut text = String::new();
        let stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(4));
        stream.expect("connect").read_to_string(&mut text).expect("read");
        text
    });
    assert_eq!(text, "hello");
}

#[test]
fn a_pod_may_share_the_node() {
    let stage = Stage::new("node-pod");
    // Not even a network configuration is needed.
    fs::remove_dir_all(stage.lab.conf_dir()).expect("net.d");
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(on_the_node("agent"), "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        let spaces = sandbox.namespaces();
        assert_eq!((&spaces.net, &spaces.ipc, &spaces.uts), (&None, &None, &None));
        assert_eq!(spaces.pid, Pid::Node);
        assert_eq!(sandbox.files().shm, Path::new("/dev/shm"));
        assert!(sandbox.network().ips.is_empty());
        let hosts = fs::read(&sandbox.files().hosts).expect("hosts");
        assert_eq!(hosts, fs::read("/etc/hosts").expect("the node's"));
        let resolv = fs::read(&sandbox.files().resolv_conf).expect("resolv.conf");
        assert_eq!(resolv, fs::read("/etc/resolv.conf").unwrap_or_default());
        pods.remove(&id).await.expect("remove stops first");
    });
    stage.assert_clean(&before);
}

#[test]
fn processes_and_users_may_be_the_pods_own() {
    let stage = Stage::new("spaces");
    let before = stage.snapshot();
    let ids = IdMapping { host_id: 100_000, container_id: 0, length: 65_536 };
    let config = with_spaces(pod("own"), |spaces| {
        spaces.pid = NamespaceMode::Container.into();
        spaces.userns_options = Some(UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![ids],
            gids: vec![ids],
        });
    });
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(config, "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        assert_eq!(sandbox.namespaces().pid, Pid::Container);
        let user = sandbox.namespaces().user.clone().expect("user namespace");
        assert_eq!((user.uids[0].host, user.uids[0].length), (100_000, 65_536));
        assert!(user.path.exists());
        assert_eq!(sandbox.network().ips.len(), 2);
        use std::os::unix::fs::MetadataExt;
        let shm = fs::metadata(&sandbox.files().shm).expect("shm");
        assert_eq!((shm.uid(), shm.gid()), (100_000, 100_000), "the pod's root");
        pods.stop(&id).await.expect("stop");
        pods.remove(&id).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn kernel_parameters_are_set_in_the_pod_alone() {
    let stage = Stage::new("sysctls");
    let before = stage.snapshot();
    let node = fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").expect("sysctl");
    let mut config = pod("tuned");
    let linux = config.linux.get_or_insert_default();
    for (key, value) in [
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net/ipv4/ip_local_port_range", "1024\t65000"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.domainname", "example.org"),
    ] {
        linux.sysctls.insert(key.to_owned(), value.to_owned());
    }
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(config, "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        let read = |key: &str| inside(&sandbox, &["cat", &format!("/proc/sys/{key}")]);
        assert_eq!(read("net/ipv4/ip_unprivileged_port_start"), "0\n");
        assert_eq!(read("net/ipv4/ip_local_port_range"), "1024\t65000\n");
        let ipc = sandbox.namespaces().ipc.clone().expect("own");
        let uts = sandbox.namespaces().uts.clone().expect("own");
        let done = std::process::Command::new("nsenter")
            .arg(format!("--ipc={}", ipc.display()))
            .arg(format!("--uts={}", uts.display()))
            .args(["cat", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/kernel/domainname"])
            .arg("/proc/sys/kernel/hostname")
            .output()
            .expect("nsenter");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "1\nexample.org\ntuned\n");
        pods.remove(&id).await.expect("remove");
        let mut config = pod("wrong");
        let linux = config.linux.get_or_insert_default();
        linux.sysctls.insert("net.ipv4.no_such".to_owned(), "1".to_owned());
        let e = pods.run(config, "").await.expect_err("no such parameter");
        assert_eq!(e.kind(), Kind::Invalid, "{e}");
        assert!(pods.list().is_empty(), "undone");
    });
    let after = fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").expect("sysctl");
    assert_eq!(node, after);
    stage.assert_clean(&before);
}

#[test]
fn a_pod_may_have_several_networks() {
    let mut stage = Stage::new("several");
    stage.write_network("20-second.conflist", &stage.network("second", "10.88.0.0/16"));
    stage.write_network("30-third.conflist", &stage.network("third", "10.88.0.0/16"));
    stage.settings.networks.on_request = vec!["third".to_owned()];
    stage.settings.networks.addresses_on_request = true;
    let handler = sandbox::Handler { networks: vec!["second".to_owned()] };
    stage.settings.handlers.insert("wide".to_owned(), handler);
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let mut config = pod("wide");
        let annotations = &mut config.annotations;
        annotations.insert("podloom.dev/networks".to_owned(), "third@data0".to_owned());
        let id = pods.run(config.clone(), "wide").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        let network = sandbox.network();
        let names: Vec<_> =
            network.attachments.iter().map(|a| (a.network.as_str(), a.ifname.as_str())).collect();
        assert_eq!(names, [("podnet", "eth0"), ("second", "eth1"), ("third", "data0")]);
        let links = inside(&sandbox, &["ip", "-o", "link"]);
        assert!(links.contains("eth1") && links.contains("data0"), "{links}");
        assert_eq!(network.ips.len(), 2, "those of eth0");
        pods.remove(&id).await.expect("remove");
        config.annotations.insert("podloom.dev/networks".to_owned(), "second".to_owned());
        let e = pods.run(config, "").await.expect_err("not offered");
        assert_eq!(e.kind(), Kind::Invalid, "{e}");
    });
    stage.assert_clean(&before);
}

#[test]
fn names_are_unique_and_lost_callers_find_their_pod() {
    let stage = Stage::new("names");
    let before = stage.snapshot();
    stage.run(async {
        let (pods, _) = stage.open().await;
        let (a, b) = tokio::join!(pods.run(pod("x"), ""), pods.run(pod("x"), ""));
        let (a, b) = (a.expect("first"), b.expect("joined"));
        assert_eq!(a, b, "one pod");
        let e = pods.run(pod("x"), "").await.expect_err("told already");
        assert_eq!(e.kind(), Kind::AlreadyExists, "{e}");
        assert!(e.to_string().contains(&a), "{e}");
        let mut other = pod("x");
        other.hostname = "other".to_owned();
        let e = pods.run(other, "").await.expect_err("another configuration");
        assert_eq!(e.kind(), Kind::AlreadyExists);
        // A caller who goes away at once.
        let lost = tokio::time::timeout(Duration::from_millis(2), pods.run(pod("y"), ""));
        lost.await.expect_err("it takes longer");
        let id = pods.run(pod("y"), "").await.expect("the pod of the first call");
        assert_eq!(pods.list().len(), 2);
        let lost = tokio::time::timeout(Duration::from_millis(2), pods.run(pod("z"), ""));
        lost.await.expect_err("it takes longer");
        while pods.list().len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let z = pods.run(pod("z"), "").await.expect("made in the meantime");
        assert_eq!(pods.list().len(), 3);
        for id in [a, id, z] {
            pods.remove(&id).await.expect("remove");
        }
        let again = pods.run(pod("x"), "").await.expect("the name is free");
        pods.remove(&again).await.expect("remove");
    });
    stage.assert_clean(&before);
}

#[test]
fn resources_are_noted() {
    let stage = Stage::new("resources");
    stage.run(async {
        use cri_api::v1::LinuxContainerResources as Resources;
        let (pods, _) = stage.open().await;
        let id = pods.run(on_the_node("r"), "").await.expect("run");
        let resources = Resources { cpu_shares: 512, ..Resources::default() };
        let update = sandbox::Update { overhead: None, resources: Some(resources.clone()) };
        pods.update_resources(&id, update).await.expect("update");
        pods.drain().await;
        drop(pods);
        let (pods, recovered) = stage.open().await;
        assert_eq!(recovered.ready, [id.as_str()]);
        assert_eq!(pods.get(&id).expect("pod").resources(), (None, Some(resources)));
        pods.remove(&id).await.expect("remove");
    });
}

#[test]
fn a_control_group_of_our_own_ends_with_the_pod() {
    let stage = Stage::new("group");
    stage.run(async {
        let (pods, _) = stage.open().await;
        let id = pods.run(on_the_node("g"), "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        assert_eq!(sandbox.cgroup_parent(), format!("/podloom/{id}"));
        let paths = ["c1", "c2"].map(|container| sandbox.cgroups_path(container));
        let groups = paths.each_ref().map(|path| {
            let request = cgroup::Request { path: Some(path), ..cgroup::Request::new("c") };
            cgroup::Cgroup::create(&request).expect("create").keep()
        });
        let dirs: Vec<_> = groups[0].paths().places.iter().map(cgroup::Place::dir).collect();
        let [first, second] = groups;
        // In any order, whoever made the parent.
        first.destroy(Duration::from_secs(4)).expect("destroy");
        second.destroy(Duration::from_secs(4)).expect("destroy");
        pods.remove(&id).await.expect("remove");
        for dir in dirs {
            let parent = dir.parent().expect("the pod's");
            assert!(!parent.exists(), "{}", parent.display());
            // That of all pods goes with the last one: others may be here at the same time.
            let all = parent.parent().expect("that of all pods");
            lab::until("the group of all pods ends", Duration::from_secs(4), || {
                fs::read_dir(all).map_or(true, |mut names| {
                    names.any(|name| name.is_ok_and(|name| name.path().is_dir()))
                })
            });
        }
        let mut config = on_the_node("kubelet");
        config.linux.get_or_insert_default().cgroup_parent = "/kubepods/burstable/pod7".to_owned();
        let id = pods.run(config, "").await.expect("run");
        let sandbox = pods.get(&id).expect("pod");
        assert_eq!(sandbox.cgroups_path("c"), "/kubepods/burstable/pod7/c");
        pods.remove(&id).await.expect("the group is kubelet's");
    });
}
