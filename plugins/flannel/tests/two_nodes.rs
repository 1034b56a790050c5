//! Two nodes of a dual-stack cluster, as flanneld leaves them, with pods on both: pod-to-pod traffic
//! through vxlan, and by routes between the hosts. Needs root.

#![allow(clippy::expect_used, reason = "a test fails by panic, in its functions too")]

mod stage;

use lab::{Lab, Pod};
use stage::{flanneld, network};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What joins the nodes' pod networks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Vxlan,
    HostGw,
}

/// Both nodes, on one wire.
struct Cluster {
    nodes: [Lab; 2],
}

impl Cluster {
    fn new(name: &str, backend: Backend) -> Cluster {
        let nodes = [1, 2].map(|number| Lab::new(&format!("{name}-{number}")));
        let far = nodes[1].node().path().display().to_string();
        nodes[0].node().ip(&format!("link add up0 type veth peer name up0 netns {far}"));
        for (lab, number) in nodes.iter().zip([1, 2]) {
            let node = lab.node();
            node.ip("link set up0 up");
            node.ip(&format!("addr add 192.0.2.{number}/24 dev up0"));
            node.ip(&format!("addr add 2001:db8::{number}/64 dev up0 nodad"));
        }
        match backend {
            Backend::Vxlan => vxlan(&nodes),
            Backend::HostGw => host_gw(&nodes),
        }
        Cluster { nodes }
    }

    /// A pod on the node with this index, and its addresses.
    fn pod(&self, node: usize, name: &str) -> (Pod, [IpAddr; 2]) {
        let lab = &self.nodes[node];
        let pod = lab.pod(name);
        let conf = network(lab, "cbr0");
        let result = lab.plugin("flannel").add(&pod, "eth0", &conf).ok();
        lab.plugin("flannel").check(&pod, "eth0", &conf, &result).ok();
        (pod, [lab::address(&result, 0), lab::address(&result, 1)])
    }
}

/// The devices, neighbours, forwarding entries and routes that flanneld's vxlan backend makes.
fn vxlan(nodes: &[Lab; 2]) {
    for (lab, number) in nodes.iter().zip([1, 2]) {
        let node = lab.node();
        let common = "dev up0 dstport 8472 nolearning";
        node.ip(&format!("link add flannel.1 type vxlan id 1 local 192.0.2.{number} {common}"));
        node.ip(&format!(
            "link add flannel-v6.1 type vxlan id 1 local 2001:db8::{number} {common}"
        ));
        node.ip(&format!("addr add 10.244.{number}.0/32 dev flannel.1"));
        node.ip(&format!("addr add fd00:244:0:{number}::/128 dev flannel-v6.1 nodad"));
        node.ip("link set flannel.1 up");
        node.ip("link set flannel-v6.1 up");
        // By what the network's own device carries, in the file of both families.
        flanneld(lab, number, 1450);
    }
    for (lab, (far, other)) in nodes.iter().zip([(&nodes[1], 2), (&nodes[0], 1)]) {
        let node = lab.node();
        for (link, to, vtep, subnet) in [
            ("flannel.1", format!("10.244.{other}.0"), format!("192.0.2.{other}"), 24),
            ("flannel-v6.1", format!("fd00:244:0:{other}::"), format!("2001:db8::{other}"), 64),
        ] {
            let list = far.node().ip_json(&format!("link show {link}"));
            let mac = list[0]["address"].as_str().expect("an address");
            node.ip(&format!("neigh replace {to} lladdr {mac} dev {link} nud permanent"));
            node.sh("bridge", &["fdb", "append", mac, "dev", link, "dst", &vtep]);
            node.ip(&format!("route replace {to}/{subnet} via {to} dev {link} onlink"));
        }
    }
}

/// The routes that flanneld's host-gw backend makes.
fn host_gw(nodes: &[Lab; 2]) {
    for ((lab, number), other) in nodes.iter().zip([1, 2]).zip([2, 1]) {
        lab.node().ip(&format!("route replace 10.244.{other}.0/24 via 192.0.2.{other}"));
        lab.node().ip(&format!("route replace fd00:244:0:{other}::/64 via 2001:db8::{other}"));
        flanneld(lab, number, 1500);
    }
}

/// Sends a mebibyte over TCP, and demands that all of it arrives.
fn bulk(from: &Pod, to: &Pod, address: IpAddr) {
    const SIZE: usize = 1 << 20;
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 7000).into() } else { ([0; 8], 7000).into() };
    let listener = to.run(|| TcpListener::bind(any)).expect("listen");
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut stream, seen) = listener.accept().expect("accept");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("read");
            (all, seen.ip())
        });
        let own = from.run(|| {
            let limit = Duration::from_secs(10);
            let to = SocketAddr::new(address, 7000);
            let mut stream = TcpStream::connect_timeout(&to, limit).expect("connect");
            stream.set_write_timeout(Some(limit)).expect("a timeout");
            stream.write_all(&vec![7; SIZE]).expect("write");
            stream.local_addr().expect("an address").ip()
        });
        let (all, seen) = server.join().expect("the server");
        assert!(all.len() == SIZE && all.iter().all(|byte| *byte == 7), "{} bytes", all.len());
        assert_eq!(seen, own, "traffic between pods is not translated");
    });
}

/// Packets that the node has cut into pieces, of both families.
fn fragments(lab: &Lab) -> u64 {
    let read = |file: &str| {
        let path = format!("/proc/thread-self/net/{file}");
        lab.node().run(|| std::fs::read_to_string(&path)).expect("counters")
    };
    let (four, six) = (read("snmp"), read("snmp6"));
    let mut rows = four.lines().filter_map(|line| line.strip_prefix("Ip: "));
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let four = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "FragCreates");
    let six = six.lines().find_map(|line| line.strip_prefix("Ip6FragCreates"));
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    number(four.expect("FragCreates").1) + number(six.expect("Ip6FragCreates"))
}

/// Whether a packet of this size gets there in one piece.
fn fits(from: &Pod, to: IpAddr, size: usize) -> bool {
    let headers = if to.is_ipv4() { 28 } else { 48 };
    let (payload, to) = ((size - headers).to_string(), to.to_string());
    from.exec("ping", &["-n", "-c1", "-W2", "-M", "do", "-s", &payload, &to]).status.success()
}

fn meet(name: &str, backend: Backend, mtu: usize) {
    let cluster = Cluster::new(name, backend);
    let befores: Vec<_> = cluster.nodes.iter().map(Lab::snapshot).collect();
    let (a, a_ips) = cluster.pod(0, "a");
    let (near, near_ips) = cluster.pod(0, "near");
    let (b, b_ips) = cluster.pod(1, "b");
    for pod in [&a, &near, &b] {
        assert_eq!(pod.ip_json("link show eth0")[0]["mtu"], mtu);
    }
    for (mine, (close, other)) in a_ips.into_iter().zip(near_ips.into_iter().zip(b_ips)) {
        a.ping(close).expect("a pod of the same node");
        a.ping(other).expect("a pod of the other node");
        b.ping(mine).expect("and back");
        near.ping(other).expect("a second pod");
        let echo = b.tcp_echo(80);
        let reply = a.tcp(SocketAddr::new(other, 80)).expect("an answer");
        assert_eq!((reply.server.as_str(), reply.seen.ip()), ("b", mine));
        drop(echo);
        bulk(&a, &b, other);
        bulk(&b, &a, mine);
    }
    // The pods know how much the way carries: whole packets, no pieces.
    assert!(fits(&a, b_ips[0], mtu) && !fits(&a, b_ips[0], mtu + 1));
    assert_eq!(cluster.nodes.each_ref().map(fragments), [0, 0]);
    for (lab, pods) in cluster.nodes.iter().zip([vec![&a, &near], vec![&b]]) {
        for pod in pods {
            lab.plugin("flannel").del(pod, "eth0", &network(lab, "cbr0")).ok();
        }
    }
    for (lab, before) in cluster.nodes.iter().zip(&befores) {
        // The bridge stays, as with any use of it.
        let left = before.diff(&lab.snapshot()).without(&["cni0"]);
        assert!(left.is_empty(), "{left}");
    }
}

#[test]
fn pods_meet_through_vxlan() {
    let lab = Lab::new("flannel-kernel");
    lab.node().ip("link add up0 type veth peer name far");
    let vxlan =
        ["link", "add", "probe", "type", "vxlan", "id", "1", "dev", "up0", "dstport", "8472"];
    if !lab.node().exec("ip", &vxlan).status.success() {
        return lab::skip("the kernel has no vxlan links");
    }
    meet("flannel-vxlan", Backend::Vxlan, 1450);
}

#[test]
fn pods_meet_by_routes_between_hosts() {
    meet("flannel-host-gw", Backend::HostGw, 1500);
}
