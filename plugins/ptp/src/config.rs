//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Dns, Error, NetConf, Result};
use netfilter::masquerade::Backend;
use serde::Deserialize;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: u32,
    dns: Dns,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Masquerade, with the backend where one is named.
    pub(crate) masquerade: Option<Option<Backend>>,
    /// MTU of both ends of the veth pair; the kernel's choice where absent.
    pub(crate) mtu: Option<u32>,
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
        if conf.ipam()?.is_none() {
            return Err(Error::new(Code::InvalidConfig, "ipam.type: is missing")
                .with_details("a routed pod needs an address: name an IPAM plugin"));
        }
        if !matches!(wire.mtu, 0 | 68..=65535) {
            let cause = format!("mtu {}: want 68 to 65535 bytes, or 0 for the default", wire.mtu);
            return Err(Error::new(Code::InvalidConfig, cause));
        }
        let backend = wire.ip_masq_backend.as_deref().filter(|text| !text.is_empty());
        let backend = backend.map(Backend::parse).transpose()?;
        Ok(Config {
            masquerade: wire.ip_masq.then_some(backend),
            mtu: Some(wire.mtu).filter(|mtu| *mtu != 0),
            dns: wire.dns,
        })
    }
}

/// Whether `conf` asks for masquerade, read without judging the rest: a configuration that an
/// earlier version accepted, or that was edited since, must not strand a pod at DEL.
pub(crate) fn may_masquerade(conf: &NetConf) -> bool {
    conf.document.get("ipMasq").and_then(serde_json::Value::as_bool).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "ptp"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    fn read(mut keys: Value) -> Result<Config> {
        keys["ipam"] = json!({"type": "host-local"});
        Config::read(&conf(keys))
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let mut seen = 0;
        for block in blocks {
            let list: Value = serde_json::from_str(block).expect("JSON");
            for plugin in list["plugins"].as_array().expect("plugins") {
                Config::read(&conf(plugin.clone())).expect("valid");
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let config = read(json!({})).expect("valid");
        assert_eq!(config, Config { masquerade: None, mtu: None, dns: Dns::default() });
        let config = read(json!({"ipMasq": true, "mtu": 0, "unknown": 1})).expect("valid");
        assert_eq!((config.masquerade, config.mtu), (Some(None), None));
    }

    #[test]
    fn every_key_is_read() {
        let config = read(json!({"ipMasq": true, "ipMasqBackend": "nftables", "mtu": 1400,
            "dns": {"nameservers": ["10.1.0.1"]}}))
        .expect("valid");
        assert_eq!(config.masquerade, Some(Some(Backend::Nftables)));
        assert_eq!(config.mtu, Some(1400));
        assert_eq!(config.dns.nameservers, ["10.1.0.1"]);
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({"mtu": 67}), "mtu 67: ", Code::InvalidConfig),
            (json!({"mtu": "x"}), "mtu: ", Code::Decode),
            (json!({"ipMasqBackend": "ipfw"}), "ipMasqBackend: ", Code::InvalidConfig),
            (json!({"ipMasq": "yes"}), "ipMasq: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
        let error = Config::read(&conf(json!({}))).expect_err("no ipam");
        assert_eq!(error.code, Code::InvalidConfig);
        assert!(may_masquerade(&conf(json!({"ipMasq": true, "mtu": "broken"}))));
        assert!(!may_masquerade(&conf(json!({"ipMasq": "broken"}))));
    }
}
