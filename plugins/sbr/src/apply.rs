//! Effects in the pod's namespace. One call at a time works in a pod: the lock is on the namespace
//! file, where the reference plugin has its own.

use crate::config::Config;
use crate::plan::{MAIN, Present, Source, Steps, is_same, steps};
use cni_plugin::verify::{drift, next_hop};
use cni_plugin::{Call, Undo};
use cni_types::{Code, Error, Result, Route as Told};
use netlink::{Netlink, PolicyRule, Route, RouteFilter};
use netns::Netns;
use std::fs::File;
use std::os::fd::AsFd;

/// The pod's routing, with nobody else at it.
struct Pod {
    netlink: Netlink,
    _lock: File,
}

impl Pod {
    fn enter(space: &Netns) -> Result<Pod> {
        let lock = lock(space).map_err(|e| Error::io(space.path().display(), &e))?;
        Ok(Pod { netlink: Netlink::open_in(space)?, _lock: lock })
    }

    fn present(&self, link: u32) -> netlink::Result<Present> {
        let routes = self.netlink.routes(RouteFilter::default())?;
        Ok(Present { link, routes, rules: self.netlink.rules()? })
    }
}

fn lock(space: &Netns) -> std::io::Result<File> {
    let file = File::from(space.as_fd().try_clone_to_owned()?);
    file.lock()?;
    Ok(file)
}

pub(crate) fn add(call: &Call, config: &Config, sources: &[Source]) -> Result<()> {
    let pod = Pod::enter(call.pod()?)?;
    let link = pod.netlink.expect_link(call.ifname.as_str())?;
    let steps = steps(sources, config, &pod.present(link.index)?);
    let undo = Undo::new(|| {
        // The first error is the one to report; DEL, which the runtime owes, tries again.
        cni_plugin::log("undoing ADD", revert(&pod.netlink, &steps));
    });
    apply(&pod.netlink, &steps)?;
    undo.keep();
    Ok(())
}

/// Routes are there before the rule that leads to them, and the main table keeps its own until
/// then: a kill at any point leaves the pod with a way out.
fn apply(netlink: &Netlink, steps: &Steps) -> Result<()> {
    for route in &steps.stale {
        netlink.delete_route(route)?;
    }
    for (index, route) in steps.routes.iter().enumerate() {
        put(netlink, route, &steps.routes[..index]).map_err(|e| unreachable_gateway(route, e))?;
    }
    for rule in &steps.rules {
        match netlink.add_rule(rule) {
            Err(e) if !e.is_exists() => return Err(e.into()),
            _ => {}
        }
    }
    for route in &steps.hints {
        netlink.replace_route(route)?;
    }
    for route in &steps.leaving {
        netlink.delete_route(route)?;
    }
    Ok(())
}

/// Puts a route in place of one like it; beside one of `earlier` with another gateway, which is
/// another way to the same destination.
fn put(netlink: &Netlink, route: &Route, earlier: &[Route]) -> netlink::Result<()> {
    let is_way_beside = |other: &Route| {
        other.table == route.table && is_same(&Route { gateway: route.gateway, ..*other }, route)
    };
    if !earlier.iter().any(is_way_beside) {
        return netlink.replace_route(route);
    }
    match netlink.append_route(route) {
        Err(e) if e.is_exists() => Ok(()),
        other => other,
    }
}

fn unreachable_gateway(route: &Route, fault: netlink::Error) -> Error {
    let error = Error::from(fault);
    match route.gateway {
        Some(gateway) if error.details.is_empty() => error.with_details(format!(
            "the gateway {gateway} must be in a subnet of the interface, or be told by its routes"
        )),
        _ => error,
    }
}

/// Puts back what `steps` has changed, as far as it has.
fn revert(netlink: &Netlink, steps: &Steps) -> Result<()> {
    let mut errors = Vec::new();
    for route in &steps.leaving {
        errors.extend(restore(netlink, route).err());
    }
    for rule in &steps.rules {
        errors.extend(netlink.delete_rule(rule).err().map(Error::from));
    }
    for route in
        steps.routes.iter().filter(|r| steps.rules.iter().any(|s| Some(s.table) == r.table))
    {
        errors.extend(netlink.delete_route(route).err().map(Error::from));
    }
    Error::join(errors).map_or(Ok(()), Err)
}

fn restore(netlink: &Netlink, route: &Route) -> Result<()> {
    match netlink.add_route(route) {
        Err(e) if !e.is_exists() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Succeeds when the namespace, the interface or the rules are gone: they end together.
pub(crate) fn del(call: &Call) -> Result<()> {
    let Some(space) = &call.netns else { return Ok(()) };
    let pod = Pod::enter(space)?;
    let link = pod.netlink.link_by_name(call.ifname.as_str())?;
    let present = match pod.present(link.as_ref().map_or(0, |link| link.index)) {
        // A kernel without policy routing has no rules.
        Err(e) if e.is_unsupported() => return Ok(()),
        other => other?,
    };
    let mut errors = Vec::new();
    for rule in leaving(call, &pod.netlink, &present)? {
        errors.extend(leave(&pod.netlink, &present, &rule).err());
    }
    Error::join(errors).map_or(Ok(()), Err)
}

/// The rules of the attachment: for the addresses of its interface, and for those that ADD
/// reported. With the interface gone also those for addresses that no link has any more, whose
/// table is empty: what they led to went with the interface.
fn leaving(call: &Call, netlink: &Netlink, present: &Present) -> Result<Vec<PolicyRule>> {
    let mut own = Vec::new();
    if present.link != 0 {
        own.extend(netlink.addresses(present.link)?.iter().map(|a| a.network.ip()));
    }
    if let Some(result) = &call.conf.prev_result
        && let Ok(told) = crate::plan::sources(result, call.ifname.as_str(), &Config::default())
    {
        own.extend(told.iter().map(|source| source.address.ip()));
    }
    let mut others = Vec::new();
    for link in netlink.links()?.iter().filter(|link| link.index != present.link) {
        others.extend(netlink.addresses(link.index)?.iter().map(|a| a.network.ip()));
    }
    let is_orphan = |rule: &PolicyRule| {
        present.link == 0
            && rule.table != MAIN
            && present.routes.iter().all(|route| route.table != Some(rule.table))
    };
    let is_leaving = |rule: &&PolicyRule| {
        let (source, is_host) = (rule.source.ip(), rule.source == rule.source.ip().into());
        is_host
            && rule.source_only
            && !others.contains(&source)
            && (own.contains(&source) || is_orphan(rule))
    };
    Ok(present.rules.iter().filter(is_leaving).copied().collect())
}

/// Gives the table's routes back to the main table, so that the interface works without the rule,
/// and deletes the rule last: a DEL that is killed finds it again. The way out is not given back:
/// the pod may have another.
fn leave(netlink: &Netlink, present: &Present, rule: &PolicyRule) -> Result<()> {
    let is_shared = present.rules.iter().filter(|other| other.table == rule.table).count() > 1;
    if present.link != 0 && rule.table != MAIN && !is_shared {
        for route in present.own(rule.table) {
            if route.dst.prefix() != 0 {
                restore(netlink, &Route { table: Some(MAIN), ..*route })?;
            }
        }
        for route in present.own(rule.table) {
            netlink.delete_route(route)?;
        }
    }
    netlink.delete_rule(rule)?;
    Ok(())
}

pub(crate) fn check(call: &Call, config: &Config, sources: &[Source]) -> Result<()> {
    let pod = Pod::enter(call.pod()?)?;
    let name = call.ifname.as_str();
    let Some(link) = pod.netlink.link_by_name(name)? else {
        return Err(drift(format!("interface {name}"), "is gone"));
    };
    let present = pod.present(link.index)?;
    let result = call.prev_result()?;
    for source in sources {
        let table = led_to(source, config, &present)?;
        if config.table.is_some() {
            continue;
        }
        if let Some(way_out) = source.default_route(present.link, table)
            && !present.own(table).any(|r| r.dst.prefix() == 0 && r.gateway == way_out.gateway)
        {
            return Err(missing(&way_out, table));
        }
        for told in &result.routes {
            let gateway = next_hop(&result.ips, told);
            if is_told_of(told, source) && gateway.is_some_and(|gw| source.address.contains(gw)) {
                let route = Route { gateway, ..Route::to(told.dst) };
                let is_there = |r: &Route| {
                    r.dst.network() == told.dst.network() && r.dst.prefix() == told.dst.prefix()
                };
                if !present.own(table).any(is_there) {
                    return Err(missing(&route, table));
                }
            }
        }
    }
    Ok(())
}

/// Whether a route of the result belongs into the table of `source`.
fn is_told_of(told: &Told, source: &Source) -> bool {
    told.dst.is_ipv4() == source.address.is_ipv4()
        && told.table.is_none()
        && !(told.is_default() && source.gateway.is_some())
}

/// The table that the rule of `source` leads to.
fn led_to(source: &Source, config: &Config, present: &Present) -> Result<u32> {
    let subject = format!("rule from {}", source.address.ip());
    let mut own = present.rules.iter().filter(|r| r.source_only && r.source == source.host());
    match config.table {
        None => own.next().map(|rule| rule.table).ok_or_else(|| drift(subject, "is gone")),
        Some(table) if own.any(|rule| rule.table == table) => Ok(table),
        Some(table) => Err(drift(subject, format!("to table {table} is gone"))),
    }
}

fn missing(route: &Route, table: u32) -> Error {
    let via = route.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
    drift(format!("route {}{via} in table {table}", route.dst), "is gone or was changed")
}

/// Whether this kernel routes by rules.
pub(crate) fn status() -> Result<()> {
    let listed = Netlink::open().and_then(|netlink| netlink.rules());
    listed.map(|_| ()).map_err(|fault| {
        let error = Error::from(fault);
        Error { code: Code::NotAvailable, ..error }.context("policy routing")
    })
}
