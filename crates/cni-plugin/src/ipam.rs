//! Delegation to the IPAM plugin named by `ipam.type`.
//!
//! Every function is a no-op on a configuration without `ipam.type`, but for the ADD pair, which
//! then yields an empty result.

use crate::{Call, NodeCall, log};
use cni_exec::{Delegate, Verb};
use cni_types::{CniResult, Code, Error, NetConf, PluginType, Result};
use ipnetwork::IpNetwork;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Starts the IPAM plugin's ADD; it works while the caller does something else.
///
/// A caller that may find out only then that the attachment exists already wants [`prepare_add`]:
/// undoing this ADD would release the addresses of the attachment that is there.
///
/// # Errors
/// [`Code::InvalidConfig`] when the plugin is not installed, [`Code::Program`] when it does not
/// start.
pub fn start_add(call: &Call) -> Result<PendingAdd<'_>> {
    prepare_add(call)?.begin()
}

/// An IPAM plugin that refuses a second ADD of one attachment, and then has changed nothing.
const REFUSES_TWICE: &str = "host-local";

/// Starts the IPAM plugin for an attachment that may turn out to exist already.
///
/// It begins its work only with [`PreparedAdd::begin`], so that its start-up costs no time, and
/// the addresses of an attachment that is there are safe. host-local begins at once: it refuses
/// a second ADD of one attachment, so whatever it leases is new.
///
/// # Errors
/// As [`start_add`]; [`Code::Io`] when it cannot be given its configuration.
pub fn prepare_add(call: &Call) -> Result<PreparedAdd<'_>> {
    let Some(plugin) = call.conf.ipam()? else {
        return Ok(PreparedAdd { call, state: None, begun: false });
    };
    let begun = plugin.as_str() == REFUSES_TWICE;
    let mut child = Delegate::start(&plugin, Verb::Add, &call.path)?;
    if begun {
        child.feed(&call.conf.document)?;
    }
    Ok(PreparedAdd { call, state: Some((plugin, child)), begun })
}

/// An IPAM ADD that waits for [`PreparedAdd::begin`]. Dropped before, nothing stays leased that
/// was not leased before.
#[derive(Debug)]
#[must_use = "nothing is leased before begin()"]
pub struct PreparedAdd<'a> {
    call: &'a Call,
    state: Option<(PluginType, Delegate)>,
    begun: bool,
}

impl<'a> PreparedAdd<'a> {
    /// Lets the IPAM plugin work: the attachment is new.
    ///
    /// # Errors
    /// [`Code::Io`] when it cannot be given its configuration.
    pub fn begin(mut self) -> Result<PendingAdd<'a>> {
        let mut state = self.state.take();
        if let Some((_, child)) = state.as_mut().filter(|_| !self.begun) {
            child.feed(&self.call.conf.document)?;
        }
        Ok(PendingAdd { call: self.call, state })
    }
}

impl Drop for PreparedAdd<'_> {
    fn drop(&mut self) {
        let Some((plugin, child)) = self.state.take().filter(|_| self.begun) else { return };
        // A refusal leased nothing: what is leased belongs to the attachment that is there.
        if child.finish().is_ok() {
            roll_back(self.call, &plugin);
        }
    }
}

/// An IPAM ADD under way. Dropped before [`PendingAdd::finish`], it is awaited and undone.
#[derive(Debug)]
#[must_use = "a pending ADD that is dropped is undone"]
pub struct PendingAdd<'a> {
    call: &'a Call,
    state: Option<(PluginType, Delegate)>,
}

impl<'a> PendingAdd<'a> {
    /// Waits for the result.
    ///
    /// # Errors
    /// The IPAM plugin's own error; [`Code::Decode`] for a result that cannot be read. In each
    /// case the IPAM plugin's DEL has been run, as the specification asks.
    pub fn finish(mut self) -> Result<Lease<'a>> {
        let call = self.call;
        let Some((plugin, child)) = self.state.take() else {
            return Ok(Lease { call, plugin: None, result: CniResult::default() });
        };
        let lease = Lease { call, plugin: Some(plugin), result: CniResult::default() };
        let document = child.finish()?.unwrap_or(Value::Null);
        let result = CniResult::from_value(&document, call.conf.version)
            .map_err(|e| e.context("result of the IPAM plugin"))?;
        if result.ips.is_empty() {
            return Err(Error::new(Code::InvalidConfig, "ipam: the IPAM plugin gave no address")
                .with_details(
                    "give it ranges or addresses, or leave ipam.type out for layer 2 only",
                ));
        }
        let mut lease = lease;
        lease.result = result;
        Ok(lease)
    }
}

impl Drop for PendingAdd<'_> {
    fn drop(&mut self) {
        if let Some((plugin, child)) = self.state.take() {
            // The outcome does not matter: DEL is due after a failed ADD too.
            let _outcome = child.finish();
            roll_back(self.call, &plugin);
        }
    }
}

/// Addresses held for this attachment. Dropped unkept, they are released.
#[derive(Debug)]
#[must_use = "a lease that is dropped is released"]
pub struct Lease<'a> {
    call: &'a Call,
    plugin: Option<PluginType>,
    result: CniResult,
}

impl Lease<'_> {
    /// What the IPAM plugin answered.
    pub fn result(&self) -> &CniResult {
        &self.result
    }

    /// Keeps the addresses.
    pub fn keep(mut self) -> CniResult {
        self.plugin = None;
        std::mem::take(&mut self.result)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(plugin) = self.plugin.take() {
            roll_back(self.call, &plugin);
        }
    }
}

/// Runs DEL after a failed ADD. ADD's own error is what the runtime has to see, and it will run
/// DEL again, so a failure here only goes to the log.
fn roll_back(call: &Call, plugin: &PluginType) {
    let doing = format!("releasing the addresses of {} after a failed ADD", call.container_id);
    log(doing, Delegate::run(plugin, Verb::Del, &call.path, &call.conf.document));
}

/// An IPAM plugin that tells a server of the release by the pod's own interface, so that its DEL is
/// of no use once that is gone.
const NEEDS_THE_LINK: &str = "dhcp";

/// Starts the IPAM plugin for DEL without letting it begin, so that its start-up costs no time.
///
/// dhcp does its work at once, while the interface is there: it takes the address from the pod
/// itself before it releases it.
///
/// # Errors
/// As [`start_add`].
pub fn prepare_del(call: &Call) -> Result<PreparedDel<'_>> {
    let Some(plugin) = call.conf.ipam()? else {
        return Ok(PreparedDel { call, child: None, done: Ok(()) });
    };
    let mut child = Delegate::start(&plugin, Verb::Del, &call.path)?;
    if plugin.as_str() != NEEDS_THE_LINK {
        return Ok(PreparedDel { call, child: Some(child), done: Ok(()) });
    }
    child.feed(&call.conf.document)?;
    Ok(PreparedDel { call, child: None, done: child.finish().map(drop) })
}

/// An IPAM DEL that waits for [`PreparedDel::release`].
#[derive(Debug)]
#[must_use = "nothing is released before release()"]
pub struct PreparedDel<'a> {
    call: &'a Call,
    child: Option<Delegate>,
    /// What came of one that did not wait.
    done: Result<()>,
}

impl PreparedDel<'_> {
    /// Releases the addresses.
    ///
    /// # Errors
    /// The IPAM plugin's own error.
    pub fn release(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return self.done };
        child.feed(&self.call.conf.document)?;
        child.finish().map(drop)
    }
}

/// Releases the addresses of the attachment.
///
/// # Errors
/// The IPAM plugin's own error; [`Code::InvalidConfig`] when it is not installed.
pub fn del(call: &Call) -> Result<()> {
    prepare_del(call)?.release()
}

/// Lets the IPAM plugin check its part.
///
/// # Errors
/// The IPAM plugin's own error.
pub fn check(call: &Call) -> Result<()> {
    forward(call.conf.ipam()?, Verb::Check, &call.path, &call.conf.document)
}

/// Lets the IPAM plugin collect its garbage.
///
/// # Errors
/// The IPAM plugin's own error.
pub fn gc(call: &NodeCall) -> Result<()> {
    forward(call.conf.ipam()?, Verb::Gc, &call.path, &call.conf.document)
}

/// Asks the IPAM plugin whether it can serve ADD.
///
/// # Errors
/// The IPAM plugin's own error; [`Code::NotAvailable`] when it is not installed.
pub fn status(call: &NodeCall) -> Result<()> {
    let Some(plugin) = call.conf.ipam()? else { return Ok(()) };
    missing_is_not_available(&plugin, &call.path)?;
    forward(Some(plugin), Verb::Status, &call.path, &call.conf.document)
}

/// Whether the IPAM configuration speaks of an IPv6 network anywhere: only its own plugin can read
/// it, but an IPv6 network is one for any of them.
pub fn names_v6(conf: &NetConf) -> bool {
    fn holds(value: &Value) -> bool {
        match value {
            Value::String(text) => text.parse::<IpNetwork>().is_ok_and(|net| net.is_ipv6()),
            Value::Array(list) => list.iter().any(holds),
            Value::Object(map) => map.values().any(holds),
            _ => false,
        }
    }
    conf.document.get("ipam").is_some_and(holds)
}

fn missing_is_not_available(plugin: &PluginType, path: &[PathBuf]) -> Result<()> {
    cni_exec::find(plugin, path)
        .map(drop)
        .map_err(|e| Error { code: Code::NotAvailable, ..e }.context("ipam"))
}

fn forward(
    plugin: Option<PluginType>,
    verb: Verb,
    path: &[impl AsRef<Path>],
    document: &Value,
) -> Result<()> {
    let Some(plugin) = plugin else { return Ok(()) };
    let path: Vec<PathBuf> = path.iter().map(|p| p.as_ref().to_owned()).collect();
    Delegate::run(&plugin, verb, &path, document).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ipv6_is_found_at_any_depth() {
        let names = |ipam: Value| {
            let conf = json!({"name": "n", "type": "t", "dns": {"search": ["::"]}, "ipam": ipam});
            names_v6(&NetConf::from_value(conf).expect("configuration"))
        };
        let ranges = json!({"ranges": [[{"subnet": "10.0.0.0/8"}], [{"subnet": "fd00::/64"}]]});
        assert!(names(ranges));
        assert!(names(json!({"addresses": [{"address": "fd00::5/64"}]})));
        assert!(!names(json!({"subnet": "10.0.0.0/8", "type": "x", "n": 1})));
    }
}
