//! Drift: changes to a node or pod behind the plugins' back, each of which CHECK must notice.

use crate::enter::Ns;
use crate::node::{Lab, Pod};
use serde_json::Value;

/// One kind of change. Links of the node are found through the result of ADD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The pod's interface is deleted.
    LinkDeleted,
    /// The pod's interface is set down.
    LinkDown,
    /// The pod's first address is deleted.
    AddressDeleted,
    /// All routes of the pod's interface but the connected ones are deleted.
    RoutesDeleted,
    /// The pod's interface gets another hardware address.
    MacChanged,
    /// The pod's interface gets another MTU.
    MtuChanged,
    /// The pod's interface is taken out of its VRF.
    VrfLeft,
    /// The node's end of the veth is set down.
    HostLinkDown,
    /// The node's end of the veth is taken off its bridge.
    PortRemoved,
    /// The bridge's addresses are deleted.
    GatewayDeleted,
    /// The leases are deleted.
    LeasesDeleted,
    /// A sysctl of the pod's interface gets another value.
    SysctlChanged,
    /// The traffic control of the node's end of the veth is deleted.
    LimitsDeleted,
    /// All nft and iptables rules are flushed, as a firewall's reload does.
    RulesFlushed,
}

impl Drift {
    /// Makes the change. `result` is that of the ADD which made `ifname`.
    ///
    /// # Panics
    /// When the result does not name what the change needs.
    pub fn apply(self, lab: &Lab, pod: &Pod, ifname: &str, result: &Value) {
        let on_node = |kind: &str| node_link(lab.node(), result, kind);
        match self {
            Drift::LinkDeleted => drop(pod.ip(&format!("link del {ifname}"))),
            Drift::LinkDown => drop(pod.ip(&format!("link set {ifname} down"))),
            Drift::AddressDeleted => {
                let first = pod.addresses(ifname).into_iter().next().expect("an address");
                pod.ip(&format!("addr del {first} dev {ifname}"));
            }
            Drift::RoutesDeleted => {
                for family in ["-4", "-6"] {
                    pod.exec("ip", &[family, "route", "flush", "default"]);
                    pod.exec("ip", &[family, "route", "flush", "scope", "global", "proto", "boot"]);
                    pod.exec("ip", &[family, "route", "flush", "proto", "static"]);
                }
            }
            Drift::MacChanged => {
                drop(pod.ip(&format!("link set {ifname} address 02:00:00:00:00:99")));
            }
            Drift::MtuChanged => drop(pod.ip(&format!("link set {ifname} mtu 1333"))),
            Drift::VrfLeft => drop(pod.ip(&format!("link set {ifname} nomaster"))),
            Drift::HostLinkDown => {
                drop(lab.node().ip(&format!("link set {} down", on_node("veth"))))
            }
            Drift::PortRemoved => {
                drop(lab.node().ip(&format!("link set {} nomaster", on_node("veth"))));
            }
            Drift::GatewayDeleted => {
                drop(lab.node().ip(&format!("addr flush dev {} scope global", on_node("bridge"))));
            }
            Drift::SysctlChanged => {
                pod.set_sysctl(&format!("net/ipv4/conf/{ifname}/arp_notify"), "0");
            }
            Drift::LimitsDeleted => {
                lab.node().sh("tc", &["qdisc", "del", "dev", &on_node("veth"), "root"]);
            }
            Drift::LeasesDeleted => remove_leases(&lab.data_dir()),
            Drift::RulesFlushed => drop(lab.node().sh("nft", &["flush", "ruleset"])),
        }
    }
}

/// The link of this kind on the node that `result` names.
fn node_link(node: &Ns, result: &Value, kind: &str) -> String {
    let all = node.ip_json(&format!("link show type {kind}"));
    let exists = |name: &str| all.as_array().is_some_and(|l| l.iter().any(|l| l["ifname"] == name));
    let list = result["interfaces"].as_array().cloned().unwrap_or_default();
    list.iter()
        .filter(|i| i["sandbox"].as_str().unwrap_or_default().is_empty())
        .filter_map(|i| i["name"].as_str())
        .find(|name| exists(name))
        .unwrap_or_else(|| panic!("no {kind} of the node in {result}"))
        .to_owned()
}

fn remove_leases(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).expect("the leases' directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_leases(&path);
        } else if entry.file_name().to_str().is_some_and(|n| n.parse::<std::net::IpAddr>().is_ok())
        {
            std::fs::remove_file(&path).expect("remove a lease");
        }
    }
}
