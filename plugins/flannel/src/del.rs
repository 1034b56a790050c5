//! DEL and GC.

use crate::apply::{is_valid, with_result};
use crate::config::{Config, Place};
use crate::plan;
use crate::record::{self, Record, Records, Told};
use crate::subnet::Node;
use cni_plugin::{Call, NodeCall, delegate, log};
use cni_types::{Attachment, Error, PluginType, Result};
use serde_json::{Value, json};

/// What runtimes call an interface whose name the reference plugin has not noted.
const USUAL_INTERFACE: &str = "eth0";

/// Lets the delegate remove the attachment, by what it was told at ADD.
///
/// A record that is missing, torn, or another network's of the same container is made again from the
/// configuration and flanneld's file, or from the result where that is gone.
///
/// # Errors
/// Those of the delegate, as long as anything tells what may be left.
pub(crate) fn del(call: &Call) -> Result<()> {
    let place = Place::read(&call.conf);
    let attachment = call.attachment();
    let found = Records::at(&place.data_dir).find(&attachment, call.conf.name.as_str())?;
    let path = found.as_ref().map(|record| record.path().to_owned());
    let removed = match found.and_then(|record| record.told) {
        Some(Told { plugin, document, .. }) => by_record(call, &plugin, document),
        None => without_record(call, &place),
    };
    removed?;
    path.map_or(Ok(()), |path| record::remove(&path))
}

fn by_record(call: &Call, plugin: &PluginType, document: Value) -> Result<()> {
    let document = match &call.conf.prev_result {
        Some(result) => with_result(document, result),
        None => document,
    };
    delegate::del(call, plugin, &document)
}

fn without_record(call: &Call, place: &Place) -> Result<()> {
    // Nothing that ADD would refuse has been added.
    let Ok(config) = Config::read(&call.conf) else { return Ok(()) };
    let told = match (Node::read(&place.subnet_file), &call.conf.prev_result) {
        (Ok(node), _) => Some(node),
        (Err(_), Some(result)) => Some(Node::of_result(result)),
        (Err(_), None) => None,
    };
    let is_known = told.is_some();
    let document = plan::delegate(&call.conf, &config, &told.unwrap_or_default());
    let removed = by_record(call, &config.plugin, document);
    if is_known {
        return removed;
    }
    // Most likely this is a repeated DEL. A delegate that needs more than is known must not hold the
    // pod for ever.
    log(format!("{}: nothing is known of it", call.container_id), removed);
    Ok(())
}

/// Removes the attachments of this network that are not valid, each by its record and so with any
/// delegate, and lets the delegate collect the rest.
///
/// # Errors
/// Those of the delegate, all that there were.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let place = Place::read(&call.conf);
    let stale = stale(call, Records::at(&place.data_dir).all()?);
    let removed = stale.iter().map(|record| remove(call, record));
    let removed = Error::collect(removed);
    let rest = Config::read(&call.conf).and_then(|config| {
        let node = Node::read(&place.subnet_file).unwrap_or_default();
        let mut document = plan::delegate(&call.conf, &config, &node);
        document["cni.dev/valid-attachments"] = json!(call.valid);
        delegate::gc(call, &config.plugin, &document)
    });
    Error::collect([removed, rest])
}

/// The records that nobody needs: those of this network whose attachment is not valid, and torn
/// ones, which tell nothing.
fn stale(call: &NodeCall, records: Vec<Record>) -> Vec<Record> {
    let network = call.conf.name.as_str();
    let is_stale = |record: &Record| match &record.told {
        Some(told) => told.network == network && !is_valid(call, record),
        None => !is_valid(call, record),
    };
    records.into_iter().filter(is_stale).collect()
}

fn remove(call: &NodeCall, record: &Record) -> Result<()> {
    if let Some(Told { plugin, document, .. }) = &record.told {
        let ifname = record.ifname.as_deref().unwrap_or(USUAL_INTERFACE).to_owned();
        let attachment = Attachment { container_id: record.container_id.clone(), ifname };
        delegate::del_stale(call, &attachment, plugin, document)
            .map_err(|e| e.context(format!("container {}", record.container_id)))?;
    }
    record::remove(record.path())
}
