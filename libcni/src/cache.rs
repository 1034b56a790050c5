//! The cache of results, `<cache dir>/results`, shared with every runtime that uses the
//! reference library.

use crate::atomic::{Durable, Folder};
use crate::record::{Entry, Record};
use crate::{Error, Kind, Pod, Records, Result};
use cni_types::{Attachment, Code, NetworkName};
use std::path::Path;

/// The cache directory of the reference library.
pub const DEFAULT_CACHE_DIR: &str = "/var/lib/cni";

/// The longest file name, in bytes (`NAME_MAX`).
const FILE_NAME_MAX: usize = 255;

/// The records of a node's attachments.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: Folder,
    durable: Durable,
}

/// The three names that make up an attachment's identity on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) network: String,
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

impl Key {
    pub(crate) fn of_pod(network: &str, pod: &Pod) -> Key {
        Key::of_attachment(network, &pod.attachment())
    }

    pub(crate) fn of_attachment(network: &str, attachment: &Attachment) -> Key {
        Key {
            network: network.to_owned(),
            container_id: attachment.container_id.clone(),
            ifname: attachment.ifname.clone(),
        }
    }

    /// The key of names that come from outside.
    pub(crate) fn parse(network: &str, attachment: &Attachment) -> Result<Key> {
        NetworkName::parse(network).map_err(|e| Error::new(Kind::Request, e))?;
        Pod::new(&attachment.container_id, &attachment.ifname, "")?;
        let key = Key::of_attachment(network, attachment);
        key.check()?;
        Ok(key)
    }

    pub(crate) fn of(record: &Record) -> Key {
        Key {
            network: record.network.clone(),
            container_id: record.container_id.clone(),
            ifname: record.ifname.clone(),
        }
    }

    /// The file's name, as the reference makes it up.
    ///
    /// The three parts may hold a '-' themselves, so that two attachments can have one file
    /// name; who reads a record compares its names.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}-{}", self.network, self.container_id, self.ifname)
    }

    /// Refuses names that do not fit into a file name together.
    pub(crate) fn check(&self) -> Result<()> {
        let length = self.file_name().len();
        if length <= FILE_NAME_MAX {
            return Ok(());
        }
        let cause = cni_types::Error::new(
            Code::InvalidEnvironment,
            format!(
                "CNI_CONTAINERID: network, container and interface name make a file name of \
                 {length} bytes, at most {FILE_NAME_MAX} are possible"
            ),
        );
        Err(Error::new(
            Kind::Request,
            cause.with_details("use a shorter network name or container ID"),
        )
        .network(&self.network))
    }
}

impl Cache {
    pub(crate) fn new(dir: &Path, records: Records) -> Cache {
        let durable = match records {
            Records::Synced => Durable::Yes,
            Records::Volatile => Durable::No,
        };
        // Not inside `results`: there, any other reader would take it for a record.
        Cache { folder: Folder::new(dir.join("results"), dir.join("podloom/tmp")), durable }
    }

    fn fault(&self, key: &Key, e: &std::io::Error) -> Error {
        let file = self.folder.file(&key.file_name());
        Error::io(Kind::Cache, file.display(), e).network(&key.network)
    }

    /// The entry of `key`; `None` if there is none, or only that of another attachment whose
    /// names make the same file name.
    pub(crate) fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let name = key.file_name();
        let bytes = self.folder.read(&name).map_err(|e| self.fault(key, &e))?;
        let entry = bytes.map(|bytes| Entry::read(self.folder.file(&name), &bytes));
        Ok(match entry {
            Some(Entry::Record(record)) if Key::of(&record) != *key => None,
            other => other,
        })
    }

    /// Refuses an attachment whose file belongs to another one.
    pub(crate) fn check_free(&self, key: &Key) -> Result<()> {
        let name = key.file_name();
        let file = self.folder.file(&name);
        let Some(bytes) = self.folder.read(&name).map_err(|e| self.fault(key, &e))? else {
            return Ok(());
        };
        match Entry::read(file.clone(), &bytes) {
            Entry::Record(record) if Key::of(&record) != *key => {
                let cause = cni_types::Error::new(
                    Code::Conflict,
                    format!(
                        "{}: is the record of network {:?}, container {:?}, interface {:?}",
                        file.display(),
                        record.network,
                        record.container_id,
                        record.ifname
                    ),
                );
                let hint = "the names of both attachments make the same file name; \
                            rename one of the networks";
                Err(Error::new(Kind::Cache, cause.with_details(hint)).network(&key.network))
            }
            _ => Ok(()),
        }
    }

    /// Writes a record; with [`Records::Synced`] it is there, whole, after a loss of power.
    pub(crate) fn put(&self, record: &Record) -> Result<()> {
        let key = Key::of(record);
        let text = record.to_text();
        let written = self.folder.write(&key.file_name(), text.as_bytes(), self.durable);
        written.map_err(|e| self.fault(&key, &e))
    }

    /// Removes the entry of `key`, which need not exist. The entry of another attachment with
    /// the same file name stays.
    ///
    /// Not durable: a record that comes back after a loss of power is one of an earlier boot.
    pub(crate) fn remove(&self, key: &Key) -> Result<()> {
        if self.get(key)?.is_none() {
            return Ok(());
        }
        self.folder.remove(&key.file_name()).map_err(|e| self.fault(key, &e))
    }

    /// Removes the file of a corrupt entry.
    pub(crate) fn remove_file(&self, name: &str) -> Result<()> {
        let file = self.folder.file(name);
        self.folder.remove(name).map_err(|e| Error::io(Kind::Cache, file.display(), &e))
    }

    /// All entries by file name. An unreadable file is an error beside the others.
    ///
    /// # Errors
    /// When the directory cannot be listed; one that does not exist is empty.
    pub(crate) fn entries(&self) -> Result<(Vec<Entry>, Vec<Error>)> {
        let listed = self.folder.names();
        let names = listed.map_err(|e| Error::io(Kind::Cache, self.folder.dir().display(), &e))?;
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for name in names {
            let file = self.folder.file(&name);
            match self.folder.read(&name) {
                Ok(Some(bytes)) => entries.push(Entry::read(file, &bytes)),
                // Removed since the directory was read.
                Ok(None) => {}
                Err(e) => errors.push(Error::io(Kind::Cache, file.display(), &e)),
            }
        }
        Ok((entries, errors))
    }

    /// Removes what killed writers left.
    pub(crate) fn clean(&self) -> Result<()> {
        self.folder.clean().map_err(|e| Error::io(Kind::Cache, self.folder.dir().display(), &e))
    }
}
