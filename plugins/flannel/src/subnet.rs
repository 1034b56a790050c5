//! What flanneld tells of this node: its subnet file.

use cni_types::{CniResult, Code, Error, Result};
use ipnetwork::IpNetwork;
use std::io::ErrorKind;
use std::path::Path;

/// This node's part of the flannel network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// The networks of the whole cluster, IPv4 before IPv6.
    pub(crate) networks: Vec<IpNetwork>,
    /// The subnets of this node's pods, IPv4 before IPv6.
    pub(crate) subnets: Vec<IpNetwork>,
    /// In bytes, of the pods' interfaces; the delegate's choice where absent.
    pub(crate) mtu: Option<u32>,
    /// Whether flanneld masquerades what leaves the network; the delegate does it where not.
    pub(crate) masquerades: bool,
}

/// The file as it is read, by family.
#[derive(Debug, Default)]
struct Wire {
    networks: [Vec<IpNetwork>; 2],
    subnets: [Option<IpNetwork>; 2],
    mtu: Option<u32>,
    masquerades: Option<bool>,
}

const V4: usize = 0;
const V6: usize = 1;

impl Node {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Code::TryAgain`] when there is none: flanneld makes it. [`Code::InvalidConfig`] naming file,
    /// line and key; [`Code::Io`].
    pub(crate) fn read(path: &Path) -> Result<Node> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                Error::new(Code::TryAgain, format!("subnetFile {shown}: there is no such file"))
                    .with_details("flanneld makes it when it has got a subnet for this node")
            }
            _ => Error::io(format!("subnetFile {shown}"), &e),
        })?;
        Node::parse(&text).map_err(|e| e.context(format!("subnetFile {shown}")))
    }

    /// What the result of ADD tells, for DEL where the file is gone. It is not known whether the
    /// delegate masqueraded; DEL of rules that are not there does no harm.
    pub(crate) fn of_result(result: &CniResult) -> Node {
        let mut subnets: Vec<IpNetwork> = Vec::new();
        for ip in &result.ips {
            subnets.extend(canonical(ip.address).filter(|subnet| !subnets.contains(subnet)));
        }
        Node { subnets, ..Node::default() }
    }

    fn parse(text: &str) -> Result<Node> {
        let mut wire = Wire::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            wire.read(key, value).map_err(|cause| {
                let place = format!("line {}: {key}: {cause}", number + 1);
                Error::new(Code::InvalidConfig, place).with_details("flanneld writes this file")
            })?;
        }
        wire.checked()
    }
}

impl Wire {
    fn read(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "FLANNEL_NETWORK" => self.networks[V4] = networks(value, V4)?,
            "FLANNEL_IPV6_NETWORK" => self.networks[V6] = networks(value, V6)?,
            "FLANNEL_SUBNET" => self.subnets[V4] = Some(network(value, V4)?),
            "FLANNEL_IPV6_SUBNET" => self.subnets[V6] = Some(network(value, V6)?),
            "FLANNEL_MTU" => {
                let mtu = value.parse().map_err(|_| format!("{value:?} is no number of bytes"))?;
                self.mtu = Some(mtu);
            }
            "FLANNEL_IPMASQ" => match value {
                "true" => self.masquerades = Some(true),
                "false" => self.masquerades = Some(false),
                _ => return Err(format!("{value:?} is neither true nor false")),
            },
            _ => {}
        }
        Ok(())
    }

    fn checked(self) -> Result<Node> {
        let networks = self.networks.concat();
        let subnets: Vec<_> = self.subnets.into_iter().flatten().collect();
        let mut missing = Vec::new();
        if networks.is_empty() {
            missing.push("FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK");
        }
        if subnets.is_empty() {
            missing.push("FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET");
        }
        match (self.mtu, self.masquerades, missing.is_empty()) {
            (Some(mtu), Some(masquerades), true) => {
                return Ok(Node { networks, subnets, mtu: Some(mtu), masquerades });
            }
            (mtu, masquerades, _) => {
                missing.extend(mtu.is_none().then_some("FLANNEL_MTU"));
                missing.extend(masquerades.is_none().then_some("FLANNEL_IPMASQ"));
            }
        }
        let cause = format!("{}: not there", missing.join(", "));
        Err(Error::new(Code::InvalidConfig, cause).with_details("flanneld writes this file"))
    }
}

/// A list, separated by commas, without what is in it twice.
fn networks(text: &str, family: usize) -> Result<Vec<IpNetwork>, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let next = network(part, family)?;
        if !all.contains(&next) {
            all.push(next);
        }
    }
    Ok(all)
}

/// A network in any notation: flanneld writes subnets by the address of their gateway.
fn network(text: &str, family: usize) -> Result<IpNetwork, String> {
    let wrong = |what: &str| format!("{text:?} is {what}");
    let parsed = text.contains('/').then(|| text.parse::<IpNetwork>().ok()).flatten();
    let parsed =
        parsed.and_then(canonical).ok_or_else(|| wrong("no network with a prefix length"))?;
    if parsed.is_ipv6() != (family == V6) {
        return Err(wrong("of the other family"));
    }
    Ok(parsed)
}

/// The network itself, without host bits.
fn canonical(network: IpNetwork) -> Option<IpNetwork> {
    IpNetwork::new(network.network(), network.prefix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: &str = "FLANNEL_NETWORK=10.244.0.0/16,10.245.0.0/16,10.244.0.0/16\n\
        FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fd00:244::/56\n\
        FLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    fn nets(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().expect("network")).collect()
    }

    #[test]
    fn the_file_of_flanneld_is_read() {
        let node = Node::parse(DUAL).expect("valid");
        assert_eq!(node.networks, nets(&["10.244.0.0/16", "10.245.0.0/16", "fd00:244::/56"]));
        assert_eq!(node.subnets, nets(&["10.244.1.0/24", "fd00:244:0:1::/64"]));
        assert_eq!((node.mtu, node.masquerades), (Some(1450), true));
        let six = "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:7::1/64\r\n\
            # made by hand\nOTHER\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false";
        let node = Node::parse(six).expect("valid");
        assert_eq!((node.subnets, node.masquerades), (nets(&["fd00:0:0:7::/64"]), false));
    }

    #[test]
    fn faults_are_named_by_line_and_key() {
        for (from, to, text) in [
            ("10.244.1.1/24", "10.244.1.1", "line 2: FLANNEL_SUBNET: \"10.244.1.1\""),
            ("10.244.1.1/24", "", "line 2: FLANNEL_SUBNET: \"\""),
            (
                "10.244.1.1/24",
                "fd00::1/64",
                "line 2: FLANNEL_SUBNET: \"fd00::1/64\" is of the other",
            ),
            ("10.245.0.0/16", "x", "line 1: FLANNEL_NETWORK: \"x\""),
            ("1450", "-1", "line 5: FLANNEL_MTU"),
            ("=true", "=yes", "line 6: FLANNEL_IPMASQ"),
        ] {
            let wrong = DUAL.replace(from, to);
            let error = Node::parse(&wrong).expect_err(text);
            assert_eq!(error.code, Code::InvalidConfig);
            assert!(error.msg.starts_with(text), "{error}");
        }
        let other = Node::parse(&DUAL.replace("FLANNEL_MTU", "MTU")).expect_err("no MTU");
        assert!(other.msg.starts_with("FLANNEL_MTU: not there"), "{other}");
        let nothing = Node::parse("").expect_err("empty");
        for key in ["FLANNEL_NETWORK", "FLANNEL_IPV6_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ"] {
            assert!(nothing.msg.contains(key), "{nothing}");
        }
        let later = Node::read(Path::new("/nonexistent/subnet.env")).expect_err("no file");
        assert_eq!(later.code, Code::TryAgain);
        assert!(later.msg.contains("/nonexistent/subnet.env"), "{later}");
    }

    #[test]
    fn a_result_tells_the_subnets() {
        let result = serde_json::json!({"cniVersion": "1.1.0", "ips": [
            {"address": "10.244.1.7/24"}, {"address": "10.244.1.9/24"}, {"address": "fd00::7/64"}]});
        let result = CniResult::from_value(&result, cni_types::Version::LATEST).expect("result");
        let node = Node::of_result(&result);
        assert_eq!(node.subnets, nets(&["10.244.1.0/24", "fd00::/64"]));
        assert!(!node.masquerades && node.mtu.is_none());
    }
}
