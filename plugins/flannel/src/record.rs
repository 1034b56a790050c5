//! Records: what the delegate of each attachment was told, so that DEL can tell it again.
//!
//! A record is a file of the reference plugin's format: the delegate's configuration, by the name of
//! the container, with one key more that names the interface. A second attachment of a
//! container, for which the reference has no place, has a file by the name of both.
//!
//! A record is written before the delegate starts, in one piece and without waiting for the disk:
//! what is lost or torn, DEL makes again from the configuration.

use cni_types::{Attachment, Error, PluginType, Result};
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The key that names the attachment's interface.
const OWNER: &str = "podloom";
/// Between container and interface in a file's name; neither can have it.
const SEPARATOR: char = ':';

/// The directory of records.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dir: PathBuf,
}

/// A file of the directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    path: PathBuf,
    /// The container.
    pub(crate) container_id: String,
    /// The interface; the reference does not note it.
    pub(crate) ifname: Option<String>,
    /// What the delegate was told; absent in a file that cannot be read as such.
    pub(crate) told: Option<Told>,
    /// Whether a crash left the file without content.
    is_blank: bool,
}

/// What a delegate was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// The delegate.
    pub(crate) plugin: PluginType,
    /// The network.
    pub(crate) network: String,
    /// Its configuration.
    pub(crate) document: Value,
}

impl Records {
    pub(crate) fn at(dir: &Path) -> Records {
        Records { dir: dir.to_owned() }
    }

    /// The record of `attachment` to `network`.
    ///
    /// # Errors
    /// [`cni_types::Code::Io`].
    pub(crate) fn find(&self, attachment: &Attachment, network: &str) -> Result<Option<Record>> {
        let own = self.read(&double_name(attachment))?;
        if own.is_some() {
            return Ok(own);
        }
        let shared = self.read(&attachment.container_id)?;
        Ok(shared.filter(|record| match (&record.ifname, &record.told) {
            (Some(ifname), _) => *ifname == attachment.ifname,
            (None, Some(told)) => told.network == network,
            (None, None) => true,
        }))
    }

    /// Where a record of `attachment` goes that has none.
    pub(crate) fn place_for(&self, attachment: &Attachment) -> PathBuf {
        let shared = self.dir.join(&attachment.container_id);
        if shared.exists() { self.dir.join(double_name(attachment)) } else { shared }
    }

    /// Writes what the delegate of `attachment` is told.
    ///
    /// # Errors
    /// [`cni_types::Code::Io`].
    pub(crate) fn write(&self, path: &Path, ifname: &str, document: &Value) -> Result<()> {
        let mut noted = document.clone();
        noted[OWNER] = json!({ "ifname": ifname });
        let text = noted.to_string();
        let fault = |e: std::io::Error| {
            Error::io(path.display(), &e).with_details("dataDir must be writable for this plugin")
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let opened = match options.open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(fault)?;
                options.open(path)
            }
            other => other,
        };
        opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(fault)
    }

    /// All records, with those that a crash left blank; other files that somebody keeps here are
    /// none.
    ///
    /// # Errors
    /// [`cni_types::Code::Io`].
    pub(crate) fn all(&self) -> Result<Vec<Record>> {
        let fault = |e: std::io::Error| Error::io(self.dir.display(), &e);
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(fault)?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let name = entry.map_err(fault)?.file_name();
            // A name that is no text is none of ours.
            if let Some(name) = name.to_str() {
                records.extend(self.read(name)?);
            }
        }
        records.retain(|record| record.told.is_some() || record.is_blank);
        Ok(records)
    }

    fn read(&self, name: &str) -> Result<Option<Record>> {
        let path = self.dir.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(Error::io(path.display(), &e)),
        };
        let mut document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let owner = document.as_object_mut().and_then(|map| map.remove(OWNER));
        let noted = owner.and_then(|owner| owner["ifname"].as_str().map(str::to_owned));
        let (container_id, named) = match name.split_once(SEPARATOR) {
            Some((container_id, ifname)) => (container_id, Some(ifname.to_owned())),
            None => (name, None),
        };
        Ok(Some(Record {
            path,
            container_id: container_id.to_owned(),
            ifname: named.or(noted),
            told: told(document),
            // Of a file that was not written out before a power cut some file systems keep the size.
            is_blank: bytes.iter().all(|byte| *byte == 0),
        }))
    }
}

impl Record {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the record at `path`; one that is not there is no fault.
///
/// # Errors
/// [`cni_types::Code::Io`].
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path.display(), &e)),
        _ => Ok(()),
    }
}

fn told(document: Value) -> Option<Told> {
    let network = document["name"].as_str()?.to_owned();
    let plugin = PluginType::parse(document["type"].as_str()?).ok()?;
    Some(Told { plugin, network, document })
}

fn double_name(attachment: &Attachment) -> String {
    format!("{}{SEPARATOR}{}", attachment.container_id, attachment.ifname)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(id: &str, ifname: &str) -> Attachment {
        Attachment { container_id: id.into(), ifname: ifname.into() }
    }

    /// A directory of the test's own, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = format!("podloom-flannel-{name}-{}", std::process::id());
            Scratch(std::env::temp_dir().join(dir))
        }

        fn records(&self) -> Records {
            Records::at(&self.0)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn save(records: &Records, attachment: &Attachment, network: &str) -> PathBuf {
        let path = records.place_for(attachment);
        let document = json!({"name": network, "type": "bridge"});
        records.write(&path, &attachment.ifname, &document).expect("write");
        path
    }

    #[test]
    fn each_attachment_has_a_record() {
        let scratch = Scratch::new("each");
        let records = scratch.records();
        assert_eq!(records.all().expect("no directory"), []);
        let (first, second) = (attachment("pod", "eth0"), attachment("pod", "net1"));
        assert_eq!(records.find(&first, "a").expect("find"), None);
        assert_eq!(save(&records, &first, "a"), scratch.0.join("pod"));
        assert_eq!(records.find(&second, "a").expect("find"), None);
        assert_eq!(save(&records, &second, "b"), scratch.0.join("pod:net1"));
        for (attachment, network) in [(&first, "a"), (&second, "b")] {
            let record = records.find(attachment, network).expect("find").expect("a record");
            assert_eq!(record.ifname.as_deref(), Some(attachment.ifname.as_str()));
            let told = record.told.expect("a configuration");
            assert_eq!(told.document, json!({"name": network, "type": "bridge"}));
        }
        assert_eq!(records.all().expect("all").len(), 2);
        remove(&scratch.0.join("pod")).expect("remove");
        remove(&scratch.0.join("pod")).expect("again");
        assert!(records.find(&second, "b").expect("find").is_some());
    }

    #[test]
    fn a_record_of_the_reference_is_its_networks() {
        let scratch = Scratch::new("reference");
        fs::create_dir(&scratch.0).expect("directory");
        let text = r#"{"name":"a","type":"bridge","ipam":{}}"#;
        fs::write(scratch.0.join("pod"), text).expect("write");
        let (records, any) = (scratch.records(), attachment("pod", "net7"));
        assert!(records.find(&any, "a").expect("find").is_some());
        assert_eq!(records.find(&any, "b").expect("find"), None);
        assert_eq!(records.all().expect("all")[0].ifname, None);
    }

    #[test]
    fn what_is_torn_is_found_and_what_is_foreign_is_left() {
        let scratch = Scratch::new("torn");
        fs::create_dir_all(scratch.0.join("networks")).expect("directory");
        for (name, text) in [("pod", ""), ("zeros", "\0\0"), ("lock", "x"), ("list", "[]")] {
            fs::write(scratch.0.join(name), text).expect("write");
        }
        let records = scratch.records();
        let found = records.find(&attachment("pod", "eth0"), "a").expect("find").expect("torn");
        assert_eq!(found.told, None);
        let mut all: Vec<_> =
            records.all().expect("all").into_iter().map(|record| record.container_id).collect();
        all.sort();
        assert_eq!(all, ["pod", "zeros"]);
    }
}
