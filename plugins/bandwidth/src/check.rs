//! CHECK.

use crate::config::Config;
use crate::plan::{IfbOwner, Plan, Side};
use crate::target::Target;
use cni_plugin::Call;
use cni_plugin::verify::drift;
use cni_types::{Error, Result};
use netlink::traffic::{Filter, Handle, INGRESS, ROOT};
use netlink::{Kind, Link};

/// Compares the kernel with the configuration.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    if !config.has_limits() {
        return Ok(());
    }
    let target = Target::find(call, Some(call.prev_result()?)).map_err(|e| match e.code {
        cni_types::Code::InvalidEnvironment => {
            drift(format!("interface {}", call.ifname), "is gone")
        }
        _ => e,
    })?;
    let plan = Plan::new(&config, target.seat, target.link.mtu);
    if let Some(side) = &plan.sends {
        sent(&target, side)?;
    }
    match &plan.receives {
        Some(side) => received(&target, call, side),
        None => Ok(()),
    }
}

fn changed(link: &Link, what: &str) -> Error {
    drift(format!("link {}", link.name), format!("{what} is gone or was changed"))
}

fn sent(target: &Target, side: &Side) -> Result<()> {
    let (space, link) = (&target.space, &target.link);
    let fault = || changed(link, "the limit of what it sends");
    let found = space.qdisc(link.index, ROOT)?.ok_or_else(fault)?;
    let Some((class, queue)) = side.class(link.index) else {
        return if side.accepts(&found.discipline) { Ok(()) } else { Err(fault()) };
    };
    let classes = space.classes(link.index)?;
    let is_kept = |found: &netlink::traffic::Class| {
        found.handle == class.handle && found.bucket == class.bucket
    };
    let queued = space.qdisc(link.index, class.handle)?;
    let is_queued = queued.is_some_and(|found| found.discipline == queue.discipline);
    if found != side.root(link.index) || !classes.iter().any(is_kept) || !is_queued {
        return Err(fault());
    }
    let wanted = side.sending_filters(link.index);
    if !same(space.filters(link.index, Handle::new(1, 0))?, wanted) {
        return Err(changed(link, "which peers are limited"));
    }
    Ok(())
}

fn received(target: &Target, call: &Call, side: &Side) -> Result<()> {
    let (space, link) = (&target.space, &target.link);
    let fault = || changed(link, "the limit of what it receives");
    let hook = space.qdisc(link.index, INGRESS)?.ok_or_else(fault)?;
    let filters = space.filters(link.index, hook.handle)?;
    for name in &IfbOwner::of(call).names {
        let Some(ifb) = space.link_by_name(name)?.filter(|ifb| ifb.kind == Kind::Ifb) else {
            continue;
        };
        let wanted = side.receiving_filters(link.index, ifb.index);
        if !same(filters.clone(), wanted) {
            continue;
        }
        if !ifb.up {
            return Err(drift(format!("link {}", ifb.name), "is down"));
        }
        let root = space.qdisc(ifb.index, ROOT)?;
        return match root.is_some_and(|found| side.accepts(&found.discipline)) {
            true => Ok(()),
            false => Err(changed(&ifb, "the limit of what it sends")),
        };
    }
    Err(fault())
}

/// Whether these are the filters that were wanted, in whatever order within a priority.
fn same(found: Vec<Option<Filter>>, mut wanted: Vec<Filter>) -> bool {
    let Some(mut found) = found.into_iter().collect::<Option<Vec<_>>>() else { return false };
    let order = |filter: &Filter| (filter.priority, filter.pick, filter.verdict);
    found.sort_by_key(order);
    wanted.sort_by_key(order);
    found == wanted
}
