//! GC: DEL of what is recorded but not valid, then GC of every plugin.

use crate::cache::Key;
use crate::cni::blocking;
use crate::del::{completed, corrupt};
use crate::lock::Use;
use crate::record::Entry;
use crate::{Cni, Error, NetworkList, Pod, Record, Result, derive};
use cni_exec::Verb;
use cni_types::Attachment;
use std::collections::BTreeSet;
use std::fmt;

/// Which attachments of a network are to stay.
pub enum Valid<'a> {
    /// These. All others of the network are removed, so the list must be complete.
    These(&'a [Attachment]),
    /// The recorded ones of which this is true; it is asked when no ADD or DEL of the network
    /// can run any more.
    Where(&'a (dyn Fn(&Record) -> bool + Send + Sync)),
}

impl fmt::Debug for Valid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Valid::These(list) => f.debug_tuple("These").field(list).finish(),
            Valid::Where(_) => f.write_str("Where(..)"),
        }
    }
}

/// What GC did, or would do.
#[derive(Debug, Default)]
pub struct Collected {
    /// `disableGC` is set: nothing was done.
    pub disabled: bool,
    /// Attachments that were valid.
    pub kept: Vec<Attachment>,
    /// Attachments that were detached.
    pub removed: Vec<Attachment>,
    /// Whether the plugins were asked to collect (CNI 1.1.0 or newer).
    pub plugins_asked: bool,
    /// Corrupt records that were removed, and other faults that were dealt with.
    pub warnings: Vec<Error>,
}

/// The recorded attachments of one network.
struct Inventory {
    kept: Vec<Attachment>,
    stale: Vec<Attachment>,
    /// Corrupt files whose names say that they are this network's: name, attachment, fault.
    corrupt: Vec<(String, Attachment, Error)>,
    /// Intents of valid attachments whose record is complete: their caller was killed between
    /// the two.
    complete: Vec<Key>,
    errors: Vec<Error>,
}

impl Cni {
    /// Frees what no valid attachment owns: detaches every recorded attachment of the network
    /// that is not in `valid`, with the configuration of its ADD, and every ADD that was cut
    /// short; then runs GC of every plugin with the list of the valid ones.
    ///
    /// Waits for the operations of this network to end, and keeps new ones waiting.
    ///
    /// # Errors
    /// A cache that cannot be listed ends GC before anything is done. Every other failure is
    /// passed over; the first is the error, the others lie beside it.
    pub async fn gc(&self, list: &NetworkList, valid: &Valid<'_>) -> Result<Collected> {
        let tag = |e: Error| e.verb(Verb::Gc).network(&list.name);
        list.ready().map_err(tag)?;
        if list.disable_gc {
            return Ok(Collected { disabled: true, ..Collected::default() });
        }
        let _network = self.hold_network(list.name.as_str(), Use::Alone).await.map_err(tag)?;
        let found = self.inventory(list.name.as_str(), valid).await.map_err(tag)?;
        let mut errors = found.errors;
        let mut done = Collected { kept: found.kept, ..Collected::default() };
        for attachment in found.stale {
            match self.collect(list, &attachment).await {
                Ok(warnings) => {
                    done.warnings.extend(warnings);
                    done.removed.push(attachment);
                }
                Err(e) => errors.push(tag(e)),
            }
        }
        for (name, attachment, fault) in found.corrupt {
            match self.collect_corrupt(list, &name, &attachment).await {
                Ok(()) => done.warnings.push(tag(fault)),
                Err(e) => errors.push(tag(e).and([tag(fault)])),
            }
        }
        if list.version.has_gc() {
            done.plugins_asked = true;
            for plugin in &list.plugins {
                let stdin = derive::gc(list, plugin, &done.kept);
                errors.extend(self.ask(list, plugin, Verb::Gc, stdin).await.err());
            }
        }
        let (shared, complete) = (self.shared.clone(), found.complete);
        let cleaned = blocking(move || {
            complete.iter().try_for_each(|key| shared.intents.end(key))?;
            shared.cache.clean()?;
            shared.intents.clean()
        });
        errors.extend(cleaned.await.map_err(tag).err());
        match Error::join(errors) {
            None => Ok(done),
            Some(e) => Err(e),
        }
    }

    /// What [`Cni::gc`] would keep and remove; changes nothing.
    ///
    /// # Errors
    /// When the cache cannot be listed, or a file in it cannot be read.
    pub async fn gc_preview(&self, list: &NetworkList, valid: &Valid<'_>) -> Result<Collected> {
        let tag = |e: Error| e.verb(Verb::Gc).network(&list.name);
        if list.disable_gc {
            return Ok(Collected { disabled: true, ..Collected::default() });
        }
        let found = self.inventory(list.name.as_str(), valid).await.map_err(tag)?;
        if let Some(e) = Error::join(found.errors) {
            return Err(tag(e));
        }
        let mut removed = found.stale;
        removed.extend(found.corrupt.iter().map(|(_, attachment, _)| attachment.clone()));
        Ok(Collected {
            kept: found.kept,
            removed,
            plugins_asked: list.version.has_gc(),
            warnings: found.corrupt.into_iter().map(|(_, _, fault)| tag(fault)).collect(),
            disabled: false,
        })
    }

    async fn inventory(&self, network: &str, valid: &Valid<'_>) -> Result<Inventory> {
        let listing = self.listing().await?;
        let mut found = Inventory {
            kept: Vec::new(),
            stale: Vec::new(),
            corrupt: Vec::new(),
            complete: Vec::new(),
            errors: listing.errors,
        };
        let mut kept = BTreeSet::new();
        let mut seen = BTreeSet::new();
        if let Valid::These(list) = valid {
            kept.extend(list.iter().cloned());
        }
        let (mut records, mut broken) = (Vec::new(), Vec::new());
        for entry in listing.entries {
            match entry {
                Entry::Record(record) if record.network == network => records.push(*record),
                Entry::Corrupt { file, fault } => broken.push((file, fault)),
                // Of another network; or without any name, so that nobody can tell whose it is.
                Entry::Record(_) | Entry::Legacy { .. } => {}
            }
        }
        if let Valid::Where(keep) = valid {
            kept.extend(records.iter().filter(|r| keep(r)).map(Record::attachment));
        }
        for intent in listing.unfinished.into_iter().filter(|r| r.network == network) {
            let attachment = intent.attachment();
            if records.iter().any(|r| r.attachment() == attachment) && kept.contains(&attachment) {
                found.complete.push(Key::of(&intent));
            }
            records.push(intent);
        }
        for record in records {
            let attachment = record.attachment();
            if !kept.contains(&attachment) && seen.insert(attachment.clone()) {
                found.stale.push(attachment);
            }
        }
        for (file, fault) in broken {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let of_kept = |a: &Attachment| Key::of_attachment(network, a).file_name() == name;
            if let Some(attachment) = owner(network, &name)
                && !kept.iter().any(of_kept)
            {
                let fault = corrupt(&file.display().to_string(), &fault);
                found.corrupt.push((name, attachment, fault));
            }
        }
        found.kept = kept.into_iter().collect();
        Ok(found)
    }

    /// DEL of one recorded attachment, for who holds the network.
    async fn collect(&self, list: &NetworkList, attachment: &Attachment) -> Result<Vec<Error>> {
        let _container = self.hold_container(&attachment.container_id).await?;
        let known = self.load(Key::of_attachment(list.name.as_str(), attachment)).await?;
        let (list, pod) = match known.call(None) {
            Ok(Some(call)) => call,
            // Gone since it was listed.
            Ok(None) => return Ok(Vec::new()),
            // The configuration in the record is unusable: today's is the next best.
            Err(e) => {
                let pod = Pod::new(&attachment.container_id, &attachment.ifname, "")?;
                let pod = completed(&pod, &known);
                return self.detach(list, &pod, known).await.map(|_| vec![e]);
            }
        };
        self.detach(&list, &pod, known).await.map(|done| done.warnings)
    }

    /// DEL for the owner that the name of a corrupt file tells, then removal of the file.
    async fn collect_corrupt(
        &self,
        list: &NetworkList,
        name: &str,
        attachment: &Attachment,
    ) -> Result<()> {
        let _container = self.hold_container(&attachment.container_id).await?;
        let pod = Pod::new(&attachment.container_id, &attachment.ifname, "")?;
        for plugin in list.plugins.iter().rev() {
            self.step(Verb::Del, (list, plugin), &pod, None).await?;
        }
        let (shared, name) = (self.shared.clone(), name.to_owned());
        blocking(move || shared.cache.remove_file(&name)).await
    }
}

/// The attachment that a file name of the cache tells, if it is one of `network`.
///
/// A container ID may hold a '-' as well as the other names; interface names hardly ever do, so
/// the last part is taken for one.
fn owner(network: &str, file_name: &str) -> Option<Attachment> {
    let rest = file_name.strip_prefix(network)?.strip_prefix('-')?;
    let (container_id, ifname) = rest.rsplit_once('-')?;
    let attachment =
        Attachment { container_id: container_id.to_owned(), ifname: ifname.to_owned() };
    Pod::new(container_id, ifname, "").ok().map(|_| attachment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_tell_their_owner() {
        let found = owner("a", "a-b-c-eth0").expect("owner");
        assert_eq!((found.container_id.as_str(), found.ifname.as_str()), ("b-c", "eth0"));
        let found = owner("a-b", "a-b-c-eth0").expect("owner");
        assert_eq!(found.container_id, "c");
        for other in ["b-c-eth0", "a-eth0", "abc-d-eth0", "a--eth0"] {
            assert_eq!(owner("a", other), None, "{other}");
        }
    }
}
