//! The verbs' effects.

use crate::cache;
use crate::config::{Config, zone};
use crate::plan::{Plan, addresses};
use cni_plugin::{Call, NodeCall};
use cni_types::{Code, Error, Result};
use netfilter::firewall::{self, Backend, Guard, Isolation, Means, Owner, Policy, Wish};
use netlink::{Kind, Link, Mac, Netlink};
use std::net::{IpAddr, Ipv6Addr};

/// The pod's interface, and its other end on the node.
struct Ends {
    mac: [u8; 6],
    /// Link-local addresses of the interface, and that which follows from its hardware address.
    link_local: Vec<IpAddr>,
    /// The other end; `None` for an interface that is no veth.
    port: Option<Link>,
}

fn owner(call: &Call) -> Owner<'_> {
    Owner {
        network: call.conf.name.as_str(),
        container_id: call.container_id.as_str(),
        ifname: call.ifname.as_str(),
    }
}

/// Looks at both ends, where the wish is about them.
fn ends(call: &Call, config: &Config) -> Result<Option<Ends>> {
    if !config.anti_spoofing && config.policy != Some(Policy::Isolated) {
        return Ok(None);
    }
    let name = call.ifname.as_str();
    let pod = Netlink::open_in(call.pod()?)?;
    // The result may be that of a plugin whose interface is elsewhere.
    let Some(inner) = pod.link_by_name(name)? else {
        return unless_guarded(config, name, "is not there");
    };
    let Some(mac) = inner.mac else {
        return unless_guarded(config, name, "has no hardware address");
    };
    let addresses = pod.addresses(inner.index)?;
    let mut link_local: Vec<_> =
        addresses.iter().map(|a| a.network.ip()).filter(is_link_local).collect();
    let derived = IpAddr::V6(derived(mac));
    if !link_local.contains(&derived) {
        link_local.push(derived);
    }
    let is_pair = inner.kind == Kind::Veth && inner.peer_elsewhere;
    let port = match inner.peer.filter(|_| is_pair) {
        Some(index) => Netlink::open()?.link_by_index(index)?.filter(|l| l.kind == Kind::Veth),
        None => None,
    };
    if port.is_none() {
        unless_guarded(config, name, "has no end of its own on the node")?;
    }
    Ok(Some(Ends { mac: mac.0, link_local, port }))
}

/// Nothing to look at, which matters only if there is something to be guarded.
fn unless_guarded(config: &Config, name: &str, cause: &str) -> Result<Option<Ends>> {
    if !config.anti_spoofing {
        return Ok(None);
    }
    Err(Error::new(Code::UnsupportedField, format!("antiSpoofing: {name} {cause}"))
        .with_details("frames are looked at where they enter the node: chain behind bridge or ptp"))
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
        IpAddr::V4(ip) => ip.is_link_local(),
    }
}

/// The link-local address that follows from a hardware address (RFC 4291, appendix A).
fn derived(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let mut bytes = [0; 16];
    bytes[0] = 0xfe;
    bytes[1] = 0x80;
    bytes[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from(bytes)
}

/// What is wished, told to `work`, which also learns the backend.
fn with_wish(
    call: &Call,
    (plan, config): (&Plan, &Config),
    backend: Backend,
    work: impl FnOnce(&Wish<'_>) -> Result<()>,
) -> Result<()> {
    let ends = ends(call, config)?;
    let port = ends.as_ref().and_then(|ends| ends.port.as_ref());
    let mut own = plan.addresses.clone();
    own.extend(ends.iter().flat_map(|ends| ends.link_local.iter().copied()));
    let guard = match (&ends, port) {
        (Some(ends), Some(port)) if config.anti_spoofing => {
            Some(Guard { link: &port.name, mac: ends.mac, addresses: &own })
        }
        _ => None,
    };
    let isolation = plan.isolation.as_ref().map(|(bridge, policy)| Isolation {
        bridge,
        policy: *policy,
        port: port.filter(|port| port.master.is_some()).map(|port| port.name.as_str()),
    });
    work(&Wish {
        owner: owner(call),
        backend,
        addresses: &plan.addresses,
        admin_chain: &config.admin_chain,
        zone: &config.zone,
        isolation,
        guard,
    })
}

pub(crate) fn add(call: &Call, plan: &Plan, config: &Config) -> Result<()> {
    let backend = config.backend.unwrap_or_else(Backend::of_node);
    with_wish(call, (plan, config), backend, firewall::setup)
}

pub(crate) fn del(call: &Call) -> Result<()> {
    let told = call.conf.prev_result.as_ref().map(addresses).unwrap_or_default();
    firewall::teardown(&owner(call), &told, &zone(&call.conf))
}

pub(crate) fn check(call: &Call, plan: &Plan, config: &Config) -> Result<()> {
    // What ADD chose counts, not what it would choose today.
    let backend = match (config.backend, firewall::backend_of(&owner(call))?) {
        (Some(wished), _) => wished,
        (None, Some(made)) => made,
        (None, None) => Backend::of_node(),
    };
    with_wish(call, (plan, config), backend, firewall::check)
}

pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    firewall::gc(call.conf.name.as_str(), &call.valid, cache::addresses().as_deref())
}

pub(crate) fn status(config: &Config) -> Result<()> {
    let backend = config.backend.unwrap_or_else(Backend::of_node);
    firewall::probe(Means { backend, policy: config.policy, guard: config.anti_spoofing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_follows_from_the_hardware_address() {
        let mac = Mac([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);
        assert_eq!(derived(mac), "fe80::42:acff:fe11:2".parse::<Ipv6Addr>().expect("address"));
    }
}
