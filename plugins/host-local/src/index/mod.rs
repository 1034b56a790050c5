//! The index of one network's leases: owner to addresses, and the order of giving out.
//!
//! It is a cache in a file beside the lease directory; the lease files are the truth. Whoever
//! holds the directory's lock may trust it exactly when the directory is as the last holder left
//! it (see `store`). Every operation touches a few pages of the file, however many leases there
//! are.
//!
//! Every address that was in use since the boot has a node, *used* or *freed*. An address
//! without a node is *fresh*. Freed ones stand in the queue of their pool, in order of freeing.

mod codec;
mod pages;
mod pool;

use crate::range::Bits;
use codec::{CAPACITY_MIN, Head, NODE_LEN, Slot, vacant, vacant_next};
pub(crate) use codec::{NO_POOL, Node, PoolId, State};
use pages::Pages;
use std::fs::File;
use std::io;

/// Freed addresses kept in order, per pool. Beyond that the oldest count as fresh again, so that
/// an IPv6 range, of which addresses are always fresh, does not remember each it ever gave out.
const QUEUE_MAX: u32 = 16_384;

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    head: Head,
    pages: Pages,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the lease index is damaged")
}

impl Index {
    /// The index in `file`.
    ///
    /// # Errors
    /// Of kind `InvalidData` when it is none, or of another format.
    pub(crate) fn open(file: File) -> io::Result<Index> {
        let len = file.metadata()?.len();
        let mut first = Pages::of(file, 1);
        let head = Head::decode(first.read(0, pages::PAGE)?).ok_or_else(damaged)?;
        if len < (head.pages() * pages::PAGE) as u64 {
            return Err(damaged());
        }
        let pages = first.widen(head.pages());
        Ok(Index { head, pages })
    }

    /// An empty index with room for `addresses`, for the lease directory with this inode.
    pub(crate) fn new(addresses: usize, boot: [u8; 16], directory: u64) -> Index {
        let room = u32::try_from(addresses).unwrap_or(u32::MAX / 4);
        let capacity = room.saturating_add(room / 2).max(CAPACITY_MIN).next_power_of_two();
        let head = Head { boot, directory, ..Head::new(capacity) };
        Index { pages: Pages::zeroed(head.pages()), head }
    }

    /// Whether it was made in this boot.
    pub(crate) fn is_of_boot(&self, boot: &[u8; 16]) -> bool {
        self.head.boot == *boot
    }

    /// Whether it describes the lease directory with this inode.
    pub(crate) fn is_of_directory(&self, directory: u64) -> bool {
        self.head.directory == directory
    }

    /// Whether it has no file yet, or has outgrown it.
    pub(crate) fn needs_file(&self) -> bool {
        self.pages.is_new()
    }

    /// Writes what has changed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.pages.write(0, &self.head.encode())?;
        self.pages.flush()
    }

    /// Writes all of it to an empty file, which is the index's own from now on.
    pub(crate) fn write_to(&mut self, file: File) -> io::Result<()> {
        self.pages.write(0, &self.head.encode())?;
        self.pages.write_to(file)
    }

    /// Reads all of it at once; worth it before asking for much.
    pub(crate) fn load(&mut self) -> io::Result<()> {
        self.pages.load()
    }

    /// All addresses with a node, in no order. Damaged nodes are left out.
    pub(crate) fn nodes(&mut self) -> io::Result<Vec<(Slot, Node)>> {
        self.pages.load()?;
        let mut all = Vec::with_capacity(self.head.slots as usize);
        for slot in 1..=self.head.slots {
            let bytes = self.pages.read(self.head.node(slot), NODE_LEN)?;
            all.extend(Node::decode(bytes).map(|node| (slot, node)));
        }
        Ok(all)
    }

    /// What is known of `ip`; `None` for a fresh address.
    pub(crate) fn find(&mut self, ip: Bits) -> io::Result<Option<Node>> {
        Ok(self.find_slot(ip)?.map(|(_, node)| node))
    }

    /// The used addresses of an owner, at least; another owner's of the same hash may be there.
    pub(crate) fn of_owner(&mut self, owner: u64) -> io::Result<Vec<Bits>> {
        let mut found = Vec::new();
        let mut slot = self.link(self.head.owner_bucket(owner))?;
        for _ in 0..self.head.slots {
            if slot == 0 {
                break;
            }
            let node = self.node(slot)?;
            slot = node.owner_next;
            if node.owner == owner {
                found.push(node.ip);
            }
        }
        Ok(found)
    }

    /// Notes that `ip` is leased to `owner` by a file that changed last at `changed`.
    pub(crate) fn set_used(
        &mut self,
        ip: Bits,
        owner: u64,
        changed: i64,
        pool: PoolId,
    ) -> io::Result<()> {
        let slot = match self.find_slot(ip)? {
            Some((slot, node)) => {
                self.detach(slot, &node)?;
                slot
            }
            None => {
                let slot = self.add(ip)?;
                if let Some(pool) = self.pool_mut(pool) {
                    pool.fresh = pool.fresh.saturating_sub(1);
                }
                slot
            }
        };
        let bucket = self.head.owner_bucket(owner);
        let mut node = self.node(slot)?;
        node.owner_next = self.link(bucket)?;
        (node.owner, node.changed, node.pool) = (owner, changed, pool);
        node.state = State::Used;
        self.put(slot, &node)?;
        self.set_link(bucket, slot)
    }

    /// Notes that `ip` was given back: it is now the last of its pool's queue.
    pub(crate) fn set_freed(&mut self, ip: Bits) -> io::Result<()> {
        let Some((slot, node)) = self.find_slot(ip)? else { return Ok(()) };
        self.detach(slot, &node)?;
        self.head.freed += 1;
        let mut node = self.node(slot)?;
        (node.state, node.freed) = (State::Freed, self.head.freed);
        self.put(slot, &node)?;
        self.enqueue(slot, node.pool)
    }

    /// Adds an address that counts as freed just now.
    pub(crate) fn add_freed(&mut self, ip: Bits, pool: PoolId) -> io::Result<()> {
        let slot = match self.find_slot(ip)? {
            Some(_) => return Ok(()),
            None => self.add(ip)?,
        };
        if let Some(pool) = self.pool_mut(pool) {
            pool.fresh = pool.fresh.saturating_sub(1);
        }
        self.head.freed += 1;
        let mut node = self.node(slot)?;
        (node.state, node.freed, node.pool) = (State::Freed, self.head.freed, pool);
        self.put(slot, &node)?;
        self.enqueue(slot, pool)
    }

    /// Makes a freed address fresh again.
    fn forget(&mut self, slot: Slot) -> io::Result<()> {
        let node = self.node(slot)?;
        self.detach(slot, &node)?;
        let node = self.node(slot)?;
        let bucket = self.head.ip_bucket(node.ip);
        self.unchain(bucket, slot, |node| &mut node.ip_next)?;
        let bytes = vacant(self.head.vacant);
        self.pages.write(self.head.node(slot), &bytes)?;
        self.head.vacant = slot;
        if let Some(pool) = self.pool_mut(node.pool) {
            pool.fresh = pool.fresh.saturating_add(1);
        }
        Ok(())
    }

    /// Takes a node out of its owner's chain or its pool's queue.
    fn detach(&mut self, slot: Slot, node: &Node) -> io::Result<()> {
        match node.state {
            State::Used => {
                let bucket = self.head.owner_bucket(node.owner);
                self.unchain(bucket, slot, |node| &mut node.owner_next)
            }
            State::Freed => self.dequeue(slot),
        }
    }

    fn find_slot(&mut self, ip: Bits) -> io::Result<Option<(Slot, Node)>> {
        let mut slot = self.link(self.head.ip_bucket(ip))?;
        // A chain has no more nodes than there are; more is a circle in a damaged file.
        for _ in 0..=self.head.slots {
            if slot == 0 {
                return Ok(None);
            }
            let node = self.node(slot)?;
            if node.ip == ip {
                return Ok(Some((slot, node)));
            }
            slot = node.ip_next;
        }
        Err(damaged())
    }

    /// A new node for `ip`, in the chain of its address and nowhere else.
    fn add(&mut self, ip: Bits) -> io::Result<Slot> {
        let slot = match self.head.vacant {
            0 => {
                if self.head.slots == self.head.capacity {
                    self.grow()?;
                }
                self.head.slots += 1;
                self.head.slots
            }
            slot => {
                let bytes = self.pages.read(self.head.node(slot), NODE_LEN)?;
                self.head.vacant = vacant_next(bytes);
                slot
            }
        };
        let bucket = self.head.ip_bucket(ip);
        let node = Node {
            ip,
            owner: 0,
            freed: 0,
            changed: 0,
            ip_next: self.link(bucket)?,
            owner_next: 0,
            queue_prev: 0,
            queue_next: 0,
            state: State::Freed,
            pool: NO_POOL,
        };
        self.put(slot, &node)?;
        self.set_link(bucket, slot)?;
        Ok(slot)
    }

    /// Doubles the capacity. Slots keep their numbers, so the queues stay as they are.
    fn grow(&mut self) -> io::Result<()> {
        let nodes = self.nodes()?;
        let capacity = self.head.capacity.checked_mul(2).ok_or_else(damaged)?;
        self.head.capacity = capacity;
        self.pages = Pages::zeroed(self.head.pages());
        for (slot, mut node) in nodes {
            let bucket = self.head.ip_bucket(node.ip);
            node.ip_next = self.link(bucket)?;
            self.set_link(bucket, slot)?;
            if node.state == State::Used {
                let bucket = self.head.owner_bucket(node.owner);
                node.owner_next = self.link(bucket)?;
                self.set_link(bucket, slot)?;
            }
            self.put(slot, &node)?;
        }
        Ok(())
    }

    fn node(&mut self, slot: Slot) -> io::Result<Node> {
        if slot == 0 || slot > self.head.slots {
            return Err(damaged());
        }
        Node::decode(self.pages.read(self.head.node(slot), NODE_LEN)?).ok_or_else(damaged)
    }

    fn put(&mut self, slot: Slot, node: &Node) -> io::Result<()> {
        self.pages.write(self.head.node(slot), &node.encode())
    }

    fn link(&mut self, bucket: usize) -> io::Result<Slot> {
        let bytes = self.pages.read(bucket, 4)?;
        Ok(bytes.try_into().map_or(0, u32::from_le_bytes))
    }

    fn set_link(&mut self, bucket: usize, slot: Slot) -> io::Result<()> {
        self.pages.write(bucket, &slot.to_le_bytes())
    }

    /// Takes `slot` out of the chain that begins at `bucket`.
    fn unchain(
        &mut self,
        bucket: usize,
        slot: Slot,
        next: impl Fn(&mut Node) -> &mut Slot,
    ) -> io::Result<()> {
        let mut gone = self.node(slot)?;
        let after = std::mem::take(next(&mut gone));
        self.put(slot, &gone)?;
        let mut at = self.link(bucket)?;
        if at == slot {
            return self.set_link(bucket, after);
        }
        for _ in 0..self.head.slots {
            let mut node = self.node(at)?;
            let link = next(&mut node);
            if *link == slot {
                *link = after;
                return self.put(at, &node);
            }
            at = *link;
        }
        Err(damaged())
    }
}

#[cfg(test)]
mod tests;
