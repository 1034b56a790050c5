//! Delegation to another main plugin, whose whole configuration the caller writes (CNI 1.1.0,
//! section 4).

use crate::{Call, NodeCall};
use cni_exec::{Delegate, Verb};
use cni_types::{Attachment, CniResult, Code, Error, PluginType, Result};
use serde_json::Value;

/// Starts `plugin` for ADD. It begins its work only with [`PreparedAdd::run`], so that its
/// start-up costs no time.
///
/// # Errors
/// [`Code::InvalidConfig`] when the plugin is not installed, [`Code::Program`] when it does not
/// start.
pub fn prepare_add<'a>(call: &'a Call, plugin: &'a PluginType) -> Result<PreparedAdd<'a>> {
    Ok(PreparedAdd { call, plugin, child: Delegate::start(plugin, Verb::Add, &call.path)? })
}

/// An ADD that waits for [`PreparedAdd::run`]; dropped before, it has changed nothing.
#[derive(Debug)]
#[must_use = "nothing is done before run()"]
pub struct PreparedAdd<'a> {
    call: &'a Call,
    plugin: &'a PluginType,
    child: Delegate,
}

impl PreparedAdd<'_> {
    /// Lets the plugin attach the pod by `document`.
    ///
    /// # Errors
    /// The plugin's own error; [`Code::Decode`] for a result that cannot be read. DEL is due after
    /// any of them.
    pub fn run(mut self, document: &Value) -> Result<CniResult> {
        self.child.feed(document)?;
        let answer = self.child.finish()?.unwrap_or(Value::Null);
        CniResult::from_value(&answer, self.call.conf.version)
            .map_err(|e| e.context(format!("result of plugin {}", self.plugin)))
    }
}

/// Lets `plugin` remove the attachment that the call is about.
///
/// # Errors
/// The plugin's own error; [`Code::InvalidConfig`] when it is not installed.
pub fn del(call: &Call, plugin: &PluginType, document: &Value) -> Result<()> {
    Delegate::run(plugin, Verb::Del, &call.path, document).map(drop)
}

/// Lets `plugin` remove an attachment of a pod that nobody knows any more.
///
/// # Errors
/// As [`del`].
pub fn del_stale(
    call: &NodeCall,
    attachment: &Attachment,
    plugin: &PluginType,
    document: &Value,
) -> Result<()> {
    let variables = [
        ("CNI_CONTAINERID", attachment.container_id.as_str()),
        ("CNI_IFNAME", attachment.ifname.as_str()),
        ("CNI_NETNS", ""),
    ];
    let mut child = Delegate::start_with(plugin, Verb::Del, &call.path, &variables)?;
    child.feed(document)?;
    child.finish().map(drop)
}

/// Lets `plugin` check its attachment.
///
/// # Errors
/// The plugin's own error.
pub fn check(call: &Call, plugin: &PluginType, document: &Value) -> Result<()> {
    Delegate::run(plugin, Verb::Check, &call.path, document).map(drop)
}

/// Lets `plugin` collect its garbage.
///
/// # Errors
/// The plugin's own error.
pub fn gc(call: &NodeCall, plugin: &PluginType, document: &Value) -> Result<()> {
    Delegate::run(plugin, Verb::Gc, &call.path, document).map(drop)
}

/// Asks `plugin` whether it can serve ADD.
///
/// # Errors
/// The plugin's own error; [`Code::NotAvailable`] when it is not installed.
pub fn status(call: &NodeCall, plugin: &PluginType, document: &Value) -> Result<()> {
    cni_exec::find(plugin, &call.path).map_err(|e| Error { code: Code::NotAvailable, ..e })?;
    Delegate::run(plugin, Verb::Status, &call.path, document).map(drop)
}
