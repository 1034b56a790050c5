//! STATUS: whether the kernel has what ADD needs.

use crate::config::{Config, Scope};
use crate::plan::{Plan, Seat, Side};
use crate::target::needs;
use cni_plugin::NodeCall;
use cni_types::{Code, Error, Result};
use netlink::traffic::Qdisc;
use netlink::{Netlink, Place};
use netns::Netns;

/// Loopback, which every namespace has.
const LOOPBACK: u32 = 1;

/// Tries everything in a namespace that nobody else sees: whether a kernel has a discipline cannot
/// be asked, and using it loads its module.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let config = Config::read(&call.conf).map_err(unavailable)?;
    let capable = call.conf.document.pointer("/capabilities/bandwidth");
    if config.has_limits() || capable.and_then(|on| on.as_bool()).unwrap_or(false) {
        tried(&config.scope).map_err(unavailable)?;
    }
    Ok(())
}

fn tried(scope: &Scope) -> Result<()> {
    let space = Netlink::open_in(&Netns::anonymous()?)?;
    let any = Config { scope: scope.clone(), ..Config::any() };
    let plan = Plan::new(&any, Seat::Node, 1500);
    let Plan { sends: Some(sends), receives: Some(receives) } = plan else { return Ok(()) };
    let name = "ifb";
    space.create_ifb(&Place { name, ..Place::default() }).map_err(|e| needs(e, "ifb"))?;
    let ifb = space.expect_link(name)?.index;
    space.add_qdisc(&receives.bucket_at(ifb)).map_err(|e| needs(e, "sch_tbf"))?;
    space.add_qdisc(&Qdisc::ingress(LOOPBACK)).map_err(|e| needs(e, "sch_ingress"))?;
    for filter in receives.receiving_filters(LOOPBACK, ifb) {
        space.add_filter(&filter).map_err(|e| needs(e, "cls_u32 and act_mirred"))?;
    }
    classes(&space, &sends)
}

fn classes(space: &Netlink, sends: &Side) -> Result<()> {
    let Some((class, queue)) = sends.class(LOOPBACK) else { return Ok(()) };
    space.add_qdisc(&sends.root(LOOPBACK)).map_err(|e| needs(e, "sch_htb"))?;
    space.add_class(&class)?;
    space.add_qdisc(&queue).map_err(|e| needs(e, "sch_fifo"))?;
    Ok(())
}
