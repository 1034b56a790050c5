//! The container's side of an attachment: what the runtime says for each call.

use crate::{Error, Kind, Result};
use cni_types::{Attachment, Code, ContainerId, IfName};
use serde_json::{Map, Value};

/// One container interface to attach, verify or detach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_IFNAME`.
    pub ifname: IfName,
    /// `CNI_NETNS`: the path of the network namespace; empty when it is gone (DEL).
    pub netns: String,
    /// `CNI_ARGS`. Where empty, DEL and CHECK use those of the ADD.
    pub args: Vec<(String, String)>,
    /// Capability arguments by name: `portMappings`, `ips`, `mac`, ... Where empty, DEL and CHECK
    /// use those of the ADD.
    pub capability_args: Map<String, Value>,
}

impl Pod {
    /// A pod without arguments.
    ///
    /// # Errors
    /// [`Kind::Request`] for an invalid container ID or interface name.
    pub fn new(container_id: &str, ifname: &str, netns: &str) -> Result<Pod> {
        let refuse = |e| Error::new(Kind::Request, e);
        Ok(Pod {
            container_id: ContainerId::parse(container_id).map_err(refuse)?,
            ifname: IfName::parse(ifname).map_err(refuse)?,
            netns: netns.to_owned(),
            args: Vec::new(),
            capability_args: Map::new(),
        })
    }

    /// The name of the attachment, as GC lists it.
    pub fn attachment(&self) -> Attachment {
        Attachment {
            container_id: self.container_id.as_str().to_owned(),
            ifname: self.ifname.as_str().to_owned(),
        }
    }

    /// `CNI_ARGS` as one string.
    ///
    /// # Errors
    /// [`Kind::Request`] for a pair that would read as something else.
    pub(crate) fn args_text(&self) -> Result<String> {
        let mut text = String::new();
        for (key, value) in &self.args {
            let bad =
                key.is_empty() || key.contains(['=', ';', '\0']) || value.contains([';', '\0']);
            if bad {
                let cause = cni_types::Error::new(
                    Code::InvalidEnvironment,
                    format!("CNI_ARGS: {key:?}={value:?} cannot be written as KEY=VALUE"),
                );
                return Err(Error::new(
                    Kind::Request,
                    cause.with_details("a key holds no '=' and neither part a ';'"),
                ));
            }
            let gap = if text.is_empty() { "" } else { ";" };
            text.push_str(&format!("{gap}{key}={value}"));
        }
        Ok(text)
    }
}
