//! What enters the table.

use crate::maker::Maker;
use cni_types::{ALL_VERSIONS, Version};
use lab::{Drift, Lab, Pod};
use serde_json::{Value, json};
use std::fmt;

/// Makes a configuration for the pod of a number; 0 is for the verbs that have no pod.
pub type Conf = dyn Fn(&Lab, u8) -> Value + Sync;
/// Attaches the pod of a number, and returns the result that the plugins which did so gave.
pub type Wire = dyn Fn(&Lab, &Pod, u8) -> Value + Sync;

/// A plugin with a valid configuration and what is known about it.
#[derive(Clone, Copy)]
pub struct Subject {
    /// What messages call it.
    pub name: &'static str,
    /// The plugin's file name.
    pub plugin: &'static str,
    /// Whose the plugin is.
    pub maker: Maker,
    /// Type of link that not every kernel makes, and this subject needs; empty for none.
    pub kernel: &'static str,
    /// A valid configuration of version 1.1.0, without `prevResult`.
    pub conf: &'static Conf,
    /// Who makes the pod's interface.
    pub wiring: Wiring,
    /// `CNI_IFNAME`.
    pub ifname: &'static str,
    /// Texts that lines of the node's state have after ADD, and not before: the proof that ADD
    /// does anything.
    pub makes: &'static [&'static str],
    /// Texts of the lines that may stay after the first ADD and DEL on a fresh node, by design.
    pub stays: &'static [&'static str],
    /// Changes that CHECK must notice, with a text that its message must have.
    pub drifts: &'static [(Drift, &'static str)],
    /// Values of a wrong type, as JSON pointer, JSON text and the path that the message must name.
    pub wrong: &'static [(&'static str, &'static str, &'static str)],
    /// Values of the right type that are not valid: the same three.
    pub invalid: &'static [(&'static str, &'static str, &'static str)],
    /// What a second ADD of one attachment comes to.
    pub repeat: Repeat,
    /// What it needs besides the kernel.
    pub needs: Needs,
    /// Whether GC can find what a killed ADD left: not so for state inside the pod only.
    pub collects: bool,
    /// Whether its result has addresses, without which versions before 0.3.0 cannot tell it.
    pub addresses: bool,
    /// Whether ADD only reports, and changes nothing anywhere.
    pub reports_only: bool,
    /// The kill sweep takes every system call (1) or every n-th.
    pub sweep: u32,
}

impl Subject {
    /// The newest version of the specification that the plugin speaks: that of its trial.
    pub fn version(&self) -> Version {
        self.versions().last().copied().unwrap_or(Version::LATEST)
    }

    /// All versions that it speaks, the oldest first.
    pub fn versions(&self) -> &'static [Version] {
        match self.maker {
            Maker::Podloom => &ALL_VERSIONS,
            Maker::Other(other) => &other.versions,
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("name", &self.name)
            .field("plugin", &self.plugin)
            .field("maker", &self.maker)
            .finish_non_exhaustive()
    }
}

/// Who makes the pod's interface.
#[derive(Clone, Copy)]
pub enum Wiring {
    /// The plugin, or nobody.
    Plugin,
    /// An earlier plugin of the chain, whose part the trial plays: the configuration gets a
    /// `prevResult`.
    Before,
    /// Earlier plugins of the chain, which this runs.
    Chain(&'static Wire),
}

impl Wiring {
    /// Whether the interface is there before the plugin is run.
    pub fn is_before(&self) -> bool {
        !matches!(self, Wiring::Plugin)
    }
}

/// What a second ADD of one attachment comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Refused as a conflict (102) that names this.
    Refused(&'static str),
    /// Accepted; the state stays that of the first.
    Accepted,
    /// Nobody said: either, and DEL takes away what there is.
    Either,
}

/// What a plugin needs besides the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The IPAM plugin.
    pub ipam: Option<&'static str>,
    /// A program in `PATH`.
    pub program: Option<&'static str>,
    /// Pointer to the range sets, if there is a pool that can be exhausted.
    pub pool: Option<&'static str>,
}

impl Needs {
    /// Nothing.
    pub const NOTHING: Needs = Needs { ipam: None, program: None, pool: None };
    /// Leases of host-local.
    pub const LEASES: Needs =
        Needs { ipam: Some("host-local"), program: None, pool: Some("/ipam/ranges") };
    /// Leases of host-local, and iptables.
    pub const LEASES_AND_IPTABLES: Needs =
        Needs { ipam: Some("host-local"), program: Some("iptables"), pool: Some("/ipam/ranges") };
}

/// Wires pod `number` by hand: `eth0` with 10.77.n.2/24 and fd77:n::2/64 behind the node at .1.
/// Returns the result that the plugin which did so would have given.
pub(crate) fn wire(lab: &Lab, pod: &Pod, number: u8) -> Value {
    let (node, path) = (lab.node(), pod.path().display().to_string());
    let host = format!("hand{number}");
    node.ip(&format!("link add {host} type veth peer name p{number}"));
    node.ip(&format!("link set p{number} netns {path}"));
    node.ip(&format!("link set {host} up"));
    node.ip(&format!("addr add 10.77.{number}.1/24 dev {host}"));
    node.ip(&format!("addr add fd77:{number}::1/64 dev {host} nodad"));
    pod.ip(&format!("link set p{number} name eth0 up"));
    pod.ip(&format!("addr add 10.77.{number}.2/24 dev eth0"));
    pod.ip(&format!("addr add fd77:{number}::2/64 dev eth0 nodad"));
    pod.ip(&format!("route add default via 10.77.{number}.1"));
    pod.ip(&format!("-6 route add default via fd77:{number}::1"));
    let mac = |list: Value| list[0]["address"].clone();
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": host, "mac": mac(node.ip_json(&format!("link show {host}")))},
            {"name": "eth0", "mac": mac(pod.ip_json("link show eth0")), "sandbox": path},
        ],
        "ips": [
            {"interface": 1, "address": format!("10.77.{number}.2/24"), "gateway": format!("10.77.{number}.1")},
            {"interface": 1, "address": format!("fd77:{number}::2/64"), "gateway": format!("fd77:{number}::1")},
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    })
}
