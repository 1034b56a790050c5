//! CNI plugin: the pod's loopback interface.
//!
//! A pod is born with `lo` down. ADD sets it up and reports it; whatever `CNI_IFNAME` says, the
//! interface is `lo`. The README has the details.

mod apply;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

/// The loopback plugin.
struct Loopback;

impl Plugin for Loopback {
    const ABOUT: &'static str = "podloom loopback: the pod's loopback interface";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        apply::check(call)
    }

    /// Nothing of this plugin's is on the node: `lo` goes with its namespace.
    fn gc(_: &NodeCall) -> Result<()> {
        Ok(())
    }

    fn status(_: &NodeCall) -> Result<()> {
        apply::status()
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Loopback>()
}
