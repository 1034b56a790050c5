//! The part of a network configuration that is the same for every plugin.

use crate::folded::{Folded, member};
use crate::{CniResult, Code, Error, NetworkName, PluginType, Result, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One attachment of a container to a network, as GC lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// `CNI_CONTAINERID` of its ADD.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME` of its ADD.
    pub ifname: String,
}

/// The common part of a plugin's configuration, with the whole document beside it.
#[derive(Clone, Debug)]
pub struct NetConf {
    /// `cniVersion`; 0.1.0 where absent.
    pub version: Version,
    /// `name`.
    pub name: NetworkName,
    /// `type`.
    pub plugin: PluginType,
    /// `prevResult`, raised to the current form.
    pub prev_result: Option<CniResult>,
    /// The document as received, without the nulls.
    pub document: Value,
}

impl NetConf {
    /// Reads the common keys of `document`.
    ///
    /// A null counts as an absent key.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong shape, with the path of the key; [`Code::InvalidConfig`] for
    /// an invalid name or type; [`Code::IncompatibleVersion`].
    pub fn from_value(document: Value) -> Result<NetConf> {
        let document = without_nulls(null_list_is_empty(document));
        let Some(map) = document.as_object() else {
            return Err(Error::new(Code::Decode, "configuration: is not a JSON object"));
        };
        let text = |key: &str| match member(map, key) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(Error::new(Code::Decode, format!("{key}: is not a string"))),
        };
        let version = Version::parse(text("cniVersion")?)?;
        let name = NetworkName::parse(text("name")?)?;
        let plugin = PluginType::parse(text("type")?)?;
        let prev_result = match member(map, "prevResult") {
            None => None,
            Some(doc) => Some(
                CniResult::from_value(doc, version)
                    .map_err(|e| Error { code: Code::Decode, ..e }.context("prevResult"))?,
            ),
        };
        Ok(NetConf { version, name, plugin, prev_result, document })
    }

    /// The whole document as a plugin's own configuration type.
    ///
    /// # Errors
    /// [`Code::Decode`] with the path of the first key of a wrong type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.document)
    }

    /// `ipam.type`, if an IPAM plugin is configured. An `ipam` without `type` is none.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong shape; [`Code::InvalidConfig`] for a type that is a path.
    pub fn ipam(&self) -> Result<Option<PluginType>> {
        match self.document.as_object().and_then(|map| member(map, "ipam")) {
            None => Ok(None),
            Some(Value::Object(ipam)) => match member(ipam, "type") {
                None => Ok(None),
                Some(Value::String(text)) if text.is_empty() => Ok(None),
                Some(Value::String(text)) => {
                    PluginType::parse(text).map(Some).map_err(|e| e.context("ipam"))
                }
                Some(_) => Err(Error::new(Code::Decode, "ipam.type: is not a string")),
            },
            Some(_) => Err(Error::new(Code::Decode, "ipam: is not an object")),
        }
    }

    /// `cni.dev/valid-attachments` of a GC configuration.
    ///
    /// The key of the runtimes that followed an earlier text, `cni.dev/attachments`, is read
    /// where the first is absent.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] when both are absent: without a list nothing may be collected;
    /// [`Code::Decode`] for a wrong shape.
    pub fn valid_attachments(&self) -> Result<Vec<Attachment>> {
        for key in VALID_ATTACHMENTS {
            if let Some(list) = self.document.get(key) {
                return decode(list).map_err(|e: Error| e.context(key));
            }
        }
        Err(Error::new(Code::InvalidConfig, "cni.dev/valid-attachments: is missing")
            .with_details("GC frees what is not listed, so it never runs without the list"))
    }
}

/// The keys of GC's list, the specification's own first.
const VALID_ATTACHMENTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// A list that is null was written by a runtime in Go that has no attachment at all.
fn null_list_is_empty(mut document: Value) -> Value {
    for key in VALID_ATTACHMENTS {
        if let Some(list) = document.get_mut(key).filter(|v| v.is_null()) {
            *list = Value::Array(Vec::new());
        }
    }
    document
}

/// `value` without object members that are null, at any depth outside arrays' own elements.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Decodes `document`, with keys in any letter case as the Go plugins take them, naming the path of the key that has a wrong type.
///
/// # Errors
/// [`Code::Decode`].
pub fn decode<T: DeserializeOwned>(document: &Value) -> Result<T> {
    serde_path_to_error::deserialize(Folded(document)).map_err(|fault| {
        let path = fault.path().to_string();
        let cause = fault.into_inner();
        let subject = if path == "." { "configuration".to_owned() } else { path };
        Error::new(Code::Decode, format!("{subject}: {cause}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    struct Wire {
        #[serde(default)]
        ipam: Option<Ipam>,
    }

    #[derive(Debug, Deserialize)]
    struct Ipam {
        #[serde(default)]
        ranges: Vec<Vec<Range>>,
    }

    #[derive(Debug, Deserialize)]
    struct Range {
        subnet: String,
    }

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        let conf = NetConf::from_value(json!({
            "cniVersion": "1.0.0", "name": "a", "type": "bridge",
            "ipam": {"type": "x", "ranges": [[{"subnet": 5}]]}
        }))
        .expect("conf");
        let error = conf.decode::<Wire>().expect_err("wrong type");
        assert_eq!(error.code, Code::Decode);
        assert!(error.msg.starts_with("ipam.ranges[0][0].subnet: "), "{error}");
    }

    #[test]
    fn nulls_are_absent_keys_and_unknown_keys_are_ignored() {
        let conf = NetConf::from_value(json!({
            "name": "a", "type": "bridge", "ipam": null, "prevResult": null, "future": {"a": 1}
        }))
        .expect("conf");
        assert_eq!(conf.version, Version::V0_1_0);
        assert!(conf.prev_result.is_none());
        let wire: Wire = conf.decode().expect("wire");
        assert!(wire.ipam.is_none());
        let ranges: Wire =
            decode(&json!({"ipam": {"ranges": [[{"subnet": "10.0.0.0/8"}]]}})).expect("wire");
        assert_eq!(ranges.ipam.expect("ipam").ranges[0][0].subnet, "10.0.0.0/8");
    }

    #[test]
    fn common_keys_are_validated() {
        let code = |doc: Value| NetConf::from_value(doc).expect_err("invalid").code;
        assert_eq!(code(json!([])), Code::Decode);
        assert_eq!(code(json!({"type": "a"})), Code::InvalidConfig);
        assert_eq!(code(json!({"name": "../a", "type": "a"})), Code::InvalidConfig);
        assert_eq!(code(json!({"name": "a", "type": "/bin/sh"})), Code::InvalidConfig);
        assert_eq!(code(json!({"name": 1, "type": "a"})), Code::Decode);
        assert_eq!(
            code(json!({"cniVersion": "9.9.9", "name": "a", "type": "a"})),
            Code::IncompatibleVersion
        );
        let doc = json!({"cniVersion": "1.0.0", "name": "a", "type": "b", "prevResult": {"ips": [{"address": 1}]}});
        let error = NetConf::from_value(doc).expect_err("prevResult");
        assert_eq!(error.code, Code::Decode);
        assert!(error.msg.starts_with("prevResult: ips[0].address"), "{error}");
    }

    #[test]
    fn gc_without_a_list_is_refused() {
        let conf = |doc: Value| NetConf::from_value(doc).expect("conf");
        let none = conf(json!({"name": "a", "type": "b"}));
        assert_eq!(none.valid_attachments().expect_err("none").code, Code::InvalidConfig);
        let some = conf(json!({"name": "a", "type": "b",
            "cni.dev/valid-attachments": [{"containerID": "c", "ifname": "eth0"}]}));
        assert_eq!(some.valid_attachments().expect("some")[0].ifname, "eth0");
        let old = conf(json!({"name": "a", "type": "b", "cni.dev/attachments": []}));
        assert_eq!(old.valid_attachments().expect("old"), Vec::new());
    }
}
