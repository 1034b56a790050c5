//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Dns, Error, NetConf, Result};
use serde::Deserialize;

/// Highest VLAN ID for use; 4095 is reserved (IEEE 802.1Q).
const VLAN_MAX: u16 = 4094;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    master: String,
    vlan_id: u16,
    mtu: u32,
    link_in_container: bool,
    dns: Dns,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The link below.
    pub(crate) master: String,
    /// Whether the link below is in the pod.
    pub(crate) master_in_pod: bool,
    /// The VLAN, 0 to 4094; 0 is for packets with a priority only.
    pub(crate) id: u16,
    /// In bytes; 0 for that of the link below.
    pub(crate) mtu: u32,
    /// Resolver settings that replace those of the IPAM plugin; may be empty.
    pub(crate) dns: Dns,
}

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`].
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let invalid = |cause: String| Err(Error::new(Code::InvalidConfig, cause));
        if wire.master.is_empty() {
            return invalid("master: is not given: want the link that has the VLAN".into());
        }
        if wire.vlan_id > VLAN_MAX {
            return invalid(format!("vlanId {}: want 0 to {VLAN_MAX}", wire.vlan_id));
        }
        Ok(Config {
            master: wire.master,
            master_in_pod: wire.link_in_container,
            id: wire.vlan_id,
            mtu: podlink::configured_mtu(wire.mtu)?,
            dns: wire.dns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "vlan"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    fn read(keys: Value) -> Result<Config> {
        Config::read(&conf(keys))
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let mut seen = 0;
        for block in blocks {
            let document: Value = serde_json::from_str(block).expect("JSON");
            Config::read(&conf(document)).expect("valid");
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn every_key_is_read() {
        let config = read(json!({"master": "eth7", "vlanId": 4094, "mtu": 1400,
            "linkInContainer": true, "dns": {"nameservers": ["10.1.0.1"]}}))
        .expect("valid");
        assert_eq!((config.master.as_str(), config.id, config.mtu), ("eth7", 4094, 1400));
        assert!(config.master_in_pod && !config.dns.is_empty());
        let least = read(json!({"master": "eth7"})).expect("valid");
        assert_eq!((least.id, least.mtu, least.master_in_pod), (0, 0, false));
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({}), "master: ", Code::InvalidConfig),
            (json!({"master": "a", "vlanId": 4095}), "vlanId 4095: ", Code::InvalidConfig),
            (json!({"master": "a", "vlanId": -1}), "vlanId: ", Code::Decode),
            (json!({"master": "a", "mtu": 67}), "mtu 67: ", Code::InvalidConfig),
            (json!({"master": 5}), "master: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
    }
}
