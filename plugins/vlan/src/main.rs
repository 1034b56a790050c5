//! CNI plugin: a VLAN of a link of the node.
//!
//! The pod gets one VLAN of a link of the node as its interface. The README documents every key.

mod apply;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use netlink::Kind;
use std::process::ExitCode;

struct Vlan;

impl Plugin for Vlan {
    const ABOUT: &'static str = "podloom vlan: a VLAN of a link of the node";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        podlink::del(call, &Kind::Vlan)
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
    cni_plugin::run::<Vlan>()
}
