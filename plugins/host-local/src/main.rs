//! `host-local`: addresses from ranges, leases on the local disk.
//!
//! An IPAM plugin; main plugins run it by its name in `ipam.type`. The README beside this file
//! has every key, the format on disk, and why it is so.

mod apply;
mod boot;
mod config;
mod hash;
mod index;
mod plan;
mod range;
mod resolv;
#[cfg(test)]
mod scratch;
mod store;

use boot::Boot;
use cni_plugin::{Call, NodeCall, Plugin};
use cni_types::{CniResult, Result};
use config::{Config, Place};
use std::process::ExitCode;

struct HostLocal;

impl Plugin for HostLocal {
    const ABOUT: &'static str = "podloom host-local: IP addresses from ranges, leased on this node";

    fn add(call: &Call) -> Result<CniResult> {
        let config = Config::read(&call.conf, &call.args)?;
        let dns = match config.resolv_conf.as_str() {
            "" => None,
            path => Some(resolv::read(path)?),
        };
        let result = apply::add(&config, &call.attachment(), Boot::current()?)?;
        Ok(CniResult { dns: dns.unwrap_or_default(), ..result })
    }

    fn del(call: &Call) -> Result<()> {
        apply::del(&Place::read(&call.conf)?, &call.attachment(), Boot::current()?)
    }

    fn check(call: &Call) -> Result<()> {
        let config = Config::read(&call.conf, &call.args)?;
        apply::check(&config, &call.attachment(), call.prev_result()?, Boot::current()?)
    }

    fn gc(call: &NodeCall) -> Result<()> {
        apply::gc(&Place::read(&call.conf)?, &call.valid, Boot::current()?)
    }

    fn status(call: &NodeCall) -> Result<()> {
        apply::status(&Config::read_for_status(&call.conf)?, Boot::current()?)
    }
}

fn main() -> ExitCode {
    cni_plugin::run::<HostLocal>()
}
