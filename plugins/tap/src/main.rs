//! CNI plugin: a TAP interface for a virtual machine in the pod.
//!
//! What the pod sends to the interface, a program in the pod reads, and the reverse. The README
//! documents every key.

mod apply;
mod config;
mod plan;
mod tun;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use netlink::Kind;
use std::process::ExitCode;

struct Tap;

impl Plugin for Tap {
    const ABOUT: &'static str = "podloom tap: a TAP interface for a virtual machine in the pod";

    fn add(call: &Call) -> Result<CniResult> {
        apply::add(call)
    }

    fn del(call: &Call) -> Result<()> {
        podlink::del(call, &Kind::Tun)
    }

    fn check(call: &Call) -> Result<()> {
        apply::check(call)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        podlink::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        podlink::status(call, apply::ready(call))
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<Tap>()
}
