//! What is wished, from configuration and `prevResult`: no effects here.

use crate::config::Config;
use cni_types::{CniResult, Code, Error, IfName, Result};
use netfilter::firewall::Policy;
use std::net::IpAddr;

/// What ADD makes and CHECK expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The addresses of the result, each once.
    pub(crate) addresses: Vec<IpAddr>,
    /// The bridge to be isolated.
    pub(crate) isolation: Option<(String, Policy)>,
}

impl Plan {
    /// # Errors
    /// [`Code::InvalidConfig`] when the result names no bridge that could be isolated.
    pub(crate) fn new(config: &Config, result: &CniResult) -> Result<Plan> {
        let isolation = match config.policy {
            Some(policy) => Some((bridge(result, policy)?, policy)),
            None => None,
        };
        Ok(Plan { addresses: addresses(result), isolation })
    }
}

/// The addresses of the result, each once.
pub(crate) fn addresses(result: &CniResult) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for ip in result.ips.iter().map(|ip| ip.address.ip()) {
        if !all.contains(&ip) {
            all.push(ip);
        }
    }
    all
}

/// The first interface of the result: the bridge, if the plugin before is bridge.
fn bridge(result: &CniResult, policy: Policy) -> Result<String> {
    let fault = |cause: String| {
        let error = Error::new(Code::InvalidConfig, format!("prevResult.interfaces[0]: {cause}"));
        let policy = policy.as_str();
        error.with_details(format!(
            "ingressPolicy {policy:?} needs a plugin before it that reports its bridge first"
        ))
    };
    let Some(first) = result.interfaces.first() else { return Err(fault("is missing".to_owned())) };
    if !first.sandbox.is_empty() {
        return Err(fault(format!("{} is in the pod, not a bridge of the node", first.name)));
    }
    // It becomes a word of rules, where a '+' at its end would stand for any other letters.
    if IfName::parse(&first.name).is_err() || first.name.ends_with('+') {
        return Err(fault(format!("{:?} cannot be the name of a bridge", first.name)));
    }
    Ok(first.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{Interface, IpConfig};

    fn config(policy: Option<Policy>) -> Config {
        Config {
            backend: None,
            admin_chain: "CNI-ADMIN".to_owned(),
            zone: "trusted".to_owned(),
            policy,
            anti_spoofing: false,
        }
    }

    fn result(first: &str, sandbox: &str) -> CniResult {
        let ip = |text: &str| IpConfig {
            interface: None,
            address: text.parse().expect("address"),
            gateway: None,
        };
        CniResult {
            interfaces: vec![Interface {
                name: first.to_owned(),
                sandbox: sandbox.to_owned(),
                ..Interface::default()
            }],
            ips: vec![ip("10.0.0.5/24"), ip("fd00::5/64"), ip("10.0.0.5/16")],
            ..CniResult::default()
        }
    }

    #[test]
    fn the_bridge_is_the_first_interface() {
        let plan = Plan::new(&config(Some(Policy::Isolated)), &result("br0", "")).expect("plan");
        assert_eq!(plan.isolation, Some(("br0".to_owned(), Policy::Isolated)));
        let own: Vec<_> = plan.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(own, ["10.0.0.5", "fd00::5"]);
    }

    #[test]
    fn what_cannot_be_a_bridge_is_refused_if_one_is_needed() {
        for (name, sandbox) in [("eth0", "/ns"), ("", ""), ("a\n-X", ""), ("br+", ""), ("a b", "")]
        {
            let result = result(name, sandbox);
            let error = Plan::new(&config(Some(Policy::SameBridge)), &result).expect_err(name);
            assert_eq!(error.code, Code::InvalidConfig);
            assert!(error.msg.starts_with("prevResult.interfaces[0]"), "{error}");
            Plan::new(&config(None), &result).expect("open needs no bridge");
        }
        let empty = CniResult::default();
        Plan::new(&config(Some(Policy::SameBridge)), &empty).expect_err("none");
    }
}
