//! From a network's configuration to what one plugin reads (CNI 1.1.0, section 3, "Deriving
//! execution configuration from plugin configuration").

use crate::{NetworkList, PluginConf};
use cni_types::Attachment;
use serde_json::{Map, Value, json};

/// The keys that both the list and its plugins share, with the keys that only a runtime sets
/// taken out: an administrator who writes them would feign what a call says.
fn base(list: &NetworkList, plugin: &PluginConf) -> Map<String, Value> {
    let mut document = plugin.document.clone();
    document.retain(|key, _| {
        key != "capabilities" && key != "prevResult" && !key.starts_with("cni.dev/")
    });
    document.insert("name".to_owned(), Value::from(list.name.as_str()));
    document.insert("cniVersion".to_owned(), Value::from(list.version.as_str()));
    document
}

fn encode(document: Map<String, Value>) -> Vec<u8> {
    Value::Object(document).to_string().into_bytes()
}

/// What a plugin reads on ADD, DEL and CHECK.
///
/// `runtimeConfig` holds the capability arguments that the plugin says it takes.
pub(crate) fn attachment(
    list: &NetworkList,
    plugin: &PluginConf,
    prev_result: Option<&Value>,
    capability_args: &Map<String, Value>,
) -> Vec<u8> {
    let mut document = base(list, plugin);
    if let Some(result) = prev_result {
        document.insert("prevResult".to_owned(), result.clone());
    }
    let wanted: Map<String, Value> = plugin
        .capabilities
        .iter()
        .filter_map(|name| Some((name.clone(), capability_args.get(name)?.clone())))
        .collect();
    if !wanted.is_empty() {
        document.insert("runtimeConfig".to_owned(), Value::Object(wanted));
    }
    encode(document)
}

/// What a plugin reads on STATUS.
pub(crate) fn status(list: &NetworkList, plugin: &PluginConf) -> Vec<u8> {
    encode(base(list, plugin))
}

/// What a plugin reads on GC. The list is given under the key of the specification and under the
/// one of its earlier text, which plugins in the field still read.
pub(crate) fn gc(list: &NetworkList, plugin: &PluginConf, valid: &[Attachment]) -> Vec<u8> {
    let mut document = base(list, plugin);
    let valid: Vec<Value> = valid
        .iter()
        .map(|a| json!({ "containerID": a.container_id, "ifname": a.ifname }))
        .collect();
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        document.insert(key.to_owned(), Value::Array(valid.clone()));
    }
    encode(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> NetworkList {
        let text = json!({
            "name": "n", "cniVersions": ["0.4.0", "1.1.0", "9.0.0"],
            "plugins": [{
                "type": "a", "capabilities": {"ips": true, "mac": false, "bandwidth": true},
                "unknown": {"deep": [1, 2.5, null]}, "prevResult": {"ips": []},
                "cni.dev/valid-attachments": [], "big": 18_446_744_073_709_551_615_u64
            }]
        });
        NetworkList::from_bytes(text.to_string().as_bytes()).expect("list")
    }

    fn read(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("json")
    }

    #[test]
    fn only_shared_capabilities_are_passed_and_unknown_keys_stay() {
        let list = list();
        let args = json!({"ips": ["10.0.0.2"], "mac": "aa", "portMappings": []});
        let args = args.as_object().expect("object");
        let doc = read(&attachment(&list, &list.plugins[0], None, args));
        assert_eq!(
            doc,
            json!({
                "name": "n", "cniVersion": "1.1.0", "type": "a",
                "unknown": {"deep": [1, 2.5, null]}, "big": 18_446_744_073_709_551_615_u64,
                "runtimeConfig": {"ips": ["10.0.0.2"]}
            })
        );
        let doc = read(&attachment(&list, &list.plugins[0], Some(&json!({"a": 1})), &Map::new()));
        assert_eq!(doc["prevResult"], json!({"a": 1}));
        assert_eq!(doc.get("runtimeConfig"), None);
    }

    #[test]
    fn gc_lists_the_valid_attachments_under_both_keys() {
        let list = list();
        let valid = [Attachment { container_id: "c".into(), ifname: "eth0".into() }];
        let doc = read(&gc(&list, &list.plugins[0], &valid));
        let expected = json!([{"containerID": "c", "ifname": "eth0"}]);
        assert_eq!(doc["cni.dev/valid-attachments"], expected);
        assert_eq!(doc["cni.dev/attachments"], expected);
        assert_eq!(read(&status(&list, &list.plugins[0])).get("cni.dev/attachments"), None);
    }
}
