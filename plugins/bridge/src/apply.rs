//! ADD: the plan made real.

use crate::config::{Config, Gateway};
use crate::gateway::{self, Site};
use crate::plan::Plan;
use crate::pod::Pod;
use cni_plugin::ipam::{self, PreparedAdd};
use cni_plugin::{Call, Owner, Undo, log};
use cni_types::{CniResult, Result};
use netfilter::macspoof::{self, MacSpoof};
use netfilter::masquerade::{self, Masquerade, Owner as RuleOwner, Search};
use netlink::{Link, Netlink};
use std::panic::resume_unwind;
use std::thread;
use veth::report::interface;
use veth::{Wish, wait_for_carrier};

/// Makes the attachment. The IPAM plugin starts, and host-local works, while the links are made;
/// an ADD that fails because the attachment exists already does not touch that one's addresses.
///
/// Undo runs in the reverse order of the making: rules, links, then the lease.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf, &call.args)?;
    let owner = Owner::of(call);
    let (prepared, made) = begin(call, &config);
    let (node, bridge, port) = made?;
    let links = Undo::new(|| log("undoing ADD", node.delete_link(port.index)));
    let pending = prepared?.begin()?;
    if let Some(vlans) = &config.vlans {
        gateway::join_vlans(&node, port.index, &bridge, (&vlans.members, vlans.keep_default))?;
    }
    gateway::refuse_advertisements(owner.link());
    let pod = Pod::enter(call, &config)?;
    let spoof = Undo::new(|| log("undoing ADD", drop_spoof(call, &config)));
    if let Some(mac) = pod.link.mac.filter(|_| config.mac_check) {
        macspoof::setup(&MacSpoof { owner: rule_owner(call), port: owner.link(), mac: mac.0 })?;
    }
    let has_gateway = config.layer3 && config.gateway != Gateway::None;
    let site = has_gateway.then(|| Site::find(&node, &config, &bridge)).transpose()?;

    let lease = pending.finish()?;
    let plan = Plan::new(&config, lease.result());
    let rules = Undo::new(|| log("undoing ADD", drop_masquerade(call, &config)));
    beside_masquerade(call, &config, &plan, || {
        pod.configure(call, &config, &plan)?;
        site.as_ref().map_or(Ok(()), |site| site.prepare(&node, &config, &plan))
    })?;
    let port_now = wait_for_port(&node, &port, &config)?;
    let links_now = Links {
        bridge: wait_for_gateway(&node, &bridge, site.as_ref())?,
        port: port_now,
        // As the IPAM plugin left it: a DHCP server may have asked for another MTU.
        pod: pod.netlink.expect_link(&pod.link.name)?,
        gateway: site.and_then(|site| site.link),
    };
    let result = links_now.result(call, plan);
    rules.keep();
    spoof.keep();
    links.keep();
    let _kept = lease.keep();
    Ok(result)
}

/// Does `work` while the masquerade rules are made: the two need nothing of each other.
fn beside_masquerade(
    call: &Call,
    config: &Config,
    plan: &Plan,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let Some(backend) = config.masquerade else { return work() };
    let (owner, addresses) = (rule_owner(call), plan.addresses());
    thread::scope(|scope| {
        let rules = scope
            .spawn(|| masquerade::setup(&Masquerade { backend, owner, addresses: &addresses }));
        let worked = work();
        let ruled = rules.join().unwrap_or_else(|defect| resume_unwind(defect));
        worked.and(ruled)
    })
}

/// The node's socket, the bridge, and the port on it.
type Made = (Netlink, Link, Link);

/// Starts the IPAM plugin and makes the links, at the same time: whoever starts a program stands
/// still until it is loaded. The plugin ends with the thread that started it, so that is this one.
fn begin<'a>(call: &'a Call, config: &Config) -> (Result<PreparedAdd<'a>>, Result<Made>) {
    thread::scope(|scope| {
        let links = scope.spawn(|| -> Result<Made> {
            let node = Netlink::open()?;
            let bridge = gateway::ensure_bridge(&node, config)?;
            let port = make_pair(&node, call, config, &bridge)?;
            Ok((node, bridge, port))
        });
        let prepared = ipam::prepare_add(call);
        (prepared, links.join().unwrap_or_else(|defect| resume_unwind(defect)))
    })
}

/// The links of an attachment, in the order of the result.
struct Links {
    bridge: Link,
    port: Link,
    pod: Link,
    gateway: Option<Link>,
}

impl Links {
    fn result(&self, call: &Call, plan: Plan) -> CniResult {
        let mut interfaces = vec![
            interface(&self.bridge, ""),
            interface(&self.port, ""),
            interface(&self.pod, &call.netns_path),
        ];
        interfaces.extend(self.gateway.as_ref().map(|link| interface(link, "")));
        CniResult { interfaces, ips: plan.ips, routes: plan.routes, dns: plan.dns }
    }
}

/// Makes the veth pair, its node's end a port of the bridge.
fn make_pair(node: &Netlink, call: &Call, config: &Config, bridge: &Link) -> Result<Link> {
    let wish = Wish {
        mtu: config.mtu,
        mac: config.mac,
        master: Some(bridge.index),
        port: config.port,
        up: true,
    };
    veth::make(node, call, &wish)
}

/// The port as it is now that both ends are up.
fn wait_for_port(node: &Netlink, port: &Link, config: &Config) -> Result<Link> {
    if !config.pod_up {
        return Ok(node.expect_link(&port.name)?);
    }
    wait_for_carrier(node, port.index, &format!("bridge port {}", port.name))
}

/// The bridge as it is now that it has a port; one that somebody else made takes over the address
/// of its first port.
///
/// Where the node is a gateway its own way into the bridge must be ready too: until the first port
/// has brought a carrier, what the node sends is lost, and pods wait a second for its answer.
fn wait_for_gateway(node: &Netlink, bridge: &Link, site: Option<&Site>) -> Result<Link> {
    let now = node.expect_link(&bridge.name)?;
    let Some(site) = site else { return Ok(now) };
    if let Some(link) = &site.link {
        if let Some(port) = gateway::port_of(link) {
            wait_for_carrier(node, port, &format!("bridge port of {}", link.name))?;
        }
        return Ok(now);
    }
    // A spanning tree lets nothing pass for half a minute, and says so by no carrier.
    if now.running || now.bridge.is_some_and(|info| info.stp) {
        return Ok(now);
    }
    wait_for_carrier(node, bridge.index, &format!("bridge {}", bridge.name))
}

/// Whose rules.
pub(crate) fn rule_owner(call: &Call) -> RuleOwner<'_> {
    RuleOwner {
        network: call.conf.name.as_str(),
        container_id: call.container_id.as_str(),
        ifname: call.ifname.as_str(),
    }
}

fn drop_masquerade(call: &Call, config: &Config) -> Result<()> {
    match config.masquerade {
        Some(_) => masquerade::teardown(&rule_owner(call), Search::Recorded),
        None => Ok(()),
    }
}

fn drop_spoof(call: &Call, config: &Config) -> Result<()> {
    if config.mac_check { macspoof::teardown(&rule_owner(call)).map(drop) } else { Ok(()) }
}
