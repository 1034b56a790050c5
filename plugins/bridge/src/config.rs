//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Args, Code, Dns, Error, NetConf, Result};
use netfilter::masquerade::Backend;
use netlink::{Mac, PortFlags, VlanRange};
use serde::Deserialize;

/// Longest interface name, in bytes.
const NAME_MAX: usize = 15;
/// Highest VLAN ID for use; 4095 is reserved (IEEE 802.1Q).
const VLAN_MAX: u16 = 4094;
/// VLAN of untagged packets on a trunk that names none, as on any new bridge.
const VLAN_DEFAULT: u16 = 1;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    bridge: String,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: u32,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: u16,
    vlan_trunk: Option<Vec<Trunk>>,
    preserve_default_vlan: bool,
    #[serde(rename = "macspoofchk")]
    mac_spoof_check: bool,
    #[serde(rename = "enabledad")]
    enable_dad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    dns: Dns,
    args: ConfigArgs,
    runtime_config: MacHolder,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigArgs {
    cni: MacHolder,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MacHolder {
    mac: String,
}

/// One entry of `vlanTrunk`: an ID, a range, or both.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Trunk {
    id: Option<u16>,
    #[serde(rename = "minID")]
    min_id: Option<u16>,
    #[serde(rename = "maxID")]
    max_id: Option<u16>,
}

/// Whether the node is the pods' gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// It is not.
    None,
    /// The gateway's addresses are on the bridge.
    Address,
    /// As [`Gateway::Address`], and pods have a default route to it.
    DefaultRoute,
}

/// VLANs of the pod's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vlans {
    /// `vlan`: the VLAN of the pod and of its gateway.
    pub(crate) id: Option<u16>,
    /// What the port is a member of, without overlaps.
    pub(crate) members: Vec<VlanRange>,
    /// Whether the port keeps the VLAN that the bridge gives every new port.
    pub(crate) keep_default: bool,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Name of the bridge.
    pub(crate) bridge: String,
    /// The node's part in the subnet.
    pub(crate) gateway: Gateway,
    /// Whether a conflicting address of the bridge is replaced.
    pub(crate) force_address: bool,
    /// Masquerade, with the backend where one is named.
    pub(crate) masquerade: Option<Option<Backend>>,
    /// MTU of the bridge when it is made, and of both ends of the veth pair.
    pub(crate) mtu: Option<u32>,
    /// Settings of the pod's port.
    pub(crate) port: PortFlags,
    /// Whether the bridge takes all packets.
    pub(crate) promiscuous: bool,
    /// VLANs, where the bridge keeps them apart.
    pub(crate) vlans: Option<Vlans>,
    /// Whether packets with another source hardware address are dropped.
    pub(crate) mac_check: bool,
    /// Whether IPv6 looks for duplicates of the pod's addresses.
    pub(crate) probe: bool,
    /// Whether the pod's interface is set up.
    pub(crate) pod_up: bool,
    /// Hardware address of the pod's interface; the kernel's choice where absent.
    pub(crate) mac: Option<Mac>,
    /// Resolver settings that replace those of the IPAM plugin; may be empty.
    pub(crate) dns: Dns,
    /// Whether there is an IPAM plugin.
    pub(crate) layer3: bool,
}

fn invalid(msg: impl Into<String>) -> Error {
    Error::new(Code::InvalidConfig, msg)
}

impl Config {
    /// Reads the configuration of an attachment.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`], or for a hardware address in
    /// `CNI_ARGS` [`Code::InvalidEnvironment`].
    pub(crate) fn read(conf: &NetConf, args: &Args) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let layer3 = conf.ipam()?.is_some();
        if layer3 && wire.disable_container_interface {
            return Err(invalid("disableContainerInterface: cannot be used with ipam")
                .with_details(
                    "an interface that stays down has no addresses: remove one of both",
                ));
        }
        if wire.hairpin_mode && wire.promisc_mode {
            return Err(invalid("hairpinMode: cannot be used with promiscMode"));
        }
        if !matches!(wire.mtu, 0 | 68..=65535) {
            return Err(invalid(format!("mtu {}: want 68 to 65535 bytes", wire.mtu)));
        }
        let mac = mac(&wire, args)?;
        let backend = wire.ip_masq_backend.as_deref().filter(|text| !text.is_empty());
        let masquerade = match wire.ip_masq {
            true => Some(backend.map(Backend::parse).transpose()?),
            false => None,
        };
        let gateway = match (wire.is_default_gateway, wire.is_gateway) {
            (true, _) => Gateway::DefaultRoute,
            (false, true) => Gateway::Address,
            (false, false) => Gateway::None,
        };
        let bridge = bridge(&wire, gateway != Gateway::None && layer3)?;
        Ok(Config {
            bridge,
            gateway,
            force_address: wire.force_address,
            masquerade,
            mtu: Some(wire.mtu).filter(|mtu| *mtu != 0),
            port: PortFlags { hairpin: wire.hairpin_mode, isolated: wire.port_isolation },
            promiscuous: wire.promisc_mode,
            vlans: vlans(&wire)?,
            mac_check: wire.mac_spoof_check,
            probe: wire.enable_dad,
            pod_up: !wire.disable_container_interface,
            mac,
            dns: wire.dns,
            layer3,
        })
    }

    /// Reads the configuration of a network.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub(crate) fn of_network(conf: &NetConf) -> Result<Config> {
        Config::read(conf, &Args::default())
    }

    /// The VLAN of the pod and its gateway, if it is in one.
    pub(crate) fn vlan(&self) -> Option<u16> {
        self.vlans.as_ref().and_then(|vlans| vlans.id)
    }
}

/// The little that DEL and GC need, read without judging: a configuration that an earlier version
/// accepted, or that was edited since, must not strand a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Name of the bridge.
    pub(crate) bridge: String,
    /// `ipMasq`.
    pub(crate) masquerade: bool,
}

impl Hints {
    /// Reads `conf`.
    pub(crate) fn read(conf: &NetConf) -> Hints {
        let bridge = conf.document.get("bridge").and_then(|name| name.as_str()).unwrap_or_default();
        let masquerade = conf.document.get("ipMasq").and_then(serde_json::Value::as_bool);
        Hints {
            bridge: name_or_default(bridge).to_owned(),
            masquerade: masquerade.unwrap_or_default(),
        }
    }
}

fn name_or_default(name: &str) -> &str {
    if name.is_empty() { "cni0" } else { name }
}

fn bridge(wire: &Wire, has_gateway: bool) -> Result<String> {
    let name = name_or_default(&wire.bridge);
    let sound = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
    if name.len() > NAME_MAX || matches!(name, "." | "..") || !name.bytes().all(sound) {
        return Err(invalid(format!("bridge: {name:?} is not an interface name"))
            .with_details("1 to 15 printable characters, without blanks, slashes and colons"));
    }
    let gateway_link = gateway_link(name, wire.vlan);
    if wire.vlan != 0 && has_gateway && gateway_link.len() > NAME_MAX {
        return Err(invalid(format!("bridge: {name:?} is too long for a gateway in a VLAN"))
            .with_details(format!("its link would be {gateway_link}, longer than 15 bytes")));
    }
    Ok(name.to_owned())
}

/// The name of the link that has the gateway's address in VLAN `id`.
pub(crate) fn gateway_link(bridge: &str, id: u16) -> String {
    format!("{bridge}.{id}")
}

/// No key of the configuration itself asks for an address.
fn mac(wire: &Wire, args: &Args) -> Result<Option<Mac>> {
    let (runtime, cni_args) = (&wire.runtime_config.mac, &wire.args.cni.mac);
    veth::AskedMac { runtime, cni_args, own: "" }.read(args)
}

fn vlans(wire: &Wire) -> Result<Option<Vlans>> {
    if wire.vlan > VLAN_MAX {
        return Err(invalid(format!("vlan {}: want 0 to {VLAN_MAX}", wire.vlan)));
    }
    let id = Some(wire.vlan).filter(|id| *id != 0);
    let trunk = wire.vlan_trunk.as_deref();
    if id.is_none() && trunk.is_none() {
        return Ok(None);
    }
    let trunk = trunk_ranges(trunk.unwrap_or_default())?;
    // A trunk without a VLAN of its own takes untagged packets into VLAN 1.
    let access = id.or((!trunk.is_empty()).then_some(VLAN_DEFAULT));
    let mut members: Vec<_> = access.map(VlanRange::access).into_iter().collect();
    members.extend(trunk.into_iter().flat_map(|range| without(range, access)));
    Ok(Some(Vlans { id, members, keep_default: wire.preserve_default_vlan }))
}

/// The ranges of a trunk in ascending order, neighbours joined.
fn trunk_ranges(trunk: &[Trunk]) -> Result<Vec<(u16, u16)>> {
    let mut ranges = Vec::new();
    for (index, entry) in trunk.iter().enumerate() {
        let fault = |cause: &str| Err(invalid(format!("vlanTrunk[{index}]: {cause}")));
        let range = match (entry.min_id, entry.max_id) {
            (Some(min), Some(max)) if max < min => return fault("minID is greater than maxID"),
            (Some(min), Some(max)) => Some((min, max)),
            (Some(_), None) => return fault("minID needs maxID"),
            (None, Some(_)) => return fault("maxID needs minID"),
            (None, None) => None,
        };
        let single = entry.id.map(|id| (id, id));
        for (first, last) in range.into_iter().chain(single) {
            if first == 0 || last > VLAN_MAX {
                return fault(&format!("want IDs from 1 to {VLAN_MAX}"));
            }
            ranges.push((first, last));
        }
    }
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    Ok(joined)
}

/// The range as tagged VLANs, without the one that the port has untagged.
fn without((first, last): (u16, u16), access: Option<u16>) -> Vec<VlanRange> {
    match access.filter(|id| (first..=last).contains(id)) {
        None => vec![VlanRange::tagged(first, last)],
        Some(id) => [(first, id - 1), (id + 1, last)]
            .into_iter()
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| VlanRange::tagged(first, last))
            .collect(),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
