//! The walk that makes the index anew, and frees what nobody holds any more.

use super::lease::{UNFINISHED, changed, is_file, named};
use super::{Found, Purpose, Store, fault, index_fault};
use crate::boot::{self, Boot};
use crate::index::{Index, NO_POOL, Node, PoolId, State};
use crate::range::Bits;
use cni_types::Result;
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What tells leases of an earlier boot from those of today.
#[derive(Debug)]
pub(super) struct Past {
    index: Option<Index>,
    same_boot: bool,
    /// See [`boot::not_before`]; `None` within a boot that has an index, where all that is not
    /// in it was made since.
    not_before: Option<i64>,
}

impl Past {
    /// The past as `index` has it, which may be of this boot or an earlier one.
    pub(super) fn of(index: Option<Index>, boot: &Boot) -> Past {
        let same_boot = index.as_ref().is_some_and(|index| index.is_of_boot(boot.id()));
        let not_before = if same_boot { None } else { boot::not_before() };
        Past { index, same_boot, not_before }
    }

    /// The node of a lease file that is the very one the index knows.
    fn known(&mut self, ip: Bits, changed: i64) -> Option<Node> {
        // An index that cannot be read knows nothing: the files hold all that matters.
        let node = self.index.as_mut()?.find(ip).ok()??;
        (node.state == State::Used && node.changed == changed && node.owner != 0).then_some(node)
    }

    /// Whether the lease at `ip`, changed last at `changed`, is of an earlier boot.
    pub(super) fn has_ended(&mut self, ip: Bits, changed: i64) -> bool {
        !self.same_boot
            && (self.not_before.is_some_and(|began| changed < began)
                || self.known(ip, changed).is_some())
    }
}

/// An address in use.
struct Lease {
    ip: Bits,
    owner: u64,
    changed: i64,
    pool: PoolId,
}

impl Store {
    /// As [`Store::rebuild`], with what the present index holds.
    pub(crate) fn rebuild_from_self(&mut self) -> Result<()> {
        let stat = fstat(&self.dir.fd).map_err(|errno| fault(&self.dir.path, errno))?;
        let empty = Index::new(0, *self.boot.id(), stat.st_ino);
        let older = std::mem::replace(&mut self.index, empty);
        self.rebuild(Some(older))
    }

    /// Makes the index from the files. Torn leases and those of an earlier boot are removed.
    pub(super) fn rebuild(&mut self, older: Option<Index>) -> Result<()> {
        let mut past = Past::of(older, &self.boot);
        if let Some(index) = past.index.as_mut()
            && index.load().is_err()
        {
            past.index = None;
        }
        let leases = self.walk(&mut past)?;
        let stat = fstat(&self.dir.fd).map_err(|errno| fault(&self.dir.path, errno))?;
        let older = past.index.filter(|_| past.same_boot);
        self.fill(leases, older, stat.st_ino).map_err(|e| index_fault(&e))?;
        self.walked = true;
        self.commit();
        Ok(())
    }

    fn fill(&mut self, leases: Vec<Lease>, older: Option<Index>, directory: u64) -> io::Result<()> {
        let mut older = older;
        let mut freed = match older.as_mut() {
            Some(older) => older.nodes()?.into_iter().map(|(_, node)| node).collect(),
            None => Vec::new(),
        };
        freed.retain(|node| leases.binary_search_by_key(&node.ip, |lease| lease.ip).is_err());
        // First those that were in the queues, in their order; then what another program freed.
        freed.sort_unstable_by_key(|node| match node.state {
            State::Freed => (0, u128::from(node.freed)),
            State::Used => (1, node.ip),
        });
        self.index = Index::new(leases.len() + freed.len(), *self.boot.id(), directory);
        if let Some(older) = &older {
            self.index.inherit_pools(older);
        }
        for lease in leases {
            self.index.set_used(lease.ip, lease.owner, lease.changed, lease.pool)?;
        }
        freed.iter().try_for_each(|node| self.index.add_freed(node.ip, node.pool))
    }

    /// All leases, in the order of their addresses.
    fn walk(&self, past: &mut Past) -> Result<Vec<Lease>> {
        let path = &self.dir.path;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing =
            Dir::openat(&self.dir.fd, ".", flags, Mode::empty()).map_err(|e| fault(path, e))?;
        let mut leases = Vec::new();
        let mut vanish = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(|errno| fault(path, errno))?;
            let file = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
            if file == Path::new(UNFINISHED) {
                vanish.push(UNFINISHED.to_owned());
            }
            let Some(ip) = named(file) else { continue };
            match self.inspect(ip, past)? {
                Some(lease) => leases.push(lease),
                None => vanish.push(super::name(ip)),
            }
        }
        drop(listing);
        if self.purpose != Purpose::Look {
            for name in vanish {
                // What cannot be removed keeps its address.
                if self.dir.unlink(&name).is_err()
                    && let Some(ip) = named(Path::new(&name))
                {
                    leases.push(Lease { ip, owner: 0, changed: 0, pool: NO_POOL });
                }
            }
        }
        leases.sort_unstable_by_key(|lease| lease.ip);
        Ok(leases)
    }

    /// The lease at `ip`; `None` if nobody can hold it any more.
    fn inspect(&self, ip: Bits, past: &mut Past) -> Result<Option<Lease>> {
        let foreign = Lease { ip, owner: 0, changed: 0, pool: NO_POOL };
        let name = super::name(ip);
        let Some(stat) = self.dir.stat(&name)? else { return Ok(None) };
        if !is_file(&stat) {
            return Ok(Some(foreign));
        }
        let changed = changed(&stat);
        if past.has_ended(ip, changed) {
            return Ok(None);
        }
        if let Some(node) = past.known(ip, changed) {
            return Ok(Some(Lease { ip, owner: node.owner, changed, pool: node.pool }));
        }
        match self.dir.read_file(&name)? {
            Found::Lease(owner, changed) => {
                Ok(Some(Lease { ip, owner: owner.hash(), changed, pool: NO_POOL }))
            }
            Found::Foreign => Ok(Some(foreign)),
            Found::Nothing | Found::Torn => Ok(None),
        }
    }
}
