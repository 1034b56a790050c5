//! What a verb is called with.

use cni_types::{Args, Attachment, CniResult, Code, ContainerId, Error, IfName, NetConf, Result};
use netns::Netns;
use std::path::PathBuf;

/// ADD, CHECK or DEL of one attachment.
#[derive(Debug)]
pub struct Call {
    /// The network configuration.
    pub conf: NetConf,
    /// The configuration as received, for what [`NetConf`] no longer tells.
    pub input: Vec<u8>,
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_IFNAME`.
    pub ifname: IfName,
    /// The pod's network namespace. Always there for ADD and CHECK; for DEL `None` when
    /// `CNI_NETNS` is empty, or names nothing or no namespace any more, or the plugin's own.
    pub netns: Option<Netns>,
    /// `CNI_NETNS` as given; for results.
    pub netns_path: String,
    /// `CNI_ARGS`.
    pub args: Args,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
}

impl Call {
    /// The pod's network namespace.
    ///
    /// # Errors
    /// [`Code::InvalidNetns`] when there is none, which only DEL can meet.
    pub fn pod(&self) -> Result<&Netns> {
        self.netns.as_ref().ok_or_else(|| {
            Error::new(Code::InvalidNetns, "CNI_NETNS: the network namespace is gone")
        })
    }

    /// `prevResult`.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] when it is absent.
    pub fn prev_result(&self) -> Result<&CniResult> {
        self.conf.prev_result.as_ref().ok_or_else(|| {
            Error::new(Code::InvalidConfig, "prevResult: is missing").with_details(
                "CHECK needs the result of ADD, and a chained plugin that of the plugin before it",
            )
        })
    }

    /// The attachment that the call is about.
    pub fn attachment(&self) -> Attachment {
        Attachment {
            container_id: self.container_id.as_str().to_owned(),
            ifname: self.ifname.as_str().to_owned(),
        }
    }
}

/// GC or STATUS of one network on the node.
#[derive(Debug)]
pub struct NodeCall {
    /// The network configuration.
    pub conf: NetConf,
    /// The attachments to keep; empty for STATUS.
    pub valid: Vec<Attachment>,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
}

impl NodeCall {
    /// Whether the attachment is to be kept.
    pub fn is_valid(&self, container_id: &str, ifname: &str) -> bool {
        self.valid.iter().any(|a| a.container_id == container_id && a.ifname == ifname)
    }

    /// Whether the container has any attachment to be kept.
    pub fn is_valid_container(&self, container_id: &str) -> bool {
        self.valid.iter().any(|a| a.container_id == container_id)
    }
}
