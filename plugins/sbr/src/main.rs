//! CNI plugin: routing by source address.
//!
//! In a pod with several interfaces, what is sent from an interface's address leaves by that
//! interface, whatever the pod's other routes say. The README documents every key.

mod apply;
mod config;
mod plan;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Sbr;

impl Plugin for Sbr {
    const ABOUT: &'static str = "podloom sbr: routing by source address in a pod";

    fn add(call: &Call) -> Result<CniResult> {
        let config = config::Config::read(&call.conf)?;
        let result = call.prev_result()?;
        let sources = plan::sources(result, call.ifname.as_str(), &config)?;
        apply::add(call, &config, &sources)?;
        Ok(result.clone())
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        let config = config::Config::read(&call.conf)?;
        let sources = plan::sources(call.prev_result()?, call.ifname.as_str(), &config)?;
        apply::check(call, &config, &sources)
    }

    /// Nothing of an attachment is on the node: rules and tables end with the pod's namespace.
    fn gc(_: &NodeCall) -> Result<()> {
        Ok(())
    }

    fn status(call: &NodeCall) -> Result<()> {
        config::Config::read(&call.conf)?;
        apply::status()
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Sbr>()
}
