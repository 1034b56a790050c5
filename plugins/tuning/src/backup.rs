//! What was there before, kept in a file for DEL.
//!
//! The file has the name and the keys of the reference plugin's, so that either puts back what the
//! other changed; what only this plugin keeps stands under a key of its own.
//!
//! Invariant: the file is whole, under its final name, before anything is changed.

use crate::config::Config;
use crate::plan::Step;
use cni_plugin::{Call, log};
use cni_types::{Code, Error, NetConf, Result};
use netlink::{Change, Link, Mac, Netlink};
use netns::Netns;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The values of an interface, and of its namespace, before ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Backup {
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promisc: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allmulti: Option<bool>,
    #[serde(rename = "txQLen", skip_serializing_if = "Option::is_none")]
    tx_q_len: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) podloom: Option<Own>,
}

/// What the reference plugin neither keeps nor reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Own {
    /// The network of the attachment.
    pub(crate) network: String,
    /// The interface.
    pub(crate) ifname: String,
    /// Path of the namespace.
    pub(crate) netns: String,
    /// The namespace itself: a path may lead to another one later.
    namespace: (u64, u64),
    /// Values of sysctls, by their keys with slashes.
    sysctl: BTreeMap<String, String>,
}

impl Backup {
    /// What `config` is about to change in `link` and in the namespace of the calling thread.
    ///
    /// # Errors
    /// Those of the kernel, for a sysctl that is not there.
    pub(crate) fn take(call: &Call, config: &Config, link: Option<&Link>) -> Result<Backup> {
        let ifname = call.ifname.as_str();
        let mut sysctl = BTreeMap::new();
        for setting in &config.sysctls {
            let key = setting.key_for(ifname);
            match sysctl::read(&key) {
                Ok(value) => drop(sysctl.insert(key, value)),
                // One that is an order to the kernel has no value.
                Err(e) if e.is_denied() => {}
                Err(e) => return Err(Error::from(e).context(format!("sysctl.{}", setting.given))),
            }
        }
        let own = Own {
            network: call.conf.name.as_str().to_owned(),
            ifname: ifname.to_owned(),
            netns: call.netns_path.clone(),
            namespace: call.pod()?.identity(),
            sysctl,
        };
        let of = |asked: bool| link.filter(|_| asked);
        Ok(Backup {
            mac: of(config.mac.is_some()).and_then(|link| Some(link.mac?.to_string())),
            promisc: of(config.promiscuous).map(|link| link.promiscuous),
            mtu: of(config.mtu.is_some()).map(|link| link.mtu),
            allmulti: of(config.all_multicast.is_some()).map(|link| link.all_multicast),
            tx_q_len: of(config.queue_length.is_some()).map(|link| link.queue_length),
            podloom: Some(own),
        })
    }

    /// Whether it was taken in `space`. One of the reference plugin does not tell.
    pub(crate) fn is_of(&self, space: &Netns) -> bool {
        self.podloom.as_ref().is_some_and(|own| own.namespace == space.identity())
    }

    /// This one, with the values of an earlier one of the same namespace in their place: what an
    /// ADD before this one has changed is not what was there before.
    pub(crate) fn behind(self, earlier: Backup) -> Backup {
        let own = self.podloom.map(|mut own| {
            own.sysctl.extend(earlier.podloom.unwrap_or_default().sysctl);
            own
        });
        Backup {
            mac: earlier.mac.or(self.mac),
            promisc: earlier.promisc.or(self.promisc),
            mtu: earlier.mtu.or(self.mtu),
            allmulti: earlier.allmulti.or(self.allmulti),
            tx_q_len: earlier.tx_q_len.or(self.tx_q_len),
            podloom: own,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let none = Change::default;
        let mut steps = Vec::new();
        let mac: Option<Mac> = self.mac.as_ref().and_then(|mac| mac.parse().ok());
        steps.extend(self.mtu.map(|mtu| ("mtu", Change { mtu: Some(mtu), ..none() })));
        steps.extend(mac.map(|mac| ("mac", Change { mac: Some(mac), ..none() })));
        let on = self.promisc;
        steps.extend(on.map(|on| ("promisc", Change { promiscuous: Some(on), ..none() })));
        let on = self.allmulti;
        steps.extend(on.map(|on| ("allmulti", Change { all_multicast: Some(on), ..none() })));
        let length = self.tx_q_len;
        steps.extend(length.map(|n| ("txQLen", Change { queue_length: Some(n), ..none() })));
        steps
    }

    /// Puts everything back in `space`. What cannot be put back is logged: a pod that is on its way
    /// out is not held up by it.
    pub(crate) fn put_back(&self, space: &Netns, ifname: &str) {
        let outcome = space.run(|| -> Result<()> {
            let pod = Netlink::open()?;
            if let Some(link) = pod.link_by_name(ifname)? {
                for (key, step) in self.steps() {
                    log(format!("putting {key} back"), pod.change(link.index, &step));
                }
            }
            for (key, value) in self.podloom.iter().flat_map(|own| &own.sysctl) {
                match sysctl::write(key, value) {
                    // It went with its interface.
                    Err(e) if e.is_not_found() => {}
                    other => log(format!("putting {key} back"), other),
                }
            }
            Ok(())
        });
        log("putting back what was there before", outcome.map_err(Error::from).flatten());
    }
}

/// The file of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    path: PathBuf,
    draft: PathBuf,
}

/// What a store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing.
    Nothing,
    /// A file that does not tell what was there before: it was cut off, or is no backup.
    Unreadable,
    /// What was there before.
    Values(Box<Backup>),
}

impl Store {
    /// That of the attachment of `call`.
    pub(crate) fn of(call: &Call, dir: &Path) -> Store {
        Store::named(dir, &format!("{}_{}", call.container_id, call.ifname))
    }

    /// That of the attachment `<container>_<interface>`.
    pub(crate) fn named(dir: &Path, stem: &str) -> Store {
        let draft = dir.join(format!(".{stem}.json.new"));
        Store { path: dir.join(format!("{stem}.json")), draft }
    }

    /// The attachment that a file in the directory is of, and none for other files.
    pub(crate) fn stem_of(file: &str) -> Option<&str> {
        match file.strip_prefix('.') {
            Some(draft) => draft.strip_suffix(".json.new"),
            None => file.strip_suffix(".json"),
        }
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub(crate) fn read(&self) -> Result<Kept> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .map_or(Kept::Unreadable, |backup| Kept::Values(Box::new(backup)))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Kept::Nothing),
            Err(e) => Err(Error::io(self.path.display(), &e)),
        }
    }

    /// Keeps `backup` in place of what was kept, for root alone: whoever could write there could
    /// have sysctls set.
    ///
    /// # Errors
    /// [`Code::Io`]; nothing is changed then.
    pub(crate) fn write(&self, backup: &Backup) -> Result<()> {
        let text = serde_json::to_vec_pretty(backup)
            .map_err(|e| Error::new(Code::Internal, format!("{}: {e}", self.path.display())))?;
        let fault = |e: &std::io::Error| {
            Error::io(self.path.display(), e)
                .with_details("\"dataDir\" names the directory; it must be writable")
        };
        if let Some(dir) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| fault(&e))?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&self.draft).and_then(|mut file| file.write_all(&text));
        written.and_then(|()| fs::rename(&self.draft, &self.path)).map_err(|e| fault(&e))
    }

    /// Forgets what is kept, and what a killed ADD has left of a file.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub(crate) fn remove(&self) -> Result<()> {
        Error::collect([&self.path, &self.draft].map(|path| match fs::remove_file(path) {
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(Error::io(path.display(), &e))
            }
            _ => Ok(()),
        }))
    }
}

/// Names of the files in the directory of `conf`; none where there is no directory.
///
/// # Errors
/// [`Code::Io`].
pub(crate) fn files(conf: &NetConf) -> Result<Vec<String>> {
    let dir = crate::config::readable_data_dir(conf);
    let fault = |e: &std::io::Error| Error::io(dir.display(), e);
    match fs::read_dir(&dir) {
        Ok(entries) => entries
            .map(|entry| match entry {
                Ok(entry) => Ok(entry.file_name().to_string_lossy().into_owned()),
                Err(e) => Err(fault(&e)),
            })
            .collect(),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(e) => Err(fault(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(mtu: Option<u32>, sysctls: &[(&str, &str)]) -> Backup {
        let sysctl = sysctls.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Backup { mtu, podloom: Some(Own { sysctl, ..Own::default() }), ..Backup::default() }
    }

    #[test]
    fn a_file_of_the_reference_is_read() {
        let text = r#"{
 "mac": "02:00:00:00:00:01",
 "promisc": false,
 "mtu": 1500,
 "allmulti": true,
 "txQLen": 1000
}"#;
        let read: Backup = serde_json::from_str(text).expect("a backup");
        assert_eq!(read.steps().len(), 5);
        assert_eq!(read.podloom, None);
        assert_eq!(serde_json::from_str::<Backup>("{}").expect("empty").steps().len(), 0);
    }

    #[test]
    fn the_first_values_are_those_of_before() {
        let second = backup(Some(1400), &[("net/a", "2"), ("net/b", "1")]);
        let first = backup(Some(1500), &[("net/a", "1")]);
        let both = second.behind(first);
        assert_eq!(both, backup(Some(1500), &[("net/a", "1"), ("net/b", "1")]));
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = std::env::temp_dir().join(format!("podloom-tuning-{}", std::process::id()));
        let store = Store::named(&dir, "a_b_eth0");
        assert_eq!(store.read().expect("read"), Kept::Nothing);
        let kept = backup(Some(1500), &[("net/a", "1")]);
        store.write(&kept).expect("write");
        store.write(&kept).expect("write again");
        assert_eq!(store.read().expect("read"), Kept::Values(Box::new(kept)));
        fs::write(&store.path, "{\"mtu\": 15").expect("cut");
        assert_eq!(store.read().expect("read"), Kept::Unreadable);
        fs::write(&store.draft, "").expect("a killed ADD");
        let names: Vec<_> = fs::read_dir(&dir)
            .expect("dir")
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        assert!(names.iter().all(|name| Store::stem_of(name) == Some("a_b_eth0")), "{names:?}");
        assert_eq!(Store::stem_of("lock"), None);
        store.remove().expect("remove");
        store.remove().expect("remove nothing");
        fs::remove_dir(&dir).expect("nothing is left");
    }
}
