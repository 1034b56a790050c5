//! CNI plugin: an interface of its own on a link of the node.
//!
//! The pod gets an interface with a hardware address of its own on top of a link of the node, and is
//! a neighbour of whatever that link leads to. The README documents every key.

mod apply;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use netlink::Kind;
use std::process::ExitCode;

struct MacVlan;

impl Plugin for MacVlan {
    const ABOUT: &'static str = "podloom macvlan: an interface of its own on a link of the node";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        podlink::del(call, &Kind::MacVlan)
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
    cni_plugin::run::<MacVlan>()
}
