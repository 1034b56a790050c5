//! An interface moved into a VRF, or out of one, with all that it has.

use crate::plan::{MAIN, Routes};
use cni_plugin::verify;
use cni_plugin::{Call, log};
use cni_types::{CniResult, Result};
use ipnetwork::IpNetwork;
use netlink::{Change, Link, Netlink, RouteFilter};
use sysctl::Family;

/// Where an interface belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// The index of its VRF; 0 for none.
    pub(crate) master: u32,
    /// The table that it routes by.
    pub(crate) table: u32,
}

impl Home {
    /// Of an interface without a VRF.
    pub(crate) const NONE: Home = Home { master: 0, table: MAIN };

    /// Of the members of `vrf`.
    pub(crate) fn of(vrf: &Link) -> Home {
        Home { master: vrf.index, table: vrf.vrf.unwrap_or(MAIN) }
    }
}

/// What an interface has: the kernel takes it when the interface is moved.
#[derive(Clone, Debug)]
pub(crate) struct Belongings<'r> {
    home: Home,
    addresses: Vec<IpNetwork>,
    /// What it should have besides.
    lost: Vec<IpNetwork>,
    routes: Vec<netlink::Route>,
    result: Option<&'r CniResult>,
}

impl<'r> Belongings<'r> {
    /// Those of `link`, whose home is `home`.
    ///
    /// # Errors
    /// Those of the kernel.
    pub(crate) fn of(pod: &Netlink, link: &Link, home: Home) -> Result<Belongings<'r>> {
        let addresses = pod.addresses(link.index)?.into_iter().map(|address| address.network);
        let addresses = addresses.filter(|network| !is_link_local(network)).collect();
        let routes = pod.routes(RouteFilter { link: Some(link.index), table: None })?;
        Ok(Belongings { home, addresses, lost: Vec::new(), routes, result: None })
    }

    /// These, and what the earlier plugin's `result` says that the link has: an ADD that was killed
    /// half way may have lost it, or the reference plugin's DEL.
    #[must_use]
    pub(crate) fn with_result(mut self, result: &'r CniResult, link: &Link) -> Belongings<'r> {
        let index = verify::reported(result, &link.name, true).map(|(index, _)| index).ok();
        for ip in result.ips.iter().filter(|ip| ip.interface.is_none() || ip.interface == index) {
            if !self.addresses.contains(&ip.address) {
                self.lost.push(ip.address);
            }
        }
        self.result = Some(result);
        self
    }

    /// Moves `link` to its new home with them.
    ///
    /// # Errors
    /// Those of the kernel; the link may be in its new home without them then.
    pub(crate) fn carry(
        &self,
        (call, pod): (&Call, &Netlink),
        link: &Link,
        to: Home,
    ) -> Result<()> {
        self.prepare(call)?;
        pod.change(link.index, &Change { master: Some(to.master), ..Change::default() })?;
        let there = pod.addresses(link.index)?;
        for network in self.addresses.iter().chain(&self.lost) {
            if !there.iter().any(|address| address.network == *network) {
                pod.add_address(link.index, *network, false)?;
            }
        }
        let routes = Routes::moved(&self.routes, self.home.table, to.table);
        let routes = match self.result {
            Some(result) => routes.with_result(result, &self.lost, link.index),
            None => routes,
        };
        settle(pod, link, &routes)
    }

    /// Keeps IPv6 addresses over the moment in which the interface is down, so that a crash then
    /// loses none. They were probed when they were given: no second is spent on that again.
    fn prepare(&self, call: &Call) -> Result<()> {
        if !self.addresses.iter().chain(&self.lost).any(IpNetwork::is_ipv6) {
            return Ok(());
        }
        let ifname = call.ifname.as_str();
        call.pod()?.run(|| {
            for (leaf, value) in [("keep_addr_on_down", "1"), ("accept_dad", "0")] {
                let key = sysctl::interface(Family::V6, ifname, leaf);
                match sysctl::write(&key, value) {
                    Err(e) if e.is_not_found() => {}
                    other => log("going on", other),
                }
            }
        })?;
        Ok(())
    }
}

fn settle(pod: &Netlink, link: &Link, routes: &Routes) -> Result<()> {
    let filter = RouteFilter { link: Some(link.index), table: None };
    for route in routes.surplus(&pod.routes(filter)?) {
        pod.delete_route(&route)?;
    }
    // The kernel takes routes with the one that they were reached by.
    for route in routes.missing(&pod.routes(filter)?) {
        match pod.append_route(&route) {
            Err(e) if e.is_exists() => {}
            other => other?,
        }
    }
    Ok(())
}

fn is_link_local(network: &IpNetwork) -> bool {
    match network {
        IpNetwork::V4(_) => false,
        IpNetwork::V6(v6) => v6.ip().is_unicast_link_local(),
    }
}
