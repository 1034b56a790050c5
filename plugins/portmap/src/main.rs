//! CNI plugin portmap: forwards ports of the node to the pod's addresses of `prevResult`.

mod apply;
mod config;
mod flows;
mod plan;
mod rules;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Portmap;

impl Plugin for Portmap {
    const ABOUT: &'static str = "podloom portmap: forwards ports of the node to a pod";

    fn add(call: &Call) -> Result<CniResult> {
        let config = config::Config::parse(&call.conf)?;
        let result = call.prev_result()?;
        apply::add(&plan::Plan::new(call, config, result))?;
        Ok(result.clone())
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(&plan::Leaving::new(call))
    }

    fn check(call: &Call) -> Result<()> {
        let config = config::Config::parse(&call.conf)?;
        apply::check(&plan::Plan::new(call, config, call.prev_result()?))
    }

    fn gc(call: &NodeCall) -> Result<()> {
        apply::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        apply::status(&config::Config::parse(&call.conf)?)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Portmap>()
}
