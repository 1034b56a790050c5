//! Device rules as an eBPF program, for v2 (kernel: bpf/prog_cgroup_device, uapi linux/bpf.h).

use crate::devices::{ALL, MKNOD, READ, Rule, Type, WRITE};

/// One instruction, as `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Codes of linux/bpf.h and linux/bpf_common.h.
const LDX_W: u8 = 0x61;
const MOV32_K: u8 = 0xb4;
const MOV32_X: u8 = 0xbc;
const AND32_K: u8 = 0x54;
const RSH32_K: u8 = 0x74;
const JNE32_K: u8 = 0x56;
const JEQ32_K: u8 = 0x16;
const EXIT: u8 = 0x95;

// What each register holds; register 1 comes with the address of `struct bpf_cgroup_dev_ctx`.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;

fn insn(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: to | (from << 4), offset, immediate }
}

/// The program: from the last rule to the first, each takes its part of the wanted access. An
/// allowing rule strikes it off, and when nothing is left the access is allowed; a denying rule
/// that meets a part still wanted ends it. What no rule allowed is denied.
pub(crate) fn compile(rules: &[Rule]) -> Vec<Insn> {
    let mut code = vec![
        insn(LDX_W, KIND, CONTEXT, 0, 0),
        insn(MOV32_X, WANTED, KIND, 0, 0),
        insn(RSH32_K, WANTED, 0, 0, 16),
        insn(AND32_K, KIND, 0, 0, 0xffff),
        insn(LDX_W, MAJOR, CONTEXT, 4, 0),
        insn(LDX_W, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        if rule.is_total() {
            // Rules before it decide nothing, and the kernel refuses code that is never reached.
            code.extend(verdict(rule.allow));
            return code;
        }
        code.extend(block(rule));
    }
    code.extend(verdict(false));
    code
}

fn verdict(allow: bool) -> [Insn; 2] {
    [insn(MOV32_K, RESULT, 0, 0, i32::from(allow)), insn(EXIT, 0, 0, 0, 0)]
}

fn block(rule: &Rule) -> Vec<Insn> {
    let mut tests = Vec::new();
    if let Some(kind) = rule.on.kind {
        let number = match kind {
            Type::Block => DEV_BLOCK,
            Type::Char => DEV_CHAR,
        };
        tests.push((KIND, number));
    }
    tests.extend(rule.on.major.map(|n| (MAJOR, n as i32)));
    tests.extend(rule.on.minor.map(|n| (MINOR, n as i32)));
    let access = i32::from(kernel_access(rule.access));
    let act = if rule.allow {
        vec![insn(AND32_K, WANTED, 0, 0, !access & i32::from(ALL)), insn(JNE32_K, WANTED, 0, 2, 0)]
    } else {
        vec![
            insn(MOV32_X, SCRATCH, WANTED, 0, 0),
            insn(AND32_K, SCRATCH, 0, 0, access),
            insn(JEQ32_K, SCRATCH, 0, 2, 0),
        ]
    };
    let rest = act.len() + 2;
    let count = tests.len();
    let skip = |i: usize| (count - i - 1 + rest) as i16;
    let mut code: Vec<Insn> = tests
        .into_iter()
        .enumerate()
        .map(|(i, (register, number))| insn(JNE32_K, register, 0, skip(i), number))
        .collect();
    code.extend(act);
    code.extend(verdict(rule.allow));
    code
}

/// Access as `BPF_DEVCG_ACC_*`; the same bits as ours, said once here.
const fn kernel_access(access: u8) -> u8 {
    const { assert!(MKNOD == 1 && READ == 2 && WRITE == 4) }
    access
}

#[cfg(test)]
#[path = "ebpf_tests.rs"]
mod tests;
