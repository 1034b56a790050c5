//! ADD, CHECK and STATUS: what podlink does not know of this kind of link.

use crate::config::Config;
use crate::plan;
use cni_plugin::{Call, NodeCall};
use cni_types::{CniResult, Result};
use netlink::Kind;
use podlink::Wish;

fn wish(config: &Config) -> Wish {
    Wish::of(Kind::Dummy, &config.dns)
}

/// Makes the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    podlink::add(call, &wish(&config), |_, pod| {
        podlink::made(call, pod.create_dummy(&plan::place(call.ifname.as_str())))
    })
}

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    podlink::check(call, &wish(&config)).map(drop)
}

/// Whether the configuration is valid: nothing else is needed of the node.
pub(crate) fn ready(call: &NodeCall) -> Result<()> {
    Config::read(&call.conf).map(drop)
}
