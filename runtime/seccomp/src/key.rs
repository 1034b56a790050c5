//! What a kept filter is found by: a digest of all that decides what it is.

use runtime_spec::{Seccomp, SeccompArch, SyscallRule};
use sha2::{Digest, Sha256};

/// Counts up whenever the same profile compiles to another filter.
const GENERATION: u32 = 1;

/// A digest of a profile, the compiler and the architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

/// SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The key of a profile. Where the listener is and what it is told is not part of the filter.
pub(crate) fn of(profile: &Seccomp, native: SeccompArch) -> Key {
    let mut text = Vec::with_capacity(8192);
    text.extend(env!("CARGO_PKG_VERSION").as_bytes());
    text.push(0);
    text.extend(GENERATION.to_le_bytes());
    text.push(native as u8);
    text.push(profile.default_action as u8);
    number(&mut text, profile.default_errno_ret);
    text.push(u8::from(profile.listener_path.is_some()));
    length(&mut text, profile.architectures.len());
    text.extend(profile.architectures.iter().map(|arch| *arch as u8));
    length(&mut text, profile.flags.len());
    text.extend(profile.flags.iter().map(|flag| *flag as u8));
    length(&mut text, profile.syscalls.len());
    for rule in &profile.syscalls {
        add(&mut text, rule);
    }
    Key(digest(&text))
}

fn add(text: &mut Vec<u8>, rule: &SyscallRule) {
    text.push(rule.action as u8);
    number(text, rule.errno_ret);
    length(text, rule.args.len());
    for arg in &rule.args {
        text.extend(arg.index.to_le_bytes());
        text.push(arg.op as u8);
        text.extend(arg.value.to_le_bytes());
        text.extend(arg.value_two.to_le_bytes());
    }
    length(text, rule.names.len());
    for name in &rule.names {
        length(text, name.len());
        text.extend(name.as_bytes());
    }
}

fn number(text: &mut Vec<u8>, value: Option<u32>) {
    text.push(u8::from(value.is_some()));
    text.extend(value.unwrap_or(0).to_le_bytes());
}

/// Lengths go first, so that no two profiles read the same.
fn length(text: &mut Vec<u8>, value: usize) {
    text.extend((value as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::compile_for;

    fn default_profile() -> Seccomp {
        serde_json::from_str(include_str!("../testdata/default.json")).expect("a profile")
    }

    /// If this fails because the compiler is meant to have changed, count `GENERATION` up: kept
    /// filters of older compilers are then no longer used.
    #[test]
    fn the_generation_counts_up_with_the_compiler() {
        let program = compile_for(&default_profile(), SeccompArch::X86_64).expect("compiles");
        let mut text = Vec::new();
        for insn in program.insns() {
            text.extend(insn.code.to_le_bytes());
            text.extend([insn.jt, insn.jf]);
            text.extend(insn.k.to_le_bytes());
        }
        let known = (1, "91c77d9448a707b88e984a7e35126b6d90acef5bcbbce686ad60810287d5c182");
        assert_eq!((GENERATION, Key(digest(&text)).name().as_str()), known);
    }

    #[test]
    fn whatever_decides_the_filter_is_in_the_key() {
        let profile = default_profile();
        let key = |change: &dyn Fn(&mut Seccomp)| {
            let mut profile = profile.clone();
            change(&mut profile);
            of(&profile, SeccompArch::X86_64)
        };
        let plain = key(&|_| {});
        assert_eq!(plain, key(&|_| {}));
        assert_ne!(plain, of(&profile, SeccompArch::Aarch64));
        let changes: [&dyn Fn(&mut Seccomp); 9] = [
            &|p| p.default_action = runtime_spec::SeccompAction::Trap,
            &|p| p.default_errno_ret = None,
            &|p| p.architectures.truncate(1),
            &|p| p.flags.push(runtime_spec::SeccompFlag::Log),
            &|p| p.syscalls[0].names.truncate(9),
            &|p| p.syscalls.truncate(2),
            &|p| p.syscalls[1].args[0].value = 41,
            &|p| p.syscalls[1].args[0].op = runtime_spec::SeccompOp::Eq,
            &|p| p.listener_path = Some("/run/agent".into()),
        ];
        for (number, change) in changes.iter().enumerate() {
            assert_ne!(plain, key(change), "change {number}");
        }
    }
}
