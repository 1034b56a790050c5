//! CHECK and STATUS.

use crate::apply::master;
use crate::config::Config;
use crate::plan::MAIN;
use cni_plugin::verify::{self, drift};
use cni_plugin::{Call, NodeCall};
use cni_types::{CniResult, Code, Error, Result, Route};
use netlink::{Link, Netlink, Place, RouteFilter};
use netns::Netns;
use veth::report;

/// Compares the interface and its VRF with the configuration and the result of ADD.
///
/// # Errors
/// [`Code::Drift`] naming the first difference; those of the kernel.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    let result = call.prev_result()?;
    let pod = Netlink::open_in(call.pod()?)?;
    let ifname = call.ifname.as_str();
    let Some(link) = pod.link_by_name(ifname)? else {
        return Err(drift(format!("interface {ifname}"), "is gone"));
    };
    let vrf = check_device(&pod, &config)?;
    match master(&pod, &link)? {
        Some(now) if now.index == vrf.index => {}
        Some(now) => {
            let cause = format!("belongs to {}, not to VRF {}", now.name, vrf.name);
            return Err(drift(format!("interface {ifname}"), cause));
        }
        None => {
            let cause = format!("is not in VRF {}", vrf.name);
            return Err(drift(format!("interface {ifname}"), cause));
        }
    }
    let addresses: Vec<_> = pod.addresses(link.index)?.iter().map(|a| a.network).collect();
    if let Ok((index, _)) = verify::reported(result, ifname, true) {
        verify::addresses(result, index, &addresses)?;
    }
    let routes = pod.routes(RouteFilter { link: Some(link.index), table: None })?;
    let routes: Vec<_> = routes.iter().map(report::route).collect();
    verify::routes(&in_table(result, vrf.vrf.unwrap_or(MAIN)), &routes)
}

fn check_device(pod: &Netlink, config: &Config) -> Result<Link> {
    let subject = format!("VRF {}", config.name);
    let Some(vrf) = pod.link_by_name(&config.name)? else { return Err(drift(subject, "is gone")) };
    let Some(table) = vrf.vrf else {
        return Err(drift(subject, format!("is now a {}", vrf.kind)));
    };
    if let Some(wanted) = config.table.filter(|wanted| *wanted != table) {
        return Err(drift(subject, format!("has table {table}, not {wanted}")));
    }
    if !vrf.up {
        return Err(drift(subject, "is down"));
    }
    Ok(vrf)
}

/// The result with its routes where they are now.
fn in_table(result: &CniResult, table: u32) -> CniResult {
    let moved = |route: &Route| match route.table {
        None | Some(MAIN) => Route { table: Some(table), ..route.clone() },
        Some(_) => route.clone(),
    };
    CniResult { routes: result.routes.iter().map(moved).collect(), ..result.clone() }
}

/// Tells whether ADD can be served: the kernel must make VRFs, which is tried in a namespace of
/// its own.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    Config::read(&call.conf).map_err(unavailable)?;
    let space = Netns::anonymous().map_err(|e| unavailable(e.into()))?;
    let probe = Place { name: "probe", ..Place::default() };
    Netlink::open_in(&space)
        .and_then(|netlink| netlink.create_vrf(&probe, 1))
        .map_err(|e| unavailable(e.into()))
}
