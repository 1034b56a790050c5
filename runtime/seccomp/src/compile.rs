//! From a profile to a filter: a search tree over the numbers of each architecture.

use crate::arch::{self, Facts, X32_BIT};
use crate::bpf::{self, JEQ, JGE, JGT};
use crate::emit::{Emitter, Target};
use crate::error::Error;
use crate::plan::{Compare, Condition, ENOSYS, KILL_THREAD, Plan};
use crate::program::{Listener, Program};
use crate::table;
use runtime_spec::{Seccomp, SeccompArch};

/// Compiles a profile for this machine.
///
/// # Errors
/// What is wrong with the profile, or that the filter would be longer than the kernel takes.
pub fn compile(profile: &Seccomp) -> Result<Program, Error> {
    compile_for(profile, arch::native().ok_or(Error::Machine)?)
}

/// Compiles a profile for another native architecture of the same byte order.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(profile: &Seccomp, native: SeccompArch) -> Result<Program, Error> {
    let plan = Plan::new(profile)?;
    let mut compiler = Compiler {
        plan: &plan,
        emitter: Emitter::with_capacity(1024),
        chains: Vec::new(),
        placed: Vec::new(),
    };
    let start = compiler.dispatch(native, &profile.architectures)?;
    let insns = compiler.emitter.finish(start);
    if insns.len() > bpf::MAX {
        return Err(Error::TooLong { length: insns.len() });
    }
    let listener = Listener::of(profile, plan.listens);
    Ok(Program { insns, flags: plan.flags, listener, warnings: plan.warnings })
}

/// What happens to a call of some number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Verdict(u32),
    /// Alternatives to try in order, by their place in [`Compiler::chains`].
    Chain(usize),
}

/// From this number on, up to the next range.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: u32,
    outcome: Outcome,
}

/// What the search tree ends in.
#[derive(Debug, Clone, Copy)]
enum Leaf {
    Range(Range),
    /// A range of one outcome with a single number of another in it.
    Hole(Range, Range),
}

impl Leaf {
    fn start(&self) -> u32 {
        match self {
            Leaf::Range(range) | Leaf::Hole(range, _) => range.start,
        }
    }
}

struct Compiler<'a> {
    plan: &'a Plan,
    emitter: Emitter,
    /// Alternatives by index, and whether arguments are compared with 64 bits.
    chains: Vec<(Vec<u32>, bool)>,
    /// Where each chain starts, once written.
    placed: Vec<Option<Target>>,
}

impl Compiler<'_> {
    /// The start of the filter: which architecture?
    fn dispatch(&mut self, native: SeccompArch, listed: &[SeccompArch]) -> Result<Target, Error> {
        let active: Vec<Facts> = arch::family(native)
            .iter()
            .filter(|arch| **arch == native || listed.contains(arch))
            .map(|arch| arch::facts(*arch).ok_or(Error::Architecture(*arch)))
            .collect::<Result<_, _>>()?;
        if active.is_empty() {
            return Err(Error::Architecture(native));
        }
        let mut audits: Vec<u32> = Vec::new();
        for facts in &active {
            if !audits.contains(&facts.audit) {
                audits.push(facts.audit);
            }
        }
        let mut next = Target::Return(KILL_THREAD);
        for audit in audits.into_iter().rev() {
            let ranges = self.ranges(active.iter().filter(|facts| facts.audit == audit));
            let tree = self.tree(&leaves(&ranges));
            let section = self.emitter.load(0, tree);
            next = self.emitter.branch((JEQ, audit), section, next);
        }
        Ok(self.emitter.load(4, next))
    }

    /// The outcome of every number of an `AUDIT_ARCH_*`, which x86_64 and x32 share.
    fn ranges<'f>(&mut self, members: impl Iterator<Item = &'f Facts>) -> Vec<Range> {
        let mut members: Vec<&Facts> = members.collect();
        members.sort_by_key(|facts| facts.base);
        let default = Outcome::Verdict(self.plan.default);
        let mut ranges = Ranges(Vec::with_capacity(256));
        ranges.from(0, default);
        let shared = arch::facts(SeccompArch::X86_64).map(|facts| facts.audit);
        if members.first().is_some_and(|facts| facts.base == X32_BIT) {
            ranges.from(0, Outcome::Verdict(KILL_THREAD));
        }
        let last = members.last().map_or(0, |facts| facts.base);
        for facts in &members {
            ranges.from(facts.base, default);
            self.member(facts, &mut ranges);
        }
        if members.first().map(|facts| facts.audit) == shared && last != X32_BIT {
            ranges.from(X32_BIT, Outcome::Verdict(KILL_THREAD));
            // No call: a tracer has skipped it.
            ranges.from(u32::MAX, default);
        }
        ranges.0
    }

    /// The calls of one architecture.
    fn member(&mut self, facts: &Facts, ranges: &mut Ranges) {
        let plan = self.plan;
        let number = |row| table::number(row, facts.column).map(|nr| nr + facts.base);
        let mut calls: Vec<(u32, u32)> = plan
            .rules
            .iter()
            .filter_map(|(row, alternative)| Some((number(*row)?, *alternative)))
            .collect();
        calls.sort_unstable();
        calls.dedup();
        let newest = plan.named.iter().filter_map(|row| number(*row)).max();
        let default = Outcome::Verdict(plan.default);
        let hides = plan.newer_unknown && newest.is_some();
        if hides && matches!(facts.column, table::Column::S390 | table::Column::S390x) {
            ranges.from(facts.base, Outcome::Verdict(ENOSYS));
            ranges.from(facts.base + 1, default);
            calls.retain(|(nr, _)| *nr != facts.base);
        }
        for same in calls.chunk_by(|one, other| one.0 == other.0) {
            let outcome = self.outcome(same, facts.wide);
            ranges.from(same[0].0, outcome);
            ranges.from(same[0].0 + 1, default);
        }
        if let Some(newest) = newest.filter(|_| hides) {
            ranges.from(newest + 1, Outcome::Verdict(ENOSYS));
        }
    }

    /// What the alternatives of one call come to.
    fn outcome(&mut self, calls: &[(u32, u32)], wide: bool) -> Outcome {
        let alternative = |index: u32| &self.plan.alternatives[index as usize];
        let certain = calls.iter().find(|call| alternative(call.1).conditions.is_empty());
        if let Some(call) = certain {
            return Outcome::Verdict(alternative(call.1).verdict);
        }
        let chain: Vec<u32> = calls.iter().map(|call| call.1).collect();
        let known = self.chains.iter().position(|(old, same)| *old == chain && *same == wide);
        Outcome::Chain(known.unwrap_or_else(|| {
            self.chains.push((chain, wide));
            self.placed.push(None);
            self.chains.len() - 1
        }))
    }

    fn tree(&mut self, leaves: &[Leaf]) -> Target {
        match leaves {
            [] => Target::Return(self.plan.default),
            [Leaf::Range(range)] => self.target(range.outcome),
            [Leaf::Hole(around, hole)] => {
                let inner = self.target(hole.outcome);
                let outer = self.target(around.outcome);
                self.emitter.branch((JEQ, hole.start), inner, outer)
            }
            _ => {
                let (low, high) = leaves.split_at(leaves.len() / 2);
                let start = high[0].start();
                let high = self.tree(high);
                let low = self.tree(low);
                self.emitter.branch((JGE, start), high, low)
            }
        }
    }

    fn target(&mut self, outcome: Outcome) -> Target {
        match outcome {
            Outcome::Verdict(verdict) => Target::Return(verdict),
            Outcome::Chain(index) => match self.placed[index] {
                Some(target) => target,
                None => {
                    let target = self.chain(index);
                    self.placed[index] = Some(target);
                    target
                }
            },
        }
    }

    fn chain(&mut self, index: usize) -> Target {
        let plan = self.plan;
        let (alternatives, wide) = std::mem::take(&mut self.chains[index]);
        let mut next = Target::Return(plan.default);
        for alternative in alternatives.iter().rev() {
            let alternative = &plan.alternatives[*alternative as usize];
            let mut holds = Target::Return(alternative.verdict);
            for condition in alternative.conditions.iter().rev() {
                holds = self.condition(condition, wide, (holds, next));
            }
            next = holds;
        }
        self.chains[index] = (alternatives, wide);
        next
    }

    /// Goes on at the first target if the condition holds, else at the second.
    fn condition(&mut self, wanted: &Condition, wide: bool, go: (Target, Target)) -> Target {
        let (yes, no) = go;
        match wanted.compare {
            Compare::Equal => self.equal(wanted, wide, (yes, no)),
            Compare::Unequal => self.equal(wanted, wide, (no, yes)),
            Compare::Greater => self.above(wanted, (wide, JGT), (yes, no)),
            Compare::LessOrEqual => self.above(wanted, (wide, JGT), (no, yes)),
            Compare::GreaterOrEqual => self.above(wanted, (wide, JGE), (yes, no)),
            Compare::Less => self.above(wanted, (wide, JGE), (no, yes)),
        }
    }

    fn equal(&mut self, wanted: &Condition, wide: bool, (yes, no): (Target, Target)) -> Target {
        let mut next = yes;
        for high in [false, true] {
            let (mask, value) = (half(wanted.mask, high), half(wanted.value, high));
            if mask == 0 || high && !wide {
                continue;
            }
            let compared = self.emitter.branch((JEQ, value), next, no);
            let masked = self.emitter.mask(mask, compared);
            next = self.emitter.load(bpf::argument(wanted.index, high), masked);
        }
        next
    }

    /// Greater (`JGT`) or greater or equal (`JGE`): the upper halves decide unless they are equal.
    fn above(
        &mut self,
        wanted: &Condition,
        (wide, code): (bool, u16),
        (yes, no): (Target, Target),
    ) -> Target {
        let (low, high) = (half(wanted.value, false), half(wanted.value, true));
        let compared = self.emitter.branch((code, low), yes, no);
        let lower = self.emitter.load(bpf::argument(wanted.index, false), compared);
        if !wide {
            return lower;
        }
        let tied = if high == 0 { lower } else { self.emitter.branch((JEQ, high), lower, no) };
        let compared = self.emitter.branch((JGT, high), yes, tied);
        self.emitter.load(bpf::argument(wanted.index, true), compared)
    }
}

fn half(value: u64, high: bool) -> u32 {
    if high { (value >> 32) as u32 } else { value as u32 }
}

/// Ranges in order, neighbours of equal outcome merged.
struct Ranges(Vec<Range>);

impl Ranges {
    /// From `start` on, which is not below the last start, the outcome is another.
    fn from(&mut self, start: u32, outcome: Outcome) {
        if self.0.last().is_some_and(|last| last.start == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.outcome != outcome) {
            self.0.push(Range { start, outcome });
        }
    }
}

/// Takes single numbers and what is around them together: one comparison instead of two.
fn leaves(ranges: &[Range]) -> Vec<Leaf> {
    let mut leaves = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let [first, more @ ..] = rest {
        match more {
            [hole, after, ..]
                if after.outcome == first.outcome && after.start == hole.start + 1 =>
            {
                leaves.push(Leaf::Hole(*first, *hole));
                rest = &rest[3..];
            }
            _ => {
                leaves.push(Leaf::Range(*first));
                rest = more;
            }
        }
    }
    leaves
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
