//! CHECK, STATUS, VERSION: the verbs that change nothing.

use crate::cache::Key;
use crate::cni::Call;
use crate::del::{completed, corrupt};
use crate::lock::Use;
use crate::record::Entry;
use crate::{Cni, Error, Kind, NetworkList, Pod, Result, derive};
use cni_exec::Verb;
use cni_types::{Code, PluginType, Version};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What [`Cni::validate`] found out about a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// All capabilities of the chain.
    pub capabilities: BTreeSet<String>,
    /// The versions that each plugin supports, as it said.
    pub versions: BTreeMap<String, Vec<String>>,
}

impl Cni {
    /// Verifies an attachment: runs CHECK of every plugin in order, each with the result of ADD.
    ///
    /// With `disableCheck` nothing is run.
    ///
    /// # Errors
    /// [`Kind::Request`] with [`Code::IncompatibleVersion`] for a network older than CNI 0.4.0;
    /// [`Kind::Cache`] without a usable record; otherwise the first plugin's error.
    pub async fn check(&self, list: &NetworkList, pod: &Pod) -> Result<()> {
        let tag = |e: Error| e.verb(Verb::Check).network(&list.name);
        list.ready().map_err(tag)?;
        if !list.version.has_check() {
            let cause = cni_types::Error::new(
                Code::IncompatibleVersion,
                format!("cniVersion {}: has no CHECK", list.version),
            );
            let hint = "CHECK needs cniVersion 0.4.0 or newer in the configuration";
            return Err(tag(Error::new(Kind::Request, cause.with_details(hint))));
        }
        if list.disable_check {
            return Ok(());
        }
        let _network = self.hold_network(list.name.as_str(), Use::Shared).await.map_err(tag)?;
        let held = self.hold_container(pod.container_id.as_str()).await;
        let _container = held.map_err(tag)?;
        let known = self.load(Key::of_pod(list.name.as_str(), pod)).await.map_err(tag)?;
        let Some(result) = known.result(list.version).map_err(tag)? else {
            return Err(tag(match &known.entry {
                Some(Entry::Corrupt { file, fault }) => corrupt(&file.display().to_string(), fault),
                _ => unknown(pod),
            }));
        };
        let pod = completed(pod, &known);
        for plugin in &list.plugins {
            self.step(Verb::Check, (list, plugin), &pod, Some(&result)).await?;
        }
        Ok(())
    }

    /// Asks every plugin of the network, in order, whether it can serve ADD.
    ///
    /// A network older than CNI 1.1.0 has no STATUS and counts as ready.
    ///
    /// # Errors
    /// The first plugin's error with its code: 50 when ADD cannot be served, 51 when containers
    /// that are attached already may have limited connectivity too.
    pub async fn status(&self, list: &NetworkList) -> Result<()> {
        list.ready().map_err(|e| e.verb(Verb::Status))?;
        if !list.version.has_gc() {
            return Ok(());
        }
        for plugin in &list.plugins {
            let stdin = derive::status(list, plugin);
            self.ask(list, plugin, Verb::Status, stdin).await?;
        }
        Ok(())
    }

    /// Verifies that every plugin of the network is there and supports the network's version.
    ///
    /// # Errors
    /// The first plugin's fault, those of the others beside it.
    pub async fn validate(&self, list: &NetworkList) -> Result<Validated> {
        list.ready().map_err(|e| e.verb(Verb::Version))?;
        let network = list.name.as_str();
        let mut found = Validated::default();
        let mut errors = Vec::new();
        for conf in &list.plugins {
            found.capabilities.extend(conf.capabilities.iter().cloned());
            if found.versions.contains_key(conf.plugin.as_str()) {
                continue;
            }
            match self.versions_for(network, &conf.plugin).await {
                Ok(versions) => {
                    if !versions.iter().any(|v| v == list.version.as_str()) {
                        errors.push(unsupported(list, &conf.plugin, &versions));
                    }
                    found.versions.insert(conf.plugin.as_str().to_owned(), versions);
                }
                Err(e) => errors.push(e),
            }
        }
        match Error::join(errors) {
            None => Ok(found),
            Some(e) => Err(e),
        }
    }

    /// The versions of the specification that a plugin says it supports.
    ///
    /// # Errors
    /// When it is not found, or its answer cannot be understood.
    pub async fn versions(&self, plugin: &PluginType) -> Result<Vec<String>> {
        self.versions_for("", plugin).await
    }

    async fn versions_for(&self, network: &str, plugin: &PluginType) -> Result<Vec<String>> {
        let (verb, pod, journal) = (Verb::Version, None, None);
        let stdin = json!({ "cniVersion": Version::LATEST.as_str() }).to_string().into_bytes();
        let answer = self.call(Call { network, plugin, verb, pod, stdin, journal }).await;
        let tag = |e: Error| e.plugin(plugin).verb(verb).network(network);
        match answer {
            Ok(doc) => read_versions(doc.unwrap_or_default()).map_err(tag),
            // The first plugins knew no VERSION and said so in these words.
            Err(e) if e.cause().msg == "unknown CNI_COMMAND: VERSION" => {
                Ok(vec![Version::V0_1_0.as_str().to_owned()])
            }
            Err(e) => Err(e),
        }
    }
}

fn read_versions(doc: Value) -> Result<Vec<String>> {
    let versions = match doc.get("supportedVersions") {
        Some(Value::Array(list)) => {
            list.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        None if doc.get("cniVersion").and_then(Value::as_str) == Some("0.2.0") => {
            Some(vec!["0.1.0".to_owned(), "0.2.0".to_owned()])
        }
        _ => None,
    };
    versions.filter(|list| !list.is_empty()).ok_or_else(|| {
        let cause = cni_types::Error::new(
            Code::Decode,
            "supportedVersions: the answer has no list of versions",
        );
        Error::new(
            Kind::Broken,
            cause.with_details("the file is not a CNI plugin, or a broken one"),
        )
    })
}

fn unsupported(list: &NetworkList, plugin: &PluginType, versions: &[String]) -> Error {
    let cause = cni_types::Error::new(
        Code::IncompatibleVersion,
        format!("cniVersion {}: is not supported by the plugin", list.version),
    );
    let hint = format!("it supports {}", versions.join(", "));
    let error = Error::new(Kind::Config, cause.with_details(hint));
    error.plugin(plugin).verb(Verb::Version).network(&list.name)
}

fn unknown(pod: &Pod) -> Error {
    let cause = cni_types::Error::new(
        Code::UnknownContainer,
        format!(
            "container {:?}, interface {:?}: no result of ADD is recorded",
            pod.container_id.as_str(),
            pod.ifname.as_str()
        ),
    );
    let hint = "run ADD first; if it was run by another program, name its cache directory";
    Error::new(Kind::Cache, cause.with_details(hint))
}
