//! The bytes of the index: a header page, two tables of chains, and nodes.
//!
//! ```text
//! page 0      header and up to 16 pools
//! then        chains by address: 4 x capacity x u32
//! then        chains by owner:   4 x capacity x u32
//! then        nodes:             capacity x 64 bytes
//! ```
//! Numbers are little-endian. A slot is a node's number counted from 1; 0 is none.

use super::pages::PAGE;
use crate::range::Bits;

/// Number of a node, from 1; 0 is none.
pub(crate) type Slot = u32;

/// Number of a pool.
pub(crate) type PoolId = u8;

/// The pool of an address that no pool has claimed yet.
pub(crate) const NO_POOL: PoolId = u8::MAX;

/// Pools remembered per network. More than one per range set are only needed while different
/// ranges are in use at a time.
pub(super) const POOLS: usize = 16;

const MAGIC: [u8; 8] = *b"podloom\x01";
const NODE: usize = 64;
const POOL: usize = 128;
const POOLS_AT: usize = 128;

/// The smallest capacity.
pub(super) const CAPACITY_MIN: u32 = 64;
/// More addresses than any node serves; bounds what a damaged file can ask for.
const CAPACITY_MAX: u32 = 1 << 24;

/// Reads numbers one after another.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.take())
    }
}

/// What the index knows about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A lease file is there.
    Used,
    /// It was given back in this boot, and waits at its place in the queue.
    Freed,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) ip: Bits,
    /// Hash of the owner; of no meaning when freed.
    pub(crate) owner: u64,
    /// Order of freeing; of no meaning when used.
    pub(crate) freed: u64,
    /// Time of the lease file's last change, nanoseconds since 1970.
    pub(crate) changed: i64,
    pub(super) ip_next: Slot,
    pub(super) owner_next: Slot,
    pub(super) queue_prev: Slot,
    pub(super) queue_next: Slot,
    pub(crate) state: State,
    pub(crate) pool: PoolId,
}

impl Node {
    /// `None` for a vacant or damaged node.
    pub(super) fn decode(bytes: &[u8]) -> Option<Node> {
        let mut from = Reader(bytes);
        let (ip, owner, freed) = (from.u128(), from.u64(), from.u64());
        let changed = i64::from_le_bytes(from.take());
        let [ip_next, owner_next, queue_prev, queue_next] = [(); 4].map(|()| from.u32());
        let [state, pool] = from.take();
        let state = match state {
            1 => State::Used,
            2 => State::Freed,
            _ => return None,
        };
        Some(Node {
            ip,
            owner,
            freed,
            changed,
            ip_next,
            owner_next,
            queue_prev,
            queue_next,
            state,
            pool,
        })
    }

    pub(super) fn encode(&self) -> [u8; NODE] {
        let mut bytes = [0; NODE];
        bytes[..16].copy_from_slice(&self.ip.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.owner.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.freed.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.changed.to_le_bytes());
        let links = [self.ip_next, self.owner_next, self.queue_prev, self.queue_next];
        for (into, link) in bytes[40..56].chunks_exact_mut(4).zip(links) {
            into.copy_from_slice(&link.to_le_bytes());
        }
        bytes[56] = match self.state {
            State::Used => 1,
            State::Freed => 2,
        };
        bytes[57] = self.pool;
        bytes
    }
}

/// A vacant node that only links to the next vacant one.
pub(super) fn vacant(next: Slot) -> [u8; NODE] {
    let mut bytes = [0; NODE];
    bytes[40..44].copy_from_slice(&next.to_le_bytes());
    bytes
}

/// The next vacant node after this one.
pub(super) fn vacant_next(bytes: &[u8]) -> Slot {
    Reader(bytes.get(40..).unwrap_or_default()).u32()
}

/// What is remembered about one set of ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Fingerprint of the range set; 0 for an unused record.
    pub(crate) set: u64,
    /// The next address to look at for one that was never given out.
    pub(crate) frontier: Bits,
    /// What this plugin wrote last to `last_reserved_ip`.
    pub(crate) last: Bits,
    /// Addresses of the set that have no node: never given out in this boot.
    pub(crate) fresh: u64,
    pub(super) head: Slot,
    pub(super) tail: Slot,
    /// Addresses in the queue.
    pub(crate) queued: u32,
    /// The index's epoch in which `fresh` was counted.
    pub(crate) epoch: u32,
    pub(super) tick: u32,
}

impl Pool {
    fn decode(bytes: &[u8]) -> Pool {
        let mut from = Reader(bytes);
        let (set, frontier, last, fresh) = (from.u64(), from.u128(), from.u128(), from.u64());
        let [head, tail, queued, epoch, tick] = [(); 5].map(|()| from.u32());
        Pool { set, frontier, last, fresh, head, tail, queued, epoch, tick }
    }

    fn encode(&self, into: &mut [u8]) {
        into[..8].copy_from_slice(&self.set.to_le_bytes());
        into[8..24].copy_from_slice(&self.frontier.to_le_bytes());
        into[24..40].copy_from_slice(&self.last.to_le_bytes());
        into[40..48].copy_from_slice(&self.fresh.to_le_bytes());
        let numbers = [self.head, self.tail, self.queued, self.epoch, self.tick];
        for (into, number) in into[48..68].chunks_exact_mut(4).zip(numbers) {
            into.copy_from_slice(&number.to_le_bytes());
        }
    }
}

/// The header page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Boot in which the index was made.
    pub(super) boot: [u8; 16],
    /// Inode of the lease directory it describes.
    pub(super) directory: u64,
    pub(super) capacity: u32,
    /// Slots that were ever in use.
    pub(super) slots: u32,
    /// First vacant slot below `slots`.
    pub(super) vacant: Slot,
    /// Grows when nodes were added without their pools' knowledge.
    pub(super) epoch: u32,
    /// The last `Node::freed`.
    pub(super) freed: u64,
    /// The last `Pool::tick`.
    pub(super) tick: u32,
    pub(super) pools: [Pool; POOLS],
}

impl Head {
    pub(super) fn new(capacity: u32) -> Head {
        Head {
            boot: [0; 16],
            directory: 0,
            capacity,
            slots: 0,
            vacant: 0,
            epoch: 1,
            freed: 0,
            tick: 0,
            pools: std::array::from_fn(|_| Pool::default()),
        }
    }

    /// `None` for anything but a header page of this format.
    pub(super) fn decode(page: &[u8]) -> Option<Head> {
        let mut from = Reader(page.get(..PAGE)?);
        if from.take() != MAGIC {
            return None;
        }
        let (boot, directory) = (from.take(), from.u64());
        let [capacity, slots, vacant, epoch] = [(); 4].map(|()| from.u32());
        let (freed, tick) = (from.u64(), from.u32());
        let fits = capacity.is_power_of_two()
            && (CAPACITY_MIN..=CAPACITY_MAX).contains(&capacity)
            && slots <= capacity
            && vacant <= slots;
        let pool = |n: usize| Pool::decode(&page[POOLS_AT + n * POOL..][..POOL]);
        let pools = std::array::from_fn(pool);
        let head = Head { boot, directory, capacity, slots, vacant, epoch, freed, tick, pools };
        fits.then_some(head)
    }

    pub(super) fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..8].copy_from_slice(&MAGIC);
        page[8..24].copy_from_slice(&self.boot);
        page[24..32].copy_from_slice(&self.directory.to_le_bytes());
        let numbers = [self.capacity, self.slots, self.vacant, self.epoch];
        for (into, number) in page[32..48].chunks_exact_mut(4).zip(numbers) {
            into.copy_from_slice(&number.to_le_bytes());
        }
        page[48..56].copy_from_slice(&self.freed.to_le_bytes());
        page[56..60].copy_from_slice(&self.tick.to_le_bytes());
        for (into, pool) in page[POOLS_AT..].chunks_exact_mut(POOL).zip(&self.pools) {
            pool.encode(into);
        }
        page
    }

    /// Chains in a table. Each node of a chain is another page to read, so chains are kept short.
    fn chains(&self) -> usize {
        self.capacity as usize * 4
    }

    fn table(&self) -> usize {
        self.chains() * 4
    }

    /// Pages of the whole file.
    pub(super) fn pages(&self) -> usize {
        (PAGE + 2 * self.table() + self.capacity as usize * NODE).div_ceil(PAGE)
    }

    fn bucket(&self, hash: u64) -> usize {
        // A power of two; the upper bits are the better mixed ones.
        ((hash >> 32) as usize & (self.chains() - 1)) * 4
    }

    pub(super) fn ip_bucket(&self, ip: Bits) -> usize {
        let mut hash = crate::hash::Hash::new();
        hash.feed(&ip.to_le_bytes());
        PAGE + self.bucket(hash.value())
    }

    pub(super) fn owner_bucket(&self, owner: u64) -> usize {
        PAGE + self.table() + self.bucket(owner)
    }

    pub(super) fn node(&self, slot: Slot) -> usize {
        PAGE + 2 * self.table() + (slot as usize - 1) * NODE
    }
}

/// Bytes of a node.
pub(super) const NODE_LEN: usize = NODE;
