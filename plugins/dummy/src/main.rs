//! CNI plugin: an interface that leads nowhere, for addresses.
//!
//! The pod gets addresses that are its own and reach nobody by this interface. The README documents
//! every key.

mod apply;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use netlink::Kind;
use std::process::ExitCode;

struct Dummy;

impl Plugin for Dummy {
    const ABOUT: &'static str = "podloom dummy: an interface that leads nowhere, for addresses";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        podlink::del(call, &Kind::Dummy)
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
    cni_plugin::run::<Dummy>()
}
