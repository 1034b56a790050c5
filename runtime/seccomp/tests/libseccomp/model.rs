//! What a profile means, as the documentation of the crate has it, and an interpreter.

use crate::oracle::verdict;
use crate::profiles::names;
use crate::{AUDIT_X86, AUDIT_X86_64, ENOSYS, X32_BIT};
use runtime_spec::{Seccomp, SeccompAction, SeccompArch, SeccompOp, SyscallArg};
use seccomp::{Call, Insn};
use std::collections::{HashMap, HashSet};

/// Alternatives for a call: conditions and verdict of each.
pub(crate) type Alternatives<'p> = Vec<(Vec<&'p SyscallArg>, u32)>;

/// An interpreter of its own, so that one mistake does not hide another.
pub(crate) fn run(filter: &[Insn], call: &Call) -> u32 {
    let word = |offset: usize| match offset {
        0 => call.nr,
        4 => call.arch,
        _ => {
            let bytes = call.args[(offset - 16) / 8].to_ne_bytes();
            let half = &bytes[(offset - 16) % 8..][..4];
            u32::from_ne_bytes([half[0], half[1], half[2], half[3]])
        }
    };
    let (mut at, mut a) = (0, 0_u32);
    loop {
        let Insn { code, jt, jf, k } = filter[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => a = word(k as usize),
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(a == k),
            0x25 => at += jump(a > k),
            0x35 => at += jump(a >= k),
            0x45 => at += jump(a & k != 0),
            0x06 => return k,
            _ => panic!("instruction {code:#x}"),
        }
    }
}

/// The conditions and action of every alternative for a call.
pub(crate) fn alternatives<'p>(profile: &'p Seccomp, name: &str) -> Alternatives<'p> {
    let default = verdict(profile.default_action, profile.default_errno_ret);
    let mut found = Vec::new();
    for rule in &profile.syscalls {
        let action = verdict(rule.action, rule.errno_ret);
        if action == default {
            continue;
        }
        for _ in rule.names.iter().filter(|known| *known == name) {
            let indexes: HashSet<u32> = rule.args.iter().map(|arg| arg.index).collect();
            if indexes.len() == rule.args.len() {
                found.push((rule.args.iter().collect(), action));
            } else {
                found.extend(rule.args.iter().map(|arg| (vec![arg], action)));
            }
        }
    }
    found
}

/// The verdict on a call of this name, with 64 or 32 bits to compare.
pub(crate) fn model(
    profile: &Seccomp,
    found: &[(Vec<&SyscallArg>, u32)],
    call: &Call,
    wide: bool,
) -> u32 {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let holds = |arg: &&SyscallArg| {
        let (have, value) = (cut(call.args[arg.index as usize]), cut(arg.value));
        match arg.op {
            SeccompOp::Ne => have != value,
            SeccompOp::Lt => have < value,
            SeccompOp::Le => have <= value,
            SeccompOp::Eq => have == value,
            SeccompOp::Ge => have >= value,
            SeccompOp::Gt => have > value,
            SeccompOp::MaskedEq => have & value == cut(arg.value_two) & value,
        }
    };
    let certain = found.iter().find(|(conditions, _)| conditions.is_empty());
    let decides =
        certain.or_else(|| found.iter().find(|(conditions, _)| conditions.iter().all(holds)));
    let default = verdict(profile.default_action, profile.default_errno_ret);
    decides.map_or(default, |(_, action)| *action)
}

/// Whether libseccomp gets all of a call's rules right.
pub(crate) fn comparable(found: &[(Vec<&SyscallArg>, u32)]) -> bool {
    let conditional: Vec<_> =
        found.iter().filter(|(conditions, _)| !conditions.is_empty()).collect();
    conditional.len() < 2
        || conditional.iter().all(|(conditions, action)| {
            *action == conditional[0].1
                && matches!(conditions[..], [SyscallArg { op: SeccompOp::Eq, index, .. }]
                    if *index == conditional[0].0[0].index)
        })
}

/// What libseccomp's verdict becomes for calls newer than all that the profile names.
pub(crate) struct Newer {
    applies: bool,
    newest: [Option<u32>; 3],
}

impl Newer {
    pub(crate) fn new(profile: &Seccomp) -> Self {
        let default = verdict(profile.default_action, profile.default_errno_ret);
        let open = matches!(
            profile.default_action,
            SeccompAction::Allow | SeccompAction::Log | SeccompAction::Trace
        );
        let numbers: HashMap<&str, [Option<u32>; 3]> = names().into_iter().collect();
        let named = profile.syscalls.iter().flat_map(|rule| &rule.names);
        let rows: Vec<[Option<u32>; 3]> =
            named.filter_map(|name| numbers.get(name.as_str()).copied()).collect();
        let newest = [0, 1, 2].map(|column| rows.iter().filter_map(|row| row[column]).max());
        Newer { applies: !open && default != ENOSYS, newest }
    }

    /// Whose numbers a call has: x86_64, x86 or x32, if it is listed.
    pub(crate) fn column(&self, profile: &Seccomp, call: &Call) -> Option<usize> {
        let listed = |arch| profile.architectures.contains(&arch);
        match call.arch {
            AUDIT_X86_64 if call.nr < X32_BIT => Some(0),
            AUDIT_X86_64 if listed(SeccompArch::X32) => Some(2),
            AUDIT_X86 if listed(SeccompArch::X86) => Some(1),
            _ => None,
        }
    }

    pub(crate) fn expected(&self, profile: &Seccomp, call: &Call, otherwise: u32) -> u32 {
        let newest = self.column(profile, call).and_then(|column| self.newest[column]);
        match newest {
            Some(newest) if self.applies && call.nr > newest => ENOSYS,
            _ => otherwise,
        }
    }
}
