//! Records of which rules an attachment has: what makes its DEL precise without a search.
//!
//! They live in `/run/podloom` and vanish, like the rules, at a reboot. A record is claimed before
//! its rules are made and removed after they are gone, so whatever point a process is killed at,
//! rules of ours without a record cannot exist. A record is a hint all the same: what it names is
//! compared with what the kernel has before anything is deleted.

use crate::names::sha256_key;
use cni_types::{Error, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Overrides `/run/podloom`.
const RUN_DIR: &str = "PODLOOM_RUN_DIR";

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Name of the network.
    pub network: &'a str,
    /// Container ID.
    pub container_id: &'a str,
    /// Interface in the container.
    pub ifname: &'a str,
}

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    network: String,
    container_id: String,
    ifname: String,
    /// What was recorded about the rules, line by line.
    pub(crate) body: Vec<String>,
}

impl Stored {
    fn parse(text: &str) -> Option<Stored> {
        let mut lines = text.lines().map(str::to_owned);
        let (network, container_id, ifname) = (lines.next()?, lines.next()?, lines.next()?);
        Some(Stored { network, container_id, ifname, body: lines.collect() })
    }

    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner { network: &self.network, container_id: &self.container_id, ifname: &self.ifname }
    }
}

/// The records of one kind of rules.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dir: PathBuf,
}

/// A record being made: its rules do not exist yet.
pub(crate) struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Adds lines to the record.
    pub(crate) fn append(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io(self.path.display(), &e))
    }
}

/// What all records of a kind come to.
pub(crate) struct Inventory {
    pub(crate) stored: Vec<Stored>,
    /// Files of a process that was killed before it wrote a word; no rules belong to them.
    pub(crate) blank: Vec<PathBuf>,
}

/// Makes a directory below the run directory, and those above it that are missing, for root alone:
/// whoever could write there could have rules of others deleted.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// `/run/podloom`, or what `PODLOOM_RUN_DIR` says.
pub(crate) fn run_dir() -> PathBuf {
    let base = std::env::var_os(RUN_DIR).filter(|dir| !dir.is_empty());
    base.map_or_else(|| PathBuf::from("/run/podloom"), PathBuf::from)
}

impl Records {
    /// The records in the directory `kind` below the run directory.
    pub(crate) fn of(kind: &str) -> Records {
        Records { dir: run_dir().join(kind) }
    }

    #[cfg(test)]
    pub(crate) fn at(dir: &Path) -> Records {
        Records { dir: dir.to_owned() }
    }

    fn container_dir(&self, owner: &Owner<'_>) -> PathBuf {
        self.dir.join(sha256_key(&[owner.network, owner.container_id]))
    }

    fn path(&self, owner: &Owner<'_>) -> PathBuf {
        self.container_dir(owner).join(owner.ifname)
    }

    /// Claims the record of `owner` with `body` as its first lines; `None` if there is one.
    pub(crate) fn claim(&self, owner: &Owner<'_>, body: &str) -> Result<Option<Claim>> {
        let path = self.path(owner);
        let fail = |e: io::Error| Error::io(path.display(), &e);
        let open = || OpenOptions::new().write(true).create_new(true).open(&path);
        let file = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_private(&self.container_dir(owner)).map_err(fail)?;
                open()
            }
            other => other,
        };
        let file = match file {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            other => other.map_err(fail)?,
        };
        let mut claim = Claim { file, path: path.clone() };
        let Owner { network, container_id, ifname } = owner;
        claim.append(&format!("{network}\n{container_id}\n{ifname}\n{body}"))?;
        Ok(Some(claim))
    }

    /// The record of `owner`. One that was cut off reads as one without lines.
    pub(crate) fn read(&self, owner: &Owner<'_>) -> Result<Option<Stored>> {
        let blank = || Stored {
            network: owner.network.to_owned(),
            container_id: owner.container_id.to_owned(),
            ifname: owner.ifname.to_owned(),
            body: Vec::new(),
        };
        Ok(read(&self.path(owner))?.map(|text| Stored::parse(&text).unwrap_or_else(blank)))
    }

    /// The records of the same container in the same network, for its other interfaces.
    pub(crate) fn kin(&self, owner: &Owner<'_>) -> Result<Vec<Stored>> {
        let mut kin = inventory_of(&self.container_dir(owner))?.stored;
        kin.retain(|stored| stored.ifname != owner.ifname);
        Ok(kin)
    }

    /// Removes the record of `owner`, if there is one.
    pub(crate) fn remove(&self, owner: &Owner<'_>) -> Result<()> {
        remove(&self.path(owner))
    }

    /// All records.
    pub(crate) fn all(&self) -> Result<Inventory> {
        let mut all = Inventory { stored: Vec::new(), blank: Vec::new() };
        for dir in entries(&self.dir)? {
            let part = inventory_of(&dir)?;
            all.stored.extend(part.stored);
            all.blank.extend(part.blank);
        }
        Ok(all)
    }
}

/// Removes a record's file, and its directory when that was the last one in it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(path.display(), &e)),
        _ => {}
    }
    let Some(dir) = path.parent() else { return Ok(()) };
    match fs::remove_dir(dir) {
        Ok(()) => Ok(()),
        Err(e) => match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty => Ok(()),
            _ => Err(Error::io(dir.display(), &e)),
        },
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path.display(), &e)),
    }
}

fn inventory_of(dir: &Path) -> Result<Inventory> {
    let mut inventory = Inventory { stored: Vec::new(), blank: Vec::new() };
    for path in entries(dir)? {
        match read(&path)?.map(|text| Stored::parse(&text)) {
            Some(Some(stored)) => inventory.stored.push(stored),
            Some(None) => inventory.blank.push(path),
            None => {}
        }
    }
    Ok(inventory)
}

/// The paths in a directory; none if it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: io::Error| Error::io(dir.display(), &e);
    match fs::read_dir(dir) {
        Ok(list) => list.map(|entry| entry.map(|e| e.path()).map_err(fail)).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(fail(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> Records {
        let dir =
            std::env::temp_dir().join(format!("podloom-record-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Records::at(&dir)
    }

    const ETH0: Owner<'static> = Owner { network: "n", container_id: "c", ifname: "eth0" };
    const ETH1: Owner<'static> = Owner { ifname: "eth1", ..ETH0 };
    const ELSEWHERE: Owner<'static> = Owner { network: "m", ..ETH0 };

    #[test]
    fn a_record_is_claimed_once_and_leaves_nothing() {
        let records = scratch("life");
        assert_eq!(records.read(&ETH0).expect("read"), None);
        records.remove(&ETH0).expect("nothing to remove");
        let mut claim = records.claim(&ETH0, "nftables\n").expect("claim").expect("first");
        assert!(records.claim(&ETH0, "nftables\n").expect("claim").is_none());
        claim.append("10.0.0.1/8 5\n").expect("append");
        let stored = records.read(&ETH0).expect("read").expect("stored");
        assert_eq!(stored.owner(), ETH0);
        assert_eq!(stored.body, ["nftables", "10.0.0.1/8 5"]);
        for other in [ETH1, ELSEWHERE] {
            records.claim(&other, "").expect("claim").expect("first");
        }
        let kin = records.kin(&ETH0).expect("kin");
        assert_eq!(kin.iter().map(Stored::owner).collect::<Vec<_>>(), [ETH1]);
        assert_eq!(records.all().expect("all").stored.len(), 3);
        for owner in [ETH0, ETH1, ELSEWHERE] {
            records.remove(&owner).expect("remove");
        }
        assert_eq!(fs::read_dir(&records.dir).expect("dir").count(), 0);
        fs::remove_dir_all(&records.dir).expect("clean");
    }

    #[test]
    fn a_record_cut_off_at_birth_is_told_apart() {
        let records = scratch("blank");
        records.claim(&ETH0, "").expect("claim").expect("first");
        fs::write(records.path(&ETH0), "").expect("cut");
        assert_eq!(records.read(&ETH0).expect("read").expect("stored").body, [""; 0]);
        let all = records.all().expect("all");
        assert_eq!((all.stored.len(), all.blank.len()), (0, 1));
        remove(&all.blank[0]).expect("remove");
        assert!(records.all().expect("all").blank.is_empty());
        fs::remove_dir_all(&records.dir).expect("clean");
    }
}
