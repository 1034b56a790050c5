//! Debian's podman with its CNI backend runs containers through our plugins.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panic, in its functions too"
)]

use conformance::machine::{Machine, have};
use lab::Bins;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(20);

const CONTAINERS_CONF: &str = r#"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "net"
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "none"
"#;

/// The list that podman ships.
fn network() -> Value {
    json!({"cniVersion": "0.4.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true,
         "hairpinMode": true,
         "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                  "ranges": [[{"subnet": "10.6.0.0/24", "gateway": "10.6.0.1"}],
                             [{"subnet": "fd06::/64", "gateway": "fd06::1"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}},
        {"type": "firewall"},
        {"type": "tuning"},
    ]})
}

#[test]
fn containers_of_podman_are_attached_and_leave_nothing() {
    if !have(&["podman", "conmon", "crun", "busybox", "unshare", "nsenter"]) {
        return;
    }
    let machine = Machine::new("podman", &Bins::ours(), &network());
    let conf = machine.dir("etc/containers/containers.conf");
    std::fs::write(conf, CONTAINERS_CONF).expect("containers.conf");
    let outside = machine.lab.outside("host1", &["192.0.2.0/24", "2001:db8::/64"]);
    let _echo = outside.tcp_echo(7);
    let rootfs = machine.rootfs(SocketAddr::new(outside.address(0), 7));
    let rootfs = rootfs.to_string_lossy();
    let mut before = None;
    for round in ["first", "second"] {
        let mut args = vec!["run", "--detach", "--name", round, "--cgroups=disabled"];
        args.extend(["--log-driver", "none", "--network", "net", "--publish", "8080:80"]);
        args.extend(["--env", "PATH=/bin"]);
        args.extend(["--publish", "8081:81/udp", "--rootfs", &rootfs]);
        args.extend(["/bin/nc", "-ll", "-p", "80", "-e", "/bin/answer"]);
        machine.sh("podman", &args);
        let port = |index| SocketAddr::new(outside.node_address(index), 8080);
        let reply = outside.tcp_within(port(0), SLOW).expect("the hostPort answers outside");
        assert_eq!(reply.server, "container");
        assert_eq!(reply.seen.ip(), outside.node_address(0), "the container is masqueraded");
        outside.tcp_within(port(1), SLOW).expect("the hostPort answers over IPv6");
        let leases = machine.leases("net");
        assert_eq!(leases.len(), 2, "{leases:?}");
        let admitted = machine.snapshot();
        let admitted = admitted.matching("*filter -A CNI-FORWARD -s ");
        assert_eq!(admitted.len(), 2, "{admitted:?}");
        for address in leases {
            machine.node().ping(address).expect("the container answers the node");
        }
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let reported = machine.sh("podman", &["inspect", "--format", format, round]);
        let reported: IpAddr = reported.trim().parse().expect("an address");
        assert!(machine.leases("net").contains(&reported), "{reported}");
        machine.sh("podman", &["rm", "--force", "--time", "0", round]);
        assert_eq!(machine.leases("net"), [] as [IpAddr; 0], "{round}");
        lab::until("the kernel takes the links", lab::PATIENCE, || {
            machine.snapshot().matching("kind veth").iter().all(|l| l.contains("link: out"))
        });
        let now = machine.snapshot();
        before.get_or_insert_with(|| now.clone()).assert_same(&now);
        for text in ["DNAT --to", " id: ", "CNI-FORWARD -s", "file: cni/results", "10.6.0.2/"] {
            assert_eq!(now.matching(text), [] as [&str; 0], "{round}");
        }
    }
}
