//! Pools: which address of a range set is given out next.

use super::codec::{POOLS, Pool};
use super::{Index, NO_POOL, Node, PoolId, QUEUE_MAX, Slot, State, damaged};
use crate::range::{Bits, RangeSet};
use std::io;

/// Steps of a search after which the whole index is read at once.
const MANY: u32 = 32;

/// How far another program's cursor is followed.
const FOLLOW_MAX: usize = 4096;

impl Index {
    /// The record of `id`.
    pub(super) fn pool_mut(&mut self, id: PoolId) -> Option<&mut Pool> {
        self.head.pools.get_mut(usize::from(id)).filter(|pool| pool.set != 0)
    }

    fn pool_ref(&self, id: PoolId) -> io::Result<&Pool> {
        self.head.pools.get(usize::from(id)).filter(|pool| pool.set != 0).ok_or_else(damaged)
    }

    /// Remembers what was written to `last_reserved_ip` for a pool.
    pub(crate) fn set_last(&mut self, id: PoolId, ip: Bits) {
        if let Some(pool) = self.pool_mut(id) {
            pool.last = ip;
        }
    }

    /// The pool of `set`, made or counted anew where needed; the flag tells that it was.
    /// `last_reserved` is asked only then.
    pub(crate) fn pool(
        &mut self,
        set: &RangeSet,
        last_reserved: impl FnOnce() -> Option<Bits>,
    ) -> io::Result<(PoolId, bool)> {
        let fingerprint = set.fingerprint();
        let known = self.head.pools.iter().position(|pool| pool.set == fingerprint);
        let at = match known {
            Some(at) => at,
            None => self.vacate_pool()?,
        };
        let id = PoolId::try_from(at).map_err(|_| damaged())?;
        self.head.tick = self.head.tick.wrapping_add(1);
        let (tick, epoch) = (self.head.tick, self.head.epoch);
        let pool = &mut self.head.pools[at];
        pool.tick = tick;
        if known.is_some() && pool.epoch == epoch {
            return Ok((id, false));
        }
        if known.is_none() {
            *pool = Pool { set: fingerprint, tick, ..Pool::default() };
        }
        self.count(id, set)?;
        self.place_frontier(id, set, last_reserved().filter(|ip| set.spans(*ip)))?;
        Ok((id, true))
    }

    /// A record that is free: an unused one, or that of the pool not asked for the longest time.
    fn vacate_pool(&mut self) -> io::Result<usize> {
        if let Some(at) = self.head.pools.iter().position(|pool| pool.set == 0) {
            return Ok(at);
        }
        let pools = self.head.pools.iter().enumerate();
        let at = pools.min_by_key(|(_, pool)| pool.tick).map_or(POOLS - 1, |(at, _)| at);
        for (slot, mut node) in self.nodes()? {
            if usize::from(node.pool) == at {
                (node.pool, node.queue_prev, node.queue_next) = (NO_POOL, 0, 0);
                self.put(slot, &node)?;
            }
        }
        self.head.pools[at] = Pool::default();
        Ok(at)
    }

    /// Claims all nodes of the set for the pool, and counts what is fresh.
    fn count(&mut self, id: PoolId, set: &RangeSet) -> io::Result<()> {
        let mut known: u64 = 0;
        let mut claimed = Vec::new();
        for (slot, node) in self.nodes()? {
            if !set.offers(node.ip) {
                continue;
            }
            known += 1;
            if node.pool == id {
                continue;
            }
            match node.state {
                State::Freed => claimed.push((node.freed, slot)),
                State::Used => self.put(slot, &Node { pool: id, ..node })?,
            }
        }
        claimed.sort_unstable();
        for (_, slot) in claimed {
            self.dequeue(slot)?;
            self.enqueue(slot, id)?;
        }
        let epoch = self.head.epoch;
        if let Some(pool) = self.pool_mut(id) {
            pool.fresh = set.usable().saturating_sub(known);
            pool.epoch = epoch;
        }
        Ok(())
    }

    /// Puts the frontier of a pool that was just counted after `last`, the address that
    /// `last_reserved_ip` names, unless it stands well already.
    fn place_frontier(&mut self, id: PoolId, set: &RangeSet, last: Option<Bits>) -> io::Result<()> {
        let pool = self.pool_ref(id)?.clone();
        let mut frontier = pool.frontier;
        if !set.offers(frontier) {
            frontier = last.map_or_else(|| set.first(), |ip| set.next(ip));
        } else if let Some(last) = last.filter(|ip| *ip != pool.last)
            && set.spans(pool.last)
            && set.next(pool.last) == frontier
        {
            // Another program went on from where this one stood. What it has given out and taken
            // back since then was freed just now.
            let mut passed = Vec::new();
            let mut ip = frontier;
            while passed.len() < FOLLOW_MAX && ip != last {
                passed.push(ip);
                ip = set.next(ip);
            }
            if ip == last {
                passed.push(last);
                for ip in passed.into_iter().filter(|ip| set.offers(*ip)) {
                    self.add_freed(ip, id)?;
                }
                frontier = set.next(last);
            }
        }
        if let Some(pool) = self.pool_mut(id) {
            pool.frontier = frontier;
        }
        // So that the next search is short even before many used addresses.
        if self.pool_ref(id)?.fresh > 0
            && let Some(ip) = self.search(frontier, set)?
            && let Some(pool) = self.pool_mut(id)
        {
            pool.frontier = ip;
        }
        Ok(())
    }

    /// The next address to give out of a pool: a fresh one, else the one freed first.
    /// `None` when all are in use.
    pub(crate) fn choose(&mut self, id: PoolId, set: &RangeSet) -> io::Result<Option<Bits>> {
        for counted in [false, true] {
            let pool = self.pool_ref(id)?;
            let (fresh, frontier, head) = (pool.fresh, pool.frontier, pool.head);
            if fresh > 0
                && let Some(ip) = self.search(frontier, set)?
            {
                if let Some(pool) = self.pool_mut(id) {
                    pool.frontier = set.next(ip);
                }
                return Ok(Some(ip));
            }
            if head != 0 {
                return self.node(head).map(|node| Some(node.ip));
            }
            if !counted {
                // Pools that overlap, with different ranges for different pods, can take and
                // free addresses of each other; before giving up they are counted.
                self.count(id, set)?;
            }
        }
        Ok(None)
    }

    /// The first fresh address at or after `from`, once round the set.
    fn search(&mut self, from: Bits, set: &RangeSet) -> io::Result<Option<Bits>> {
        let mut ip = from;
        // Each step but the last meets a node, so there cannot be more.
        for step in 0..=self.head.slots {
            if self.find_slot(ip)?.is_none() {
                return Ok(Some(ip));
            }
            if step == MANY {
                self.pages.load()?;
            }
            ip = set.next(ip);
            if ip == from {
                break;
            }
        }
        Ok(None)
    }

    /// Makes freed addresses fresh that no pool has claimed.
    pub(crate) fn drop_unclaimed(&mut self) -> io::Result<()> {
        for (slot, node) in self.nodes()? {
            if node.state == State::Freed && node.pool == NO_POOL {
                self.forget(slot)?;
            }
        }
        Ok(())
    }

    /// Takes over what an older index of this boot knew about pools; queues are not copied.
    pub(crate) fn inherit_pools(&mut self, older: &Index) {
        self.head.epoch = older.head.epoch.wrapping_add(1);
        self.head.tick = older.head.tick;
        for (pool, old) in self.head.pools.iter_mut().zip(&older.head.pools) {
            *pool = Pool { head: 0, tail: 0, queued: 0, ..old.clone() };
        }
    }

    /// Puts a freed node at the end of a pool's queue; into none for [`NO_POOL`].
    pub(super) fn enqueue(&mut self, slot: Slot, id: PoolId) -> io::Result<()> {
        let mut node = self.node(slot)?;
        let tail = self.pool_mut(id).map(|pool| pool.tail);
        let Some(tail) = tail else {
            (node.pool, node.queue_prev, node.queue_next) = (NO_POOL, 0, 0);
            return self.put(slot, &node);
        };
        (node.pool, node.queue_prev, node.queue_next) = (id, tail, 0);
        self.put(slot, &node)?;
        if tail != 0 {
            let mut before = self.node(tail)?;
            before.queue_next = slot;
            self.put(tail, &before)?;
        }
        let mut oldest = None;
        if let Some(pool) = self.pool_mut(id) {
            pool.tail = slot;
            if pool.head == 0 {
                pool.head = slot;
            }
            pool.queued += 1;
            oldest = (pool.queued > QUEUE_MAX).then_some(pool.head);
        }
        match oldest {
            Some(oldest) => self.forget(oldest),
            None => Ok(()),
        }
    }

    /// Takes a freed node out of the queue it stands in, if any.
    pub(super) fn dequeue(&mut self, slot: Slot) -> io::Result<()> {
        let mut node = self.node(slot)?;
        let (prev, next, id) = (node.queue_prev, node.queue_next, node.pool);
        if self.pool_mut(id).is_none() {
            return Ok(());
        }
        (node.queue_prev, node.queue_next) = (0, 0);
        self.put(slot, &node)?;
        for (at, forward) in [(prev, true), (next, false)] {
            if at != 0 {
                let mut node = self.node(at)?;
                let link = if forward { &mut node.queue_next } else { &mut node.queue_prev };
                *link = if forward { next } else { prev };
                self.put(at, &node)?;
            }
        }
        if let Some(pool) = self.pool_mut(id) {
            if pool.head == slot {
                pool.head = next;
            }
            if pool.tail == slot {
                pool.tail = prev;
            }
            pool.queued = pool.queued.saturating_sub(1);
        }
        Ok(())
    }
}
