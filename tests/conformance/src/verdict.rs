//! What a case comes to for a subject.

use crate::{Case, Subject};
use cni_types::Version;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The subject does as demanded.
    Met,
    /// It does not: how it was found.
    Failed(String),
    /// The demand is of things that the subject does not have: which.
    NotAsked(&'static str),
    /// This machine lacks what it takes to tell: what.
    NotHere(String),
}

/// What a case needs of a subject or of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// An IPAM plugin that it delegates to.
    Ipam,
    /// A program that it runs.
    Program,
    /// A pool of addresses that can be exhausted.
    Pool,
    /// Changes that its CHECK must see.
    Drifts,
    /// Values of its configuration that are not valid.
    Invalid,
    /// A version with the verbs GC and STATUS.
    Gc,
    /// A version that is older than one of the verbs.
    Older,
    /// `strace` on the machine.
    Tracer,
}

impl Asks {
    /// Why it cannot be asked.
    fn barrier(self, subject: &Subject) -> Option<Verdict> {
        let not_asked = |lacking: bool, what| lacking.then_some(Verdict::NotAsked(what));
        match self {
            Asks::Ipam => not_asked(subject.needs.ipam.is_none(), "it has no IPAM plugin"),
            Asks::Program => not_asked(subject.needs.program.is_none(), "it runs no program"),
            Asks::Pool => not_asked(subject.needs.pool.is_none(), "it has no pool of addresses"),
            Asks::Drifts => not_asked(subject.drifts.is_empty(), "no drift is known"),
            Asks::Invalid => not_asked(subject.invalid.is_empty(), "no invalid value is known"),
            Asks::Gc => not_asked(!subject.version().has_gc(), "it speaks no version with GC"),
            Asks::Older => {
                let old = [Version::V0_3_1, Version::V1_0_0];
                let none = !old.iter().any(|version| subject.versions().contains(version));
                not_asked(none, "it speaks no version that is older than a verb")
            }
            Asks::Tracer => {
                let there = std::process::Command::new("strace").arg("-V").output().is_ok();
                (!there).then(|| Verdict::NotHere("strace is not installed".to_owned()))
            }
        }
    }
}

/// Why the case cannot be put to the subject here; `None` when it can.
pub(crate) fn barrier(case: &Case, subject: &Subject) -> Option<Verdict> {
    let asked = case.asks.iter().find_map(|asks| asks.barrier(subject));
    asked.or_else(|| lab::kernel_lacks(subject.kernel).map(Verdict::NotHere))
}

/// Puts a case to a subject, and tells what came of it.
pub fn judge(case: &Case, subject: &Subject) -> Verdict {
    if let Some(barrier) = barrier(case, subject) {
        return barrier;
    }
    match catch_unwind(AssertUnwindSafe(|| (case.run)(subject))) {
        Ok(()) => Verdict::Met,
        Err(panic) => Verdict::Failed(text_of(panic.as_ref())),
    }
}

/// The message of a panic.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("failed without a message").to_owned()
}
