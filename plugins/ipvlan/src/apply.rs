//! ADD, CHECK and STATUS: what podlink does not know of this kind of link.

use crate::config::{self, Config};
use crate::plan;
use cni_plugin::verify::drift;
use cni_plugin::{Call, NodeCall};
use cni_types::{CniResult, Result};
use netlink::{Kind, Netlink};
use podlink::Wish;
use std::os::fd::AsFd;

/// Makes the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    let given = config::given(&call.conf)?;
    let master = config::master(&config, &call.conf)?;
    let wish = Wish { given, ..Wish::of(Kind::IpVlan, &config.dns) };
    podlink::add(call, &wish, |node, pod| {
        let (space, target) = match config.master_in_pod {
            true => (pod, None),
            false => (node, Some(call.pod()?.as_fd())),
        };
        let parent = podlink::parent(space, master)?;
        let place = plan::place(&config, &parent, (call.ifname.as_str(), target))?;
        podlink::made(call, space.create_ipvlan(&place, parent.index, config.mode))
    })
}

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    let link = podlink::check(call, &Wish::of(Kind::IpVlan, &config.dns))?;
    match link.ipvlan {
        Some(mode) if mode != config.mode => {
            let cause = format!("is in mode {mode:?}, not {:?}", config.mode);
            Err(drift(format!("interface {}", link.name), cause))
        }
        _ => Ok(()),
    }
}

/// Whether the link below is there, if it is named and not in a pod.
pub(crate) fn ready(call: &NodeCall) -> Result<()> {
    let config = Config::read(&call.conf)?;
    // Without a name it may be the interface of an earlier plugin, which STATUS does not know.
    if config.master_in_pod || config.master.is_empty() {
        return Ok(());
    }
    let parent = podlink::parent(&Netlink::open()?, &config.master)?;
    podlink::mtu(config.mtu, &parent).map(drop)
}
