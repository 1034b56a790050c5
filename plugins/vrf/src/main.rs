//! CNI plugin vrf: puts the pod's interface, which an earlier plugin of the chain has made, into a
//! VRF of the pod. The README documents every key.

mod apply;
mod check;
mod config;
mod plan;
mod transfer;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Vrf;

impl Plugin for Vrf {
    const ABOUT: &'static str = "podloom vrf: the pod's interface in a VRF";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        check::check(call)
    }

    /// All it makes is in pods, and goes with them.
    fn gc(_: &NodeCall) -> Result<()> {
        Ok(())
    }

    fn status(call: &NodeCall) -> Result<()> {
        check::status(call)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Vrf>()
}
