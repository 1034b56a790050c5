//! `static`: addresses as they are written.
//!
//! An IPAM plugin; main plugins run it by its name in `ipam.type`. It keeps nothing on the node.

mod apply;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use config::Config;
use std::process::ExitCode;

struct Static;

impl Plugin for Static {
    const ABOUT: &'static str = "podloom static: IP addresses as they are written";

    fn add(call: &Call) -> Result<CniResult> {
        Ok(plan::result(&Config::read(&call.conf, &call.args)?))
    }

    /// Nothing was kept, so nothing is read either: a configuration that has become invalid must
    /// not keep a pod from being deleted.
    fn del(_: &Call) -> Result<()> {
        Ok(())
    }

    fn check(call: &Call) -> Result<()> {
        apply::check(&plan::result(&Config::read(&call.conf, &call.args)?), call.prev_result()?)
    }

    /// Nothing of this plugin's is on the node.
    fn gc(_: &NodeCall) -> Result<()> {
        Ok(())
    }

    fn status(call: &NodeCall) -> Result<()> {
        Config::read_for_status(&call.conf).map(|_| ())
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Static>()
}
