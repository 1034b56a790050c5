//! What the plugin and the daemon say to each other: one request and its answers on a connection,
//! each a length of four bytes, lowest first, and that many bytes of JSON.

use crate::lease::{Family, Lease};
use cni_types::{Attachment, Code, Error, Result};
use ipnetwork::IpNetwork;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Of both sides; one that is spoken to in another says so.
pub(crate) const VERSION: u32 = 1;
/// The longest frame, in bytes: a list of the attachments of a large node.
const FRAME_MAX: usize = 4 << 20;
const HEAD: usize = 4;

/// Whose lease: an attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Key {
    /// Name of the network.
    pub(crate) network: String,
    /// `CNI_CONTAINERID`.
    pub(crate) container_id: String,
    /// `CNI_IFNAME`.
    pub(crate) ifname: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

/// What is asked of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wish {
    /// At least one.
    pub(crate) families: Vec<Family>,
    /// Option 61 of DHCPv4, whole.
    pub(crate) client_id: Vec<u8>,
    /// The identity for DHCPv6.
    pub(crate) duid: Vec<u8>,
    /// Options to send along, DHCPv4.
    pub(crate) provide: Vec<(u8, Vec<u8>)>,
    /// Options to ask for, DHCPv4.
    pub(crate) request: Vec<u8>,
    /// Metric of all routes.
    pub(crate) priority: Option<u32>,
}

/// From the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// What to do.
    pub(crate) call: Call,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub(crate) enum Call {
    /// Lease addresses, and keep them. Answered by [`Reply::Working`], then [`Reply::Leased`].
    Add {
        /// For whom.
        key: Key,
        /// Path of the pod's namespace.
        netns: PathBuf,
        /// What to ask for.
        wish: Wish,
    },
    /// Give the addresses back. Answered by [`Reply::Done`].
    Del {
        /// Whose.
        key: Key,
    },
    /// See that the leases are kept, and are of these addresses. Answered by [`Reply::Done`].
    Check {
        /// Whose.
        key: Key,
        /// The pod's addresses, as ADD reported them.
        addresses: Vec<IpNetwork>,
    },
    /// Give back what none of these owns. Answered by [`Reply::Done`].
    Gc {
        /// Of this network only.
        network: String,
        /// What stays.
        valid: Vec<Attachment>,
    },
    /// Tell whether ADD would succeed. Answered by [`Reply::Done`].
    Status {
        /// On this network.
        network: String,
    },
}

/// From the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub(crate) enum Reply {
    /// It goes on; there is another answer within this time.
    Working {
        /// In milliseconds.
        within: u64,
    },
    /// The leases, in the order of [`Wish::families`].
    Leased {
        /// At least one.
        leases: Vec<Lease>,
    },
    /// It is done.
    Done,
    /// It failed, as the plugin's own failures do.
    Failed {
        /// Number of [`Code`].
        code: u32,
        /// Subject and cause.
        msg: String,
        /// What to do.
        details: String,
    },
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        Reply::Failed { code: error.code.number(), msg: error.msg, details: error.details }
    }
}

/// A message as a frame.
///
/// # Errors
/// It is too long.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    let broken = |cause: String| Error::new(Code::Internal, format!("message: {cause}"));
    let json = serde_json::to_vec(message).map_err(|e| broken(e.to_string()))?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() <= FRAME_MAX);
    let length = length.ok_or_else(|| broken(format!("{} bytes are too long", json.len())))?;
    Ok([&length.to_le_bytes(), json.as_slice()].concat())
}

/// Takes the first message off what has been received; `None` while it is not whole.
///
/// # Errors
/// It is too long, or not what is expected.
pub(crate) fn take<T: DeserializeOwned>(received: &mut Vec<u8>) -> Result<Option<T>> {
    let broken = |cause: String| {
        Error::new(Code::Decode, format!("message: {cause}"))
            .with_details("plugin and daemon must be podloom's both, of releases that go together")
    };
    let Some(head) = received.first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > FRAME_MAX {
        return Err(broken(format!("{length} bytes are too long")));
    }
    let Some(json) = received.get(HEAD..HEAD + length) else { return Ok(None) };
    let message = serde_json::from_slice(json).map_err(|e| broken(e.to_string()))?;
    received.drain(..HEAD + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_pieces() {
        let frame = encode(&Reply::Working { within: 7 }).expect("frame");
        let mut received = Vec::new();
        for (n, byte) in frame.iter().enumerate() {
            received.push(*byte);
            let taken = take::<Reply>(&mut received).expect("no fault");
            assert_eq!(taken.is_some(), n + 1 == frame.len());
        }
        assert!(received.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(take::<Reply>(&mut vec![255; 8]).is_err());
        let mut other = [&2_u32.to_le_bytes(), &b"{}"[..]].concat();
        assert!(take::<Reply>(&mut other).is_err());
    }
}
