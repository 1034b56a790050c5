//! CHECK: comparing what ADD reported with what the kernel has.
//!
//! Plain data on both sides. Things that the kernel has beyond the result are no drift, as a
//! later plugin of the chain may have added them (CNI 1.1.0, CHECK).

use cni_types::{CniResult, Code, Error, Interface, IpConfig, Result, Route};
use ipnetwork::IpNetwork;
use std::net::IpAddr;

/// An interface as found in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its hardware address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpNetwork>,
}

/// A drift: what differs, on what.
pub fn drift(subject: impl std::fmt::Display, cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Drift, format!("{subject}: {cause}"))
        .with_details("delete and re-create the pod, or restore what was changed by hand")
}

/// The interface of the result that is `name` in the sandbox (`in_pod`) or on the node, with its
/// index.
///
/// # Errors
/// [`Code::Drift`] when the result has none.
pub fn reported<'a>(
    result: &'a CniResult,
    name: &str,
    in_pod: bool,
) -> Result<(usize, &'a Interface)> {
    result
        .interfaces
        .iter()
        .enumerate()
        .find(|(_, i)| i.name == name && i.sandbox.is_empty() != in_pod)
        .ok_or_else(|| drift(format!("interface {name}"), "prevResult does not list it"))
}

/// The pod's interface `name` of the result, with its index; ADD made it in the namespace that
/// still has the path `sandbox`.
///
/// # Errors
/// [`Code::Drift`] when the result has none, or has it elsewhere.
pub fn reported_in<'a>(
    result: &'a CniResult,
    name: &str,
    sandbox: &str,
) -> Result<(usize, &'a Interface)> {
    let (index, interface) = reported(result, name, true)?;
    if interface.sandbox != sandbox {
        let cause = format!("ADD reported it in {}, not in {sandbox}", interface.sandbox);
        return Err(drift(format!("interface {name}"), cause));
    }
    Ok((index, interface))
}

/// Compares state, hardware address and MTU of one interface.
///
/// # Errors
/// [`Code::Drift`] naming the first difference.
pub fn interface(wanted: &Interface, found: Option<&Found>) -> Result<()> {
    let subject = format!("interface {}", wanted.name);
    let Some(found) = found else { return Err(drift(subject, "is gone")) };
    if !found.up {
        return Err(drift(subject, "is down"));
    }
    if !wanted.mac.is_empty() && !wanted.mac.eq_ignore_ascii_case(&found.mac) {
        return Err(drift(
            subject,
            format!("has hardware address {}, ADD reported {}", found.mac, wanted.mac),
        ));
    }
    match wanted.mtu {
        Some(mtu) if mtu != found.mtu => {
            Err(drift(subject, format!("has MTU {}, ADD reported {mtu}", found.mtu)))
        }
        _ => Ok(()),
    }
}

/// Every address that the result puts on interface number `index` is there.
///
/// # Errors
/// [`Code::Drift`] naming the first missing address.
pub fn addresses(result: &CniResult, index: usize, found: &[IpNetwork]) -> Result<()> {
    for ip in result.ips.iter().filter(|ip| ip.interface == Some(index)) {
        if !found.contains(&ip.address) {
            let name = result.interfaces.get(index).map_or("?", |i| i.name.as_str());
            return Err(drift(format!("address {} on {name}", ip.address), "is gone"));
        }
    }
    Ok(())
}

/// Every route of the result is there; a next hop that the result leaves open is the gateway of
/// its address of the same family.
///
/// # Errors
/// [`Code::Drift`] naming the first missing route.
pub fn routes(result: &CniResult, found: &[Route]) -> Result<()> {
    for wanted in &result.routes {
        let gw = next_hop(&result.ips, wanted);
        let there = found.iter().any(|f| {
            f.dst.network() == wanted.dst.network()
                && f.dst.prefix() == wanted.dst.prefix()
                && (gw.is_none() || f.gw == gw)
                && agrees(wanted.table, f.table)
                && agrees(wanted.priority, f.priority)
                && agrees(wanted.mtu, f.mtu)
                && agrees(wanted.advmss, f.advmss)
        });
        if !there {
            let via = gw.map(|g| format!(" via {g}")).unwrap_or_default();
            return Err(drift(format!("route {}{via}", wanted.dst), "is gone or was changed"));
        }
    }
    Ok(())
}

fn agrees<T: PartialEq>(wanted: Option<T>, found: Option<T>) -> bool {
    wanted.is_none() || wanted == found
}

/// The next hop of `route`: its own, or the gateway of the first address of its family.
///
/// A route of link or host scope that names none has none: what it leads to is on the link.
pub fn next_hop(ips: &[IpConfig], route: &Route) -> Option<IpAddr> {
    const LINK: u8 = 253;
    if route.gw.is_none() && route.scope.is_some_and(|scope| scope >= LINK) {
        return None;
    }
    route.gw.or_else(|| {
        let same = |ip: &IpAddr| ip.is_ipv4() == route.dst.is_ipv4();
        ips.iter().filter_map(|ip| ip.gateway).find(same)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNetwork {
        text.parse().expect("network")
    }

    fn result() -> CniResult {
        CniResult {
            interfaces: vec![
                Interface { name: "br".into(), ..Interface::default() },
                Interface {
                    name: "eth0".into(),
                    mac: "02:00:00:00:00:0A".into(),
                    mtu: Some(1400),
                    sandbox: "/ns".into(),
                    ..Interface::default()
                },
            ],
            ips: vec![IpConfig {
                interface: Some(1),
                address: net("10.0.0.5/24"),
                gateway: "10.0.0.1".parse().ok(),
            }],
            routes: vec![Route { mtu: Some(1300), ..Route::new(net("0.0.0.0/0"), None) }],
            ..CniResult::default()
        }
    }

    #[test]
    fn each_difference_is_named() {
        let result = result();
        let (index, wanted) = reported(&result, "eth0", true).expect("eth0");
        assert_eq!(index, 1);
        assert_eq!(reported(&result, "eth0", false).expect_err("node").code, Code::Drift);
        let good =
            Found { mac: "02:00:00:00:00:0a".into(), mtu: 1400, up: true, addresses: vec![] };
        interface(wanted, Some(&good)).expect("equal");
        let says = |found: Option<Found>| interface(wanted, found.as_ref()).expect_err("drift").msg;
        assert!(says(None).contains("gone"));
        assert!(says(Some(Found { up: false, ..good.clone() })).contains("down"));
        assert!(says(Some(Found { mtu: 1500, ..good.clone() })).contains("MTU 1500"));
        assert!(says(Some(Found { mac: "x".into(), ..good })).contains("hardware address x"));
        addresses(&result, 1, &[net("10.0.0.5/24"), net("fe80::1/64")]).expect("there");
        assert!(addresses(&result, 1, &[net("10.0.0.5/25")]).is_err());
    }

    #[test]
    fn routes_are_compared_with_what_add_asked_for() {
        let result = result();
        let there =
            Route { mtu: Some(1300), ..Route::new(net("0.0.0.0/0"), "10.0.0.1".parse().ok()) };
        routes(&result, std::slice::from_ref(&there)).expect("there");
        for wrong in [
            Route { gw: "10.0.0.2".parse().ok(), ..there.clone() },
            Route { mtu: None, ..there.clone() },
            Route { dst: net("10.0.0.0/8"), ..there },
        ] {
            assert_eq!(routes(&result, &[wrong]).expect_err("drift").code, Code::Drift);
        }
        let on_link = Route { scope: Some(253), ..Route::new(net("10.9.0.0/16"), None) };
        assert_eq!(next_hop(&result.ips, &on_link), None);
    }
}
