//! A network: its name, version, switches and chain of plugins.

use crate::{Error, Kind, Result};
use cni_types::{Code, NetworkName, PluginType, Version};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A configuration list: the network as an administrator describes it.
#[derive(Clone, Debug)]
pub struct NetworkList {
    /// `name`.
    pub name: NetworkName,
    /// The highest version among `cniVersion` and `cniVersions` that this crate speaks.
    pub version: Version,
    /// `disableCheck`: CHECK does nothing and succeeds.
    pub disable_check: bool,
    /// `disableGC`: GC does nothing and succeeds.
    pub disable_gc: bool,
    /// `loadOnlyInlinedPlugins`: plugins beside the list's own are not looked for.
    pub load_only_inlined_plugins: bool,
    /// The chain, in the order of ADD.
    pub plugins: Vec<PluginConf>,
    /// The file that the list was read from.
    pub source: Option<PathBuf>,
    bytes: Vec<u8>,
}

/// One plugin of a chain, as configured.
#[derive(Clone, Debug)]
pub struct PluginConf {
    /// `type`: the file name of the executable.
    pub plugin: PluginType,
    /// `capabilities` that are true: the capability arguments that the plugin takes.
    pub capabilities: Vec<String>,
    /// All keys, as written.
    pub document: Map<String, Value>,
}

fn wrong(msg: impl Into<String>) -> Error {
    Error::new(Kind::Config, cni_types::Error::new(Code::Decode, msg))
}

fn invalid(msg: impl Into<String>) -> cni_types::Error {
    cni_types::Error::new(Code::InvalidConfig, msg)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads an object out of JSON text.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|e| wrong(format!("not JSON: {e}")))?;
    match value {
        Value::Object(map) => Ok(map),
        other => Err(wrong(format!("is {}, not a JSON object", type_name(&other)))),
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong(format!("{key}: is {}, not a string", type_name(other)))),
    }
}

/// A boolean, or one of the strings "true" and "false" in any case.
fn switch(map: &Map<String, Value>, key: &str) -> Result<bool> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(Value::String(text)) => {
            Err(wrong(format!("{key}: {text:?} is neither \"true\" nor \"false\"")))
        }
        Some(other) => Err(wrong(format!("{key}: is {}, not a boolean", type_name(other)))),
    }
}

/// Three numbers, as in a version of the specification.
fn triple(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    let triple = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(triple)
}

/// The highest of `cniVersion` and `cniVersions` that this crate speaks.
fn version(map: &Map<String, Value>) -> Result<Version> {
    let own = text(map, "cniVersion")?;
    let listed = match map.get("cniVersions") {
        None | Some(Value::Null) => {
            return Version::parse(own).map_err(|e| Error::new(Kind::Config, e));
        }
        Some(Value::Array(listed)) => listed,
        Some(other) => {
            return Err(wrong(format!("cniVersions: is {}, not a list", type_name(other))));
        }
    };
    let mut best = None;
    let mut consider = |path: String, text: &str| -> Result<()> {
        if triple(text).is_none() {
            return Err(wrong(format!("{path}: {text:?} is not a version like \"1.0.0\"")));
        }
        // A version that is not known may still have a known one beside it.
        best = best.max(Version::parse(text).ok());
        Ok(())
    };
    for (index, entry) in listed.iter().enumerate() {
        let path = format!("cniVersions[{index}]");
        match entry {
            Value::String(text) => consider(path, text)?,
            other => return Err(wrong(format!("{path}: is {}, not a string", type_name(other)))),
        }
    }
    if !own.is_empty() {
        consider("cniVersion".to_owned(), own)?;
    }
    match best {
        Some(version) => Ok(version),
        None if listed.is_empty() && own.is_empty() => Ok(Version::V0_1_0),
        None => Err(Error::new(
            Kind::Config,
            cni_types::Error::new(
                Code::IncompatibleVersion,
                "cniVersions: none of the listed versions is supported",
            )
            .with_details(format!("the newest supported version is {}", Version::LATEST)),
        )),
    }
}

impl PluginConf {
    /// Reads one plugin's configuration; `path` is its place, for messages.
    fn read(document: Map<String, Value>, path: &str) -> Result<PluginConf> {
        let at = |e: cni_types::Error| Error::new(Kind::Config, e.context(path));
        let kind = match document.get("type") {
            Some(Value::String(text)) => text.as_str(),
            None | Some(Value::Null) => "",
            Some(other) => {
                return Err(wrong(format!("{path}: type: is {}, not a string", type_name(other))));
            }
        };
        let plugin = PluginType::parse(kind).map_err(at)?;
        let mut capabilities = Vec::new();
        match document.get("capabilities") {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    match value {
                        Value::Bool(true) => capabilities.push(name.clone()),
                        Value::Bool(false) | Value::Null => {}
                        other => {
                            return Err(wrong(format!(
                                "{path}: capabilities.{name}: is {}, not a boolean",
                                type_name(other)
                            )));
                        }
                    }
                }
            }
            Some(other) => {
                let found = type_name(other);
                return Err(wrong(format!("{path}: capabilities: is {found}, not an object")));
            }
        }
        Ok(PluginConf { plugin, capabilities, document })
    }

    /// Reads one plugin's configuration, as a file of the network's own directory holds it.
    ///
    /// # Errors
    /// [`Kind::Config`] with the path of the key.
    pub fn from_bytes(bytes: &[u8]) -> Result<PluginConf> {
        PluginConf::read(object(bytes)?, "plugin")
    }
}

impl NetworkList {
    /// Reads a configuration list (`.conflist`).
    ///
    /// A list without `plugins` is read too, since its plugins may lie in files beside it;
    /// [`NetworkList::ready`] says whether there are any.
    ///
    /// # Errors
    /// [`Kind::Config`] with the path of the key.
    pub fn from_bytes(bytes: &[u8]) -> Result<NetworkList> {
        let map = object(bytes)?;
        let name = text(&map, "name")?;
        let name = NetworkName::parse(name).map_err(|e| Error::new(Kind::Config, e))?;
        NetworkList::read(&map, name.clone(), bytes).map_err(|e| e.network(&name))
    }

    fn read(map: &Map<String, Value>, name: NetworkName, bytes: &[u8]) -> Result<NetworkList> {
        let load_only_inlined_plugins = switch(map, "loadOnlyInlinedPlugins")?;
        let mut list = NetworkList {
            name,
            version: version(map)?,
            disable_check: switch(map, "disableCheck")?,
            disable_gc: switch(map, "disableGC")?,
            load_only_inlined_plugins,
            plugins: Vec::new(),
            source: None,
            bytes: bytes.to_vec(),
        };
        match map.get("plugins") {
            None if load_only_inlined_plugins => {
                return Err(Error::new(
                    Kind::Config,
                    invalid("loadOnlyInlinedPlugins: is true, but there is no \"plugins\" key"),
                ));
            }
            None => {}
            Some(Value::Array(plugins)) if plugins.is_empty() => {
                return Err(Error::new(Kind::Config, invalid("plugins: the list is empty")));
            }
            Some(Value::Array(plugins)) => {
                for (index, plugin) in plugins.iter().enumerate() {
                    let path = format!("plugins[{index}]");
                    match plugin {
                        Value::Object(map) => {
                            list.plugins.push(PluginConf::read(map.clone(), &path)?);
                        }
                        other => {
                            let found = type_name(other);
                            return Err(wrong(format!("{path}: is {found}, not an object")));
                        }
                    }
                }
            }
            Some(other) => {
                return Err(wrong(format!("plugins: is {}, not a list", type_name(other))));
            }
        }
        Ok(list)
    }

    /// Reads the configuration of a single plugin (`.conf`, `.json`) as a list of one.
    ///
    /// The specification dropped this form with 1.0.0; such files are still in use.
    ///
    /// # Errors
    /// [`Kind::Config`] with the path of the key.
    pub fn from_single(bytes: &[u8]) -> Result<NetworkList> {
        let map = object(bytes)?;
        if map.contains_key("plugins") {
            return Err(Error::new(
                Kind::Config,
                invalid("plugins: this is a configuration list in the file of a single plugin")
                    .with_details("rename the file so that it ends in .conflist"),
            ));
        }
        let mut list = json!({
            "name": text(&map, "name")?,
            "cniVersion": text(&map, "cniVersion")?,
        });
        list["plugins"] = Value::Array(vec![Value::Object(map)]);
        NetworkList::from_bytes(list.to_string().as_bytes())
    }

    /// Appends a plugin that was found beside the list.
    pub(crate) fn append(&mut self, plugin: PluginConf) -> Result<()> {
        let mut map = object(&self.bytes)?;
        let entry = map.entry("plugins").or_insert_with(|| json!([]));
        if let Value::Array(plugins) = entry {
            plugins.push(Value::Object(plugin.document.clone()));
        }
        // What is cached for DEL must be the chain that ran, and nothing beside it.
        map.insert("loadOnlyInlinedPlugins".to_owned(), Value::Bool(true));
        self.bytes = Value::Object(map).to_string().into_bytes();
        self.plugins.push(plugin);
        Ok(())
    }

    /// Refuses a list without plugins.
    ///
    /// # Errors
    /// [`Kind::Config`].
    pub fn ready(&self) -> Result<()> {
        if self.plugins.is_empty() {
            let cause = invalid("plugins: the network has none")
                .with_details("add a \"plugins\" list, or *.conf files in a directory of its name");
            return Err(Error::new(Kind::Config, cause).network(&self.name));
        }
        Ok(())
    }

    /// The list as JSON text, with all plugins of the chain in it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same list, said to come from `path`.
    #[must_use]
    pub fn with_source(mut self, path: &Path) -> NetworkList {
        self.source = Some(path.to_owned());
        self
    }
}
