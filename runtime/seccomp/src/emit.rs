//! Instructions, written from the end to the start.
//!
//! All jumps of classic BPF go forward, and conditional ones by at most 255. Written backwards,
//! every target is known when a jump to it is made: one that has moved out of reach gets a long
//! jump, or a copy of a return, right behind the instruction that needs it.

use crate::bpf::{AND, Insn, JUMP, LOAD, RETURN};

/// Where a jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Ends with a verdict.
    Return(u32),
    /// Goes on at an instruction, counted from the end.
    At(usize),
}

/// A filter under construction.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    /// The last instruction first.
    reversed: Vec<Insn>,
    /// The latest place of each return.
    returns: Vec<(u32, usize)>,
    /// The latest long jump to each place.
    jumps: Vec<(usize, usize)>,
}

impl Emitter {
    /// With room for `size` instructions.
    pub(crate) fn with_capacity(size: usize) -> Self {
        Self { reversed: Vec::with_capacity(size), ..Self::default() }
    }

    /// A comparison before what is written already.
    pub(crate) fn branch(&mut self, (code, k): (u16, u32), yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        let yes = self.reach(yes);
        let no = self.reach(no);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(Insn { code, jt, jf, k })
    }

    /// Loads a word, then goes on at `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.before(LOAD, offset, next)
    }

    /// Masks the loaded word, then goes on at `next`; nothing to do for a full mask.
    pub(crate) fn mask(&mut self, mask: u32, next: Target) -> Target {
        if mask == u32::MAX { next } else { self.before(AND, mask, next) }
    }

    /// The instructions in order.
    pub(crate) fn finish(mut self, start: Target) -> Vec<Insn> {
        self.place(start);
        self.reversed.reverse();
        self.reversed
    }

    /// An instruction that falls through to `next`.
    fn before(&mut self, code: u16, k: u32, next: Target) -> Target {
        self.place(next);
        self.push(Insn { code, jt: 0, jf: 0, k })
    }

    /// Makes `target` what an instruction written now falls through to.
    fn place(&mut self, target: Target) {
        match target {
            Target::At(at) if at + 1 == self.reversed.len() => {}
            Target::At(at) => {
                let k = self.distance(at) as u32;
                self.push(Insn { code: JUMP, jt: 0, jf: 0, k });
            }
            Target::Return(k) => {
                self.push(Insn { code: RETURN, jt: 0, jf: 0, k });
            }
        }
    }

    /// A place for the target that a conditional jump written soon can reach.
    fn reach(&mut self, target: Target) -> usize {
        match target {
            Target::At(at) if self.near(at) => at,
            Target::At(at) => {
                if let Some(&(_, jump)) = self.jumps.iter().rev().find(|known| known.0 == at)
                    && self.near(jump)
                {
                    return jump;
                }
                let jump = self.reversed.len();
                let k = self.distance(at) as u32;
                self.push(Insn { code: JUMP, jt: 0, jf: 0, k });
                self.jumps.retain(|known| known.0 != at);
                self.jumps.push((at, jump));
                jump
            }
            Target::Return(verdict) => {
                if let Some(&(_, at)) = self.returns.iter().find(|known| known.0 == verdict)
                    && self.near(at)
                {
                    return at;
                }
                let at = self.reversed.len();
                self.push(Insn { code: RETURN, jt: 0, jf: 0, k: verdict });
                self.returns.retain(|known| known.0 != verdict);
                self.returns.push((verdict, at));
                at
            }
        }
    }

    /// Whether a conditional jump reaches `at`, even with two instructions more in between.
    fn near(&self, at: usize) -> bool {
        self.distance(at) + 2 <= usize::from(u8::MAX)
    }

    /// What the next instruction skips to get to `at`.
    fn distance(&self, at: usize) -> usize {
        self.reversed.len() - 1 - at
    }

    fn push(&mut self, insn: Insn) -> Target {
        self.reversed.push(insn);
        Target::At(self.reversed.len() - 1)
    }
}
