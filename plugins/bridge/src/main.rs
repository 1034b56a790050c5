//! CNI plugin: pods on a Linux bridge.
//!
//! ADD makes a veth pair, one end in the pod and the other a port of the bridge, gives the pod its
//! addresses and routes, and where asked the bridge the gateway's address, masquerade, VLANs and
//! a check of source hardware addresses. Its README documents every key.

mod apply;
mod check;
mod config;
mod gateway;
mod plan;
mod pod;
mod remove;
mod tune;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

/// The bridge plugin.
struct Bridge;

impl Plugin for Bridge {
    const ABOUT: &'static str = "podloom bridge: pods on a Linux bridge";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        remove::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        check::check(call)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        remove::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        check::status(call)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Bridge>()
}
