//! ADD, CHECK and STATUS.

use crate::config::{Config, Place};
use crate::plan;
use crate::record::{self, Record, Records, Told};
use crate::subnet::Node;
use cni_plugin::verify::drift;
use cni_plugin::{Call, NodeCall, delegate, log};
use cni_types::{CniResult, Code, Error, Result, Version};
use nix::unistd::{AccessFlags, access};
use serde_json::Value;
use std::path::Path;

/// Lets the delegate attach the pod.
///
/// # Errors
/// [`Code::TryAgain`] when flanneld has not written its file yet; those of the configuration, of
/// the file, and of the delegate. Nothing is left then that DEL would not find.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    let place = Place::read(&call.conf);
    let node = Node::read(&place.subnet_file)?;
    let document = plan::delegate(&call.conf, &config, &node);
    let prepared = delegate::prepare_add(call, &config.plugin)?;
    let records = Records::at(&place.data_dir);
    let attachment = call.attachment();
    let old = records.find(&attachment, call.conf.name.as_str())?;
    let path = match &old {
        Some(record) => record.path().to_owned(),
        None => records.place_for(&attachment),
    };
    // A second ADD is the delegate's to refuse; until then the record is that of the first.
    let known = old.and_then(|record| record.told);
    if known.is_none() {
        records.write(&path, &attachment.ifname, &document)?;
    }
    match (prepared.run(&document), known) {
        (Ok(result), None) => Ok(result),
        (Ok(result), Some(told)) => {
            if told.document != document {
                // The old one serves DEL too: everything has the same owner.
                log("noting ADD", records.write(&path, &attachment.ifname, &document));
            }
            Ok(result)
        }
        (Err(error), None) => {
            undo(call, &config, (&path, &document), error.code);
            Err(error)
        }
        (Err(error), Some(_)) => Err(error),
    }
}

/// After a failed ADD the delegate's DEL is due (CNI 1.1.0, section 4), unless what was in the way
/// is another's. The record stays where that fails too, for the runtime's own DEL.
fn undo(call: &Call, config: &Config, (path, document): (&Path, &Value), cause: Code) {
    let undone = match cause {
        Code::Conflict => Ok(()),
        _ => delegate::del(call, &config.plugin, document),
    };
    log("undoing ADD", undone.and_then(|()| record::remove(path)));
}

/// Lets the delegate compare, and looks whether the pod's addresses still are those of this node.
///
/// # Errors
/// [`Code::Drift`]; those of the delegate.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    let place = Place::read(&call.conf);
    let result = call.prev_result()?;
    let record = Records::at(&place.data_dir).find(&call.attachment(), call.conf.name.as_str())?;
    let node = Node::read(&place.subnet_file);
    if let Ok(node) = &node
        && config.ipam_type == "host-local"
    {
        same_subnets(result, node)?;
    }
    let (plugin, document) = match (record.and_then(|record| record.told), node) {
        (Some(Told { plugin, document, .. }), _) => (plugin, document),
        (None, Ok(node)) => {
            let document = plan::delegate(&call.conf, &config, &node);
            (config.plugin, document)
        }
        (None, Err(_)) => {
            let subject = format!("record of {}", call.container_id);
            return Err(drift(subject, format!("is gone from {}", place.data_dir.display())));
        }
    };
    let mut document = document;
    document["cniVersion"] = call.conf.version.as_str().into();
    delegate::check(call, &plugin, &with_result(document, result))
}

/// A pod whose addresses are of a subnet that this node had before is reached by nobody on another
/// node.
fn same_subnets(result: &CniResult, node: &Node) -> Result<()> {
    for ip in &result.ips {
        let family = |subnet: &&ipnetwork::IpNetwork| subnet.is_ipv4() == ip.address.is_ipv4();
        let mut subnets = node.subnets.iter().filter(family).peekable();
        let first = subnets.peek().copied();
        if let Some(subnet) = first
            && !subnets.any(|subnet| subnet.contains(ip.address.ip()))
        {
            let cause = format!("is not in {subnet}, the subnet of this node by now");
            return Err(drift(format!("address {}", ip.address), cause));
        }
    }
    Ok(())
}

/// The configuration with `prevResult` in the form of its version, where that can tell it.
pub(crate) fn with_result(mut document: Value, result: &CniResult) -> Value {
    let version = document["cniVersion"].as_str().unwrap_or_default();
    let told = Version::parse(version).and_then(|version| result.to_value(version));
    if let Ok(told) = told {
        document["prevResult"] = told;
    }
    document
}

/// Whether ADD can be served: by flanneld's file, the directory of records, and the delegate.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason; those of the delegate.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let config = Config::read(&call.conf).map_err(unavailable)?;
    let place = Place::read(&call.conf);
    let node = Node::read(&place.subnet_file).map_err(unavailable)?;
    writable(&place.data_dir)?;
    delegate::status(call, &config.plugin, &plan::delegate(&call.conf, &config, &node))
}

/// Probes the directory, or the nearest above it that exists.
fn writable(dir: &Path) -> Result<()> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let refused = |cause: &str| {
        let subject = format!("dataDir {}: {}: {cause}", dir.display(), there.display());
        Error::new(Code::NotAvailable, subject).with_details("ADD must be able to write records")
    };
    if !there.is_dir() {
        return Err(refused("is not a directory"));
    }
    access(there, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| refused(errno.desc()))
}

/// Whether a record is of an attachment that is to stay.
pub(crate) fn is_valid(call: &NodeCall, record: &Record) -> bool {
    match &record.ifname {
        Some(ifname) => call.is_valid(&record.container_id, ifname),
        None => call.is_valid_container(&record.container_id),
    }
}
