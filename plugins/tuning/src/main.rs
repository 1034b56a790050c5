//! CNI plugin tuning: sysctls of the pod, and settings of its interface that an earlier plugin of
//! the chain made.
//!
//! What was there before is kept in a file, and put back by DEL. The README documents every key.

mod allowlist;
mod apply;
mod backup;
mod collect;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Tuning;

impl Plugin for Tuning {
    const ABOUT: &'static str = "podloom tuning: sysctls and link settings of a pod";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        apply::check(call)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        collect::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        collect::status(call)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Tuning>()
}
