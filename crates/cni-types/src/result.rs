//! The result of ADD, in the form of CNI 1.1.0.

use crate::{Code, Error, Result, Version, config::decode};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// What an attachment consists of: interfaces, addresses, routes, resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CniResult {
    /// Interfaces made by the plugins, on the node and in the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Resolver settings.
    #[serde(skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
}

/// One interface of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Hardware address, `aa:bb:cc:dd:ee:ff`; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Bytes; since 1.1.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the network namespace; empty for the node's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// Path of a socket, for interfaces in user space; since 1.1.0.
    #[serde(rename = "socketPath", skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
    /// PCI address; since 1.1.0.
    #[serde(rename = "pciID", skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
}

/// One address of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Index into `interfaces` of the interface that has the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// Address with prefix length; host bits are kept.
    pub address: IpNetwork,
    /// Default gateway of the subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// One route of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNetwork,
    /// Next hop; the gateway of an address of the same family where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes; since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Maximal TCP segment to announce, in bytes; since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric, lower is preferred; since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table; since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// 0 universe, 253 link, 254 host; since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// Resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers in order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search list.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

impl Route {
    /// A route with only a destination and, if given, a next hop.
    pub fn new(dst: IpNetwork, gw: Option<IpAddr>) -> Route {
        Route { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }

    /// Whether the destination is 0.0.0.0/0 or ::/0.
    pub fn is_default(&self) -> bool {
        self.dst.prefix() == 0 && self.dst.ip().is_unspecified()
    }
}

impl CniResult {
    /// Reads a result document. Its own `cniVersion` says its form; where that is absent,
    /// `fallback` does.
    ///
    /// # Errors
    /// [`Code::Decode`] with the path of the offending key; [`Code::IncompatibleVersion`].
    pub fn from_value(doc: &Value, fallback: Version) -> Result<CniResult> {
        if !doc.is_object() {
            return Err(Error::new(Code::Decode, "result: is not a JSON object"));
        }
        let version = match doc.get("cniVersion") {
            None | Some(Value::Null) => fallback,
            Some(Value::String(text)) if text.is_empty() => fallback,
            Some(Value::String(text)) => Version::parse(text)?,
            Some(_) => return Err(Error::new(Code::Decode, "cniVersion: is not a string")),
        };
        if version <= Version::V0_2_0 { crate::raise::from_legacy(doc) } else { decode(doc) }
    }

    /// The result as a document of `version`, with its `cniVersion`.
    ///
    /// Fields that `version` does not have are left out.
    ///
    /// # Errors
    /// [`Code::IncompatibleVersion`] when `version` is 0.1.0 or 0.2.0 and there is an address
    /// list but neither an IPv4 nor an IPv6 address to keep.
    pub fn to_value(&self, version: Version) -> Result<Value> {
        crate::lower::to_version(self, version)
    }
}
