//! Every further plugin beside that of the reference, with one configuration each.

use super::config::{GATEWAY, NETWORK, PREFIX, bridge, network};
use super::player::Player;
use super::{OURS, PEER, Stage, Team, leases};
use crate::error::Result;
use crate::invoke::Verb;
use crate::node::{Node, Site};
use crate::race::{Compare, Racer, Scenario, race};
use serde_json::{Value, json};
use std::path::Path;

const VERBS: [Verb; 3] = [Verb::Add, Verb::Check, Verb::Del];

/// One plugin of every team, the same work for each.
pub(crate) struct Contest {
    /// The plugin's name, and the scenario's.
    pub(crate) name: &'static str,
    title: &'static str,
    rounds: usize,
    /// A program that it needs; empty for none.
    program: &'static str,
    /// Arguments of `ip link add` that show whether the kernel can do it; empty where every one can.
    kernel: &'static str,
    /// Makes a node ready for the plugins in a directory, once.
    ready: fn(&Node, &Path) -> Result<()>,
    /// Makes the pod ready before each ADD; not measured.
    renew: Option<fn(&Node) -> Result<()>>,
    /// The plugin's configuration.
    config: fn(&Node) -> Value,
}

/// An interface plugin, whose pods are empty before ADD.
const fn interface(name: &'static str, title: &'static str, config: fn(&Node) -> Value) -> Contest {
    let (rounds, program, kernel) = (20, "", "");
    Contest {
        name,
        title,
        rounds,
        program,
        kernel,
        ready: |node, _| lan(node),
        renew: None,
        config,
    }
}

/// A plugin that stands behind another one: the pod is attached before each ADD.
const fn chained(name: &'static str, title: &'static str, config: fn(&Node) -> Value) -> Contest {
    Contest { ready: |_, _| Ok(()), renew: Some(wired), ..interface(name, title, config) }
}

/// All of them, in the order in which they are measured.
pub(crate) const CONTESTS: &[Contest] = &[
    interface("macvlan", "macvlan with host-local", |node| {
        network(node, "macvlan", json!({ "master": "lan0" }))
    }),
    Contest {
        kernel: "link lan0 name probe type ipvlan",
        ..interface("ipvlan", "ipvlan with host-local", |node| {
            network(node, "ipvlan", json!({ "master": "lan0" }))
        })
    },
    Contest {
        kernel: "link lan0 name probe type vlan id 9",
        ..interface("vlan", "vlan with host-local", |node| {
            network(node, "vlan", json!({ "master": "lan0", "vlanId": 100 }))
        })
    },
    Contest {
        kernel: "name probe type dummy",
        ..interface("dummy", "dummy with host-local", |node| network(node, "dummy", json!({})))
    },
    interface("host-device", "host-device with host-local", |node| {
        network(node, "host-device", json!({ "device": "lan0" }))
    }),
    interface("tap", "tap with host-local", |node| network(node, "tap", json!({}))),
    interface("static", "static alone", |_| {
        let address = json!({ "address": format!("10.64.0.2/{PREFIX}"), "gateway": GATEWAY });
        let ipam = json!({ "type": "static", "addresses": [address] });
        json!({ "cniVersion": "1.0.0", "name": NETWORK, "type": "static", "ipam": ipam })
    }),
    chained("tuning", "tuning: two sysctls and the MTU", |node| {
        let sysctl = json!({ "net.ipv4.conf.IFNAME.arp_filter": "1",
            "net.ipv4.conf.IFNAME.arp_notify": "1" });
        behind(node, "tuning", json!({ "sysctl": sysctl, "mtu": 1400 }))
    }),
    Contest {
        kernel: "name probe type ifb",
        ..chained("bandwidth", "bandwidth: both directions", |node| {
            let rate = json!({ "ingressRate": 8_000_000, "ingressBurst": 8_000_000,
                "egressRate": 8_000_000, "egressBurst": 8_000_000 });
            behind(node, "bandwidth", rate)
        })
    },
    chained("firewall", "firewall by iptables", |node| {
        behind(node, "firewall", json!({ "backend": "iptables" }))
    }),
    chained("sbr", "sbr", |node| behind(node, "sbr", json!({}))),
    Contest {
        kernel: "name probe type vrf table 9",
        ..chained("vrf", "vrf", |node| behind(node, "vrf", json!({ "vrfname": "blue" })))
    },
    Contest {
        ready: |node, _| flannel_subnet(node),
        ..interface("flannel", "flannel with bridge and host-local", |node| {
            let delegate = bridge(node);
            json!({
                "cniVersion": "1.0.0", "name": NETWORK, "type": "flannel",
                "subnetFile": node.file("subnet.env"), "dataDir": node.file("flannel"),
                "ipam": { "dataDir": node.data() },
                "delegate": { "bridge": delegate["bridge"], "isDefaultGateway": true },
            })
        })
    },
    Contest {
        // A lease takes the reference's daemon long, and every round is one.
        rounds: 6,
        program: leases::SERVER,
        ready: leases::ready,
        ..interface("dhcp", "macvlan with dhcp", leases::config)
    },
];

impl Contest {
    /// Why it cannot be measured here, if it cannot.
    pub(crate) fn barrier(&self, site: &Site) -> Result<Option<String>> {
        let dirs = site.path();
        let installed = |dir: &str| Path::new(dir).join(self.program).is_file();
        if !self.program.is_empty() && !dirs.split(':').any(installed) {
            return Ok(Some(format!("not measured, {} is not installed", self.program)));
        }
        if self.kernel.is_empty() {
            return Ok(None);
        }
        let node = Node::new(site, 0)?;
        lan(&node)?;
        let made = node.ip(&format!("link add {}", self.kernel));
        Ok(made.err().map(|error| format!("not measured, this kernel does not make it: {error}")))
    }

    /// The team's plugin on a node that is ready for it; `None` if it has no such plugin.
    pub(crate) fn player(&self, stage: &Stage<'_>, team: &Team) -> Result<Option<Player>> {
        if !team.dir.join(self.name).is_file() {
            return Ok(None);
        }
        let player = stage.player(team, team.name, 2, self.config)?.renewed_by(self.renew);
        (self.ready)(player.node(), &team.dir)?;
        Ok(Some(player))
    }

    /// A contestant for each team that has the plugin, and a note for each that has not.
    fn racers(&self, stage: &Stage<'_>, notes: &mut Vec<String>) -> Result<Vec<Box<dyn Racer>>> {
        let mut racers: Vec<Box<dyn Racer>> = Vec::new();
        for team in stage.teams() {
            match self.player(stage, &team)? {
                Some(player) => racers.push(Box::new(player)),
                None => notes.push(format!("{}: has no {}", team.name, self.name)),
            }
        }
        Ok(racers)
    }

    /// Measures ADD, CHECK and DEL of all teams.
    pub(crate) fn play(&self, stage: &Stage<'_>) -> Result<Scenario> {
        let compare = vec![Compare::speed(OURS, PEER)];
        let (title, mut rows, mut notes) = (self.title.to_owned(), Vec::new(), Vec::new());
        match self.barrier(stage.site)? {
            Some(barrier) => notes.push(barrier),
            None => {
                let mut racers = self.racers(stage, &mut notes)?;
                rows = race(&mut racers, &VERBS, stage.options.rounds(self.rounds))?;
            }
        }
        Ok(Scenario { name: self.name, title, rows, compare, notes })
    }
}

/// A link of the node, for others to be on top of, or to be given away.
fn lan(node: &Node) -> Result<()> {
    node.ip("link add lan0 type veth peer name lan1")?;
    node.ip("link set lan0 up")?;
    node.ip("link set lan1 up")
}

fn flannel_subnet(node: &Node) -> Result<()> {
    let text = "FLANNEL_NETWORK=10.64.0.0/14\nFLANNEL_SUBNET=10.64.0.1/16\nFLANNEL_MTU=1450\n\
                FLANNEL_IPMASQ=false\n";
    node.write("subnet.env", text)
}

/// The hardware addresses of both ends of an attachment that is made by hand.
const ENDS: [&str; 2] = ["0a:58:0a:40:00:01", "0a:58:0a:40:00:02"];

/// Attaches the pod anew, as ptp would.
fn wired(node: &Node) -> Result<()> {
    // The first time there is none.
    let _absent = node.ip("link del veth0");
    let [host, pod] = ENDS;
    let path = node.pod(0).display().to_string();
    node.ip(&format!(
        "link add veth0 address {host} type veth peer name eth0 address {pod} netns {path}"
    ))?;
    node.ip("link set veth0 up")?;
    node.ip(&format!("address add {GATEWAY}/{PREFIX} dev veth0"))?;
    node.ip_of_pod(0, "link set eth0 up")?;
    node.ip_of_pod(0, &format!("address add 10.64.0.2/{PREFIX} dev eth0"))?;
    node.ip_of_pod(0, &format!("route add default via {GATEWAY}"))
}

/// A configuration with the result of [`wired`].
fn behind(node: &Node, plugin: &str, keys: Value) -> Value {
    let mut config = json!({
        "cniVersion": "1.0.0", "name": NETWORK, "type": plugin,
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": "veth0", "mac": ENDS[0] },
                { "name": "eth0", "mac": ENDS[1], "sandbox": node.pod(0) },
            ],
            "ips": [{ "address": format!("10.64.0.2/{PREFIX}"), "gateway": GATEWAY, "interface": 1 }],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    });
    if let (Some(config), Value::Object(keys)) = (config.as_object_mut(), keys) {
        config.extend(keys);
    }
    config
}
