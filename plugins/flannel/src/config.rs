//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Error, NetConf, PluginType, Result, Route};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Where flanneld writes, if nothing else is said.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// Where records are, if nothing else is said.
const DATA_DIR: &str = "/var/lib/cni/flannel";
/// The delegate, if nothing else is said.
const DELEGATE: &str = "bridge";
/// The delegate's IPAM plugin, if nothing else is said.
const IPAM: &str = "host-local";
/// The name of this plugin, which cannot be its own delegate.
const OWN: &str = "flannel";

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    subnet_file: String,
    data_dir: String,
    delegate: Map<String, Value>,
    ipam: Map<String, Value>,
    runtime_config: Map<String, Value>,
    args: Map<String, Value>,
}

/// The parts of [`Wire::delegate`] and [`Wire::ipam`] whose types count here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shape {
    delegate: Typed,
    ipam: Ipam,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Typed {
    r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    r#type: String,
    routes: Vec<Route>,
}

/// The two paths: what the verbs need that work without a valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What flanneld writes.
    pub(crate) subnet_file: PathBuf,
    /// Where the records of attachments are.
    pub(crate) data_dir: PathBuf,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The delegate.
    pub(crate) plugin: PluginType,
    /// The type of its IPAM plugin.
    pub(crate) ipam_type: String,
    /// Its keys, without those that are set here.
    pub(crate) delegate: Map<String, Value>,
    /// The keys of its IPAM plugin.
    pub(crate) ipam: Map<String, Value>,
    /// Routes that its IPAM plugin gives beside those to the networks of flannel.
    pub(crate) routes: Vec<Value>,
}

impl Place {
    /// Reads the paths; one of a wrong type counts as absent.
    pub(crate) fn read(conf: &NetConf) -> Place {
        let wire: Wire = conf.decode().unwrap_or_default();
        let or = |given: String, usual: &str| match given.is_empty() {
            true => PathBuf::from(usual),
            false => PathBuf::from(given),
        };
        Place {
            subnet_file: or(wire.subnet_file, SUBNET_FILE),
            data_dir: or(wire.data_dir, DATA_DIR),
        }
    }
}

impl Config {
    /// Reads `conf`.
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`].
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let shape: Shape = conf.decode()?;
        let mut delegate = wire.delegate;
        for key in ["name", "ipam"] {
            if delegate.contains_key(key) {
                let cause = format!("delegate.{key}: must not be there, as flannel sets it");
                return Err(Error::new(Code::InvalidConfig, cause)
                    .with_details(format!("put it outside of delegate: {key}")));
            }
        }
        let named = if delegate.contains_key("type") { &shape.delegate.r#type } else { DELEGATE };
        let plugin = PluginType::parse(named).map_err(|e| e.context("delegate"))?;
        if plugin.as_str() == OWN {
            let cause = "delegate.type: flannel cannot be its own delegate";
            return Err(Error::new(Code::InvalidConfig, cause)
                .with_details("name the plugin that is to attach the pod, as bridge or ptp"));
        }
        for (key, map) in [("runtimeConfig", wire.runtime_config), ("args", wire.args)] {
            if !map.is_empty() {
                delegate.insert(key.to_owned(), Value::Object(map));
            }
        }
        let mut ipam = wire.ipam;
        let routes = match ipam.remove("routes") {
            Some(Value::Array(routes)) => routes,
            _ => Vec::new(),
        };
        let given = !shape.ipam.r#type.is_empty();
        let ipam_type = if given { shape.ipam.r#type } else { IPAM.to_owned() };
        Ok(Config { plugin, ipam_type, delegate, ipam, routes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "flannel"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    fn read(keys: Value) -> Result<Config> {
        Config::read(&conf(keys))
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let mut seen = 0;
        for block in blocks {
            let list: Value = serde_json::from_str(block).expect("JSON");
            let plugins = list["plugins"].as_array().expect("plugins");
            for plugin in plugins.iter().filter(|plugin| plugin["type"] == OWN) {
                read(plugin.clone()).expect("valid");
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn nothing_is_needed() {
        let config = read(json!({})).expect("valid");
        assert_eq!((config.plugin.as_str(), config.ipam_type.as_str()), ("bridge", "host-local"));
        let place = Place::read(&conf(json!({})));
        assert_eq!(place.subnet_file, PathBuf::from(SUBNET_FILE));
        assert_eq!(place.data_dir, PathBuf::from(DATA_DIR));
        // For DEL a wrong path is none.
        let place = Place::read(&conf(json!({"subnetFile": 5})));
        assert_eq!(place.subnet_file, PathBuf::from(SUBNET_FILE));
    }

    #[test]
    fn every_key_is_read() {
        let keys = json!({"subnetFile": "/a", "dataDir": "/b",
            "delegate": {"type": "ptp", "mtu": 1400}, "runtimeConfig": {"mac": "x"},
            "args": {"cni": {"ips": []}}, "ipam": {"type": "x", "dataDir": "/c",
            "routes": [{"dst": "0.0.0.0/0"}]}});
        let config = read(keys.clone()).expect("valid");
        assert_eq!((config.plugin.as_str(), config.ipam_type.as_str()), ("ptp", "x"));
        assert_eq!(config.delegate["mtu"], 1400);
        assert_eq!(config.delegate["runtimeConfig"], json!({"mac": "x"}));
        assert_eq!(config.delegate["args"], json!({"cni": {"ips": []}}));
        assert_eq!((&config.ipam["dataDir"], config.routes.len()), (&json!("/c"), 1));
        let place = Place::read(&conf(keys));
        assert_eq!((place.subnet_file, place.data_dir), ("/a".into(), "/b".into()));
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({"delegate": {"name": "x"}}), "delegate.name: ", Code::InvalidConfig),
            (json!({"delegate": {"ipam": {}}}), "delegate.ipam: ", Code::InvalidConfig),
            (json!({"delegate": {"type": "a/b"}}), "delegate: type: ", Code::InvalidConfig),
            (json!({"delegate": {"type": ""}}), "delegate: type: ", Code::InvalidConfig),
            (json!({"delegate": {"type": "flannel"}}), "delegate.type: ", Code::InvalidConfig),
            (json!({"delegate": {"type": 5}}), "delegate.type: ", Code::Decode),
            (json!({"delegate": 5}), "delegate: ", Code::Decode),
            (json!({"subnetFile": 5}), "subnetFile: ", Code::Decode),
            (json!({"dataDir": []}), "dataDir: ", Code::Decode),
            (json!({"ipam": "x"}), "ipam: ", Code::Decode),
            (json!({"ipam": {"routes": [{"dst": 5}]}}), "ipam.routes[0].dst: ", Code::Decode),
            (json!({"runtimeConfig": 5}), "runtimeConfig: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code, "{error}");
            assert!(error.msg.starts_with(start), "{error}");
        }
    }
}
