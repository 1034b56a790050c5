//! Which addresses may be dialled: a registry, a redirect or a token service must not reach into the node.
//!
//! The check is on the address that is connected to, after DNS, so a name cannot be changed in between.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// The internet.
    Public,
    /// A site's own networks.
    Private,
    /// This machine.
    Loopback,
    /// The link, and the metadata services of clouds.
    LinkLocal,
    /// Nothing that can be connected to.
    Never,
}

impl Zone {
    fn bit(self) -> u8 {
        1 << (self as u8)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local or metadata",
            Self::Never => "not unicast",
        }
    }
}

/// The zone of `ip`; addresses that carry an IPv4 address inside count as that one.
pub(crate) fn zone(ip: IpAddr) -> Zone {
    match ip {
        IpAddr::V4(v4) => zone4(v4),
        IpAddr::V6(v6) => zone6(v6),
    }
}

fn zone4(ip: Ipv4Addr) -> Zone {
    // Alibaba Cloud and Oracle Cloud serve metadata outside 169.254.0.0/16.
    if ip.is_link_local() || [[100, 100, 100, 200], [192, 0, 0, 192]].contains(&ip.octets()) {
        return Zone::LinkLocal;
    }
    match ip.octets() {
        // Linux connects 0.0.0.0 to itself.
        [127, ..] | [0, 0, 0, 0] => Zone::Loopback,
        [10, ..]
        | [192, 168, ..]
        | [172, 16..=31, ..]
        | [100, 64..=127, ..]
        | [198, 18..=19, ..] => Zone::Private,
        [0, ..] | [224..=255, ..] => Zone::Never,
        _ => Zone::Public,
    }
}

fn zone6(ip: Ipv6Addr) -> Zone {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return zone4(inner);
    }
    let inside = |at: usize| {
        let o = ip.octets();
        zone4(Ipv4Addr::new(o[at], o[at + 1], o[at + 2], o[at + 3]))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Zone::Loopback,
        // NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => inside(12),
        [0x2002, ..] => inside(2),
        // Amazon's metadata over IPv6.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Zone::LinkLocal,
        [first, ..] if first & 0xffc0 == 0xfe80 => Zone::LinkLocal,
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Zone::Private,
        [first, ..] if first & 0xff00 == 0xff00 => Zone::Never,
        _ => Zone::Public,
    }
}

/// Why a connection was not made.
#[derive(Debug)]
pub(crate) struct Forbidden {
    host: String,
    zone: Zone,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} has a {} address, which this registry may not send to",
            self.host,
            self.zone.as_str()
        )
    }
}

impl std::error::Error for Forbidden {}

/// How a registry's host came to be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Standing {
    /// An image reference named it.
    Named,
    /// An image reference named it, and the name says that it is this machine.
    Local,
    /// The operator wrote it down.
    Configured,
}

/// Guards the way to one registry (its own host) and to where that registry sends (foreign hosts).
#[derive(Debug)]
pub(crate) struct Gate {
    /// Zones that the registry's own host may have.
    own: u8,
    /// Zones that the registry's own host was found in, as bits.
    seen: AtomicU8,
    /// Host names of proxies, which are dialled in place of the servers.
    proxies: Vec<String>,
}

impl Gate {
    pub(crate) fn new(standing: Standing) -> Self {
        let named = Zone::Public.bit() | Zone::Private.bit();
        let own = match standing {
            Standing::Named => named,
            Standing::Local => named | Zone::Loopback.bit(),
            Standing::Configured => named | Zone::Loopback.bit() | Zone::LinkLocal.bit(),
        };
        Self { own, seen: AtomicU8::new(0), proxies: proxies() }
    }

    fn allows(&self, side: Side, zone: Zone) -> bool {
        let allowed = match side {
            Side::Own => self.own,
            Side::Foreign => {
                let seen = self.seen.load(Ordering::Relaxed);
                // From a registry at home, home is in reach; from the internet, only the internet is.
                let home = seen & !Zone::Public.bit() != 0;
                Zone::Public.bit() | seen | if home { Zone::Private.bit() } else { 0 }
            }
        };
        zone != Zone::Never && allowed & zone.bit() != 0
    }

    fn admit(&self, side: Side, host: &str, ip: IpAddr) -> Result<(), Forbidden> {
        let zone = zone(ip);
        if !self.allows(side, zone) {
            return Err(Forbidden { host: host.to_owned(), zone });
        }
        if matches!(side, Side::Own) {
            self.seen.fetch_or(zone.bit(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks an address that is written in the URL: DNS is not asked for it.
    pub(crate) fn check_literal(&self, side: Side, url: &Url) -> Result<(), Forbidden> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().map_or(Ok(()), |ip| self.admit(side, host, ip))
    }
}

/// Whose host is dialled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    /// The registry's own, as configured.
    Own,
    /// One that the registry named.
    Foreign,
}

/// A resolver that gives only addresses that the gate admits.
pub(crate) struct Resolver {
    pub(crate) gate: Arc<Gate>,
    pub(crate) side: Side,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (gate, side) = (Arc::clone(&self.gate), self.side);
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if gate.proxies.contains(&host) {
                return Ok(Box::new(found.into_iter()) as Addrs);
            }
            let mut refused = None;
            let mut admitted = Vec::new();
            for address in found {
                match gate.admit(side, &host, address.ip()) {
                    Ok(()) => admitted.push(address),
                    Err(forbidden) => refused = Some(forbidden),
                }
            }
            match refused {
                Some(forbidden) if admitted.is_empty() => Err(forbidden.into()),
                _ => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        })
    }
}

/// Hosts of the proxies that the environment names.
fn proxies() -> Vec<String> {
    let names =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let urls = names.iter().filter_map(|name| std::env::var(name).ok());
    let full = urls.map(|url| if url.contains("://") { url } else { format!("http://{url}") });
    full.filter_map(|url| Url::parse(&url).ok()?.host_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_zones() {
        for (text, want) in [
            ("8.8.8.8", Zone::Public),
            ("10.1.2.3", Zone::Private),
            ("172.31.0.1", Zone::Private),
            ("172.32.0.1", Zone::Public),
            ("192.168.1.1", Zone::Private),
            ("100.64.0.1", Zone::Private),
            ("127.8.8.8", Zone::Loopback),
            ("0.0.0.0", Zone::Loopback),
            ("169.254.169.254", Zone::LinkLocal),
            ("100.100.100.200", Zone::LinkLocal),
            ("255.255.255.255", Zone::Never),
            ("224.0.0.1", Zone::Never),
            ("2606:4700::1", Zone::Public),
            ("::1", Zone::Loopback),
            ("::", Zone::Loopback),
            ("fe80::1", Zone::LinkLocal),
            ("febf::1", Zone::LinkLocal),
            ("fd00:ec2::254", Zone::LinkLocal),
            ("fd12::1", Zone::Private),
            ("ff02::1", Zone::Never),
            ("::ffff:169.254.169.254", Zone::LinkLocal),
            ("::ffff:127.0.0.1", Zone::Loopback),
            ("64:ff9b::a9fe:a9fe", Zone::LinkLocal),
            ("2002:7f00:1::", Zone::Loopback),
        ] {
            assert_eq!(zone(text.parse().unwrap()), want, "{text}");
        }
    }

    fn reaches(gate: &Gate, side: Side, ip: &str) -> bool {
        gate.check_literal(side, &Url::parse(&format!("https://{ip}/")).unwrap()).is_ok()
    }

    #[test]
    fn a_registry_sends_no_further_than_it_stands() {
        let gate = Gate::new(Standing::Named);
        assert!(
            !reaches(&gate, Side::Own, "127.0.0.1")
                && !reaches(&gate, Side::Own, "169.254.169.254")
        );
        assert!(reaches(&gate, Side::Own, "8.8.8.8") && reaches(&gate, Side::Foreign, "1.1.1.1"));
        for inside in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]"] {
            assert!(!reaches(&gate, Side::Foreign, inside), "{inside}");
        }
        let home = Gate::new(Standing::Named);
        assert!(
            reaches(&home, Side::Own, "10.0.0.1") && reaches(&home, Side::Foreign, "192.168.0.1")
        );
        assert!(
            !reaches(&home, Side::Foreign, "127.0.0.1")
                && !reaches(&home, Side::Foreign, "169.254.1.1")
        );
        let local = Gate::new(Standing::Configured);
        assert!(
            reaches(&local, Side::Own, "127.0.0.1") && reaches(&local, Side::Foreign, "127.0.0.2")
        );
        assert!(!reaches(&local, Side::Foreign, "169.254.169.254"));
    }
}
