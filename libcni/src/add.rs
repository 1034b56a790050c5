//! ADD: the chain in order, and DEL of the whole chain when it fails.

use crate::cache::Key;
use crate::cni::{Call, blocking};
use crate::intent::Journal;
use crate::lock::Use;
use crate::record::{Entry, Record, boot_id};
use crate::{Cni, Error, Kind, NetworkList, Pod, Result, derive};
use cni_exec::Verb;
use cni_types::{CniResult, Code, Version};
use serde_json::{Value, json};
use std::path::Path;
use tokio::sync::oneshot;

/// What an ADD brought about.
#[derive(Clone, Debug, PartialEq)]
pub struct Added {
    /// The result of the last plugin of the chain.
    pub result: CniResult,
    /// The same as a document, in the version of the network's configuration.
    pub document: Value,
}

impl Cni {
    /// Attaches a container to a network: runs ADD of every plugin in order, each with the
    /// result of the one before, and keeps the last result.
    ///
    /// When a plugin fails, DEL of the whole chain is run, each call with a deadline of its own;
    /// failures of that DEL lie beside the first one in [`Error::also`]. The same happens when
    /// the returned future is dropped: the undoing goes on in a task of the runtime, see
    /// [`Cni::drain`].
    ///
    /// An ADD of the same attachment that was cut short (its caller was killed, or the node was
    /// booted) is undone first. When the call returns, the record has been synced to disk.
    ///
    /// # Errors
    /// [`Kind::Request`] with [`Code::Conflict`] when the attachment exists already; the
    /// existing one is left as it is. Otherwise what the plugins, cache and locks report.
    pub async fn add(&self, list: &NetworkList, pod: &Pod) -> Result<Added> {
        let tag = |e: Error| e.verb(Verb::Add).network(&list.name);
        list.ready().map_err(tag)?;
        pod.args_text().map_err(tag)?;
        Key::of_pod(list.name.as_str(), pod).check().map_err(tag)?;
        let working = self.shared.work.clone().read_owned().await;
        let (stay, gone) = oneshot::channel::<()>();
        let (answer, answered) = oneshot::channel();
        let (cni, list_, pod) = (self.clone(), list.clone(), pod.clone());
        // A task of its own, so that a caller who goes away cannot stop the undoing.
        tokio::spawn(async move {
            let _working = working;
            let add = Add { cni: &cni, list: &list_, pod: &pod };
            let outcome = add.run(gone).await;
            if let Err(Ok(_unwanted)) = answer.send(outcome) {
                // Nobody was told, so nobody would detach it.
                let _told_to_nobody = cni.del(&list_, &pod).await;
            }
        });
        let outcome = answered.await;
        drop(stay);
        match outcome {
            Ok(outcome) => outcome.map_err(tag),
            Err(e) => Err(tag(Error::io(Kind::State, "task", &std::io::Error::other(e)))),
        }
    }
}

/// How far a chain came.
#[derive(Default)]
struct SoFar {
    /// How many plugins were run.
    called: usize,
    /// The result of the last one that succeeded.
    last: Option<Value>,
}

struct Add<'a> {
    cni: &'a Cni,
    list: &'a NetworkList,
    pod: &'a Pod,
}

impl Add<'_> {
    async fn run(&self, mut gone: oneshot::Receiver<()>) -> Result<Added> {
        let locked = async {
            let network = self.cni.hold_network(self.list.name.as_str(), Use::Shared).await?;
            let container = self.cni.hold_container(self.pod.container_id.as_str()).await?;
            Ok::<_, Error>((network, container))
        };
        let _held = tokio::select! {
            biased;
            _ = &mut gone => return Err(cancelled()),
            held = locked => held?,
        };
        self.clear_the_way().await?;
        let record = self.record();
        let intents = self.cni.shared.intents.clone();
        let journal = blocking(move || intents.begin(&record)).await?;
        let mut so_far = SoFar::default();
        let outcome = tokio::select! {
            biased;
            _ = &mut gone => Err(cancelled()),
            outcome = self.chain(&journal, &mut so_far) => outcome,
        };
        let outcome = match outcome {
            Ok(added) => self.keep(&added).await.map(|()| added),
            Err(e) => Err(e),
        };
        match outcome {
            Ok(added) => Ok(added),
            Err(e) => Err(e.and(self.undo(so_far).await)),
        }
    }

    fn key(&self) -> Key {
        Key::of_pod(self.list.name.as_str(), self.pod)
    }

    fn record(&self) -> Record {
        Record {
            network: self.list.name.as_str().to_owned(),
            container_id: self.pod.container_id.as_str().to_owned(),
            ifname: self.pod.ifname.as_str().to_owned(),
            netns: self.pod.netns.clone(),
            args: self.pod.args.clone(),
            capability_args: self.pod.capability_args.clone(),
            config: self.list.bytes().to_vec(),
            result: None,
            boot_id: boot_id(),
        }
    }

    /// Undoes what is left of an earlier ADD of the same attachment, and refuses a second one.
    async fn clear_the_way(&self) -> Result<()> {
        let (shared, key) = (self.cni.shared.clone(), self.key());
        let known = blocking(move || {
            let known = crate::del::Known::load(&shared, &key)?;
            shared.cache.check_free(&key)?;
            Ok(known)
        });
        let known = known.await?;
        if let Some(Entry::Record(record)) = &known.entry {
            let over = record.is_of_earlier_boot() || !Path::new(&record.netns).exists();
            if known.intent.is_none() && !over {
                return Err(self.exists(record));
            }
        } else if known.intent.is_none() {
            return Ok(());
        }
        let Some((list, pod)) = known.call(None)? else { return Ok(()) };
        let undone = self.cni.detach(&list, &pod, known).await;
        undone.map(|_| ()).map_err(|e| {
            let cause = cni_types::Error::new(
                Code::Conflict,
                "an earlier ADD of this attachment, which was cut short, cannot be undone",
            );
            Error::new(Kind::Request, cause.with_details("see the error beside this one")).and([e])
        })
    }

    fn exists(&self, record: &Record) -> Error {
        let cause = cni_types::Error::new(
            Code::Conflict,
            format!(
                "container {:?}, interface {:?}: is attached to this network already, in {}",
                record.container_id, record.ifname, record.netns
            ),
        );
        Error::new(
            Kind::Request,
            cause.with_details("run DEL first, or use another interface name"),
        )
    }

    async fn chain(&self, journal: &Journal, so_far: &mut SoFar) -> Result<Added> {
        let network = self.list.name.as_str();
        let mut result = CniResult::default();
        for conf in &self.list.plugins {
            let (plugin, verb) = (&conf.plugin, Verb::Add);
            let caps = &self.pod.capability_args;
            let stdin = derive::attachment(self.list, conf, so_far.last.as_ref(), caps);
            let (pod, journal) = (Some(self.pod), Some(journal));
            let call = Call { network, plugin, verb, pod, stdin, journal };
            so_far.called += 1;
            let answer = self.cni.call(call).await.inspect_err(|e| {
                // Not found, so it did nothing.
                so_far.called -= usize::from(e.kind() == Kind::NoPlugin);
            })?;
            let read = read_result(answer, self.list.version);
            let (parsed, document) = read.map_err(|e| e.plugin(plugin).verb(verb))?;
            result = parsed;
            so_far.last = Some(document);
        }
        Ok(Added { result, document: so_far.last.clone().unwrap_or_default() })
    }

    /// Writes the record, then forgets the intent: at any moment one of them tells of the
    /// attachment.
    async fn keep(&self, added: &Added) -> Result<()> {
        let mut record = self.record();
        record.result = Some(added.document.clone());
        let (shared, key) = (self.cni.shared.clone(), self.key());
        blocking(move || {
            shared.cache.put(&record)?;
            shared.intents.end(&key)
        })
        .await
    }

    /// DEL of the whole chain; what fails is passed over and told. A plugin that was not called and
    /// is not there has nothing to undo.
    async fn undo(&self, so_far: SoFar) -> Vec<Error> {
        let prev_result = so_far.last.filter(|_| self.list.version.has_check());
        let mut errors = Vec::new();
        for (index, conf) in self.list.plugins.iter().enumerate().rev() {
            let conf = (self.list, conf);
            let step = self.cni.step(Verb::Del, conf, self.pod, prev_result.as_ref());
            let failed = step.await.err();
            let called = index < so_far.called;
            errors.extend(failed.filter(|e| called || e.kind() != Kind::NoPlugin));
        }
        if errors.is_empty() {
            let (shared, key) = (self.cni.shared.clone(), self.key());
            let forgotten = blocking(move || {
                shared.cache.remove(&key)?;
                shared.intents.end(&key)
            });
            errors.extend(forgotten.await.err());
        }
        errors
    }
}

fn cancelled() -> Error {
    let cause = cni_types::Error::new(Code::TryAgain, "the caller went away; ADD is undone");
    Error::new(Kind::Cancelled, cause)
}

/// The result that a plugin printed, and its document in the version of the configuration.
///
/// A document without a version counts as one of the configuration's version: many plugins leave
/// it out. A document of the right version is kept as it is, with keys that nobody here knows.
fn read_result(answer: Option<Value>, version: Version) -> Result<(CniResult, Value)> {
    let broken = |msg: &str| Error::new(Kind::Broken, cni_types::Error::new(Code::Decode, msg));
    let mut doc = match answer {
        None => return Err(broken("it succeeded but printed no result")),
        Some(Value::Null) => json!({}),
        Some(doc) => doc,
    };
    if doc.get("msg").is_some()
        && let Some(error) = cni_types::Error::from_value(&doc)
    {
        return Err(Error::new(Kind::Plugin, error));
    }
    let unusable = |e: cni_types::Error| {
        Error::new(Kind::Broken, e.context("its result").with_details("the plugin is at fault"))
    };
    let result = CniResult::from_value(&doc, version).map_err(unusable)?;
    let own = doc.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    if own.is_empty() {
        doc["cniVersion"] = Value::from(version.as_str());
    } else if own != version.as_str() {
        doc = result.to_value(version).map_err(unusable)?;
    }
    Ok((result, doc))
}
