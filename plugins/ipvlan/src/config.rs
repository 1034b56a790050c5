//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{CniResult, Code, Dns, Error, NetConf, Result};
use netlink::IpVlanKind;
use serde::Deserialize;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    master: String,
    mode: String,
    mtu: u32,
    link_in_container: bool,
    dns: Dns,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The link below; that of an earlier plugin, or of the default route, where empty.
    pub(crate) master: String,
    /// Whether the link below is in the pod.
    pub(crate) master_in_pod: bool,
    /// Who routes the pod's packets.
    pub(crate) mode: IpVlanKind,
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
        let mtu = podlink::configured_mtu(wire.mtu)?;
        Ok(Config {
            mode: mode(&wire.mode)?,
            master: wire.master,
            master_in_pod: wire.link_in_container,
            mtu,
            dns: wire.dns,
        })
    }
}

fn mode(text: &str) -> Result<IpVlanKind> {
    Ok(match text {
        "" | "l2" => IpVlanKind::Neighbour,
        "l3" => IpVlanKind::Routed,
        "l3s" => IpVlanKind::RoutedSymmetric,
        _ => {
            let cause = format!("mode {text:?}: want l2, l3 or l3s");
            return Err(Error::new(Code::InvalidConfig, cause));
        }
    })
}

/// The addresses of an earlier plugin, which the interface gets without an IPAM plugin.
///
/// # Errors
/// [`Code::InvalidConfig`] when there are neither: by its addresses the kernel knows a pod.
pub(crate) fn given(conf: &NetConf) -> Result<Option<CniResult>> {
    if conf.ipam()?.is_some() {
        return Ok(None);
    }
    match conf.prev_result.as_ref().filter(|result| !result.ips.is_empty()) {
        Some(result) => Ok(Some(result.clone())),
        None => Err(Error::new(
            Code::InvalidConfig,
            "ipam: is not given, and no earlier plugin of the list gave addresses",
        )
        .with_details("name an IPAM plugin: ipvlan tells pods apart by their addresses")),
    }
}

/// The name of the link below: as configured; else the interface of the earlier plugin, which
/// must be one; empty for the link of the default route.
///
/// # Errors
/// [`Code::InvalidConfig`] when the earlier plugin made several interfaces or none.
pub(crate) fn master<'a>(config: &'a Config, conf: &'a NetConf) -> Result<&'a str> {
    let Some(result) = conf.prev_result.as_ref().filter(|_| config.master.is_empty()) else {
        return Ok(&config.master);
    };
    match result.interfaces.as_slice() {
        [only] if !only.name.is_empty() => Ok(&only.name),
        several => {
            let count = several.len();
            let cause = format!("master: is not given, and prevResult has {count} interfaces");
            Err(Error::new(Code::InvalidConfig, cause).with_details("name the link below"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "ipvlan"), ("cniVersion", "1.1.0")] {
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
    fn defaults_are_those_of_the_reference() {
        let config = read(json!({"unknown": 1})).expect("valid");
        assert_eq!((config.master.as_str(), config.mode), ("", IpVlanKind::Neighbour));
        assert!(config.mtu == 0 && !config.master_in_pod && config.dns.is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let config = read(json!({"master": "eth7", "mode": "l3s", "mtu": 1400,
            "linkInContainer": true, "dns": {"nameservers": ["10.1.0.1"]}}))
        .expect("valid");
        assert_eq!((config.master.as_str(), config.mtu), ("eth7", 1400));
        assert_eq!(config.mode, IpVlanKind::RoutedSymmetric);
        assert!(config.master_in_pod && !config.dns.is_empty());
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({"mtu": 67}), "mtu 67: ", Code::InvalidConfig),
            (json!({"mtu": "x"}), "mtu: ", Code::Decode),
            (json!({"mode": "bridge"}), "mode \"bridge\": ", Code::InvalidConfig),
            (json!({"master": 5}), "master: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
    }

    #[test]
    fn an_earlier_plugin_gives_the_link_and_the_addresses() {
        let link = json!({"name": "lan0"});
        let with = |interfaces: Value| {
            conf(json!({"prevResult": {"cniVersion": "1.1.0", "interfaces": interfaces,
                "ips": [{"address": "10.1.0.5/24"}]}}))
        };
        let chained = with(json!([link]));
        let config = Config::read(&chained).expect("valid");
        assert_eq!(master(&config, &chained).expect("one"), "lan0");
        assert_eq!(given(&chained).expect("addresses").expect("given").ips.len(), 1);
        let named = Config { master: "eth7".into(), ..config.clone() };
        assert_eq!(master(&named, &chained).expect("named"), "eth7");
        let error = master(&config, &with(json!([link, link]))).expect_err("two");
        assert!(error.msg.contains("2 interfaces"), "{error}");
    }

    #[test]
    fn alone_it_needs_an_ipam_plugin() {
        let error = given(&conf(json!({}))).expect_err("no addresses");
        assert_eq!(error.code, Code::InvalidConfig);
        let own = conf(json!({"ipam": {"type": "host-local"}}));
        assert_eq!(given(&own).expect("an IPAM plugin"), None);
    }
}
