//! CNI plugin: a routed veth pair per pod.
//!
//! Every pod hangs on the node by a veth pair of its own. The node's end has the gateway's address
//! as a host address and a host route to the pod; the pod reaches everything, its own subnet too,
//! through that gateway. The README documents every key.

mod apply;
mod check;
mod config;
mod plan;
mod remove;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

/// The ptp plugin.
struct Ptp;

impl Plugin for Ptp {
    const ABOUT: &'static str = "podloom ptp: a routed veth pair per pod";

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
    cni_plugin::run::<Ptp>()
}
