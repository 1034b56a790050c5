//! What a pod's network came to be.

use std::net::IpAddr;
use std::path::PathBuf;

/// The network of one pod; without attachments where the pod uses the node's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// The pinned network namespace; `None` for pods on the node's network.
    pub netns: Option<PathBuf>,
    /// Addresses of `eth0`, in the order in which the plugins gave them. The first is the pod's IP.
    pub ips: Vec<IpAddr>,
    /// All attachments; the first is `eth0`.
    pub attachments: Vec<Attached>,
}

/// One interface of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// The network's name.
    pub network: String,
    /// The interface in the pod.
    pub ifname: String,
    /// The result of ADD, as the last plugin gave it (CNI 1.1.0, section 5): JSON as text, which takes a
    /// tenth of the memory.
    pub result: String,
}
