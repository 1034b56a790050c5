//! What happens in the demo, in order.

use super::lists::{CONTAINERD, CRIO, LOOPBACK, PODMAN};
use super::probe::{Transport, ask, ping, serve};
use super::snapshot::Snapshot;
use super::stage::{NODE_V4, NODE_V6, Stage, namespace};
use super::telling::Telling;
use crate::args::Place;
use crate::fault::{Fault, Result};
use cni_types::{CniResult, Version};
use netns::Netns;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Child;

/// A pod: a namespace, and what its attachment gave it.
#[derive(Debug)]
struct Pod {
    name: &'static str,
    network: &'static str,
    space: Netns,
    result: CniResult,
}

impl Pod {
    fn path(&self) -> String {
        self.space.path().display().to_string()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.result.ips.iter().map(|ip| ip.address.ip()).collect()
    }
}

/// Tells the whole story.
pub(super) fn tell(telling: &mut Telling, place: &Place) -> Result<()> {
    telling.say("Pods on real networks. Everything happens in namespaces of the demo's own;")?;
    telling.say("this machine's links, routes and rules are not touched.\n")?;
    let stage = telling.step("node and outside host: two empty namespaces, one cable", || {
        let stage = Stage::set_up(place)?;
        let detail = format!("node {NODE_V4} and {NODE_V6}; files in {}", stage.dir.display());
        Ok((stage, detail))
    })?;
    let clean = telling.step("snapshot of the untouched node", || {
        let snapshot = Snapshot::take(&stage)?;
        let summary = snapshot.summary();
        Ok((snapshot, summary))
    })?;
    telling.step("validate, status: configuration as three runtimes ship it", || {
        stage.net(&["validate"])?;
        Ok(((), stage.net(&["status"])?))
    })?;
    let before = prime(telling, &stage, &clean)?;
    let pods = attach_all(telling, &stage)?;
    traffic(telling, &stage, &pods)?;
    killed_add(telling, &stage)?;
    lost_pod(telling, &stage)?;
    telling.step("CHECK: the pods that stayed are as ADD left them", || {
        for pod in &pods {
            stage.net(&["check", pod.network, &pod.path(), "--container-id", pod.name])?;
        }
        Ok(((), String::new()))
    })?;
    detach_all(telling, &stage, pods)?;
    prove(telling, &stage, &clean, &before)
}

/// A first pod comes and goes on every network. The bridges and the empty chains that it leaves
/// belong to the node, by design of the reference plugins, and stay for the next pod.
fn prime(telling: &mut Telling, stage: &Stage, clean: &Snapshot) -> Result<Snapshot> {
    telling.step("a first pod comes and goes on every network", || {
        let mapped = port_mappings(&[(9000, 9000, "tcp"), (9000, 9000, "udp")]);
        for network in [CONTAINERD, CRIO, PODMAN] {
            let space = namespace("first pod")?;
            let path = space.path().display().to_string();
            let ports = if network == CRIO { "{}" } else { &mapped };
            let words = [network, &path, "--container-id", "first", "-o", "json"];
            stage.net(&[&["add"], &words[..], &["--cap-args", ports]].concat())?;
            stage.net(&[&["del"], &words[..]].concat())?;
        }
        Ok(((), String::new()))
    })?;
    telling.step("snapshot of the node without pods", || {
        let snapshot = Snapshot::take(stage)?;
        let kept = clean.differences(&snapshot).len();
        let summary = snapshot.summary();
        Ok((snapshot, format!("{summary}\n{kept} lines more than untouched: bridges, base chains")))
    })
}

fn port_mappings(ports: &[(u16, u16, &str)]) -> String {
    let list: Vec<Value> = ports
        .iter()
        .map(|(host, container, protocol)| {
            json!({ "hostPort": host, "containerPort": container, "protocol": protocol })
        })
        .collect();
    json!({ "portMappings": list }).to_string()
}

fn attach_all(telling: &mut Telling, stage: &Stage) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for (name, network, ports) in [
        ("blue", CONTAINERD, port_mappings(&[(8080, 80, "tcp")])),
        ("green", CONTAINERD, port_mappings(&[(5353, 53, "udp")])),
        ("red", CRIO, "{}".to_owned()),
        ("violet", PODMAN, "{}".to_owned()),
    ] {
        let pod = telling.step(&format!("ADD {name} to {network}"), || {
            let pod = attach(stage, (name, network), &ports)?;
            let addresses: Vec<_> = pod.addresses().iter().map(ToString::to_string).collect();
            let detail = addresses.join(", ");
            Ok((pod, detail))
        })?;
        pods.push(pod);
    }
    telling.step("ADD blue to loopback, from a file of the old single-plugin form", || {
        let path = pods.first().map(Pod::path).unwrap_or_default();
        stage.net(&["add", LOOPBACK, &path, "--container-id", "blue", "-i", "lo", "-o", "json"])?;
        Ok(((), String::new()))
    })?;
    telling.step("list", || {
        let snapshot = Snapshot::take(stage)?;
        snapshot.must_show(&["links", "addresses", "routes", "rules", "leases", "records"])?;
        let listed = stage.net(&["list"])?;
        let attachments = listed.split_once("\n\n").map_or(listed.as_str(), |(_, tail)| tail);
        // The last column is a path of this process.
        let shown = attachments.lines().map(|l| l.split("  /proc").next().unwrap_or(l));
        Ok(((), shown.map(|l| l.trim_end_matches("NAMESPACE")).collect::<Vec<_>>().join("\n")))
    })?;
    Ok(pods)
}

fn attach(
    stage: &Stage,
    (name, network): (&'static str, &'static str),
    ports: &str,
) -> Result<Pod> {
    let space = namespace(name)?;
    let path = space.path().display().to_string();
    let words = ["add", network, &path, "--container-id", name, "--cap-args", ports, "-o", "json"];
    let printed = stage.net(&words)?;
    let fault = |cause: String| Fault::new(1, format!("result of ADD {name}"), cause);
    let doc: Value = serde_json::from_str(&printed).map_err(|e| fault(e.to_string()))?;
    let result = CniResult::from_value(&doc, Version::LATEST).map_err(|e| fault(e.to_string()))?;
    Ok(Pod { name, network, space, result })
}

fn traffic(telling: &mut Telling, stage: &Stage, pods: &[Pod]) -> Result<()> {
    for from in pods {
        let mut targets: Vec<(String, IpAddr)> = Vec::new();
        for to in pods.iter().filter(|to| to.name != from.name) {
            // The point-to-point network has IPv4 only, so it is met in that family.
            let families: Vec<bool> = from.addresses().iter().map(IpAddr::is_ipv4).collect();
            let met = to.addresses().into_iter().filter(|ip| families.contains(&ip.is_ipv4()));
            targets.extend(met.map(|ip| (to.name.to_owned(), ip)));
        }
        let gateways = from.result.ips.iter().filter_map(|ip| ip.gateway);
        targets.extend(gateways.map(|ip| ("the node".to_owned(), ip)));
        telling.step(&format!("ping from {} to pods and node", from.name), || {
            for (_, ip) in &targets {
                ping(stage, &from.space, *ip)?;
            }
            let met: Vec<_> = targets.iter().map(|(name, ip)| format!("{name} {ip}")).collect();
            Ok(((), met.join(", ")))
        })?;
    }
    let host_ports = [("blue", Transport::Tcp, 80, 8080), ("green", Transport::Udp, 53, 5353)];
    for (name, transport, inner, outer) in host_ports {
        let Some(pod) = pods.iter().find(|pod| pod.name == name) else { continue };
        telling
            .step(&format!("{transport} host port {outer} of {name}, from the outside"), || {
                Ok(((), host_port(stage, pod, transport, (inner, outer))?))
            })?;
    }
    Ok(())
}

fn host_port(
    stage: &Stage,
    pod: &Pod,
    transport: Transport,
    (inner, outer): (u16, u16),
) -> Result<String> {
    let server = serve(&pod.space, transport, inner, (pod.name, 2))?;
    let mut met = Vec::new();
    for node in [NODE_V4, NODE_V6] {
        let ip: IpAddr = node.parse().map_err(|_| Fault::new(1, node, "is no address"))?;
        let target = SocketAddr::new(ip, outer);
        let answer = ask(&stage.outside, transport, target)?;
        if answer != pod.name {
            let cause = format!("{answer:?} answered, not {}", pod.name);
            return Err(Fault::new(1, format!("host port {target}"), cause));
        }
        met.push(format!("{target} is answered by {answer}"));
    }
    match server.join() {
        Ok(Ok(())) => Ok(met.join(", ")),
        Ok(Err(e)) => Err(Fault::new(1, format!("server in {}", pod.name), e.to_string())),
        Err(_) => Err(Fault::new(1, format!("server in {}", pod.name), "it panicked")),
    }
}

/// An ADD whose caller is killed after bridge and portmap have done their work, and GC.
fn killed_add(telling: &mut Telling, stage: &Stage) -> Result<()> {
    let space = namespace("grey")?;
    let path = space.path().display().to_string();
    let slow = stage.dir.join("slow.d").display().to_string();
    let ports = port_mappings(&[(7070, 70, "tcp")]);
    let with_pods = telling.step("SIGKILL in the middle of ADD grey to containerd-net", || {
        let before = Snapshot::take(stage)?;
        let words = ["add", CONTAINERD, &path, "--container-id", "grey", "--conf-dir", &slow];
        let words = [&words[..], &["--cap-args", &ports, "-o", "json"]].concat();
        let mut child = stage.start("ADD grey", &stage.node, &mut stage.podloom(&words))?;
        // Opening the FIFO waits for the last plugin of the chain to begin.
        wait_for_pause(stage, &mut child)?;
        let fault = |e: std::io::Error| Fault::new(1, "killed ADD", e.to_string());
        child.kill().map_err(fault)?;
        child.wait().map_err(fault)?;
        let left = before.differences(&Snapshot::take(stage)?);
        if left.is_empty() {
            return Err(Fault::new(1, "killed ADD", "it left nothing, so nothing was killed"));
        }
        let count = left.len();
        Ok((before, format!("{count} lines are left on the node: link, lease, rules, intent")))
    })?;
    telling.step("GC frees what it left, and keeps the living", || {
        let said = stage.net(&["gc", CONTAINERD, "--keep-live"])?;
        drop(space);
        same(&with_pods, stage, "GC after a killed ADD")?;
        Ok(((), said.lines().last().unwrap_or_default().to_owned()))
    })
}

/// Returns when the pausing plugin runs; fails if the ADD ends before.
fn wait_for_pause(stage: &Stage, child: &mut Child) -> Result<()> {
    let fault = |e: std::io::Error| Fault::new(1, "killed ADD", e.to_string());
    let mut options = OpenOptions::new();
    // Without waiting for a writer: there is none if the ADD fails early.
    let fifo = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let fifo = fifo.open(stage.fifo()).map_err(fault)?;
    let Some(mut stderr) = child.stderr.take() else { return Ok(()) };
    let mut fds = [
        PollFd::new(fifo.as_fd(), PollFlags::POLLIN),
        PollFd::new(stderr.as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut fds, PollTimeout::from(20_000_u16)).map_err(|e| fault(e.into()))?;
    if fds.first().and_then(PollFd::any) == Some(true) {
        return Ok(());
    }
    child.kill().map_err(fault)?;
    child.wait().map_err(fault)?;
    let mut said = String::new();
    stderr.read_to_string(&mut said).map_err(fault)?;
    let cause = format!("the chain did not reach its last plugin: {}", said.trim());
    Err(Fault::new(1, "killed ADD", cause))
}

/// A pod whose namespace goes away without DEL, as after a crash of its runtime.
fn lost_pod(telling: &mut Telling, stage: &Stage) -> Result<()> {
    let with_pods = Snapshot::take(stage)?;
    telling.step("a pod is lost: its namespace ends, and nobody calls DEL", || {
        for network in [CONTAINERD, CRIO] {
            let ports = port_mappings(&[(6060, 60, "udp")]);
            let ports = if network == CRIO { "{}" } else { &ports };
            drop(attach(stage, ("lost", network), ports)?);
        }
        let left = with_pods.differences(&Snapshot::take(stage)?).len();
        Ok(((), format!("{left} lines are left on the node")))
    })?;
    telling.step("GC of both networks", || {
        let mut said = String::new();
        for network in [CONTAINERD, CRIO] {
            said.push_str(&stage.net(&["gc", network, "--keep-live"])?);
        }
        same(&with_pods, stage, "GC of a lost pod")?;
        let removed = said.lines().filter(|line| line.starts_with("removed")).count();
        Ok(((), format!("{removed} attachments removed")))
    })
}

fn same(before: &Snapshot, stage: &Stage, what: &str) -> Result<()> {
    let differences = before.compare_settled(stage)?;
    if differences.is_empty() {
        return Ok(());
    }
    let fault =
        Fault::new(1, what, format!("the node differs:\n    {}", differences.join("\n    ")));
    Err(fault.advise("\"+\" was left behind, \"-\" is missing"))
}

fn detach_all(telling: &mut Telling, stage: &Stage, mut pods: Vec<Pod>) -> Result<()> {
    telling.step("DEL blue from loopback", || {
        let path = pods.first().map(Pod::path).unwrap_or_default();
        stage.net(&["del", LOOPBACK, &path, "--container-id", "blue", "-i", "lo"])?;
        Ok(((), String::new()))
    })?;
    while let Some(pod) = pods.pop() {
        let what = format!("DEL {} from {}", pod.name, pod.network);
        telling.step(&what, || {
            stage.net(&["del", pod.network, &pod.path(), "--container-id", pod.name])?;
            Ok(((), String::new()))
        })?;
    }
    telling.step("DEL blue again: nothing to do, no failure", || {
        stage.net(&["del", CONTAINERD, "--container-id", "blue"])?;
        Ok(((), String::new()))
    })
}

fn prove(telling: &mut Telling, stage: &Stage, clean: &Snapshot, before: &Snapshot) -> Result<()> {
    let last = telling.step("proof: links, addresses, routes, rules, leases, records", || {
        same(before, stage, "proof")?;
        let last = Snapshot::take(stage)?;
        let summary = last.summary();
        Ok((last, format!("as before the pods came: {summary}")))
    })?;
    let kept = clean.differences(&last);
    let links: Vec<_> = kept.iter().filter(|line| line.starts_with("links: ")).collect();
    let links: Vec<_> = links.iter().filter_map(|line| line.split_whitespace().nth(2)).collect();
    telling.say(&format!(
        "\nNothing is left of the pods. The node keeps what is its own: {}, and {} lines of base \
         chains, addresses and routes.",
        links.join(", "),
        kept.len() - links.len()
    ))
}
