//! ADD: the plan made real.

use crate::config::{Config, Gateway};
use crate::gateway::{self, Site};
use crate::plan::Plan;
use crate::pod::Pod;
use cni_plugin::ipam::{self, PreparedAdd};
use cni_plugin::{Call, Gate, Owner, Undo};
use cni_types::{CniResult, Code, Error, Interface, Result};
use netfilter::macspoof::{self, MacSpoof};
use netfilter::masquerade::{self, Masquerade, Owner as RuleOwner, Search};
use netlink::{Change, Kind, Link, Netlink, Peer, PortFlags, Veth, Watch};
use std::fmt::Display;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

/// How long the port and the bridge may take to pass traffic after both ends of the pair are up.
/// The kernel needs microseconds; this bounds a broken one.
const CARRIER_LIMIT: Duration = Duration::from_millis(2500);

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
        pod: &pod.link,
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
struct Links<'a> {
    bridge: Link,
    port: Link,
    pod: &'a Link,
    gateway: Option<Link>,
}

impl Links<'_> {
    fn result(&self, call: &Call, plan: Plan) -> CniResult {
        let mut interfaces = vec![
            interface(&self.bridge, ""),
            interface(&self.port, ""),
            interface(self.pod, &call.netns_path),
        ];
        interfaces.extend(self.gateway.as_ref().map(|link| interface(link, "")));
        CniResult { interfaces, ips: plan.ips, routes: plan.routes, dns: plan.dns }
    }
}

fn interface(link: &Link, sandbox: &str) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(link.mtu),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}

/// Makes the veth pair, its node's end a port of the bridge that names its owner.
fn make_pair(node: &Netlink, call: &Call, config: &Config, bridge: &Link) -> Result<Link> {
    let owner = Owner::of(call);
    let pair = Veth {
        name: owner.link(),
        mtu: config.mtu,
        mac: None,
        master: Some(bridge.index),
        up: true,
        peer: Peer {
            name: call.ifname.as_str(),
            namespace: Some(call.pod()?.as_fd()),
            mac: config.mac,
        },
    };
    let _gate = Gate::shared()?;
    if let Err(refused) = node.create_veth(&pair) {
        if !refused.is_exists() {
            return Err(refused.into());
        }
        clear_the_way(node, call, &owner)?;
        node.create_veth(&pair)?;
    }
    let made = Undo::new(|| log("undoing ADD", node.delete_link_by_name(owner.link())));
    let port = node.expect_link(owner.link())?;
    let flags = Some(config.port).filter(|flags| *flags != PortFlags::default());
    node.change(
        port.index,
        &Change { alias: Some(owner.alias()), port: flags, ..Change::default() },
    )?;
    made.keep();
    Ok(port)
}

/// Finds out which name of the pair is taken. In the pod that is for the caller to resolve; on
/// the node it is the end of an earlier pair of this attachment, whose pod was replaced.
fn clear_the_way(node: &Netlink, call: &Call, owner: &Owner) -> Result<()> {
    let ifname = call.ifname.as_str();
    if let Some(link) = Netlink::open_in(call.pod()?)?.link_by_name(ifname)? {
        return Err(Error::new(
            Code::Conflict,
            format!("CNI_IFNAME: the pod has an interface {ifname} already, a {}", link.kind),
        )
        .with_details("run DEL first, or use another interface name"));
    }
    let Some(link) = node.link_by_name(owner.link())? else { return Ok(()) };
    if link.kind == Kind::Veth && owner.may_own(&link.alias) {
        node.delete_link(link.index)?;
        return Ok(());
    }
    Err(Error::new(
        Code::Conflict,
        format!("link {}: the name is taken by {:?}", link.name, link.alias),
    )
    .with_details("remove or rename that link: this attachment's has that name"))
}

/// The port as it is now that both ends are up.
fn wait_for_port(node: &Netlink, port: &Link, config: &Config) -> Result<Link> {
    if !config.pod_up {
        return Ok(node.expect_link(&port.name)?);
    }
    wait_for_carrier(node, port.index, format!("bridge port {}", port.name))
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
            wait_for_carrier(node, port, format!("bridge port of {}", link.name))?;
        }
        return Ok(now);
    }
    // A spanning tree lets nothing pass for half a minute, and says so by no carrier.
    if now.running || now.bridge.is_some_and(|info| info.stp) {
        return Ok(now);
    }
    wait_for_carrier(node, bridge.index, format!("bridge {}", bridge.name))
}

/// The link as it is now that it passes traffic.
///
/// A recent kernel brings its carrier up to date when it is asked for the link; an older one
/// sends a notice when it has done so.
fn wait_for_carrier(node: &Netlink, index: u32, subject: String) -> Result<Link> {
    let gone = || Error::new(Code::Kernel, format!("{subject}: is gone"));
    let now = node.link_by_index(index)?.ok_or_else(gone)?;
    if now.running {
        return Ok(now);
    }
    if !Watch::open()?.running(node, index, CARRIER_LIMIT)? {
        let limit = CARRIER_LIMIT.as_millis();
        return Err(Error::new(
            Code::Kernel,
            format!("{subject}: has no carrier after {limit} ms"),
        )
        .with_details("both ends of its veth pair are up; look at the kernel's log"));
    }
    node.link_by_index(index)?.ok_or_else(gone)
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

/// Writes a sysctl that improves things but is no condition for an attachment: where IPv6 is off
/// it does not exist, and a container may have a read-only `/proc/sys`.
pub(crate) fn best_effort(key: &str, value: &str) {
    match sysctl::write(key, value) {
        Err(e) if e.is_not_found() => {}
        other => log("going on", other),
    }
}

/// Reports a failure that does not fail the call.
#[allow(clippy::print_stderr, reason = "standard error is a plugin's log")]
pub(crate) fn log<T>(doing: &str, outcome: Result<T, impl Display>) {
    if let Err(error) = outcome {
        eprintln!("{doing}: {error}");
    }
}
