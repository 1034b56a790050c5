//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Error, NetConf, Result};
use serde::Deserialize;
use std::net::IpAddr;

/// The table of local addresses, which the kernel keeps itself.
const LOCAL: u32 = 255;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    table: Option<i64>,
    gateways: Vec<String>,
    add_source_hints: bool,
}

/// A valid configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// The table that rules lead to; then tables are somebody else's to fill. Tables of its own
    /// where absent.
    pub(crate) table: Option<u32>,
    /// Gateways that go before those of the addresses; one of each family at most.
    pub(crate) gateways: Vec<IpAddr>,
    /// Whether the main table keeps the routes to the interface's subnets, with its addresses as
    /// the source.
    pub(crate) source_hints: bool,
}

fn invalid(subject: impl std::fmt::Display, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::InvalidConfig, format!("{subject}: {cause}"))
}

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`].
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        Ok(Config {
            table: wire.table.map(table).transpose()?,
            gateways: gateways(&wire.gateways)?,
            source_hints: wire.add_source_hints,
        })
    }

    /// The gateway for addresses of the family of `ip`, if one is configured.
    pub(crate) fn gateway(&self, ip: IpAddr) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == ip.is_ipv4())
    }
}

fn table(number: i64) -> Result<u32> {
    match u32::try_from(number) {
        Ok(table) if table != 0 && table != LOCAL => Ok(table),
        _ => Err(invalid("table", format!("{number} is not a table for routes"))
            .with_details(format!("want 1 to {}, but not {LOCAL}", u32::MAX))),
    }
}

fn gateways(texts: &[String]) -> Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let key = format!("gateways[{index}]");
        let Ok(gateway) = text.parse::<IpAddr>() else {
            return Err(invalid(key, format!("{text:?} is not an address")));
        };
        if let Some(other) = all.iter().find(|other| other.is_ipv4() == gateway.is_ipv4()) {
            return Err(invalid(key, format!("{gateway} is of the family of {other}"))
                .with_details("give one IPv4 and one IPv6 gateway at most"));
        }
        all.push(gateway);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(mut keys: Value) -> Result<Config> {
        for (key, value) in [("name", "net"), ("type", "sbr"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        Config::read(&NetConf::from_value(keys).expect("configuration"))
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        assert_eq!(read(json!({})).expect("empty"), Config::default());
        let keys = json!({"table": 5000, "gateways": ["10.0.0.1", "fd00::1"],
            "addSourceHints": true});
        let config = read(keys).expect("all");
        assert_eq!((config.table, config.source_hints), (Some(5000), true));
        let gateway = |text: &str| config.gateway(text.parse().expect("address"));
        assert_eq!(gateway("192.0.2.1"), "10.0.0.1".parse().ok());
        assert_eq!(gateway("2001:db8::1"), "fd00::1".parse().ok());
    }

    #[test]
    fn wrong_values_are_named() {
        for (keys, about) in [
            (json!({"table": 0}), "table"),
            (json!({"table": -1}), "table"),
            (json!({"table": 255}), "table"),
            (json!({"table": 4_294_967_296_i64}), "table"),
            (json!({"gateways": ["x"]}), "gateways[0]"),
            (json!({"gateways": ["10.0.0.1", "10.0.0.2"]}), "gateways[1]"),
            (json!({"gateways": ["::1", "10.0.0.1", "::2"]}), "gateways[2]"),
        ] {
            let error = read(keys).expect_err(about);
            assert_eq!(error.code, Code::InvalidConfig);
            assert!(error.msg.starts_with(about), "{error}");
        }
        let error = read(json!({"gateways": "10.0.0.1"})).expect_err("type");
        assert_eq!(error.code, Code::Decode);
        assert!(error.msg.starts_with("gateways"), "{error}");
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let mut examples = 0;
        for part in readme.split("```json").skip(1) {
            let text = part.split("```").next().expect("an end");
            let list: Value = serde_json::from_str(text).expect("JSON");
            let plugins = list["plugins"].as_array().expect("a list");
            let own = plugins.iter().filter(|plugin| plugin["type"] == "sbr");
            for plugin in own {
                read(plugin.clone()).expect("valid");
                examples += 1;
            }
        }
        assert!(examples >= 2, "{examples} examples were read");
    }
}
