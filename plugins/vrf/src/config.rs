//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Error, IfName, NetConf, Result};
use serde::Deserialize;

/// The kernel's own tables: default, main and local.
const KERNELS: std::ops::RangeInclusive<u32> = 253..=255;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    vrfname: String,
    table: u32,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The name of the VRF in the pod.
    pub(crate) name: String,
    /// Its routing table; a free one where absent.
    pub(crate) table: Option<u32>,
}

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`].
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let name = &wire.vrfname;
        if IfName::parse(name).is_err() {
            let cause = format!("vrfname: {name:?} is not a name for an interface");
            return Err(Error::new(Code::InvalidConfig, cause)
                .with_details("1 to 15 bytes without blanks, '/' and ':'"));
        }
        if KERNELS.contains(&wire.table) {
            let cause = format!("table {}: is one of the kernel's own", wire.table);
            return Err(Error::new(Code::InvalidConfig, cause)
                .with_details("want a number but 253 to 255, or 0 for any that is free"));
        }
        Ok(Config { name: wire.vrfname, table: Some(wire.table).filter(|table| *table != 0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "vrf"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let mut seen = 0;
        for block in blocks {
            let list: Value = serde_json::from_str(block).expect("JSON");
            let plugins = list["plugins"].as_array().expect("plugins");
            for plugin in plugins.iter().filter(|plugin| plugin["type"] == "vrf") {
                Config::read(&conf(plugin.clone())).expect("valid");
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn every_key_is_read() {
        let config = Config::read(&conf(json!({"vrfname": "blue", "table": 4_294_967_295_u32})));
        let wanted = Config { name: "blue".into(), table: Some(u32::MAX) };
        assert_eq!(config.expect("valid"), wanted);
        for any in [json!({"vrfname": "blue"}), json!({"vrfname": "blue", "table": 0})] {
            assert_eq!(Config::read(&conf(any)).expect("valid").table, None);
        }
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({}), "vrfname: ", Code::InvalidConfig),
            (json!({"vrfname": "a/b"}), "vrfname: ", Code::InvalidConfig),
            (json!({"vrfname": "0123456789abcdef"}), "vrfname: ", Code::InvalidConfig),
            (json!({"vrfname": "a", "table": 255}), "table 255: ", Code::InvalidConfig),
            (json!({"vrfname": "a", "table": -1}), "table: ", Code::Decode),
            (json!({"vrfname": 5}), "vrfname: ", Code::Decode),
        ] {
            let error = Config::read(&conf(keys)).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
    }
}
