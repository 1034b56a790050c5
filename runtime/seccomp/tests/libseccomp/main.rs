//! The same rules given to libseccomp must have the same verdicts.
//!
//! Both are also compared with [`model`], which reads a profile as the crate's documentation says.
//! Meant to differ from libseccomp:
//! - Several rules with conditions for one call. Its choice follows the shape of a tree: with
//!   different actions it depends on values, and of two rules with orders (`LT 0x7fffffff` or
//!   `LE 0x100000001`) it loses one. So there only equalities of one action are compared.
//! - `ipc`, and rules with conditions for calls that are also made through `socketcall`. libseccomp
//!   compares the argument block's address there; see the crate's documentation.
//! - Calls newer than the profile. libseccomp has no notion of them; what callers expect is put on
//!   top of its verdict in [`expected`].
#![allow(clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod model;
mod oracle;
mod profiles;

use model::{Newer, alternatives, comparable, model, run};
use oracle::Oracle;
use profiles::{MULTIPLEXED, Random, calls, names, random_profile};
use runtime_spec::{Seccomp, SeccompArch};
use seccomp::compile_for;
use std::collections::{HashMap, HashSet};

const X32_BIT: u32 = 0x4000_0000;
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_X86: u32 = 0x4000_0003;
const ENOSYS: u32 = 0x0005_0026;
const TABLE: &str = include_str!("../../src/syscalls.tbl");

fn compare(oracle: &mut Oracle, random: &mut Random, profile: &Seccomp) {
    let theirs = oracle.filter(profile);
    let ours = compile_for(profile, SeccompArch::X86_64).expect("compiles");
    assert!(ours.is_sound());
    let newer = Newer::new(profile);
    let names = names();
    let numbers: HashMap<&str, [Option<u32>; 3]> = names.iter().copied().collect();
    let conditional: HashSet<u32> = profile
        .syscalls
        .iter()
        .filter(|rule| !rule.args.is_empty())
        .flat_map(|rule| &rule.names)
        .flat_map(|name| numbers[name.as_str()])
        .flatten()
        .map(|nr| nr & !X32_BIT)
        .collect();
    let mut compared = 0;
    let mut by_number = HashMap::new();
    for (name, numbers) in &names {
        for (column, number) in numbers.iter().enumerate().filter(|(_, number)| number.is_some()) {
            let found = alternatives(profile, name);
            by_number.insert((Some(column), *number), (*name, comparable(&found), found));
        }
    }
    let nameless = ("", true, Vec::new());
    for call in calls(random, &conditional) {
        let have = run(ours.insns(), &call);
        assert_eq!(ours.verdict(&call), Some(have), "the crate's interpreter: {call:x?}");
        let column = newer.column(profile, &call);
        let (name, comparable, found) =
            by_number.get(&(column, Some(call.nr))).unwrap_or(&nameless);
        if let Some(column) = column.filter(|_| !MULTIPLEXED.contains(name)) {
            let wanted = model(profile, found, &call, column == 0);
            let wanted = newer.expected(profile, &call, wanted);
            assert_eq!(have, wanted, "{call:x?} {name:?}: {found:#?}");
        }
        if *comparable {
            let wanted = newer.expected(profile, &call, run(&theirs, &call));
            assert_eq!(have, wanted, "libseccomp: {call:x?} {name:?}: {found:#?}");
            compared += 1;
        }
    }
    assert!(compared > 8000, "{compared} calls compared");
}

#[test]
fn the_default_profile_has_the_same_verdicts() {
    let Some(mut oracle) = Oracle::new("default") else { return };
    let mut profile: Seccomp =
        serde_json::from_str(include_str!("../../testdata/default.json")).expect("a profile");
    // What this libseccomp does not know, it cannot allow.
    let known = known(&mut oracle);
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| known.contains(name.as_str()));
    }
    // socketcall and ipc are allowed as a whole, so that the rules of their parts do not matter.
    compare(&mut oracle, &mut Random(7), &profile);
}

/// The names that libseccomp knows wherever we do.
fn known(oracle: &mut Oracle) -> HashSet<&'static str> {
    let mut everywhere = |(name, numbers): &(&str, [Option<u32>; 3])| {
        let archs = ["x86_64", "x86", "x32"].into_iter().zip(numbers);
        let ours: Vec<&str> =
            archs.filter(|(_, number)| number.is_some()).map(|(arch, _)| arch).collect();
        ours.into_iter().all(|arch| oracle.number(arch, name) >= 0)
            && oracle.number("x86_64", name) != -1
    };
    let mut names = names();
    names.retain(|row| MULTIPLEXED.contains(&row.0) || everywhere(row));
    names.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn random_profiles_have_the_same_verdicts() {
    let Some(mut oracle) = Oracle::new("random") else { return };
    let known = known(&mut oracle);
    let mut usable: Vec<&str> =
        known.into_iter().filter(|name| *name == "socket" || !MULTIPLEXED.contains(name)).collect();
    usable.sort_unstable();
    for seed in 1..=60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let profile = random_profile(&mut random, &usable);
        compare(&mut oracle, &mut random, &profile);
    }
}

#[test]
fn numbers_are_those_of_libseccomp() {
    let Some(mut oracle) = Oracle::new("numbers") else { return };
    let mut lines = TABLE.lines();
    let columns: Vec<&str> = lines.next().expect("a head").split(' ').skip(1).collect();
    let mut compared = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        for (column, arch) in columns.iter().enumerate() {
            let base = match *arch {
                "mips" => 4000,
                "mips64" => 5000,
                "mips64n32" => 6000,
                "x32" => 0x4000_0000,
                _ => 0,
            };
            let Ok(ours) = words[column + 1].parse::<i32>() else { continue };
            if *arch == "loongarch64" {
                // Not known to the libseccomp of Debian 12; it has the generic numbers, as aarch64.
                let generic = words[columns.iter().position(|c| *c == "aarch64").expect("it") + 1];
                assert_eq!(ours.to_string(), generic, "{} on {arch}", words[0]);
                continue;
            }
            let theirs = oracle.number(arch, words[0]);
            if theirs >= 0 {
                assert_eq!(ours + base, theirs, "{} on {arch}", words[0]);
                compared += 1;
            }
        }
    }
    assert!(compared > 4000, "{compared} numbers compared");
}
