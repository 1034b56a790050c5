//! ADD: the pair is made.

use cni_plugin::{Call, Gate, Owner, Undo, log};
use cni_types::{Code, Error, Result};
use netlink::{Change, Kind, Link, Mac, Netlink, Peer, PortFlags, Veth};
use std::os::fd::AsFd;

/// A pair to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    /// In bytes, for both ends; the kernel's choice where absent.
    pub mtu: Option<u32>,
    /// The address of the pod's end; random where absent.
    pub mac: Option<Mac>,
    /// The index of the bridge that the node's end joins.
    pub master: Option<u32>,
    /// Its settings as a port of that bridge.
    pub port: PortFlags,
    /// Whether the node's end is set up at once.
    pub up: bool,
}

/// Makes the veth pair of the attachment; its node's end, which is returned, names its owner.
///
/// # Errors
/// [`Code::Conflict`] when the pod has an interface of that name, or the node a link that is not
/// this attachment's; those of the kernel. Nothing is left of a pair that could not be completed.
pub fn make(node: &Netlink, call: &Call, wish: &Wish) -> Result<Link> {
    let owner = Owner::of(call);
    let pair = Veth {
        name: owner.link(),
        mtu: wish.mtu,
        mac: None,
        master: wish.master,
        up: wish.up,
        peer: Peer {
            name: call.ifname.as_str(),
            namespace: Some(call.pod()?.as_fd()),
            mac: wish.mac,
        },
    };
    let _gate = Gate::shared()?;
    if let Err(refused) = node.create_veth(&pair) {
        if !refused.is_exists() {
            return Err(refused.into());
        }
        clear_the_way(node, call, &owner)?;
        node.create_veth(&pair)?;
    }
    let made = Undo::new(|| log("undoing ADD", node.delete_link_by_name(owner.link())));
    let link = node.expect_link(owner.link())?;
    let port = Some(wish.port).filter(|flags| *flags != PortFlags::default());
    node.change(link.index, &Change { alias: Some(owner.alias()), port, ..Change::default() })?;
    made.keep();
    Ok(link)
}

/// Finds out which name of the pair is taken. In the pod that is for the caller to resolve; on
/// the node it is the end of an earlier pair of this attachment, whose pod was replaced.
fn clear_the_way(node: &Netlink, call: &Call, owner: &Owner) -> Result<()> {
    let ifname = call.ifname.as_str();
    if let Some(link) = Netlink::open_in(call.pod()?)?.link_by_name(ifname)? {
        return Err(Error::new(
            Code::Conflict,
            format!("CNI_IFNAME: the pod has an interface {ifname} already, a {}", link.kind),
        )
        .with_details("run DEL first, or use another interface name"));
    }
    let Some(link) = node.link_by_name(owner.link())? else { return Ok(()) };
    if link.kind == Kind::Veth && owner.may_own(&link.alias) {
        node.delete_link(link.index)?;
        return Ok(());
    }
    Err(Error::new(
        Code::Conflict,
        format!("link {}: the name is taken by {:?}", link.name, link.alias),
    )
    .with_details("remove or rename that link: this attachment's has that name"))
}
