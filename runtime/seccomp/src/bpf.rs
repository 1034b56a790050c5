//! Classic BPF as seccomp has it: an instruction, a check, and an interpreter.

/// Loads a word of `seccomp_data` (`BPF_LD | BPF_W | BPF_ABS`).
pub(crate) const LOAD: u16 = 0x20;
/// Bitwise and with a constant.
pub(crate) const AND: u16 = 0x54;
/// Jumps always, by `k`.
pub(crate) const JUMP: u16 = 0x05;
/// Jumps if equal.
pub(crate) const JEQ: u16 = 0x15;
/// Jumps if greater.
pub(crate) const JGT: u16 = 0x25;
/// Jumps if greater or equal.
pub(crate) const JGE: u16 = 0x35;
/// Jumps if a bit of the mask is set.
const JSET: u16 = 0x45;
/// Ends with a verdict.
pub(crate) const RETURN: u16 = 0x06;

/// `BPF_MAXINSNS`: what the kernel takes.
pub(crate) const MAX: usize = 4096;
/// Size of `seccomp_data`.
const DATA: u32 = 64;

/// An instruction, laid out as `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// Constant, offset or distance.
    pub k: u32,
}

/// A system call as a filter sees it, `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Call {
    /// Number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Arguments.
    pub args: [u64; 6],
}

/// Where the half of an argument is in `seccomp_data`.
pub(crate) const fn argument(index: u8, high: bool) -> u32 {
    let upper = high == cfg!(target_endian = "little");
    16 + 8 * index as u32 + if upper { 4 } else { 0 }
}

impl Call {
    /// The word at an offset of `seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16.. => {
                let index = ((offset - 16) / 8) as u8;
                let value = self.args.get(usize::from(index)).copied().unwrap_or(0);
                if offset == argument(index, true) { (value >> 32) as u32 } else { value as u32 }
            }
            _ => 0,
        }
    }
}

/// Whether the kernel would take the filter: known instructions, forward jumps inside, loads
/// inside, an end on every path.
pub(crate) fn check(insns: &[Insn]) -> bool {
    let inside = |at: usize, skip: u32| at + 1 + (skip as usize) < insns.len();
    let ends = insns.last().is_some_and(|last| last.code == RETURN);
    ends && insns.len() <= MAX
        && insns.iter().enumerate().all(|(at, insn)| match insn.code {
            LOAD => insn.k % 4 == 0 && insn.k < DATA,
            AND | RETURN => true,
            JUMP => insn.k < MAX as u32 && inside(at, insn.k),
            JEQ | JGT | JGE | JSET => {
                inside(at, u32::from(insn.jt)) && inside(at, u32::from(insn.jf))
            }
            _ => false,
        })
}

/// What a filter returns for a call; none for a filter that [`check`] refuses.
pub(crate) fn run(insns: &[Insn], call: &Call) -> Option<u32> {
    let (mut at, mut a) = (0, 0);
    loop {
        let insn = insns.get(at)?;
        at += 1;
        let holds = match insn.code {
            LOAD => {
                a = call.word(insn.k);
                continue;
            }
            AND => {
                a &= insn.k;
                continue;
            }
            JUMP => {
                at = at.checked_add(insn.k as usize)?;
                continue;
            }
            RETURN => return Some(insn.k),
            JEQ => a == insn.k,
            JGT => a > insn.k,
            JGE => a >= insn.k,
            JSET => a & insn.k != 0,
            _ => return None,
        };
        at += usize::from(if holds { insn.jt } else { insn.jf });
    }
}
