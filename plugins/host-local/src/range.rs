//! Ranges of addresses: pure arithmetic.

use cni_types::{Code, Error, Result};
use ipnetwork::IpNetwork;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An address as a number; IPv4 in its mapped form, so that one type orders both families.
pub(crate) type Bits = u128;

/// The number of `ip`.
pub(crate) fn bits(ip: IpAddr) -> Bits {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with this number. A mapped IPv4 address is IPv4.
pub(crate) fn address(bits: Bits) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()
}

/// A range as configured, before it is checked.
#[derive(Clone, Debug)]
pub(crate) struct RangeSpec {
    /// Subnet with host bits as written.
    pub(crate) subnet: IpNetwork,
    /// First address, inclusive.
    pub(crate) start: Option<IpAddr>,
    /// Last address, inclusive.
    pub(crate) end: Option<IpAddr>,
    /// Gateway of the subnet.
    pub(crate) gateway: Option<IpAddr>,
}

/// A run of addresses of one subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    prefix: u8,
    gateway: IpAddr,
    start: Bits,
    end: Bits,
}

impl Range {
    /// Checks a configured range; `label` is its path in the configuration.
    pub(crate) fn new(spec: &RangeSpec, label: &str) -> Result<Range> {
        let wrong = |cause: String, remedy: &str| {
            Err(Error::new(Code::InvalidConfig, format!("{label}: {cause}")).with_details(remedy))
        };
        let subnet = spec.subnet;
        let width = if subnet.is_ipv4() { 32 } else { 128 };
        if subnet.prefix() > width - 2 {
            let remedy = "the largest prefix lengths are /30 for IPv4 and /126 for IPv6";
            return wrong(format!("{subnet} is too small to allocate from"), remedy);
        }
        let (network, last) = (bits(subnet.network()), bits(subnet.broadcast()));
        if bits(subnet.ip()) != network {
            let base = subnet.network();
            let remedy = format!("write {base}/{}", subnet.prefix());
            return wrong(format!("{subnet} has host bits set"), &remedy);
        }
        let gateway = spec.gateway.unwrap_or(address(network + 1));
        if gateway.is_ipv4() != subnet.is_ipv4() {
            let remedy = "gateway and subnet must be of one family";
            return wrong(format!("gateway {gateway} does not fit {subnet}"), remedy);
        }
        let inside = |ip: &IpAddr| ip.is_ipv4() == subnet.is_ipv4() && subnet.contains(*ip);
        for (key, ip) in [("rangeStart", spec.start), ("rangeEnd", spec.end)] {
            if let Some(ip) = ip.filter(|ip| !inside(ip)) {
                return wrong(format!("{key} {ip} is not in {subnet}"), "choose one inside it");
            }
        }
        // The network address, and IPv4's broadcast address, never work as a pod's own.
        let highest = if subnet.is_ipv4() { last - 1 } else { last };
        let start = spec.start.map_or(network + 1, bits).max(network + 1);
        let end = spec.end.map_or(highest, bits).min(highest);
        if start > end {
            let remedy = "rangeStart must not be above rangeEnd";
            return wrong("has no address to give out".to_owned(), remedy);
        }
        Ok(Range { prefix: subnet.prefix(), gateway, start, end })
    }

    fn contains(&self, ip: Bits) -> bool {
        self.start <= ip && ip <= self.end
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn is_ipv4(&self) -> bool {
        address(self.start).is_ipv4()
    }

    /// Prefix length of the subnet.
    pub(crate) fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Gateway of the subnet.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.gateway
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", address(self.start), address(self.end))
    }
}

/// Ranges of one family of which each attachment gets one address.
///
/// Invariant: ranges are disjoint and of one family, and at least one address is usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<Range>,
    /// Gateways inside the ranges, never given out; sorted.
    reserved: Vec<Bits>,
}

impl RangeSet {
    /// Checks the ranges of one set; `label` is its path in the configuration.
    pub(crate) fn new(ranges: Vec<Range>, label: &str) -> Result<RangeSet> {
        let wrong = |cause: String| Error::new(Code::InvalidConfig, format!("{label}: {cause}"));
        let Some(first) = ranges.first() else {
            return Err(wrong("is an empty range set".to_owned())
                .with_details("list at least one range, or leave the set out"));
        };
        if ranges.iter().any(|r| r.is_ipv4() != first.is_ipv4()) {
            return Err(wrong("mixes IPv4 and IPv6".to_owned())
                .with_details("use one range set for each family"));
        }
        for (n, one) in ranges.iter().enumerate() {
            if let Some(two) = ranges[n + 1..].iter().find(|two| one.overlaps(two)) {
                return Err(wrong(format!("{one} overlaps {two}"))
                    .with_details("each address may be in one range only"));
            }
        }
        let gateways: Vec<_> = ranges.iter().map(|r| bits(r.gateway)).collect();
        let mut set = RangeSet { ranges, reserved: Vec::new() };
        set.reserve(&gateways);
        if set.usable() == 0 {
            return Err(wrong("has no address besides its gateway".to_owned())
                .with_details("widen the range"));
        }
        Ok(set)
    }

    /// Keeps `gateways` from being given out. Only gateways of the same set can leave it empty,
    /// and [`RangeSet::new`] refuses that; a set of another range's gateway alone stays as it is.
    pub(crate) fn reserve(&mut self, gateways: &[Bits]) {
        for gateway in gateways {
            if self.spans(*gateway) && !self.reserved.contains(gateway) {
                self.reserved.push(*gateway);
            }
        }
        self.reserved.sort_unstable();
    }

    /// Whether an address of this set is in `other` too.
    pub(crate) fn overlaps(&self, other: &RangeSet) -> bool {
        self.ranges.iter().any(|one| other.ranges.iter().any(|two| one.overlaps(two)))
    }

    /// Whether the set is of IPv4 addresses.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.ranges.first().is_some_and(Range::is_ipv4)
    }

    /// Gateways of all ranges.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = Bits> + '_ {
        self.ranges.iter().map(|r| bits(r.gateway))
    }

    /// The range that holds `ip`.
    pub(crate) fn range_of(&self, ip: Bits) -> Option<&Range> {
        self.ranges.iter().find(|r| r.contains(ip))
    }

    /// Whether `ip` is in one of the ranges, be it a gateway or not.
    pub(crate) fn spans(&self, ip: Bits) -> bool {
        self.range_of(ip).is_some()
    }

    /// Whether `ip` may be given out.
    pub(crate) fn offers(&self, ip: Bits) -> bool {
        self.spans(ip) && self.reserved.binary_search(&ip).is_err()
    }

    /// The number of addresses that may be given out; at most `u64::MAX`.
    pub(crate) fn usable(&self) -> u64 {
        let all = self.ranges.iter().fold(0u128, |n, r| n.saturating_add(r.end - r.start + 1));
        u64::try_from(all.saturating_sub(self.reserved.len() as u128)).unwrap_or(u64::MAX)
    }

    /// The first address that may be given out.
    pub(crate) fn first(&self) -> Bits {
        let start = self.ranges.first().map_or(0, |r| r.start);
        if self.offers(start) { start } else { self.next(start) }
    }

    /// The address to try after `ip`, round the set without end.
    pub(crate) fn next(&self, ip: Bits) -> Bits {
        let mut at = self.ranges.iter().position(|r| r.contains(ip)).unwrap_or(0);
        let mut ip = ip;
        // Ends: at least one address is usable, and this visits every one.
        for _ in 0..self.reserved.len() + self.ranges.len() + 1 {
            let range = &self.ranges[at];
            if range.contains(ip) && ip < range.end {
                ip += 1;
            } else {
                at = (at + 1) % self.ranges.len();
                ip = self.ranges[at].start;
            }
            if self.offers(ip) {
                break;
            }
        }
        ip
    }

    /// A number that tells this set from others.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hash = crate::hash::Hash::new();
        for range in &self.ranges {
            hash.feed(&range.start.to_le_bytes());
            hash.feed(&range.end.to_le_bytes());
        }
        for gateway in &self.reserved {
            hash.feed(&gateway.to_le_bytes());
        }
        hash.value()
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.ranges.iter().enumerate() {
            write!(f, "{}{range}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
