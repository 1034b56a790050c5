//! CNI plugin: what may go to and from a pod.
//!
//! Admits what a pod sends and what answers it, isolates its bridge, and drops what it sends in
//! others' names. The README documents every key.

mod apply;
mod cache;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Firewall;

impl Plugin for Firewall {
    const ABOUT: &'static str = "podloom firewall: what may go to and from a pod";

    fn add(call: &Call) -> Result<CniResult> {
        let config = config::Config::read(&call.conf)?;
        let result = call.prev_result()?;
        apply::add(call, &plan::Plan::new(&config, result)?, &config)?;
        Ok(result.clone())
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        let config = config::Config::read(&call.conf)?;
        let plan = plan::Plan::new(&config, call.prev_result()?)?;
        apply::check(call, &plan, &config)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        apply::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        apply::status(&config::Config::read(&call.conf)?)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Firewall>()
}
