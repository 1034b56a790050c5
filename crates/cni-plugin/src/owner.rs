//! Whose a link on the node is.
//!
//! A link that a plugin makes on the node has a name that follows from its attachment, so that
//! DEL finds it with nothing else left, and an alias that spells the attachment out, so that GC
//! and a person can tell whose it is.

use crate::Call;
use cni_types::{Attachment, Code, Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;

/// The longest `ifalias` that the kernel keeps, in bytes.
const ALIAS_MAX: usize = 255;
/// Hex digits of the hash in a link's name.
const NAME_DIGITS: usize = 11;
/// Hex digits of the hash that stands for an attachment too long to be spelled out.
const ALIAS_DIGITS: usize = 32;

/// The owner of links: an attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    link: String,
    alias: String,
}

impl Owner {
    /// The attachment of `container_id` and `ifname` to `network`.
    pub fn new(network: &str, container_id: &str, ifname: &str) -> Owner {
        let key = format!("{network}/{container_id}/{ifname}");
        let link = format!("veth{}", &hash(&key)[..NAME_DIGITS]);
        let alias = format!("{}{container_id}/{ifname}", prefix(network));
        let alias = if alias.len() <= ALIAS_MAX {
            alias
        } else {
            format!("{}#{}", prefix(network), &hash(&alias)[..ALIAS_DIGITS])
        };
        Owner { link, alias }
    }

    /// The attachment that `call` is about.
    pub fn of(call: &Call) -> Owner {
        Owner::new(call.conf.name.as_str(), call.container_id.as_str(), call.ifname.as_str())
    }

    /// One of the attachments of a GC call.
    pub fn attachment(network: &str, attachment: &Attachment) -> Owner {
        Owner::new(network, &attachment.container_id, &attachment.ifname)
    }

    /// The name of its veth on the node: 15 bytes.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// The alias of its links on the node.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Whether a link that has the name [`Owner::link`] may be taken for this owner's: it says so,
    /// or its maker was killed before it could say anything.
    pub fn may_own(&self, alias: &str) -> bool {
        alias.is_empty() || alias == self.alias
    }
}

/// What the aliases of all links of `network` begin with.
pub fn prefix(network: &str) -> String {
    format!("podloom/{network}/")
}

/// Whether a name is one that [`Owner::link`] gives.
pub fn is_link_name(name: &str) -> bool {
    name.strip_prefix("veth").is_some_and(|rest| {
        rest.len() == NAME_DIGITS
            && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps GC from judging a link that is being made.
///
/// A link has no alias for a moment after it is made. ADD holds the gate shared over that moment;
/// GC takes it alone to list the links, so that one without an alias is what a killed ADD left.
/// The gate is a lock on the node's own network namespace: it needs no file, and a killed holder
/// lets go of it.
#[derive(Debug)]
#[must_use = "the gate closes when it is dropped"]
pub struct Gate {
    _namespace: File,
}

impl Gate {
    /// For a maker of links.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn shared() -> Result<Gate> {
        Gate::enter(File::lock_shared)
    }

    /// For a judge of links; waits for the makers.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn alone() -> Result<Gate> {
        Gate::enter(File::lock)
    }

    fn enter(lock: impl Fn(&File) -> std::io::Result<()>) -> Result<Gate> {
        let path = "/proc/thread-self/ns/net";
        let fault = |e| Error::new(Code::Io, format!("{path}: cannot be locked: {e}"));
        let namespace = File::open(path).map_err(fault)?;
        lock(&namespace).map_err(fault)?;
        Ok(Gate { _namespace: namespace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_attachment() {
        let owner = Owner::new("net", "pod", "eth0");
        // The first digits of: printf net/pod/eth0 | sha256sum
        assert_eq!(owner.link(), "veth9b10875c8df");
        assert_eq!(owner.alias(), "podloom/net/pod/eth0");
        assert!(owner.alias().starts_with(&prefix("net")));
        assert!(is_link_name(owner.link()));
        assert!(!is_link_name("veth0123abcd"));
        assert!(!is_link_name("veth0123456789G"));
        assert_ne!(Owner::new("net", "pod", "eth1").link(), owner.link());
        assert!(owner.may_own("") && owner.may_own("podloom/net/pod/eth0"));
        assert!(!owner.may_own("podloom/net/pod/eth1"));
    }

    #[test]
    fn a_long_alias_is_hashed() {
        let owner = Owner::new(&"n".repeat(200), &"c".repeat(200), "eth0");
        assert!(owner.alias().len() <= ALIAS_MAX);
        assert!(owner.alias().starts_with(&format!("{}#", prefix(&"n".repeat(200)))));
    }

    #[test]
    fn one_judge_or_many_makers() {
        let first = Gate::shared().expect("shared");
        let second = Gate::shared().expect("shared twice");
        let namespace = File::open("/proc/thread-self/ns/net").expect("open");
        assert!(namespace.try_lock().is_err());
        drop((first, second));
        drop(Gate::alone().expect("alone"));
    }
}
