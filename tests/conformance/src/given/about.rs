//! What an author knows about a plugin and a trial cannot find out.

use crate::error::{Error, Result};
use lab::Drift;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The file of `--about`. All keys may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct About {
    /// Commands that make a node ready, such as a link for a `master`; those with `${POD}` are run
    /// once for each pod, the others once for each node. Words are parted by blanks; a command whose
    /// last word is `&` runs as long as the node.
    pub setup: Vec<String>,
    /// Type of link without which the plugin cannot work, as `ip link add` names it.
    pub kernel: String,
    /// Further variables of the plugin's environment.
    pub env: BTreeMap<String, String>,
    /// Texts of lines of the node's state that must be new after ADD.
    pub makes: Vec<String>,
    /// Texts of lines that may stay after the first ADD and DEL on a fresh node. Left out: anything may.
    pub stays: Option<Vec<String>>,
    /// Values of a wrong type, and values that are not valid.
    pub wrong: Vec<Bad>,
    /// The same.
    pub invalid: Vec<Bad>,
    /// Changes that CHECK must see.
    pub drifts: Option<Vec<Change>>,
    /// Whether a second ADD must be refused or accepted.
    pub repeat: Option<Again>,
    /// Whether GC finds all that a forgotten pod left.
    pub collects: Option<bool>,
    /// A program that ADD needs, such as `iptables`.
    pub program: Option<String>,
    /// JSON pointer to the range sets of a pool in the form of host-local.
    pub pool: Option<String>,
}

/// One value that ADD must refuse.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bad {
    /// Where in the plugin's configuration, as JSON pointer: `/ipam/type`.
    pub at: String,
    /// The value.
    pub value: Value,
    /// A text that the error's message must have.
    #[serde(default)]
    pub names: String,
}

/// A change that CHECK must see.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The pod's interface is deleted.
    LinkDeleted,
    /// It is set down.
    LinkDown,
    /// Its first address is deleted.
    AddressDeleted,
    /// Its routes are deleted.
    RoutesDeleted,
    /// It gets another hardware address.
    MacChanged,
    /// It gets another MTU.
    MtuChanged,
    /// The node's end of a veth is set down.
    HostLinkDown,
    /// It is taken off its bridge.
    PortRemoved,
    /// The bridge's addresses are deleted.
    GatewayDeleted,
    /// Leases below `${DATA_DIR}` are deleted.
    LeasesDeleted,
    /// All nft and iptables rules are flushed.
    RulesFlushed,
}

/// What a second ADD comes to.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    /// It fails and changes nothing.
    Refused,
    /// It succeeds, and all is as after the first.
    Accepted,
    /// Either.
    Either,
}

impl About {
    /// Reads the text of a file called `name`.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn read(name: &str, text: &str) -> Result<About> {
        let about: About = serde_json::from_str(text).map_err(|e| Error::new(name, e))?;
        let pointers = about.wrong.iter().chain(&about.invalid).map(|bad| bad.at.as_str());
        for pointer in pointers.chain(about.pool.as_deref()) {
            if !pointer.starts_with('/') {
                let cause = format!("{pointer:?} is no JSON pointer: it begins with a slash");
                return Err(Error::new(name, cause));
            }
        }
        Ok(about)
    }
}

impl From<Change> for Drift {
    fn from(change: Change) -> Drift {
        match change {
            Change::LinkDeleted => Drift::LinkDeleted,
            Change::LinkDown => Drift::LinkDown,
            Change::AddressDeleted => Drift::AddressDeleted,
            Change::RoutesDeleted => Drift::RoutesDeleted,
            Change::MacChanged => Drift::MacChanged,
            Change::MtuChanged => Drift::MtuChanged,
            Change::HostLinkDown => Drift::HostLinkDown,
            Change::PortRemoved => Drift::PortRemoved,
            Change::GatewayDeleted => Drift::GatewayDeleted,
            Change::LeasesDeleted => Drift::LeasesDeleted,
            Change::RulesFlushed => Drift::RulesFlushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_read_and_unknown_ones_refused() {
        let text = r#"{"setup": ["ip link set lo up"], "makes": ["kind veth"], "stays": [],
            "drifts": ["link-deleted"], "repeat": "accepted", "collects": true,
            "invalid": [{"at": "/mtu", "value": 1, "names": "mtu"}], "pool": "/ipam/ranges"}"#;
        let about = About::read("about.json", text).expect("an about file");
        assert_eq!(about.stays, Some(Vec::new()));
        assert_eq!(about.invalid[0].names, "mtu");
        let wrong = About::read("about.json", r#"{"staysx": []}"#).expect_err("an unknown key");
        assert!(wrong.to_string().contains("staysx"), "{wrong}");
        let wrong = About::read("about.json", r#"{"pool": "ipam"}"#).expect_err("no pointer");
        assert!(wrong.to_string().contains("pointer"), "{wrong}");
    }
}
