//! CNI plugin flannel: reads what flanneld tells of this node and lets another plugin attach the
//! pod accordingly. The README documents every key.

mod apply;
mod config;
mod del;
mod plan;
mod record;
mod subnet;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Flannel;

impl Plugin for Flannel {
    const ABOUT: &'static str = "podloom flannel: pods on the network that flanneld runs";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        del::del(call)
    }

    fn check(call: &Call) -> Result<()> {
        apply::check(call)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        del::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        apply::status(call)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Flannel>()
}
