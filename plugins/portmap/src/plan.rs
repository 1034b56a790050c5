//! What is wished, from configuration and `prevResult`: no effects here.

use crate::config::{Choice, Config, readable_mappings};
use cni_plugin::Call;
use cni_types::CniResult;
use ipnetwork::IpNetwork;
use netfilter::hostport::{Backend, Family, Forward, Mapping, Masquerade, Owner};

/// What ADD makes and CHECK expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) owner: Owner,
    pub(crate) config: Config,
    /// For each family with an address of the pod and a mapping.
    pub(crate) forwards: Vec<Forward>,
}

/// What DEL is told of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) owner: Owner,
    pub(crate) pods: Vec<IpNetwork>,
    pub(crate) mappings: Vec<Mapping>,
}

fn owner(call: &Call) -> Owner {
    Owner {
        network: call.conf.name.as_str().to_owned(),
        container_id: call.container_id.as_str().to_owned(),
        ifname: call.ifname.as_str().to_owned(),
    }
}

impl Plan {
    pub(crate) fn new(call: &Call, config: Config, result: &CniResult) -> Plan {
        let owner = owner(call);
        let forwards = pods(result, &owner.ifname)
            .into_iter()
            .map(|pod| Forward {
                owner: owner.clone(),
                pod,
                mappings: config.mappings.clone(),
                masquerade: config.masquerade,
                mark: config.mark.clone(),
                conditions: match Family::of(pod.ip()) {
                    Family::V4 => config.conditions_v4.clone(),
                    Family::V6 => config.conditions_v6.clone(),
                },
            })
            .filter(|forward| !forward.own_mappings().is_empty())
            .collect();
        Plan { owner, config, forwards }
    }

    /// The pod's addresses that ports lead to.
    pub(crate) fn pods(&self) -> Vec<IpNetwork> {
        self.forwards.iter().map(|f| f.pod).collect()
    }

    /// The mappings that lead somewhere, each once.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        let mut all: Vec<Mapping> = Vec::new();
        for mapping in self.forwards.iter().flat_map(Forward::own_mappings) {
            if !all.contains(&mapping) {
                all.push(mapping);
            }
        }
        all
    }

    /// The pod's IPv4 address if packets from the node's loopback are to reach it.
    pub(crate) fn loopback_target(&self) -> Option<std::net::IpAddr> {
        let forward = self.forwards.iter().find(|f| f.family() == Family::V4)?;
        (forward.masquerade != Masquerade::Off).then(|| forward.pod.ip())
    }

    /// The backend: as wished, or iptables where it works, else nftables.
    pub(crate) fn backend(&self, by_default: impl FnOnce() -> Backend) -> Backend {
        match self.config.backend {
            Choice::Wished(backend) => backend,
            Choice::Default => by_default(),
        }
    }
}

impl Leaving {
    pub(crate) fn new(call: &Call) -> Leaving {
        let owner = owner(call);
        let pods = call.conf.prev_result.as_ref().map(|r| pods(r, &owner.ifname));
        Leaving { owner, pods: pods.unwrap_or_default(), mappings: readable_mappings(&call.conf) }
    }
}

/// The pod's first address of each family: of its interface, or of none named.
fn pods(result: &CniResult, ifname: &str) -> Vec<IpNetwork> {
    let mut found: Vec<IpNetwork> = Vec::new();
    for ip in &result.ips {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        let is_pods = interface.is_none_or(|i| i.name == ifname && !i.sandbox.is_empty());
        let is_first = found.iter().all(|f| f.is_ipv4() != ip.address.is_ipv4());
        if is_pods && is_first {
            found.push(ip.address);
        }
    }
    found.sort_by_key(|net| net.is_ipv6());
    found
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
