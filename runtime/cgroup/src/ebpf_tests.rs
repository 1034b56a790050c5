use super::*;
use crate::devices::Match;

/// Runs a program as the kernel would, on one access.
fn run(code: &[Insn], kind: Type, dev: (u32, u32), access: u8) -> bool {
    let number = if kind == Type::Block { 1 } else { 2 };
    let context = [u32::from(access) << 16 | number, dev.0, dev.1];
    let (mut r, mut pc) = ([0u32; 11], 0usize);
    for _ in 0..10_000 {
        let i = code[pc];
        let (to, from) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
        let imm = i.immediate as u32;
        let mut jump = false;
        match i.code {
            LDX_W => r[to] = context[i.offset as usize / 4],
            MOV32_K => r[to] = imm,
            MOV32_X => r[to] = r[from],
            AND32_K => r[to] &= imm,
            RSH32_K => r[to] >>= imm,
            JNE32_K => jump = r[to] != imm,
            JEQ32_K => jump = r[to] == imm,
            EXIT => return r[0] == 1,
            other => panic!("instruction {other:#x}"),
        }
        pc += 1 + if jump { i.offset as usize } else { 0 };
    }
    panic!("does not end");
}

/// What the rules say, written another way: per bit, the last rule that matches.
fn said(rules: &[Rule], kind: Type, dev: (u32, u32), access: u8) -> bool {
    [MKNOD, READ, WRITE].iter().filter(|bit| access & **bit != 0).all(|bit| {
        let on = |r: &&Rule| {
            r.access & bit != 0
                && r.on.kind.is_none_or(|k| k == kind)
                && r.on.major.is_none_or(|n| n == dev.0)
                && r.on.minor.is_none_or(|n| n == dev.1)
        };
        rules.iter().rev().find(on).is_some_and(|r| r.allow)
    })
}

fn rules(seed: &mut u32, count: usize) -> Vec<Rule> {
    let mut next = |n: u32| {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*seed >> 16) % n
    };
    let mut one = || Rule {
        allow: next(2) == 0,
        on: Match {
            kind: [None, Some(Type::Block), Some(Type::Char)][next(3) as usize],
            major: Some(next(3)).filter(|n| *n < 2),
            minor: Some(next(3)).filter(|n| *n < 2),
        },
        access: 1 + next(7) as u8,
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn programs_say_what_rules_say() {
    let mut seed = 7;
    for round in 0..400 {
        let rules = rules(&mut seed, round % 12);
        let code = compile(&rules);
        for kind in [Type::Block, Type::Char] {
            for dev in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 9)] {
                for access in 1..=7 {
                    let want = said(&rules, kind, dev, access);
                    assert_eq!(run(&code, kind, dev, access), want, "{rules:?} {dev:?} {access}");
                }
            }
        }
    }
}

#[test]
fn a_total_rule_ends_the_program() {
    let all = |allow| Rule { allow, on: Match::ANY, access: ALL };
    let one = Rule { on: Match { kind: Some(Type::Char), ..Match::ANY }, ..all(true) };
    assert_eq!(compile(&[one, all(false)]).len(), 8, "no code that is never reached");
    assert_eq!(compile(&[one, all(true)]), compile(&[all(true)]));
    assert_eq!(compile(&[]), compile(&[all(false)]));
}

#[test]
fn large_numbers_match() {
    let on = Match { kind: None, major: Some(u32::MAX), minor: None };
    let code = compile(&[Rule { allow: true, on, access: ALL }]);
    assert!(run(&code, Type::Char, (u32::MAX, 0), READ));
    assert!(!run(&code, Type::Char, (1, 0), READ));
}
