//! Leases on disk: what a daemon that starts again goes on with, and what DEL finds with no daemon
//! at all.
//!
//! One file for each attachment, in a folder beside the socket, so that plugin and daemon agree on
//! the place without being told, and so that a daemon in a container has it wherever it has the
//! socket. A file is replaced as a whole. The daemon holds the folder's lock while it lives.

use crate::exchange::{Client, Patience};
use crate::lease::{Family, Lease};
use crate::protocol::{Key, Wish};
use cni_types::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A network namespace: where it was found, and which one it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What the daemon puts before paths of the node.
    prefix: String,
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// What is at `path` of the node now.
    ///
    /// # Errors
    /// [`Code::InvalidNetns`] when there is nothing.
    pub(crate) fn of(prefix: &str, path: &Path) -> Result<Place> {
        let whole = prefixed(prefix, path);
        let found = fs::metadata(&whole).map_err(|e| {
            Error::new(Code::InvalidNetns, format!("{}: {e}", whole.display()))
                .with_details("a daemon in a container needs -hostprefix to find the node's paths")
        })?;
        let (device, inode) = (found.dev(), found.ino());
        Ok(Place { prefix: prefix.to_owned(), path: path.to_owned(), device, inode })
    }

    /// Its path, if it is there still: as the daemon sees the node, or as the node does, for a
    /// plugin that works without a daemon.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let same = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (self.device, self.inode))
        };
        [prefixed(&self.prefix, &self.path), self.path.clone()].into_iter().find(same)
    }
}

/// A path of the node as seen by a daemon that has this prefix.
pub(crate) fn prefixed(prefix: &str, path: &Path) -> PathBuf {
    let mut whole = OsString::from(prefix);
    whole.push(path);
    PathBuf::from(whole)
}

/// The interface that leases are for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interface {
    /// Its hardware address.
    pub(crate) mac: [u8; 6],
    /// Its MTU as it was found, in bytes.
    pub(crate) mtu: u32,
    /// Whether it has its hardware address alone; answers for one that has not must be broadcast.
    pub(crate) alone: bool,
}

/// All that is known of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// Times count from it.
    boot: String,
    /// Whose.
    pub(crate) key: Key,
    /// Where.
    pub(crate) place: Place,
    /// On what.
    pub(crate) interface: Interface,
    /// What is asked for.
    pub(crate) wish: Wish,
    /// What was given.
    pub(crate) leases: Vec<(Family, Lease)>,
    /// Whether the caller of ADD was told. One who was not believes that there is no lease.
    pub(crate) told: bool,
}

impl Record {
    /// Of an attachment without leases.
    ///
    /// # Errors
    /// [`Code::Io`] when this boot cannot be told from others.
    pub(crate) fn new(key: Key, place: Place, interface: Interface, wish: Wish) -> Result<Record> {
        let (leases, told) = (Vec::new(), false);
        Ok(Record { version: VERSION, boot: boot()?, key, place, interface, wish, leases, told })
    }

    /// The lease of a family.
    pub(crate) fn lease(&self, family: Family) -> Option<&Lease> {
        self.leases.iter().find(|(f, _)| *f == family).map(|(_, lease)| lease)
    }

    /// Puts a lease in the place of the one there was.
    pub(crate) fn set(&mut self, family: Family, lease: Option<Lease>) {
        self.leases.retain(|(f, _)| *f != family);
        self.leases.extend(lease.map(|lease| (family, lease)));
    }

    /// Clients that go on where the record stands; `broadcast` where answers must be broadcast to
    /// all.
    pub(crate) fn clients(&self, patience: Patience, broadcast: bool) -> Vec<Client> {
        use crate::exchange::{Identity4, Identity6};
        let each = |family: &Family| {
            let lease = self.lease(*family).cloned();
            match family {
                Family::Ipv4 => {
                    let who = Identity4 {
                        mac: self.interface.mac,
                        client_id: self.wish.client_id.clone(),
                        broadcast: broadcast || !self.interface.alone,
                        provide: self.wish.provide.clone(),
                        request: self.wish.request.clone(),
                    };
                    Client::v4(who, patience, lease)
                }
                Family::Ipv6 => {
                    Client::v6(Identity6 { duid: self.wish.duid.clone() }, patience, lease)
                }
            }
        };
        self.wish.families.iter().map(each).collect()
    }
}

fn boot() -> Result<String> {
    let text = fs::read_to_string(BOOT_ID).map_err(|e| Error::io(BOOT_ID, &e))?;
    Ok(text.trim().to_owned())
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// Held by whoever may change records; ends with its holder.
#[derive(Debug)]
#[must_use = "the lock is let go when it is dropped"]
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// That of the daemon at this socket.
    pub(crate) fn beside(socket: &Path) -> Store {
        Store { dir: socket.with_extension("leases") }
    }

    /// Takes the lock; `None` when somebody has it. The folder is made if there is none.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub(crate) fn lock(&self) -> Result<Option<Lock>> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|e| Error::io(self.dir.display(), &e))?;
        let path = self.dir.join("lock");
        let open =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = open.map_err(|e| Error::io(path.display(), &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(e)) => Err(Error::io(path.display(), &e)),
        }
    }

    /// Whether there are no records, and never were any.
    pub(crate) fn is_absent(&self) -> bool {
        !self.dir.exists()
    }

    fn path(&self, key: &Key) -> PathBuf {
        let text = format!("{}\0{}\0{}", key.network, key.container_id, key.ifname);
        let hash: String =
            Sha256::digest(text.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect();
        self.dir.join(format!("{hash}.json"))
    }

    /// Keeps a record in place of what there was.
    ///
    /// # Errors
    /// [`Code::Io`]; the old one is there then.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let path = self.path(&record.key);
        let scratch = path.with_extension("new");
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::new(Code::Internal, format!("record of {}: {e}", record.key)))?;
        let put = || -> std::io::Result<()> {
            let mut open = OpenOptions::new();
            open.write(true).create(true).truncate(true).mode(0o600);
            open.open(&scratch)?.write_all(&text)?;
            fs::rename(&scratch, &path)
        };
        put().map_err(|e| {
            Error::io(path.display(), &e)
                .with_details("a daemon that is restarted would not know this lease")
        })
    }

    /// Takes a record away; success when there is none.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub(crate) fn remove(&self, key: &Key) -> Result<()> {
        remove(&self.path(key))
    }

    /// The record of an attachment.
    ///
    /// # Errors
    /// [`Code::Io`] and [`Code::Decode`].
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Record>> {
        Ok(read(&self.path(key))?.filter(|record| record.key == *key))
    }

    /// All records of this boot. Of an earlier one, and what is no record, is taken away; that is
    /// told.
    ///
    /// # Errors
    /// [`Code::Io`] when the folder cannot be read.
    pub(crate) fn all(&self) -> Result<(Vec<Record>, Vec<Error>)> {
        let boot = boot()?;
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok((found, faults)),
            Err(e) => return Err(Error::io(self.dir.display(), &e)),
        };
        for entry in entries {
            let path = entry.map_err(|e| Error::io(self.dir.display(), &e))?.path();
            let extension = path.extension().unwrap_or_default();
            if extension == "new" {
                faults.extend(remove(&path).err());
            }
            if extension != "json" {
                continue;
            }
            match read(&path) {
                Ok(Some(record)) if record.boot == boot && record.version == VERSION => {
                    found.push(record);
                }
                Ok(None) => {}
                Ok(Some(_)) => faults.extend(remove(&path).err()),
                Err(fault) => {
                    faults.push(fault);
                    faults.extend(remove(&path).err());
                }
            }
        }
        Ok((found, faults))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path.display(), &e)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<Record>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|e| Error::new(Code::Decode, format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path.display(), &e)),
    }
}
