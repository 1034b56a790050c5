//! CHECK and STATUS: the pod compared with the result of ADD, and what ADD would need.

use crate::Wish;
use cni_plugin::verify::{self, drift};
use cni_plugin::{Call, NodeCall, ipam};
use cni_types::{Code, Error, Result};
use netlink::{Link, Netlink, RouteFilter};
use veth::report::{self, found};

/// Compares the attachment with the result of its ADD, and returns the link as it is.
///
/// # Errors
/// [`Code::Drift`] naming the first difference; those of the IPAM plugin and of the kernel.
pub fn check(call: &Call, wish: &Wish) -> Result<Link> {
    let result = call.prev_result()?;
    ipam::check(call)?;
    let ifname = call.ifname.as_str();
    let subject = || format!("interface {ifname}");
    let (index, reported) = verify::reported_in(result, ifname, &call.netns_path)?;
    let pod = Netlink::open_in(call.pod()?)?;
    let Some(link) = pod.link_by_name(ifname)? else { return Err(drift(subject(), "is gone")) };
    if wish.kind.as_ref().is_some_and(|kind| link.kind != *kind) {
        return Err(drift(subject(), format!("is now a {}", link.kind)));
    }
    let state = found(&link, &pod.addresses(link.index)?);
    verify::interface(reported, Some(&state))?;
    verify::addresses(result, index, &state.addresses)?;
    let routes = pod.routes(RouteFilter { link: Some(link.index), table: None })?;
    let routes: Vec<_> = routes.iter().map(report::route).collect();
    verify::routes(result, &routes)?;
    Ok(link)
}

/// Tells whether ADD can be served; `config` is the outcome of reading the configuration, and of
/// looking for what it names on the node.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason; those of the IPAM plugin.
pub fn status(call: &NodeCall, config: Result<()>) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    config.map_err(unavailable)?;
    ipam::status(call)?;
    Netlink::open().map(drop).map_err(|e| unavailable(e.into()))
}
