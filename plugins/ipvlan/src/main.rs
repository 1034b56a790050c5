//! CNI plugin: an interface on a link of the node, with that link's hardware address.
//!
//! The pod gets an interface on top of a link of the node that shares its hardware address: the
//! kernel tells pods apart by their IP addresses. The README documents every key.

mod apply;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use netlink::Kind;
use std::process::ExitCode;

struct IpVlan;

impl Plugin for IpVlan {
    const ABOUT: &'static str =
        "podloom ipvlan: an interface on a link of the node, with that link's hardware address";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        podlink::del(call, &Kind::IpVlan)
    }

    fn check(call: &Call) -> Result<()> {
        apply::check(call)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        podlink::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        podlink::status(call, apply::ready(call))
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<IpVlan>()
}
