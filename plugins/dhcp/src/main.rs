//! `dhcp`: addresses from a DHCP server.
//!
//! An IPAM plugin; main plugins run it by its name in `ipam.type`. `dhcp daemon` is the process that
//! has the leases and keeps them; the plugin asks it over a socket. The README documents every key.

mod apply;
mod clock;
mod config;
mod daemon;
mod dial;
mod exchange;
mod give_back;
mod lease;
mod options;
mod plan;
mod pod;
mod protocol;
mod store;
mod sys;
mod wire;

use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use std::process::ExitCode;

struct Dhcp;

impl Plugin for Dhcp {
    const ABOUT: &'static str =
        "podloom dhcp: IP addresses from a DHCP server; 'dhcp daemon' keeps the leases";

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
        apply::status(call)
    }
}

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1);
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    match words.next().as_deref() {
        Some("daemon") => daemon::main(words),
        _ => cni_plugin::run::<Dhcp>(),
    }
}
