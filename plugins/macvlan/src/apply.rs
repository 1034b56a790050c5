//! ADD, CHECK and STATUS: what podlink does not know of this kind of link.

use crate::config::Config;
use crate::plan;
use cni_plugin::{Call, NodeCall};
use cni_types::{Args, CniResult, Result};
use netlink::{Kind, Netlink};
use podlink::Wish;
use std::os::fd::AsFd;

fn wish(config: &Config) -> Wish {
    Wish::of(Kind::MacVlan, &config.dns)
}

/// Makes the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf, &call.args)?;
    podlink::add(call, &wish(&config), |node, pod| {
        let (space, target) = match config.master_in_pod {
            true => (pod, None),
            false => (node, Some(call.pod()?.as_fd())),
        };
        let parent = podlink::parent(space, &config.master)?;
        let link = plan::link(&config, &parent, (call.ifname.as_str(), target))?;
        podlink::made(call, space.create_macvlan(&link))
    })
}

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf, &call.args)?;
    podlink::check(call, &wish(&config)).map(drop)
}

/// Whether the link below is there; one in the pod cannot be known without a pod.
pub(crate) fn ready(call: &NodeCall) -> Result<()> {
    let config = Config::read(&call.conf, &Args::default())?;
    if config.master_in_pod {
        return Ok(());
    }
    let parent = podlink::parent(&Netlink::open()?, &config.master)?;
    podlink::mtu(config.mtu, &parent).map(drop)
}
