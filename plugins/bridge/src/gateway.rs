//! The node's side that all pods of a bridge share: the bridge, and its gateway addresses.

use crate::config::{Config, gateway_link};
use crate::plan::Plan;
use crate::tune::best_effort;
use cni_plugin::{Gate, Owner};
use cni_types::{Code, Error, Result};
use ipnetwork::IpNetwork;
use netlink::{Address, Bridge, Change, Kind, Link, Mac, Netlink, Peer, Veth, VlanRange};
use std::io::Read;

/// The bridge, made if it is missing; any number of callers may do this at once.
///
/// # Errors
/// [`Code::Conflict`] when the name is taken by something else; those of the kernel.
pub(crate) fn ensure_bridge(node: &Netlink, config: &Config) -> Result<Link> {
    let name = config.bridge.as_str();
    let mut bridge = match node.link_by_name(name)? {
        Some(link) => link,
        None => {
            // With an address of its own from the start the bridge never takes over that of a
            // port, so it does not change as pods come and go, and all callers see the same.
            let wish = Bridge {
                name,
                mtu: config.mtu,
                mac: Some(random_mac()?),
                vlan_filtering: config.vlans.is_some(),
                up: true,
            };
            match node.create_bridge(&wish) {
                Ok(()) => trust_addresses(name, config),
                Err(e) if e.is_exists() => {}
                Err(e) => return Err(e.into()),
            }
            node.expect_link(name)?
        }
    };
    if bridge.kind != Kind::Bridge {
        return Err(not_a_bridge(&bridge));
    }
    if config.vlans.is_some() && bridge.bridge.is_none_or(|info| !info.vlan_filtering) {
        node.set_vlan_filtering(bridge.index, true)?;
    }
    let promiscuous = (config.promiscuous && !bridge.promiscuous).then_some(true);
    let up = (!bridge.up).then_some(true);
    if promiscuous.is_some() || up.is_some() {
        node.change(bridge.index, &Change { up, promiscuous, ..Change::default() })?;
        bridge.up = true;
    }
    refuse_advertisements(name);
    Ok(bridge)
}

pub(crate) fn not_a_bridge(link: &Link) -> Error {
    Error::new(
        Code::Conflict,
        format!("bridge {}: exists, but is a {} and not a bridge", link.name, link.kind),
    )
    .with_details("remove or rename that link, or configure another name in \"bridge\"")
}

/// Keeps the node's address configuration from following advertisements that pods could send.
pub(crate) fn refuse_advertisements(link: &str) {
    best_effort(&sysctl::interface(sysctl::Family::V6, link, "accept_ra"), "0");
}

/// Spares the addresses of a link of ours the search for duplicates, unless the configuration asks
/// for it: without its link-local address the node finds no pod for hosts beyond it, so the first
/// pod would be unreachable over IPv6 for two seconds.
fn trust_addresses(link: &str, config: &Config) {
    if !config.probe {
        best_effort(&sysctl::interface(sysctl::Family::V6, link, "accept_dad"), "0");
    }
}

fn random_mac() -> Result<Mac> {
    let path = "/dev/urandom";
    let mut bytes = [0; 6];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| Error::io(path, &e))?;
    // Locally administered, of one interface.
    bytes[0] = (bytes[0] & 0xfc) | 2;
    Ok(Mac(bytes))
}

/// Puts the pod's port into its VLANs.
///
/// # Errors
/// Those of the kernel.
pub(crate) fn join_vlans(
    node: &Netlink,
    port: u32,
    bridge: &Link,
    (members, keep_default): (&[VlanRange], bool),
) -> Result<()> {
    if let Some(default) = default_to_leave(bridge, (members, keep_default)) {
        node.delete_vlans(port, &[VlanRange::access(default)], false)?;
    }
    if !members.is_empty() {
        node.add_vlans(port, members, false)?;
    }
    Ok(())
}

/// The VLAN that the bridge gives every new port, where a port of `members` shall not be in it.
pub(crate) fn default_to_leave(
    bridge: &Link,
    (members, keep_default): (&[VlanRange], bool),
) -> Option<u16> {
    let default = bridge.bridge.map_or(0, |info| info.default_pvid);
    let is_member = |range: &VlanRange| (range.first..=range.last).contains(&default);
    let leave = default != 0 && !keep_default && !members.is_empty();
    (leave && !members.iter().any(is_member)).then_some(default)
}

/// The link that has the gateway's addresses: the bridge, or in a VLAN the end of a veth pair
/// whose other end is a port of the bridge in that VLAN.
///
/// The pair is made if it is missing, and completed if its maker was killed half way.
///
/// # Errors
/// Those of the kernel.
fn ensure_gateway_link(node: &Netlink, config: &Config, bridge: &Link) -> Result<Option<Link>> {
    let Some(id) = config.vlan() else { return Ok(None) };
    let name = gateway_link(&bridge.name, id);
    if node.link_by_name(&name)?.is_none() {
        make_gateway_pair(node, bridge, &name, id)?;
    }
    let link = node.expect_link(&name)?;
    refuse_advertisements(&name);
    let port = port_of(&link);
    if let Some(port) = port {
        let keep = config.vlans.as_ref().is_some_and(|vlans| vlans.keep_default);
        join_vlans(node, port, bridge, (&[VlanRange::access(id)], keep))?;
    }
    if !link.up {
        if port.is_some() {
            trust_addresses(&name, config);
        }
        node.set_up(link.index)?;
    }
    Ok(Some(link))
}

/// The port of the bridge that is the other end of the gateway's link. An administrator may have
/// made a VLAN link of that name instead: it needs no port.
pub(crate) fn port_of(link: &Link) -> Option<u32> {
    link.peer.filter(|_| link.kind == Kind::Veth && !link.peer_elsewhere)
}

fn make_gateway_pair(node: &Netlink, bridge: &Link, name: &str, id: u16) -> Result<()> {
    // Not an attachment's name, but one that follows from bridge and VLAN in the same way.
    let owner = Owner::new(&bridge.name, &id.to_string(), "gateway");
    let _gate = Gate::shared()?;
    let pair = Veth {
        name: owner.link(),
        mtu: Some(bridge.mtu),
        mac: None,
        master: Some(bridge.index),
        up: true,
        peer: Peer { name, namespace: None, mac: None },
    };
    match node.create_veth(&pair) {
        // Somebody else is making it.
        Err(e) if e.is_exists() => return Ok(()),
        other => other?,
    }
    let port = node.expect_link(owner.link())?;
    let alias = format!("podloom-gateway/{}/{id}", bridge.name);
    node.change(port.index, &Change { alias: Some(&alias), ..Change::default() })?;
    refuse_advertisements(owner.link());
    Ok(())
}

/// Where the gateway is, looked up while the IPAM plugin works.
pub(crate) struct Site {
    /// The link in the VLAN, if there is one.
    pub(crate) link: Option<Link>,
    index: u32,
    present: Vec<Address>,
}

impl Site {
    /// Finds the gateway's link, and makes it if it is missing.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn find(node: &Netlink, config: &Config, bridge: &Link) -> Result<Site> {
        let link = ensure_gateway_link(node, config, bridge)?;
        let index = link.as_ref().unwrap_or(bridge).index;
        Ok(Site { present: node.addresses(index)?, link, index })
    }

    /// Gives it the gateway's addresses and turns on forwarding.
    ///
    /// # Errors
    /// [`Code::Conflict`] for another address in the way; those of the kernel.
    pub(crate) fn prepare(&self, node: &Netlink, config: &Config, plan: &Plan) -> Result<()> {
        let has = |wanted: &IpNetwork| self.present.iter().any(|a| a.network == *wanted);
        if !plan.gateways.iter().all(has) {
            add_addresses(node, self.index, config, plan)?;
        }
        if plan.gateways.iter().any(IpNetwork::is_ipv4) {
            sysctl::write(sysctl::IP_FORWARD, "1")?;
        }
        if plan.gateways.iter().any(IpNetwork::is_ipv6) {
            sysctl::write(sysctl::IPV6_FORWARD, "1")?;
        }
        Ok(())
    }
}

fn add_addresses(node: &Netlink, index: u32, config: &Config, plan: &Plan) -> Result<()> {
    let gone = || Error::new(Code::Kernel, format!("bridge {}: is gone", config.bridge));
    let link = &node.link_by_index(index)?.ok_or_else(gone)?;
    let present = node.addresses(index)?;
    for wanted in &plan.gateways {
        if present.iter().any(|address| address.network == *wanted) {
            continue;
        }
        for other in present.iter().map(|address| address.network) {
            if plan.gateways.contains(&other) || !conflicts(other, *wanted) {
                continue;
            }
            if !config.force_address {
                return Err(taken(link, other, *wanted));
            }
            node.delete_address(link.index, other)?;
        }
        match node.add_address(link.index, *wanted, false) {
            // Another pod's ADD was faster.
            Err(e) if e.is_exists() => {}
            other => other?,
        }
        // A bridge that somebody else made follows the lowest address of its ports until it is
        // given one: pods would lose their gateway's.
        node.change(link.index, &Change { mac: link.mac, ..Change::default() })?;
    }
    Ok(())
}

/// Whether two addresses of the bridge exclude each other: any two of IPv4, and those of IPv6
/// with overlapping subnets.
pub(crate) fn conflicts(one: IpNetwork, other: IpNetwork) -> bool {
    match (one, other) {
        (IpNetwork::V4(_), IpNetwork::V4(_)) => true,
        (IpNetwork::V6(one), IpNetwork::V6(other)) => {
            one.contains(other.ip()) || other.contains(one.ip())
        }
        _ => false,
    }
}

fn taken(link: &Link, other: IpNetwork, wanted: IpNetwork) -> Error {
    Error::new(
        Code::Conflict,
        format!("bridge {}: has address {other}, the gateway's is {wanted}", link.name),
    )
    .with_details("set \"forceAddress\" to replace it, or use another bridge for this network")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_conflict_by_family() {
        let net = |text: &str| text.parse().expect(text);
        assert!(conflicts(net("10.0.0.1/24"), net("192.168.0.1/24")));
        assert!(!conflicts(net("10.0.0.1/24"), net("fd00::1/64")));
        assert!(!conflicts(net("fd00::1/64"), net("fd01::1/64")));
        assert!(conflicts(net("fd00::1/64"), net("fd00::2/64")));
        assert!(conflicts(net("fd00::1/48"), net("fd00:0:0:1::1/64")));
    }

    #[test]
    fn random_addresses_are_of_one_interface_and_local() {
        let mac = random_mac().expect("random");
        assert!(mac.is_unicast());
        assert_eq!(mac.0[0] & 3, 2);
        assert_ne!(mac, random_mac().expect("random"));
    }
}
