//! What is kept about an attachment between its ADD and its DEL, in the reference's format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cni_types::{Attachment, CniResult, ContainerId, IfName, NetworkName, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// `kind` of a record.
const KIND: &str = "cniCacheV1";

/// The record of one attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The network's name.
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments.
    pub capability_args: Map<String, Value>,
    /// The configuration list that ADD used, as JSON text.
    pub config: Vec<u8>,
    /// The result of the chain; `None` while ADD is under way.
    pub result: Option<Value>,
    /// The boot of the node in which ADD ran; `None` if another library wrote the record.
    pub boot_id: Option<String>,
}

/// The document on disk. The names are those of the reference, which ignores `podloom`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    kind: String,
    container_id: String,
    #[serde(default)]
    config: Option<String>,
    if_name: String,
    network_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capability_args: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    podloom: Option<Own>,
}

/// What we keep beside the reference's keys.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    boot_id: String,
}

/// One file of the cache.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A record.
    Record(Box<Record>),
    /// Only a result, as libraries before version 0.8 of the reference wrote it.
    Legacy {
        /// The file.
        file: PathBuf,
        /// The result of the chain.
        result: Value,
    },
    /// A file that holds neither, for example an empty one after a loss of power.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
}

impl Entry {
    /// Reads the content of `file`.
    pub(crate) fn read(file: PathBuf, bytes: &[u8]) -> Entry {
        let doc: Value = match serde_json::from_slice(bytes) {
            Ok(doc) => doc,
            Err(_) if bytes.is_empty() => {
                return Entry::Corrupt { file, fault: "the file is empty".to_owned() };
            }
            Err(e) => return Entry::Corrupt { file, fault: format!("not JSON: {e}") },
        };
        if doc.get("kind").is_none() && is_result(&doc) {
            return Entry::Legacy { file, result: doc };
        }
        match Record::from_value(&doc) {
            Ok(record) => Entry::Record(Box::new(record)),
            Err(fault) => Entry::Corrupt { file, fault },
        }
    }
}

fn is_result(doc: &Value) -> bool {
    let known = ["cniVersion", "interfaces", "ips", "ip4", "ip6", "routes", "dns"];
    known.iter().any(|key| doc.get(key).is_some())
        && CniResult::from_value(doc, Version::default()).is_ok()
}

impl Record {
    /// Reads a record; the error says what is wrong with it.
    pub(crate) fn from_value(doc: &Value) -> Result<Record, String> {
        let wire: Wire = serde_path_to_error::deserialize(doc)
            .map_err(|e| format!("{}: {}", e.path(), e.inner()))?;
        if wire.kind != KIND {
            return Err(format!("kind: {:?} is not {KIND:?}", wire.kind));
        }
        // They end up in paths and environments again.
        ContainerId::parse(&wire.container_id).map_err(|e| format!("containerId: {e}"))?;
        IfName::parse(&wire.if_name).map_err(|e| format!("ifName: {e}"))?;
        NetworkName::parse(&wire.network_name).map_err(|e| format!("networkName: {e}"))?;
        let config = STANDARD
            .decode(wire.config.unwrap_or_default())
            .map_err(|e| format!("config: not base64: {e}"))?;
        Ok(Record {
            network: wire.network_name,
            container_id: wire.container_id,
            ifname: wire.if_name,
            netns: wire.netns.unwrap_or_default(),
            args: wire.cni_args.unwrap_or_default(),
            capability_args: wire.capability_args.unwrap_or_default(),
            config,
            result: wire.result.filter(|r| !r.is_null()),
            boot_id: wire.podloom.map(|own| own.boot_id),
        })
    }

    /// The document on disk.
    pub(crate) fn to_text(&self) -> String {
        let wire = Wire {
            kind: KIND.to_owned(),
            container_id: self.container_id.clone(),
            config: Some(STANDARD.encode(&self.config)),
            if_name: self.ifname.clone(),
            network_name: self.network.clone(),
            netns: Some(self.netns.clone()).filter(|n| !n.is_empty()),
            cni_args: Some(self.args.clone()).filter(|a| !a.is_empty()),
            capability_args: Some(self.capability_args.clone()).filter(|a| !a.is_empty()),
            result: self.result.clone(),
            podloom: self.boot_id.clone().map(|boot_id| Own { boot_id }),
        };
        serde_json::json!(wire).to_string()
    }

    /// The name of the attachment, as GC lists it.
    pub fn attachment(&self) -> Attachment {
        Attachment { container_id: self.container_id.clone(), ifname: self.ifname.clone() }
    }

    /// Whether the node has been booted since ADD, so that nothing of the attachment is left in
    /// the kernel. Unknown, and so false, for records of another library.
    pub fn is_of_earlier_boot(&self) -> bool {
        self.boot_id.as_ref().is_some_and(|id| Some(id) != boot_id().as_ref())
    }
}

/// The identity of this boot of the kernel; `None` where `/proc` does not tell.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// In the form that the reference library writes on ADD.
    const BY_THE_REFERENCE: &str = include_str!("../tests/data/reference-record.json");

    #[test]
    fn a_record_of_the_reference_is_read_and_written_alike() {
        let file = PathBuf::from("f");
        let Entry::Record(record) = Entry::read(file, BY_THE_REFERENCE.as_bytes()) else {
            panic!("no record");
        };
        assert_eq!(record.network, "podnet");
        assert_eq!(record.container_id, "cnitool-77383ca0a0715733ca6f");
        assert_eq!(record.args, [("IgnoreUnknown".to_owned(), "1".to_owned())]);
        assert_eq!(record.boot_id, None);
        assert!(!record.is_of_earlier_boot());
        let list = crate::NetworkList::from_bytes(&record.config).expect("config");
        assert_eq!(list.name.as_str(), "podnet");
        let theirs: Value = serde_json::from_str(BY_THE_REFERENCE).expect("json");
        let ours: Value = serde_json::from_str(&record.to_text()).expect("json");
        assert_eq!(ours, theirs);
    }

    #[test]
    fn corrupt_and_legacy_files_are_told_apart() {
        let read = |text: &str| Entry::read(PathBuf::from("f"), text.as_bytes());
        for bad in [
            "",
            "{",
            "null",
            "[]",
            "{}",
            "{\"kind\":\"other\"}",
            "{\"cniVersion\":\"1.0.0\",\"ips\":[{}]}",
        ] {
            assert!(matches!(read(bad), Entry::Corrupt { .. }), "{bad}");
        }
        let legacy = json!({"cniVersion": "0.4.0", "ips": [], "dns": {}}).to_string();
        assert!(matches!(read(&legacy), Entry::Legacy { .. }));
        let old = json!({"ip4": {"ip": "10.0.0.2/24"}}).to_string();
        assert!(matches!(read(&old), Entry::Legacy { .. }));
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        let mut doc: Value = serde_json::from_str(BY_THE_REFERENCE).expect("json");
        doc["containerId"] = json!("../../etc");
        let entry = Entry::read(PathBuf::from("f"), doc.to_string().as_bytes());
        assert!(matches!(entry, Entry::Corrupt { fault, .. } if fault.contains("containerId")));
    }

    #[test]
    fn a_record_knows_its_boot() {
        let Entry::Record(mut record) =
            Entry::read(PathBuf::from("f"), BY_THE_REFERENCE.as_bytes())
        else {
            panic!("no record");
        };
        record.boot_id = boot_id();
        assert!(!record.is_of_earlier_boot());
        record.boot_id = Some("00000000-0000-0000-0000-000000000000".to_owned());
        assert!(record.is_of_earlier_boot());
        let doc: Value = serde_json::from_str(&record.to_text()).expect("json");
        assert_eq!(Record::from_value(&doc), Ok(*record));
    }
}
