//! Who holds which port: small files, so that a conflict is found without listing any rules.
//!
//! ```text
//! <dir>/lock                  held while claims are read and written
//! <dir>/ready                 there once rules made before the registry have been taken in
//! <dir>/ports/<proto>-<port>  the claims to a port, one per address of the node at most
//! <dir>/records/<key>         what a container has in a network, and where its rules are
//! ```
//! The directory is on a file system that a reboot empties, as it does the rules. A claim alone
//! proves nothing: its owner may have died between claim and rule, or lost the rule to a
//! firewall reload. So a claim in the way is believed only while its owner is at work (its
//! record is locked) or has the rule.

use super::{Backend, Family, Listed, Mapping, Owner, Placed};
use crate::names::sha256_short;
use crate::record::make_private;
use cni_types::{Code, Error, Result};
use ipnetwork::IpNetwork;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A port held by somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The port and the address of the node.
    pub mapping: Mapping,
    /// Whose it is.
    pub owner: Owner,
    /// Where its rule is.
    pub backend: Backend,
}

/// What one interface of a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The interface.
    pub ifname: String,
    /// Where its rules are.
    pub backend: Backend,
    /// Its chain in iptables; empty in nftables.
    #[serde(default)]
    pub chain: String,
    /// The pod's addresses.
    pub pods: Vec<IpNetwork>,
    /// Its mappings.
    pub mappings: Vec<Mapping>,
    /// What leads to the chain: the rules in iptables, as they were written.
    #[serde(default)]
    pub entries: Vec<(Family, String)>,
    /// Its rules in nftables; `None` until they are known to be there.
    #[serde(default)]
    pub placed: Option<Vec<Placed>>,
}

/// What a container has in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The network.
    pub network: String,
    /// The container.
    pub container_id: String,
    /// By interface.
    pub held: Vec<Held>,
}

impl Record {
    /// What `ifname` has.
    pub fn of(&self, ifname: &str) -> Option<&Held> {
        self.held.iter().find(|h| h.ifname == ifname)
    }

    fn owner(&self, ifname: &str) -> Owner {
        Owner {
            network: self.network.clone(),
            container_id: self.container_id.clone(),
            ifname: ifname.to_owned(),
        }
    }
}

/// The registry of a node.
#[derive(Clone, Debug)]
pub struct Registry {
    dir: PathBuf,
}

/// The registry while no other process changes claims.
pub struct Locked<'a> {
    registry: &'a Registry,
    _lock: File,
}

/// A claim that was granted. While this lives, others take the owner to be at work.
#[must_use = "dropped, others may take the claim for stale"]
pub struct Granted {
    _at_work: File,
}

fn io<T>(path: &Path, answer: std::io::Result<T>) -> Result<T> {
    answer.map_err(|e| Error::io(path.display(), &e))
}

/// What a file says; `None` without it, or if a crash left it empty.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path.display(), &e)),
    }
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|e| Error::new(Code::Io, format!("{}: cannot be written: {e}", path.display())))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path.display(), &e)),
        _ => Ok(()),
    }
}

impl Registry {
    /// The registry in `dir`, which need not be there yet.
    pub fn new(dir: PathBuf) -> Registry {
        Registry { dir }
    }

    /// The registry of this node: below `PODLOOM_RUN_DIR`, or `/run/podloom`.
    pub fn of_node() -> Registry {
        let run = std::env::var_os("PODLOOM_RUN_DIR").filter(|dir| !dir.is_empty());
        let run = run.map_or_else(|| PathBuf::from("/run/podloom"), PathBuf::from);
        Registry::new(run.join("portmap"))
    }

    /// Whether anything was ever claimed since boot.
    pub fn exists(&self) -> bool {
        self.dir.join("ready").exists()
    }

    fn port_file(&self, mapping: &Mapping) -> PathBuf {
        self.dir.join("ports").join(format!("{}-{}", mapping.protocol, mapping.host_port))
    }

    fn record_file(&self, network: &str, container_id: &str) -> PathBuf {
        let key = sha256_short(&format!("{network}/{container_id}"));
        self.dir.join("records").join(key)
    }

    /// What a container has in a network.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn record(&self, network: &str, container_id: &str) -> Result<Option<Record>> {
        read(&self.record_file(network, container_id))
    }

    /// All records.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn records(&self) -> Result<Vec<Record>> {
        let dir = self.dir.join("records");
        let mut all = Vec::new();
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(all),
            other => io(&dir, other)?,
        };
        for entry in entries {
            let entry = io(&dir, entry)?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                all.extend(read(&entry.path())?);
            }
        }
        Ok(all)
    }

    /// Keeps other processes from changing claims.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn lock(&self) -> Result<Locked<'_>> {
        let path = self.dir.join("lock");
        let open = || OpenOptions::new().create(true).append(true).open(&path);
        let file = match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                for dir in ["ports", "records"] {
                    let dir = self.dir.join(dir);
                    io(&dir, make_private(&dir))?;
                }
                open()
            }
            other => other,
        };
        let lock = io(&path, file)?;
        io(&path, lock.lock())?;
        Ok(Locked { registry: self, _lock: lock })
    }

    /// Writes where the rules of `owner` are, over the record that its claim made.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn settle(&self, owner: &Owner, held: Held) -> Result<()> {
        self.put(owner, held).map(|_| ())
    }

    /// Puts what `owner` has in its record; the file is locked before others can see it.
    fn put(&self, owner: &Owner, held: Held) -> Result<File> {
        let mut record = self.record(&owner.network, &owner.container_id)?.unwrap_or(Record {
            network: owner.network.clone(),
            container_id: owner.container_id.clone(),
            held: Vec::new(),
        });
        record.held.retain(|h| h.ifname != held.ifname);
        record.held.push(held);
        self.write_record(&record)
    }

    fn write_record(&self, record: &Record) -> Result<File> {
        let path = self.record_file(&record.network, &record.container_id);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // One process works on a container at a time, so the name is its own.
        let new = path.with_file_name(format!(".{name}"));
        let mut file = io(&new, File::create(&new))?;
        io(&new, file.lock())?;
        io(&new, file.write_all(&json(&path, record)?))?;
        io(&path, fs::rename(&new, &path))?;
        Ok(file)
    }

    /// Whether a process is at work for `owner`.
    fn is_at_work(&self, owner: &Owner) -> Result<bool> {
        let path = self.record_file(&owner.network, &owner.container_id);
        match File::open(&path) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(e)) => Err(Error::io(path.display(), &e)),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io(path.display(), &e)),
        }
    }
}

/// The claims of several ports, as they are to be.
type Ports = BTreeMap<PathBuf, Vec<Claim>>;

impl Locked<'_> {
    /// Takes in the rules that were made before there was a registry, once.
    ///
    /// # Errors
    /// [`Code::Io`], and what `list` fails with.
    pub fn adopt_once(&self, list: impl FnOnce() -> Result<Vec<(Backend, Listed)>>) -> Result<()> {
        if self.registry.exists() {
            return Ok(());
        }
        let mut ports = Ports::new();
        for (backend, listed) in list()? {
            let path = self.registry.port_file(&listed.mapping);
            let claim = Claim { mapping: listed.mapping, owner: listed.owner, backend };
            ports.entry(path).or_default().push(claim);
        }
        self.write_ports(&ports)?;
        let ready = self.registry.dir.join("ready");
        io(&ready, File::create(&ready)).map(|_| ())
    }

    /// Claims the ports of `held` for `owner`, in place of those that it had.
    ///
    /// `is_real` says whether an overlapping claim of somebody else still has its rule.
    ///
    /// # Errors
    /// [`Code::Conflict`] naming the owner of a port that is taken; [`Code::Io`], and what
    /// `is_real` fails with. Nothing is claimed then.
    pub fn claim(
        &self,
        owner: &Owner,
        held: &Held,
        is_real: &mut dyn FnMut(&Claim) -> Result<bool>,
    ) -> Result<Granted> {
        let mut ports = self.without(owner)?;
        for mapping in &held.mappings {
            let path = self.registry.port_file(mapping);
            let mut claims: Vec<Claim> = match ports.remove(&path) {
                Some(claims) => claims,
                None => read(&path)?.unwrap_or_default(),
            };
            let mut kept = Vec::with_capacity(claims.len() + 1);
            for claim in claims.drain(..) {
                if !claim.mapping.overlaps(mapping) {
                    kept.push(claim);
                } else if claim.owner.container_id == owner.container_id {
                    // Its other networks lead to the same container, and runtimes give the
                    // mappings of a container to each of them.
                    let is_renewed = claim.owner.may_be(owner)
                        && (claim.mapping == *mapping || !held.mappings.contains(&claim.mapping));
                    if !is_renewed {
                        kept.push(claim);
                    }
                } else if self.registry.is_at_work(&claim.owner)? || is_real(&claim)? {
                    return Err(conflict(mapping, &claim));
                }
            }
            let (mapping, backend) = (*mapping, held.backend);
            kept.push(Claim { mapping, owner: owner.clone(), backend });
            ports.insert(path, kept);
        }
        let at_work = self.registry.put(owner, held.clone())?;
        self.write_ports(&ports)?;
        Ok(Granted { _at_work: at_work })
    }

    /// Gives up what `owner` holds.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn release(&self, owner: &Owner) -> Result<()> {
        let ports = self.without(owner)?;
        self.write_ports(&ports)?;
        let Some(mut record) = self.registry.record(&owner.network, &owner.container_id)? else {
            return Ok(());
        };
        record.held.retain(|h| h.ifname != owner.ifname);
        if record.held.is_empty() {
            return remove(&self.registry.record_file(&owner.network, &owner.container_id));
        }
        self.registry.write_record(&record).map(|_| ())
    }

    /// Gives up the claims to `mappings` whose owner `is_dead` names, of which no record tells.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn forget(&self, mappings: &[Mapping], is_dead: &dyn Fn(&Owner) -> bool) -> Result<()> {
        let mut ports = Ports::new();
        for mapping in mappings {
            let path = self.registry.port_file(mapping);
            let mut claims: Vec<Claim> = read(&path)?.unwrap_or_default();
            claims.retain(|c| !(is_dead(&c.owner) && c.mapping.overlaps(mapping)));
            ports.insert(path, claims);
        }
        self.write_ports(&ports)
    }

    /// Gives up what attachments of `network` hold that `keep` refuses, and sweeps away what a
    /// killed process left half written.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn collect(&self, network: &str, keep: &dyn Fn(&str, &str) -> bool) -> Result<()> {
        for record in self.registry.records()?.iter().filter(|r| r.network == network) {
            for held in &record.held {
                if !keep(&record.container_id, &held.ifname) {
                    self.release(&record.owner(&held.ifname))?;
                }
            }
        }
        let dir = self.registry.dir.join("records");
        for entry in io(&dir, fs::read_dir(&dir))? {
            let path = io(&dir, entry)?.path();
            let is_half = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if is_half && io(&path, File::open(&path))?.try_lock_shared().is_ok() {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The ports that the record of `owner` names, without its claims.
    fn without(&self, owner: &Owner) -> Result<Ports> {
        let mut ports = Ports::new();
        let Some(record) = self.registry.record(&owner.network, &owner.container_id)? else {
            return Ok(ports);
        };
        for held in record.held.iter().filter(|h| h.ifname == owner.ifname) {
            for mapping in &held.mappings {
                if let Entry::Vacant(place) = ports.entry(self.registry.port_file(mapping)) {
                    let mut claims: Vec<Claim> = read(place.key())?.unwrap_or_default();
                    claims.retain(|c| !c.owner.may_be(owner));
                    place.insert(claims);
                }
            }
        }
        Ok(ports)
    }

    fn write_ports(&self, ports: &Ports) -> Result<()> {
        for (path, claims) in ports {
            if claims.is_empty() {
                remove(path)?;
                continue;
            }
            let bytes = json(path, claims)?;
            match OpenOptions::new().write(true).create_new(true).open(path) {
                // Cut short, a new file counts as none: its claim had no rule yet.
                Ok(mut file) => io(path, file.write_all(&bytes))?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    // Only the holder of the lock writes here.
                    let new = self.registry.dir.join("ports.new");
                    io(&new, fs::write(&new, &bytes))?;
                    io(path, fs::rename(&new, path))?;
                }
                Err(e) => return Err(Error::io(path.display(), &e)),
            }
        }
        Ok(())
    }
}

fn conflict(mapping: &Mapping, claim: &Claim) -> Error {
    let held = if claim.mapping.host_ip == mapping.host_ip {
        String::new()
    } else {
        format!(", which holds {}", claim.mapping)
    };
    Error::new(Code::Conflict, format!("host port {mapping}: is taken by {}{held}", claim.owner))
        .with_details(format!(
            "choose another hostPort or hostIP, or remove that container; its rules are in {}",
            claim.backend.as_str()
        ))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
