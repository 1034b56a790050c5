//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Error, NetConf, Result};
use netfilter::firewall::{Backend, Policy};
use netfilter::iptables::is_chain_name;
use serde::Deserialize;

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    backend: String,
    iptables_admin_chain_name: String,
    firewalld_zone: String,
    ingress_policy: String,
    anti_spoofing: bool,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// What takes the rules; what the node uses where absent.
    pub(crate) backend: Option<Backend>,
    /// The chain in which the operator decides first.
    pub(crate) admin_chain: String,
    /// The zone of firewalld.
    pub(crate) zone: String,
    /// Whom pods are reached by; anybody where absent.
    pub(crate) policy: Option<Policy>,
    /// Whether pods are kept from sending in others' names.
    pub(crate) anti_spoofing: bool,
}

fn invalid(subject: &str, cause: impl std::fmt::Display) -> Error {
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
            backend: backend(&wire.backend)?,
            admin_chain: admin_chain(wire.iptables_admin_chain_name)?,
            zone: zone(conf),
            policy: policy(&wire.ingress_policy)?,
            anti_spoofing: wire.anti_spoofing,
        })
    }
}

/// The zone, as far as it can be read; for DEL, which must not fail because a check has become
/// stricter.
pub(crate) fn zone(conf: &NetConf) -> String {
    let zone = conf.decode::<Wire>().map(|wire| wire.firewalld_zone).unwrap_or_default();
    if zone.is_empty() { "trusted".to_owned() } else { zone }
}

fn backend(word: &str) -> Result<Option<Backend>> {
    match word {
        "" => Ok(None),
        word => Backend::parse(word).map(Some).ok_or_else(|| {
            invalid("backend", format!("{word:?} is unknown"))
                .with_details("want \"iptables\", \"nftables\" or \"firewalld\"")
        }),
    }
}

fn admin_chain(name: String) -> Result<String> {
    if name.is_empty() {
        return Ok("CNI-ADMIN".to_owned());
    }
    if is_chain_name(&name) {
        return Ok(name);
    }
    Err(invalid("iptablesAdminChainName", format!("{name:?} is not the name of an operator's chain"))
        .with_details("28 letters, digits, '-', '_', '.' and ':' at most, and no chain or target of iptables itself"))
}

fn policy(word: &str) -> Result<Option<Policy>> {
    match word {
        "" | "open" => Ok(None),
        "same-bridge" => Ok(Some(Policy::SameBridge)),
        "isolated" => Ok(Some(Policy::Isolated)),
        _ => Err(invalid("ingressPolicy", format!("{word:?} is unknown"))
            .with_details("want \"open\", \"same-bridge\" or \"isolated\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "firewall"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    fn read(keys: Value) -> Result<Config> {
        Config::read(&conf(keys))
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let expected = Config {
            backend: None,
            admin_chain: "CNI-ADMIN".to_owned(),
            zone: "trusted".to_owned(),
            policy: None,
            anti_spoofing: false,
        };
        assert_eq!(read(json!({})).expect("empty"), expected);
        assert_eq!(read(json!({"ingressPolicy": "open"})).expect("open"), expected);
    }

    #[test]
    fn every_key_is_read() {
        let keys = json!({"backend": "firewalld", "iptablesAdminChainName": "MINE",
            "firewalldZone": "work", "ingressPolicy": "isolated", "antiSpoofing": true});
        let expected = Config {
            backend: Some(Backend::Firewalld),
            admin_chain: "MINE".to_owned(),
            zone: "work".to_owned(),
            policy: Some(Policy::Isolated),
            anti_spoofing: true,
        };
        assert_eq!(read(keys).expect("all"), expected);
    }

    #[test]
    fn wrong_values_are_named() {
        for (key, value) in [
            ("backend", "ebpf"),
            ("iptablesAdminChainName", "FORWARD"),
            ("iptablesAdminChainName", "a b"),
            ("ingressPolicy", "closed"),
        ] {
            let error = read(json!({key: value})).expect_err(key);
            assert_eq!(error.code, Code::InvalidConfig);
            assert!(error.msg.starts_with(key), "{error}");
        }
        let error = read(json!({"antiSpoofing": "yes"})).expect_err("type");
        assert_eq!(error.code, Code::Decode);
        assert_eq!(zone(&conf(json!({"backend": "ebpf", "firewalldZone": "work"}))), "work");
        assert_eq!(zone(&conf(json!({"backend": 5}))), "trusted");
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let mut examples = 0;
        for part in readme.split("```json").skip(1) {
            let text = part.split("```").next().expect("an end");
            let list: Value = serde_json::from_str(text).expect("JSON");
            let plugins = list["plugins"].as_array().expect("a list");
            for plugin in plugins.iter().filter(|plugin| plugin["type"] == "firewall") {
                read(plugin.clone()).expect("valid");
                examples += 1;
            }
        }
        assert!(examples >= 2, "{examples} examples were read");
    }
}
