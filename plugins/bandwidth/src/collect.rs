//! GC: ifbs that nobody's traffic goes through any more. All else is on links that go with their pods.

use crate::plan::{IfbOwner, container_ifb, is_ifb_name};
use cni_plugin::{Gate, Known, NodeCall, owner};
use cni_types::{Error, Result};
use netlink::traffic::{Discipline, Verdict};
use netlink::{Kind, Link, Netlink};
use std::time::Duration;

/// How long another program may be between making an ifb and sending traffic through it.
const MAKING: Duration = Duration::from_millis(100);

/// Deletes the ifbs of this network whose owner is not valid, and those without an owner that serve
/// nobody.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let node = Netlink::open()?;
    let network = call.conf.name.as_str();
    let prefix = owner::prefix(network);
    let valid: Vec<_> =
        call.valid.iter().map(|a| IfbOwner::new(network, &a.container_id, &a.ifname)).collect();
    let ifbs = {
        // No ADD is between making a link and naming its owner while the list is taken.
        let _gate = Gate::alone()?;
        node.links()?.into_iter().filter(|link| link.kind == Kind::Ifb && is_ifb_name(&link.name))
    };
    let is_valid = |link: &Link| valid.iter().any(|v| v.owner.alias() == link.alias);
    let is_valid_name = |link: &Link| valid.iter().any(|v| v.names.contains(&link.name));
    let (unnamed, mut stale): (Vec<Link>, Vec<Link>) = ifbs
        .filter(|link| link.alias.is_empty() || link.alias.starts_with(&prefix))
        .filter(|link| !is_valid(link))
        .partition(|link| link.alias.is_empty());
    let unnamed = unnamed.into_iter().filter(|link| !is_valid_name(link)).collect();
    stale.extend(unused(&node, unnamed)?);
    Error::collect(stale.iter().map(|link| {
        node.delete_link(link.index).map(drop).map_err(|e| Error::from(e).context(&link.name))
    }))
}

/// Those of `ifbs` that were made by the reference plugin, or by an ADD that was killed, and serve
/// nobody. Their names do not tell their network: one may be of a pod in another.
fn unused(node: &Netlink, ifbs: Vec<Link>) -> Result<Vec<Link>> {
    if ifbs.is_empty() {
        return Ok(ifbs);
    }
    let known = Known::read();
    let is_known = |link: &Link| {
        known
            .may_have_any(|network, container_id| container_ifb(network, container_id) == link.name)
    };
    let mut idle: Vec<_> = ifbs.into_iter().filter(|link| !is_known(link)).collect();
    retain_idle(node, &mut idle)?;
    if !idle.is_empty() {
        // An ADD of the reference plugin may be at work.
        std::thread::sleep(MAKING);
        retain_idle(node, &mut idle)?;
    }
    Ok(idle)
}

/// Keeps those in `ifbs` that no link sends its traffic through. One whose pod is gone counts for
/// nothing: the kernel takes it in its own time.
fn retain_idle(node: &Netlink, ifbs: &mut Vec<Link>) -> Result<()> {
    let hooks = node.qdiscs()?.into_iter().filter(|q| q.discipline == Discipline::Ingress);
    for hook in hooks {
        for filter in node.filters(hook.link, hook.handle)?.into_iter().flatten() {
            let Verdict::Redirect(to) = filter.verdict else { continue };
            if ifbs.iter().any(|ifb| ifb.index == to) && lives(node, hook.link)? {
                ifbs.retain(|ifb| ifb.index != to);
            }
        }
    }
    Ok(())
}

fn lives(node: &Netlink, link: u32) -> Result<bool> {
    match node.other_end_lives(link) {
        Err(e) if e.is_not_found() => Ok(false),
        other => Ok(other?),
    }
}
