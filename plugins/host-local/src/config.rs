//! The configuration: as written ([`Wire`]), and valid by construction ([`Config`]).

use crate::range::{Bits, Range, RangeSet, RangeSpec, bits};
use cni_types::{Args, Code, Error, NetConf, Result, Route, Version};
use ipnetwork::IpNetwork;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where leases are kept unless `dataDir` says otherwise.
const DATA_DIR: &str = "/var/lib/cni/networks";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    ipam: Option<Ipam>,
    #[serde(rename = "runtimeConfig")]
    runtime: Runtime,
    args: WireArgs,
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    #[serde(rename = "ipRanges")]
    ip_ranges: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    #[serde(rename = "ipRanges")]
    ip_ranges: Vec<Vec<WireRange>>,
    ips: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireArgs {
    cni: WireCniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireCniArgs {
    ips: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    subnet: Option<Subnet>,
    range_start: OptionalAddress,
    range_end: OptionalAddress,
    gateway: OptionalAddress,
    ranges: Vec<Vec<WireRange>>,
    routes: Vec<Route>,
    data_dir: String,
    resolv_conf: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRange {
    subnet: Subnet,
    #[serde(default)]
    range_start: OptionalAddress,
    #[serde(default)]
    range_end: OptionalAddress,
    #[serde(default)]
    gateway: OptionalAddress,
}

impl WireRange {
    fn spec(self) -> RangeSpec {
        RangeSpec {
            subnet: self.subnet.0,
            start: self.range_start.0,
            end: self.range_end.0,
            gateway: self.gateway.0,
        }
    }
}

/// `address/length`; host bits are kept, and refused later by name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Subnet(IpNetwork);

impl TryFrom<String> for Subnet {
    type Error = String;

    fn try_from(text: String) -> Result<Subnet, String> {
        let wrong = || format!("{text:?} is not a subnet like 10.0.0.0/24 or 2001:db8::/64");
        let subnet = match text.contains('/') {
            true => text.parse::<IpNetwork>().map_err(|_| wrong())?,
            false => return Err(wrong()),
        };
        if subnet.ip().to_canonical() != subnet.ip() {
            return Err(format!("{text:?} is an IPv4 subnet in IPv6 form; write it as IPv4"));
        }
        Ok(Subnet(subnet))
    }
}

/// An address; an empty text is none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct OptionalAddress(Option<IpAddr>);

impl TryFrom<String> for OptionalAddress {
    type Error = String;

    fn try_from(text: String) -> Result<OptionalAddress, String> {
        if text.is_empty() {
            return Ok(OptionalAddress(None));
        }
        let ip: IpAddr = text.parse().map_err(|_| format!("{text:?} is not an IP address"))?;
        Ok(OptionalAddress(Some(ip.to_canonical())))
    }
}

/// An address with or without a prefix length, which is ignored.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(IpAddr);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Address, String> {
        text.parse::<IpNetwork>()
            .map(|net| Address(net.ip().to_canonical()))
            .map_err(|_| format!("{text:?} is not an IP address"))
    }
}

/// The part of the configuration that DEL and GC read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Where {
    ipam: WhereIpam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WhereIpam {
    data_dir: String,
}

/// Where the leases of a network are: all that DEL and GC need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Directory with one directory per network.
    pub(crate) data_dir: PathBuf,
    /// The network, a plain file name.
    pub(crate) network: String,
}

impl Place {
    /// Reads the place and nothing else: ranges that have become invalid must not keep a pod
    /// from being deleted.
    pub(crate) fn read(conf: &NetConf) -> Result<Place> {
        let wire: Where = conf.decode()?;
        Ok(Place::new(&wire.ipam.data_dir, conf))
    }

    fn new(data_dir: &str, conf: &NetConf) -> Place {
        let data_dir = PathBuf::from(if data_dir.is_empty() { DATA_DIR } else { data_dir });
        Place { data_dir, network: conf.name.as_str().to_owned() }
    }

    fn absolute(self) -> Result<Place> {
        if self.data_dir.is_absolute() {
            return Ok(self);
        }
        let shown = self.data_dir.display();
        Err(Error::new(Code::InvalidConfig, format!("ipam.dataDir: {shown} is not absolute"))
            .with_details("a relative path depends on where the runtime was started"))
    }
}

/// What to give out, and where that is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where the leases are.
    pub(crate) place: Place,
    /// One address is given out of each; disjoint.
    pub(crate) sets: Vec<RangeSet>,
    /// Routes of the result.
    pub(crate) routes: Vec<Route>,
    /// File with the resolver settings of the result; empty for none.
    pub(crate) resolv_conf: String,
    /// Addresses asked for, without repetition.
    pub(crate) requested: Vec<Bits>,
}

impl Config {
    /// Reads and checks the whole configuration of an attachment.
    pub(crate) fn read(conf: &NetConf, args: &Args) -> Result<Config> {
        let config = Config::of(conf, Some(args))?;
        if config.sets.is_empty() {
            return Err(no_ranges());
        }
        Ok(config)
    }

    /// As [`Config::read`] for STATUS, which knows no attachment: where the runtime brings the
    /// ranges with each ADD (capability `ipRanges`), there may be none.
    pub(crate) fn read_for_status(conf: &NetConf) -> Result<Config> {
        let config = Config::of(conf, None)?;
        let declared = conf.decode::<Wire>()?.capabilities.ip_ranges;
        if config.sets.is_empty() && !declared {
            return Err(no_ranges());
        }
        Ok(config)
    }

    fn of(conf: &NetConf, args: Option<&Args>) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let Some(ipam) = wire.ipam else {
            return Err(Error::new(Code::InvalidConfig, "ipam: is missing")
                .with_details("host-local reads its ranges from the key \"ipam\""));
        };
        let place = Place::new(&ipam.data_dir, conf).absolute()?;
        let mut requested = Vec::new();
        if let Some(text) = args.and_then(|args| args.get("IP")) {
            let ip = Address::try_from(text.to_owned()).map_err(|cause| {
                Error::new(Code::InvalidEnvironment, format!("CNI_ARGS: IP: {cause}"))
                    .with_details("give one address, or leave IP out for any")
            })?;
            requested.push(ip);
        }
        requested.extend(wire.args.cni.ips);
        requested.extend(wire.runtime.ips);
        let mut wished: Vec<Bits> = Vec::new();
        for ip in requested.into_iter().map(|ip| bits(ip.0)) {
            if !wished.contains(&ip) {
                wished.push(ip);
            }
        }
        let mut specs = labelled("runtimeConfig.ipRanges", wire.runtime.ip_ranges);
        if let Some(subnet) = ipam.subnet {
            let range = WireRange {
                subnet,
                range_start: ipam.range_start,
                range_end: ipam.range_end,
                gateway: ipam.gateway,
            };
            specs.push(("ipam.subnet".to_owned(), vec![range]));
        }
        specs.extend(labelled("ipam.ranges", ipam.ranges));
        let sets = sets(specs, conf.version)?;
        let (routes, resolv_conf) = (ipam.routes, ipam.resolv_conf);
        Ok(Config { place, sets, routes, resolv_conf, requested: wished })
    }
}

fn no_ranges() -> Error {
    Error::new(Code::InvalidConfig, "ipam.ranges: no range is given").with_details(
        "set ipam.ranges or ipam.subnet, or let the runtime pass the capability ipRanges",
    )
}

type Labelled = Vec<(String, Vec<WireRange>)>;

fn labelled(key: &str, sets: Vec<Vec<WireRange>>) -> Labelled {
    sets.into_iter().enumerate().map(|(n, set)| (format!("{key}[{n}]"), set)).collect()
}

fn sets(specs: Labelled, version: Version) -> Result<Vec<RangeSet>> {
    let mut sets: Vec<(String, RangeSet)> = Vec::new();
    for (label, ranges) in specs {
        let checked = ranges.into_iter().enumerate().map(|(n, range)| {
            let path = if label == "ipam.subnet" { label.clone() } else { format!("{label}[{n}]") };
            Range::new(&range.spec(), &path)
        });
        let set = RangeSet::new(checked.collect::<Result<_>>()?, &label)?;
        if let Some((other, _)) = sets.iter().find(|(_, other)| other.overlaps(&set)) {
            return Err(Error::new(Code::InvalidConfig, format!("{label}: overlaps {other}"))
                .with_details("each address may be in one range set only"));
        }
        sets.push((label, set));
    }
    let v4 = sets.iter().filter(|(_, set)| set.is_ipv4()).count();
    if version < Version::V0_3_0 && (v4 > 1 || sets.len() - v4 > 1) {
        return Err(Error::new(
            Code::InvalidConfig,
            format!("ipam.ranges: cniVersion {version} has one address per family"),
        )
        .with_details("use cniVersion 0.3.0 or newer, or fewer range sets"));
    }
    // One range's gateway may lie in another range: it is somebody's address all the same.
    let gateways: Vec<Bits> = sets.iter().flat_map(|(_, set)| set.gateways()).collect();
    for (label, set) in &mut sets {
        set.reserve(&gateways);
        if set.usable() == 0 {
            return Err(Error::new(
                Code::InvalidConfig,
                format!("{label}: has no address besides gateways"),
            )
            .with_details("widen the range"));
        }
    }
    Ok(sets.into_iter().map(|(_, set)| set).collect())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
