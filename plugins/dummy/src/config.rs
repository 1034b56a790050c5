//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Dns, Error, NetConf, Result};
use serde::Deserialize;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    dns: Dns,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Resolver settings that replace those of the IPAM plugin; may be empty.
    pub(crate) dns: Dns,
}

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`] without an IPAM plugin: an
    /// interface that leads nowhere is for addresses.
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        if conf.ipam()?.is_none() {
            return Err(Error::new(Code::InvalidConfig, "ipam: an IPAM plugin is required")
                .with_details("an interface that leads nowhere is only for addresses"));
        }
        Ok(Config { dns: wire.dns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "dummy"), ("cniVersion", "1.1.0")] {
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
            let document: Value = serde_json::from_str(block).expect("JSON");
            Config::read(&conf(document)).expect("valid");
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn every_key_is_read() {
        let keys = json!({"ipam": {"type": "static"}, "dns": {"nameservers": ["10.1.0.1"]}});
        assert!(!Config::read(&conf(keys)).expect("valid").dns.is_empty());
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({}), "ipam: ", Code::InvalidConfig),
            (json!({"ipam": {"type": "static"}, "dns": 5}), "dns: ", Code::Decode),
        ] {
            let error = Config::read(&conf(keys)).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
    }
}
