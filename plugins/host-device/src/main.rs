//! CNI plugin: a device of the node moved into a pod.
//!
//! The pod gets the device itself: a network card, a virtual function, a subfunction, or one end
//! of a link. DEL gives it back under its old name. The README documents every key.

mod apply;
mod config;
mod device;
mod plan;
mod transfer;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct HostDevice;

impl Plugin for HostDevice {
    const ABOUT: &'static str = "podloom host-device: a device of the node moved into a pod";

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
        apply::gc(call)
    }

    fn status(call: &NodeCall) -> Result<()> {
        podlink::status(call, apply::ready(call))
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<HostDevice>()
}
