//! What was done to a disk, in order.

use crate::Dice;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes were written at an offset.
    Write(u64, Vec<u8>),
    /// All writes before are on the medium.
    Flush,
    /// A note of the test.
    Mark(String),
}

/// All that was done to a disk.
#[derive(Debug)]
pub struct Journal {
    /// Size of the disk, in bytes.
    pub(crate) size: usize,
    /// In order.
    pub(crate) events: Vec<Event>,
}

impl Journal {
    /// The events.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Where a note of the test stands; panics where there is none.
    pub fn mark(&self, label: &str) -> usize {
        let found = self.events.iter().position(|e| matches!(e, Event::Mark(l) if l == label));
        found.unwrap_or_else(|| panic!("no mark {label:?} in the journal"))
    }

    /// `count` points to cut at, ascending: half of them anywhere after the mark `since`, half
    /// within a few events of a flush, where mistakes hide.
    pub fn points(&self, since: &str, count: usize, seed: u64) -> Vec<usize> {
        let (first, end) = (self.mark(since), self.events.len());
        let flushes: Vec<usize> =
            (first..end).filter(|&n| self.events[n] == Event::Flush).collect();
        assert!(!flushes.is_empty(), "nothing was flushed: the test sees no durability at all");
        let mut dice = Dice::new(seed);
        let mut points: Vec<usize> = (0..count)
            .map(|n| {
                if n % 2 == 0 {
                    return first + dice.below(end - first + 1);
                }
                let near = flushes[dice.below(flushes.len())] + dice.below(5);
                near.saturating_sub(2).clamp(first, end)
            })
            .collect();
        points.sort_unstable();
        points
    }
}
