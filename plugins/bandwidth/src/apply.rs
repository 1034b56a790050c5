//! ADD and DEL.

use crate::config::Config;
use crate::plan::{IfbOwner, Plan, Seat, Side};
use crate::target::{Target, needs};
use cni_plugin::{Call, Gate, Undo, log};
use cni_types::{CniResult, Code, Error, Result};
use netlink::{Change, Kind, Link, Netlink, Place};

/// Puts the limits in place, and reports the link that it took for that.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    let mut result = call.prev_result()?.clone();
    if !config.has_limits() {
        return Ok(result);
    }
    let target = Target::find(call, Some(&result))?;
    let plan = Plan::new(&config, target.seat, target.link.mtu);
    let undo = Undo::new(|| log("undoing ADD", withdraw(call, &target)));
    if let Some(side) = &plan.receives {
        let ifb = hold_received(&target, call, side)?;
        let sandbox = if target.seat == Seat::Node { "" } else { &call.netns_path };
        result.interfaces.push(veth::report::interface(&ifb, sandbox));
    }
    if let Some(side) = &plan.sends {
        hold_sent(&target, side)?;
    }
    undo.keep();
    Ok(result)
}

/// Limits what the link sends.
fn hold_sent(target: &Target, side: &Side) -> Result<()> {
    let (space, index) = (&target.space, target.link.index);
    target.put_root(&side.root(index))?;
    if let Some((class, queue)) = side.class(index) {
        space.add_class(&class)?;
        space.add_qdisc(&queue).map_err(|e| needs(e, "sch_fifo"))?;
    }
    for filter in side.sending_filters(index) {
        space.add_filter(&filter).map_err(|e| needs(e, "cls_u32"))?;
    }
    Ok(())
}

/// Limits what the link receives, by way of an ifb that sends it. Nothing is redirected before that
/// keeps the limit.
fn hold_received(target: &Target, call: &Call, side: &Side) -> Result<Link> {
    let (space, index) = (&target.space, target.link.index);
    let ifb = make_ifb(target, call)?;
    target.put_root(&side.bucket_at(ifb.index))?;
    target.put_hook()?;
    for filter in side.receiving_filters(index, ifb.index) {
        space.add_filter(&filter).map_err(|e| needs(e, "cls_u32 and act_mirred"))?;
    }
    Ok(ifb)
}

/// The attachment's ifb, made if it is missing: by the name that the reference plugin would give it,
/// unless another interface of the container has that one.
fn make_ifb(target: &Target, call: &Call) -> Result<Link> {
    let space = &target.space;
    let wanted = IfbOwner::of(call);
    let alias = wanted.owner.alias();
    let change = Change { alias: Some(alias), up: Some(true), ..Change::default() };
    // GC does not take it for one that a killed ADD left before it was named.
    let _gate = Gate::shared()?;
    for name in &wanted.names {
        match space.create_ifb(&Place { name, mtu: Some(target.link.mtu), namespace: None }) {
            Err(e) if e.is_exists() => {
                let found = space.link_by_name(name)?.filter(|found| found.alias == alias);
                let Some(found) = found else { continue };
                let mtu = Some(target.link.mtu);
                space.change(found.index, &Change { mtu, ..change })?;
            }
            made => {
                made.map_err(|e| needs(e, "ifb"))?;
                let undo = Undo::new(|| log("undoing ADD", space.delete_link_by_name(name)));
                space.change(space.expect_link(name)?.index, &change)?;
                undo.keep();
            }
        }
        return Ok(space.expect_link(name)?);
    }
    let names = wanted.names.join(" and ");
    Err(Error::new(Code::Conflict, format!("links {names}: both names are taken"))
        .with_details("run DEL of this attachment first, or remove those links"))
}

/// Takes the limits away. Without the namespace the qdiscs stay on the link, which its own plugin
/// deletes; only the ifb would outlive it.
pub(crate) fn del(call: &Call) -> Result<()> {
    // Most pods have no limits: theirs must cost nothing. What cannot be read may have had some.
    let limited = Config::read(&call.conf).map_or(true, |config| config.has_limits());
    let target = match &call.netns {
        Some(_) if limited => Target::find(call, call.conf.prev_result.as_ref()),
        _ => return delete_ifbs(&Netlink::open()?, call),
    };
    match target {
        Ok(target) if target.seat == Seat::Node => withdraw(call, &target),
        Ok(target) => {
            Error::collect([withdraw(call, &target), delete_ifbs(&Netlink::open()?, call)])
        }
        // The link is gone, or is none that could be limited.
        Err(e) if matches!(e.code, Code::InvalidEnvironment | Code::InvalidConfig) => {
            delete_ifbs(&Netlink::open()?, call)
        }
        Err(e) => Error::collect([Err(e), delete_ifbs(&Netlink::open()?, call)]),
    }
}

/// Takes away all that ADD puts on the link, and the ifb. The filters come first: what they redirect
/// to a link that is gone is lost.
fn withdraw(call: &Call, target: &Target) -> Result<()> {
    Error::collect([
        target.clear_hook().map(drop),
        target.clear_root(target.link.index).map(drop),
        delete_ifbs(&target.space, call),
    ])
}

/// Deletes the attachment's ifb, and what a killed ADD of it or the reference plugin has left.
fn delete_ifbs(space: &Netlink, call: &Call) -> Result<()> {
    let wanted = IfbOwner::of(call);
    Error::collect(wanted.names.iter().map(|name| {
        let found = space.link_by_name(name)?;
        match found.filter(|link| link.kind == Kind::Ifb && wanted.owner.may_own(&link.alias)) {
            Some(link) => Ok(space.delete_link(link.index).map(drop)?),
            None => Ok(()),
        }
    }))
}
