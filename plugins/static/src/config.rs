//! The configuration: as written ([`Wire`]), and valid by construction ([`Config`]).

use cni_types::{Args, Code, Dns, Error, NetConf, Result, Route, Version};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use std::net::IpAddr;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    ipam: Option<Ipam>,
    #[serde(rename = "runtimeConfig")]
    runtime: Ips,
    args: WireArgs,
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    ips: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireArgs {
    cni: Ips,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ips {
    ips: Vec<Net>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    addresses: Vec<WireAddress>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Debug, Deserialize)]
struct WireAddress {
    address: Net,
    #[serde(default)]
    gateway: Gateway,
}

/// `address/length`: the length is what makes an address usable, so it is never guessed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Net(IpNetwork);

impl TryFrom<String> for Net {
    type Error = String;

    fn try_from(text: String) -> Result<Net, String> {
        let parsed = text.parse::<IpNetwork>().ok().filter(|_| text.contains('/'));
        let net = parsed.ok_or_else(|| {
            format!("{text:?} is not an address with a prefix length, like 10.0.0.5/24")
        })?;
        if net.ip().to_canonical() != net.ip() {
            return Err(format!("{text:?} is an IPv4 address in IPv6 form; write it as IPv4"));
        }
        Ok(Net(net))
    }
}

/// An address; an empty text is none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct Gateway(Option<IpAddr>);

impl TryFrom<String> for Gateway {
    type Error = String;

    fn try_from(text: String) -> Result<Gateway, String> {
        if text.is_empty() {
            return Ok(Gateway(None));
        }
        let ip: IpAddr = text.parse().map_err(|_| format!("{text:?} is not an IP address"))?;
        Ok(Gateway(Some(ip.to_canonical())))
    }
}

/// One address of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// With its prefix length.
    pub(crate) net: IpNetwork,
    /// The gateway of its subnet.
    pub(crate) gateway: Option<IpAddr>,
}

/// What the pod gets.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// At least one, but for STATUS.
    pub(crate) addresses: Vec<Address>,
    /// Routes of the result.
    pub(crate) routes: Vec<Route>,
    /// Resolver settings of the result.
    pub(crate) dns: Dns,
}

impl Config {
    /// Reads and checks the whole configuration of an attachment.
    pub(crate) fn read(conf: &NetConf, args: &Args) -> Result<Config> {
        let config = Config::of(conf, Some(args))?;
        if config.addresses.is_empty() {
            return Err(no_address());
        }
        Ok(config)
    }

    /// As [`Config::read`] for STATUS, which knows no attachment: where the runtime brings the
    /// addresses with each ADD (capability `ips`), there may be none.
    pub(crate) fn read_for_status(conf: &NetConf) -> Result<Config> {
        let config = Config::of(conf, None)?;
        let declared = conf.decode::<Wire>()?.capabilities.ips;
        if config.addresses.is_empty() && !declared {
            return Err(no_address());
        }
        Ok(config)
    }

    fn of(conf: &NetConf, args: Option<&Args>) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let Some(ipam) = wire.ipam else {
            return Err(Error::new(Code::InvalidConfig, "ipam: is missing")
                .with_details("static reads its addresses from the key \"ipam\""));
        };
        let written = |a: WireAddress| Address { net: a.address.0, gateway: a.gateway.0 };
        let mut addresses: Vec<Address> = ipam.addresses.into_iter().map(written).collect();
        if let Some(args) = args {
            addresses.extend(listed::<Net>(args, "IP")?.iter().map(|net| bare(net.0)));
            for gateway in listed::<Gateway>(args, "GATEWAY")?.into_iter().filter_map(|g| g.0) {
                for address in addresses.iter_mut().filter(|a| a.net.contains(gateway)) {
                    address.gateway = Some(gateway);
                }
            }
        }
        // What the runtime says takes the place of all that is written.
        for ips in [wire.args.cni.ips, wire.runtime.ips] {
            if !ips.is_empty() {
                addresses = ips.iter().map(|net| bare(net.0)).collect();
            }
        }
        check(&addresses, conf.version)?;
        Ok(Config { addresses, routes: ipam.routes, dns: ipam.dns })
    }
}

fn bare(net: IpNetwork) -> Address {
    Address { net, gateway: None }
}

fn no_address() -> Error {
    Error::new(Code::InvalidConfig, "ipam.addresses: no address is given").with_details(
        "set ipam.addresses, or let the runtime pass IP in CNI_ARGS or capability ips",
    )
}

/// The comma-separated values of a key of `CNI_ARGS`.
fn listed<T: TryFrom<String, Error = String>>(args: &Args, key: &str) -> Result<Vec<T>> {
    let text = args.get(key).unwrap_or_default();
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let parsed = items.map(|item| T::try_from(item.to_owned()));
    parsed.collect::<Result<_, String>>().map_err(|cause| {
        Error::new(Code::InvalidEnvironment, format!("CNI_ARGS: {key}: {cause}"))
            .with_details("give a comma-separated list, or leave the key out")
    })
}

fn check(addresses: &[Address], version: Version) -> Result<()> {
    for (n, address) in addresses.iter().enumerate() {
        let wrong = |cause: &str| {
            let subject = format!("ipam.addresses: {}: {cause}", address.net);
            Err(Error::new(Code::InvalidConfig, subject))
        };
        if addresses[..n].iter().any(|other| other.net.ip() == address.net.ip()) {
            return wrong("is given twice");
        }
        if address.net.ip().is_unspecified() || address.net.ip().is_multicast() {
            return wrong("is not an address that a pod can have");
        }
        if address.gateway.is_some_and(|gw| gw.is_ipv4() != address.net.is_ipv4()) {
            return wrong("has a gateway of the other family");
        }
    }
    let v4 = addresses.iter().filter(|a| a.net.is_ipv4()).count();
    if version < Version::V0_3_0 && (v4 > 1 || addresses.len() - v4 > 1) {
        let subject = format!("ipam.addresses: cniVersion {version} has one address per family");
        return Err(Error::new(Code::InvalidConfig, subject)
            .with_details("use cniVersion 0.3.0 or newer, or fewer addresses"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
