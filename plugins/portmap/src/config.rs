//! The plugin's configuration: as the operator wrote it, and as it is used.

use cni_types::{Code, Error, NetConf, Result};
use netfilter::hostport::{Backend, Family, Mapping, Mark, Masquerade, Protocol, condition};
use netfilter::iptables::is_chain_name;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    backend: Option<String>,
    snat: Option<bool>,
    #[serde(default)]
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    #[serde(rename = "conditionsV4", default)]
    conditions_v4: Vec<String>,
    #[serde(rename = "conditionsV6", default)]
    conditions_v6: Vec<String>,
    #[serde(default)]
    runtime_config: Runtime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Runtime {
    #[serde(default)]
    port_mappings: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    host_port: i64,
    #[serde(default)]
    container_port: i64,
    #[serde(default)]
    protocol: String,
    #[serde(rename = "hostIP", default)]
    host_ip: String,
}

/// What takes the rules, by the operator's wish or by what the node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `backend` says so.
    Wished(Backend),
    /// iptables where it works, else nftables.
    Default,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) backend: Choice,
    pub(crate) masquerade: Masquerade,
    pub(crate) mark: Mark,
    pub(crate) conditions_v4: Vec<String>,
    pub(crate) conditions_v6: Vec<String>,
    pub(crate) mappings: Vec<Mapping>,
}

fn invalid(subject: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::InvalidConfig, format!("{subject}: {cause}"))
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type, [`Code::InvalidConfig`] for a wrong value.
    pub(crate) fn parse(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let masquerade = match (wire.snat.unwrap_or(true), wire.masq_all) {
            (false, _) => Masquerade::Off,
            (true, false) => Masquerade::Needed,
            (true, true) => Masquerade::All,
        };
        let config = Config {
            backend: backend(wire.backend.as_deref())?,
            masquerade,
            mark: mark(wire.mark_masq_bit, wire.external_set_mark_chain.as_deref())?,
            conditions_v4: conditions(wire.conditions_v4),
            conditions_v6: conditions(wire.conditions_v6),
            mappings: mappings(&wire.runtime_config.port_mappings)?,
        };
        if let Choice::Wished(backend) = config.backend {
            config.suits(backend)?;
        }
        Ok(config)
    }

    /// Whether all keys have a meaning in `backend`.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] naming the key that has none.
    pub(crate) fn suits(&self, backend: Backend) -> Result<()> {
        if backend == Backend::Nftables && matches!(self.mark, Mark::Chain(_)) {
            return Err(invalid("externalSetMarkChain", "is not possible with nftables")
                .with_details("leave it out, or set \"backend\": \"iptables\""));
        }
        let keys = [
            ("conditionsV4", Family::V4, &self.conditions_v4),
            ("conditionsV6", Family::V6, &self.conditions_v6),
        ];
        for (key, family, list) in keys {
            let is_iptables = backend == Backend::Iptables;
            if condition::is_iptables(list).is_some_and(|it| it != is_iptables) {
                let name = backend.as_str();
                return Err(invalid(key, format!("is not written for the backend {name}"))
                    .with_details("iptables conditions begin with '-' or '!', others do not"));
            }
            let fault = match backend {
                Backend::Iptables => condition::validate_iptables(list).err(),
                Backend::Nftables => condition::parse_nft(family, list).err(),
            };
            if let Some(fault) = fault {
                let error = invalid(key, fault);
                return Err(match backend {
                    Backend::Iptables => error,
                    Backend::Nftables => error.with_details(condition::UNDERSTOOD),
                });
            }
        }
        Ok(())
    }
}

/// The mappings of a configuration as far as they can be read; for DEL, which must not fail
/// because a check has become stricter.
pub(crate) fn readable_mappings(conf: &NetConf) -> Vec<Mapping> {
    let list = conf.document.get("runtimeConfig").and_then(|c| c.get("portMappings"));
    let entries = list.and_then(|l| l.as_array()).map(Vec::as_slice).unwrap_or_default();
    let read = |value: &serde_json::Value| {
        let entry = Entry::deserialize(value).ok()?;
        mapping(0, &entry).ok()
    };
    entries.iter().filter_map(read).collect()
}

fn backend(name: Option<&str>) -> Result<Choice> {
    match name {
        None => Ok(Choice::Default),
        Some("iptables") => Ok(Choice::Wished(Backend::Iptables)),
        Some("nftables") => Ok(Choice::Wished(Backend::Nftables)),
        Some(other) => {
            Err(invalid("backend", format!("{other:?} is neither \"iptables\" nor \"nftables\"")))
        }
    }
}

fn mark(bit: Option<i64>, chain: Option<&str>) -> Result<Mark> {
    match (bit, chain) {
        (None, None) => Ok(Mark::default()),
        (Some(_), Some(_)) => Err(invalid("markMasqBit", "excludes externalSetMarkChain")),
        (Some(bit), None) => match u8::try_from(bit) {
            Ok(bit) if bit < 32 => Ok(Mark::Bit(bit)),
            _ => Err(invalid("markMasqBit", format!("{bit} is not a bit, 0 to 31"))),
        },
        (None, Some(name)) => {
            if !is_chain_name(name) {
                return Err(invalid(
                    "externalSetMarkChain",
                    format!("{name:?} is not the name of an iptables chain"),
                ));
            }
            Ok(Mark::Chain(name.to_owned()))
        }
    }
}

/// One empty word is how templates write "none".
fn conditions(list: Vec<String>) -> Vec<String> {
    if list.iter().all(String::is_empty) { Vec::new() } else { list }
}

fn mappings(entries: &[Entry]) -> Result<Vec<Mapping>> {
    let mut all: Vec<Mapping> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let new = mapping(index, entry)?;
        let old = all.iter().position(|old| *old != new && old.overlaps(&new) && !agree(old, &new));
        if let Some(old) = old {
            let key = format!("runtimeConfig.portMappings[{index}]");
            return Err(invalid(&key, format!("host port {new} is mapped by entry {old} already"))
                .with_details("a host port can lead to one port of the pod only"));
        }
        all.push(new);
    }
    Ok(all)
}

/// Whether both send a packet to the same port of the pod.
fn agree(a: &Mapping, b: &Mapping) -> bool {
    a.container_port == b.container_port
}

fn mapping(index: usize, entry: &Entry) -> Result<Mapping> {
    let key = |name: &str| format!("runtimeConfig.portMappings[{index}].{name}");
    let port = |name: &str, port: i64| match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(invalid(&key(name), format!("{port} is not a port, 1 to 65535"))),
    };
    let protocol = match entry.protocol.as_str() {
        "" => Protocol::Tcp,
        text => Protocol::parse(text).ok_or_else(|| {
            invalid(&key("protocol"), format!("{text:?} is not tcp, udp or sctp"))
        })?,
    };
    let host_ip = match entry.host_ip.as_str() {
        "" => None,
        text => Some(
            text.parse::<IpAddr>()
                .map_err(|_| invalid(&key("hostIP"), format!("{text:?} is not an IP address")))?
                .to_canonical(),
        ),
    };
    Ok(Mapping {
        protocol,
        host_port: port("hostPort", entry.host_port)?,
        container_port: port("containerPort", entry.container_port)?,
        host_ip,
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
