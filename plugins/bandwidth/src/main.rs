//! CNI plugin bandwidth: limits of what a pod sends and receives on the interface that an earlier
//! plugin of the chain made. The README documents every key.

mod apply;
mod check;
mod collect;
mod config;
mod plan;
mod probe;
mod target;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Bandwidth;

impl Plugin for Bandwidth {
    const ABOUT: &'static str = "podloom bandwidth: limits of what a pod sends and receives";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        check::check(call)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        collect::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        probe::status(call)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Bandwidth>()
}
