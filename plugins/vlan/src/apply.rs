//! ADD, CHECK and STATUS: what podlink does not know of this kind of link.

use crate::config::Config;
use crate::plan;
use cni_plugin::verify::drift;
use cni_plugin::{Call, NodeCall};
use cni_types::{CniResult, Code, Error, Result};
use netlink::{Kind, Netlink};
use podlink::Wish;
use std::os::fd::AsFd;

/// Makes the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    podlink::add(call, &Wish::of(Kind::Vlan, &config.dns), |node, pod| {
        let (space, target) = match config.master_in_pod {
            true => (pod, None),
            false => (node, Some(call.pod()?.as_fd())),
        };
        let parent = podlink::parent(space, &config.master)?;
        let place = plan::place(&config, &parent, (call.ifname.as_str(), target))?;
        match space.create_vlan(&place, parent.index, config.id) {
            // The kernel says the same of a name that is taken as of a VLAN that is.
            Err(e) if e.is_exists() && pod.link_by_name(call.ifname.as_str())?.is_none() => {
                Err(taken(&config))
            }
            other => podlink::made(call, other),
        }
    })
}

fn taken(config: &Config) -> Error {
    let Config { id, master, .. } = config;
    Error::new(Code::Conflict, format!("VLAN {id} of {master}: has an interface already"))
        .with_details("a VLAN of a link is one interface, of the node or of one pod")
}

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    let link = podlink::check(call, &Wish::of(Kind::Vlan, &config.dns))?;
    match link.vlan {
        Some(id) if id != config.id => {
            let cause = format!("is VLAN {id}, not {}", config.id);
            Err(drift(format!("interface {}", link.name), cause))
        }
        _ => Ok(()),
    }
}

/// Whether the link below is there; one in the pod cannot be known without a pod.
pub(crate) fn ready(call: &NodeCall) -> Result<()> {
    let config = Config::read(&call.conf)?;
    if config.master_in_pod {
        return Ok(());
    }
    let parent = podlink::parent(&Netlink::open()?, &config.master)?;
    podlink::mtu(config.mtu, &parent).map(drop)
}
