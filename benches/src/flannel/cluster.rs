//! Two nodes on one wire, with what flanneld's vxlan backend makes on each for both families.

use crate::error::{About, Result};
use crate::invoke::{Outcome, Verb, invoke};
use crate::node::{Node, Site};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;

/// What the nodes' wire carries, less the headers of vxlan over IPv4.
const MTU: u32 = 1450;

/// The nodes of one team.
pub(crate) struct Cluster {
    dir: PathBuf,
    path: String,
    nodes: [Node; 2],
    configs: [Value; 2],
}

/// One pod of a cluster.
pub(crate) struct Pod {
    /// 0 or 1.
    pub(crate) node: usize,
    /// Its number on the node.
    pub(crate) number: usize,
    pub(crate) container: String,
    /// The result of its ADD.
    pub(crate) result: Option<Value>,
}

impl Cluster {
    /// Two nodes with this many empty pods each, for the plugins in `dir`.
    pub(crate) fn new(site: &Site, dir: PathBuf, pods: usize) -> Result<Cluster> {
        let nodes = [Node::new(site, pods)?, Node::new(site, pods)?];
        let far = nodes[1].netns().display().to_string();
        nodes[0].ip(&format!("link add up0 type veth peer name up0 netns {far}"))?;
        for (node, number) in nodes.iter().zip([1, 2]) {
            node.ip("link set up0 up")?;
            node.ip(&format!("addr add 192.0.2.{number}/24 dev up0"))?;
            node.ip(&format!("addr add 2001:db8::{number}/64 dev up0 nodad"))?;
            node.write("subnet.env", &subnet_file(number))?;
        }
        for (node, (number, other)) in nodes.iter().zip([(1, 2), (2, 1)]) {
            let (v4, v6) = (|n| format!("192.0.2.{n}"), |n| format!("2001:db8::{n}"));
            let subnets = |n: u8| [format!("10.244.{n}.0"), format!("fd00:244:0:{n}::")];
            let ([own4, own6], [far4, far6]) = (subnets(number), subnets(other));
            let [four, six] = ["flannel.1", "flannel-v6.1"];
            vxlan(node, four, (number, &v4(number)), &format!("{own4}/32"))?;
            vxlan(node, six, (number, &v6(number)), &format!("{own6}/128 nodad"))?;
            towards(node, four, (other, &v4(other)), (&far4, 24))?;
            towards(node, six, (other, &v6(other)), (&far6, 64))?;
        }
        let configs = nodes.each_ref().map(config);
        Ok(Cluster { dir, path: site.path(), nodes, configs })
    }

    /// Runs the plugin for `pod`.
    pub(crate) fn call(&self, verb: Verb, pod: &Pod) -> Result<Outcome> {
        let node = &self.nodes[pod.node];
        let mut config = self.configs[pod.node].clone();
        if let Some(result) = &pod.result {
            config["prevResult"] = result.clone();
        }
        let mut command = Command::new(self.dir.join("flannel"));
        command
            .env_clear()
            .env("PATH", &self.path)
            .env("PODLOOM_RUN_DIR", node.run_dir())
            .env("CNI_COMMAND", verb.as_str())
            .env("CNI_PATH", &self.dir)
            .env("CNI_CONTAINERID", &pod.container)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", node.pod(pod.number));
        node.inside(|| invoke(&mut command, &config.to_string()))?
    }

    /// Runs `work` inside a pod.
    pub(crate) fn inside<T: Send>(&self, pod: &Pod, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.nodes[pod.node].inside_pod(pod.number, work)
    }
}

impl Pod {
    /// Its address with this place in its result.
    pub(crate) fn address(&self, index: usize) -> Result<IpAddr> {
        let text = self.result.as_ref().and_then(|r| r["ips"][index]["address"].as_str());
        let text = text.and_then(|text| text.split('/').next()).unwrap_or_default();
        text.parse().about(format!("address {index} of a pod"))
    }
}

fn subnet_file(number: u8) -> String {
    format!(
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.{number}.1/24\n\
         FLANNEL_IPV6_NETWORK=fd00:244::/56\nFLANNEL_IPV6_SUBNET=fd00:244:0:{number}::1/64\n\
         FLANNEL_MTU={MTU}\nFLANNEL_IPMASQ=true\n"
    )
}

/// The network as kube-flannel configures it.
fn config(node: &Node) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "cbr0", "type": "flannel",
        "subnetFile": node.file("subnet.env"), "dataDir": node.file("flannel"),
        "delegate": { "hairpinMode": true, "isDefaultGateway": true },
        "ipam": { "dataDir": node.data() },
    })
}

/// The device of a family; node `number` has the address `vtep` on the wire.
fn vxlan(node: &Node, link: &str, (number, vtep): (u8, &str), address: &str) -> Result<()> {
    let mac = mac(number);
    node.ip(&format!(
        "link add {link} address {mac} type vxlan id 1 local {vtep} dev up0 dstport 8472 nolearning"
    ))?;
    node.ip(&format!("addr add {address} dev {link}"))?;
    node.ip(&format!("link set {link} up"))
}

/// The way to the pods of the other node.
fn towards(
    node: &Node,
    link: &str,
    (other, vtep): (u8, &str),
    (subnet, prefix): (&str, u8),
) -> Result<()> {
    let mac = mac(other);
    node.ip(&format!("neigh replace {subnet} lladdr {mac} dev {link} nud permanent"))?;
    node.command("bridge", &["fdb", "append", &mac, "dev", link, "dst", vtep])?;
    node.ip(&format!("route replace {subnet}/{prefix} via {subnet} dev {link} onlink"))
}

fn mac(number: u8) -> String {
    format!("02:f1:00:00:00:{number:02x}")
}
