//! What is wished of the interface and of its namespace: no effects here.

use crate::config::Config;
use cni_plugin::verify::drift;
use cni_types::{CniResult, Result};
use netlink::{Change, Link};

/// A change of the interface, with the key that asks for it.
pub(crate) type Step = (&'static str, Change<'static>);

/// The changes that make the interface what the configuration wants, each by itself, so that a
/// refusal tells which one it is.
pub(crate) fn steps(config: &Config) -> Vec<Step> {
    let none = Change::default;
    let mut steps = Vec::new();
    steps.extend(config.mac.map(|mac| ("mac", Change { mac: Some(mac), ..none() })));
    steps.extend(config.mtu.map(|mtu| ("mtu", Change { mtu: Some(mtu), ..none() })));
    if config.promiscuous {
        steps.push(("promisc", Change { promiscuous: Some(true), ..none() }));
    }
    let all = config.all_multicast;
    steps.extend(all.map(|on| ("allmulti", Change { all_multicast: Some(on), ..none() })));
    let length = config.queue_length;
    steps.extend(length.map(|n| ("txQLen", Change { queue_length: Some(n), ..none() })));
    steps
}

/// The result of the plugin before, with what is different now.
pub(crate) fn result(config: &Config, ifname: &str, before: &CniResult) -> CniResult {
    let mut result = before.clone();
    let is_pods = |interface: &&mut cni_types::Interface| {
        interface.name == ifname && !interface.sandbox.is_empty()
    };
    for interface in result.interfaces.iter_mut().filter(is_pods) {
        if let Some(mac) = config.mac {
            interface.mac = mac.to_string();
        }
        interface.mtu = config.mtu.or(interface.mtu);
    }
    result
}

/// Compares the interface with what the configuration wants of it.
///
/// # Errors
/// [`cni_types::Code::Drift`] naming the first difference.
pub(crate) fn compare(config: &Config, link: &Link) -> Result<()> {
    let differs = |what: &str, now: &dyn std::fmt::Display, want: &dyn std::fmt::Display| {
        let cause = format!("has {what} {now}, the configuration wants {want}");
        Err(drift(format!("interface {}", link.name), cause))
    };
    if let Some(mac) = config.mac.filter(|mac| link.mac != Some(*mac)) {
        let now = link.mac.map_or("none".to_owned(), |mac| mac.to_string());
        return differs("hardware address", &now, &mac);
    }
    if let Some(mtu) = config.mtu.filter(|mtu| link.mtu != *mtu) {
        return differs("MTU", &link.mtu, &mtu);
    }
    if config.promiscuous && !link.promiscuous {
        return differs("promiscuous mode", &false, &true);
    }
    if let Some(on) = config.all_multicast.filter(|on| link.all_multicast != *on) {
        return differs("all-multicast mode", &link.all_multicast, &on);
    }
    match config.queue_length.filter(|length| link.queue_length != *length) {
        Some(length) => differs("a transmit queue of", &link.queue_length, &length),
        None => Ok(()),
    }
}

/// Whether two values of a sysctl are the same to the kernel, which separates numbers by tabs.
pub(crate) fn same_value(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::Interface;
    use serde_json::json;

    fn config(keys: serde_json::Value) -> Config {
        let mut document = json!({"name": "net", "type": "tuning", "cniVersion": "1.1.0"});
        for (key, value) in keys.as_object().expect("keys") {
            document[key] = value.clone();
        }
        let conf = cni_types::NetConf::from_value(document).expect("configuration");
        Config::read(&conf, &cni_types::Args::default()).expect("valid")
    }

    #[test]
    fn only_what_is_asked_for_is_changed() {
        assert!(steps(&config(json!({"promisc": false}))).is_empty());
        let all = config(json!({"mac": "02:00:00:00:00:01", "promisc": true, "mtu": 1400,
            "txQLen": 0, "allmulti": false}));
        let keys: Vec<_> = steps(&all).iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["mac", "mtu", "promisc", "allmulti", "txQLen"]);
    }

    #[test]
    fn the_pods_interface_is_reported_as_it_is_now() {
        let interface = |name: &str, sandbox: &str| Interface {
            name: name.into(),
            mac: "02:00:00:00:00:ff".into(),
            mtu: Some(1500),
            sandbox: sandbox.into(),
            ..Interface::default()
        };
        let before = CniResult {
            interfaces: vec![
                interface("eth0", ""),
                interface("eth0", "/ns"),
                interface("b", "/ns"),
            ],
            ..CniResult::default()
        };
        let tuned = config(json!({"mac": "02:00:00:00:00:01", "mtu": 1400}));
        let after = result(&tuned, "eth0", &before);
        assert_eq!(after.interfaces[0], before.interfaces[0]);
        assert_eq!(after.interfaces[1].mac, "02:00:00:00:00:01");
        assert_eq!(after.interfaces[1].mtu, Some(1400));
        assert_eq!(after.interfaces[2], before.interfaces[2]);
        assert_eq!(result(&config(json!({"promisc": true})), "eth0", &before), before);
    }

    #[test]
    fn values_are_compared_as_the_kernel_reads_them() {
        assert!(same_value("4096 131072  6291456", "4096\t131072\t6291456\n"));
        assert!(!same_value("1", "10"));
        assert!(same_value("", "\n"));
    }
}
