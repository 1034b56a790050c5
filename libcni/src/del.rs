//! DEL: the chain in reverse, with the result of ADD.

use crate::cache::Key;
use crate::cni::{Shared, blocking};
use crate::intent::Intent;
use crate::lock::Use;
use crate::record::{Entry, Record};
use crate::{Cni, Error, Kind, NetworkList, Pod, Result};
use cni_exec::Verb;
use cni_types::{CniResult, Code, Version};
use serde_json::Value;

/// What a DEL came upon.
#[derive(Debug, Default)]
pub struct Detached {
    /// Faults that did not keep the container from being detached: a corrupt record, a result
    /// that does not fit the configuration.
    pub warnings: Vec<Error>,
}

/// What is recorded about an attachment.
pub(crate) struct Known {
    pub(crate) key: Key,
    pub(crate) entry: Option<Entry>,
    pub(crate) intent: Option<Intent>,
    pub(crate) warnings: Vec<Error>,
}

impl Known {
    /// Reads what there is, and ends plugins of an ADD whose caller is gone. For who holds the
    /// container.
    pub(crate) fn load(shared: &Shared, key: &Key) -> Result<Known> {
        let mut warnings = Vec::new();
        let entry = match shared.cache.get(key) {
            Ok(entry) => entry,
            Err(e) => {
                warnings.push(e);
                None
            }
        };
        let intent = match shared.intents.get(key) {
            Ok(intent) => intent,
            Err(e) => {
                warnings.push(e);
                None
            }
        };
        if let Some(intent) = &intent {
            intent.stop_plugins();
        }
        if let Some(Entry::Corrupt { file, fault }) = &entry {
            warnings.push(corrupt(&file.display().to_string(), fault).network(&key.network));
        }
        Ok(Known { key: key.clone(), entry, intent, warnings })
    }

    fn record(&self) -> Option<&Record> {
        match &self.entry {
            Some(Entry::Record(record)) => Some(record),
            _ => self.intent.as_ref().map(|intent| &intent.record),
        }
    }

    /// The network and the pod as ADD saw them; `None` if nothing is recorded.
    pub(crate) fn call(&self, netns: Option<&str>) -> Result<Option<(NetworkList, Pod)>> {
        let Some(record) = self.record() else { return Ok(None) };
        let list = NetworkList::from_bytes(&record.config).and_then(|list| {
            list.ready()?;
            Ok(list)
        });
        let list = list.map_err(|e| {
            let cause = e.cause().clone().context("the configuration in the record of ADD");
            Error::new(Kind::Cache, cause).network(&self.key.network)
        })?;
        let netns = netns.unwrap_or(&record.netns);
        let mut pod = Pod::new(&record.container_id, &record.ifname, netns)?;
        pod.args.clone_from(&record.args);
        pod.capability_args.clone_from(&record.capability_args);
        Ok(Some((list, pod)))
    }

    /// The result of ADD as a document of `version`, if there is one that can be read.
    pub(crate) fn result(&self, version: Version) -> Result<Option<Value>> {
        let result = match &self.entry {
            Some(Entry::Record(record)) => record.result.as_ref(),
            Some(Entry::Legacy { result, .. }) => Some(result),
            _ => None,
        };
        result.map(|doc| as_version(doc, version)).transpose()
    }
}

/// `doc` in `version`; as it is where it has that version already.
fn as_version(doc: &Value, version: Version) -> Result<Value> {
    let unusable =
        |e: cni_types::Error| Error::new(Kind::Cache, e.context("the recorded result of ADD"));
    let result = CniResult::from_value(doc, Version::default()).map_err(unusable)?;
    if doc.get("cniVersion").and_then(Value::as_str) == Some(version.as_str()) {
        return Ok(doc.clone());
    }
    result.to_value(version).map_err(unusable)
}

pub(crate) fn corrupt(file: &str, fault: &str) -> Error {
    let cause = cni_types::Error::new(Code::Decode, format!("{file}: is not a record: {fault}"));
    Error::new(Kind::Cache, cause.with_details("DEL and GC remove it; plugins are run without it"))
}

/// `pod` with what it does not say itself taken from its ADD.
pub(crate) fn completed(pod: &Pod, known: &Known) -> Pod {
    let mut pod = pod.clone();
    if let Some(record) = known.record() {
        if pod.args.is_empty() {
            pod.args.clone_from(&record.args);
        }
        if pod.capability_args.is_empty() {
            pod.capability_args.clone_from(&record.capability_args);
        }
    }
    pod
}

impl Cni {
    /// Detaches a container: runs DEL of every plugin in reverse order, with the result of ADD,
    /// and forgets the attachment.
    ///
    /// Without a record, or with a corrupt one, the plugins are run without a result. The first
    /// plugin that fails ends the operation, and the record stays, so that DEL can be tried again.
    ///
    /// # Errors
    /// What the plugins, cache and locks report.
    pub async fn del(&self, list: &NetworkList, pod: &Pod) -> Result<Detached> {
        let tag = |e: Error| e.verb(Verb::Del).network(&list.name);
        list.ready().map_err(tag)?;
        let key = Key::of_pod(list.name.as_str(), pod);
        key.check().map_err(tag)?;
        let _network = self.hold_network(list.name.as_str(), Use::Shared).await.map_err(tag)?;
        let held = self.hold_container(pod.container_id.as_str()).await;
        let _container = held.map_err(tag)?;
        let known = self.load(key).await.map_err(tag)?;
        let pod = completed(pod, &known);
        self.detach(list, &pod, known).await.map_err(tag)
    }

    /// Detaches a container with the configuration and the arguments of its ADD, whatever the
    /// configuration directory says now. `netns` replaces the recorded path; an empty one says
    /// that the namespace is gone.
    ///
    /// `None` if nothing is recorded about the attachment.
    ///
    /// # Errors
    /// As [`Cni::del`]; [`Kind::Cache`] when the record cannot be used.
    pub async fn del_recorded(
        &self,
        network: &str,
        attachment: &cni_types::Attachment,
        netns: Option<&str>,
    ) -> Result<Option<Detached>> {
        let tag = |e: Error| e.verb(Verb::Del).network(network);
        let key = Key::parse(network, attachment).map_err(tag)?;
        let _network = self.hold_network(network, Use::Shared).await.map_err(tag)?;
        let held = self.hold_container(&attachment.container_id).await;
        let _container = held.map_err(tag)?;
        let known = self.load(key).await.map_err(tag)?;
        let Some((list, pod)) = known.call(netns).map_err(tag)? else {
            return match &known.entry {
                Some(Entry::Corrupt { file, fault }) => {
                    Err(tag(corrupt(&file.display().to_string(), fault)))
                }
                _ => Ok(None),
            };
        };
        self.detach(&list, &pod, known).await.map(Some).map_err(tag)
    }

    pub(crate) async fn load(&self, key: Key) -> Result<Known> {
        let shared = self.shared.clone();
        blocking(move || Known::load(&shared, &key)).await
    }

    /// DEL for who holds network and container.
    pub(crate) async fn detach(
        &self,
        list: &NetworkList,
        pod: &Pod,
        mut known: Known,
    ) -> Result<Detached> {
        let mut warnings = std::mem::take(&mut known.warnings);
        let result = match known.result(list.version) {
            Ok(result) => result.filter(|_| list.version.has_check()),
            Err(e) => {
                warnings.push(e.network(&list.name));
                None
            }
        };
        for conf in list.plugins.iter().rev() {
            let step = self.step(Verb::Del, (list, conf), pod, result.as_ref());
            if let Err(e) = step.await {
                return Err(e.and(warnings));
            }
        }
        let (shared, key) = (self.shared.clone(), known.key);
        let forgotten = blocking(move || {
            shared.cache.remove(&key)?;
            shared.intents.end(&key)
        });
        forgotten.await.map_err(|e| e.network(&list.name))?;
        Ok(Detached { warnings })
    }
}
