//! Random profiles and calls.

use crate::{AUDIT_X86, AUDIT_X86_64, TABLE, X32_BIT};
use runtime_spec::{Seccomp, SeccompAction, SeccompArch, SeccompOp, SyscallArg, SyscallRule};
use seccomp::Call;
use std::collections::HashSet;

/// xorshift64*, seeded by the test: a failure can be had again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Numbers on x86_64, x86 and x32 of the names that have any there.
pub(crate) fn names() -> Vec<(&'static str, [Option<u32>; 3])> {
    let row = |line: &'static str| {
        let mut words = line.split(' ');
        let name = words.next().expect("a name");
        let mut number = || words.next().expect("a column").parse().ok();
        (name, [number(), number(), number().map(|nr: u32| nr | X32_BIT)])
    };
    let rows = TABLE.lines().skip(1).map(row);
    rows.filter(|(_, numbers)| numbers.iter().any(Option::is_some)).collect()
}

pub(crate) const VALUES: &[u64] = &[
    0,
    1,
    2,
    40,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x7e02_0000,
    0xffff_ffff_0000_0000,
    0x5_0000_0028,
    u64::MAX - 1,
    u64::MAX,
];
pub(crate) const OPS: &[SeccompOp] = SeccompOp::ALL;
pub(crate) const ACTIONS: &[SeccompAction] = &[
    SeccompAction::Kill,
    SeccompAction::KillProcess,
    SeccompAction::Trap,
    SeccompAction::Errno,
    SeccompAction::Trace,
    SeccompAction::Log,
    SeccompAction::Allow,
];
/// Whatever is also done through `socketcall` or `ipc`, and these two.
pub(crate) const MULTIPLEXED: &[&str] = &[
    "socketcall",
    "ipc",
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
    "semop",
    "semget",
    "semctl",
    "semtimedop",
    "msgsnd",
    "msgrcv",
    "msgget",
    "msgctl",
    "shmat",
    "shmdt",
    "shmget",
    "shmctl",
];

pub(crate) fn errno(random: &mut Random, action: SeccompAction) -> Option<u32> {
    let takes = matches!(action, SeccompAction::Errno | SeccompAction::Trace);
    (takes && random.one_in(2)).then(|| random.pick(&[1, 2, 38, 95, 4094]))
}

/// A random profile of names that libseccomp knows.
pub(crate) fn random_profile(random: &mut Random, names: &[&str]) -> Seccomp {
    let default_action = random.pick(ACTIONS);
    let mut profile = Seccomp {
        default_action,
        default_errno_ret: errno(random, default_action),
        architectures: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        syscalls: Vec::new(),
    };
    for arch in [SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32] {
        if random.one_in(2) {
            profile.architectures.push(arch);
        }
    }
    for _ in 0..random.below(80) {
        if random.one_in(2) {
            let action = random.pick(ACTIONS);
            let errno_ret = errno(random, action);
            let count = 1 + random.below(20);
            let names = (0..count).map(|_| random.pick(names).to_owned()).collect();
            profile.syscalls.push(SyscallRule { names, action, errno_ret, args: Vec::new() });
            continue;
        }
        let name = random.pick(names);
        if MULTIPLEXED.contains(&name) {
            continue;
        }
        let action = random.pick(ACTIONS);
        let errno_ret = errno(random, action);
        let args = (0..=random.below(3)).map(|_| SyscallArg {
            index: random.below(6) as u32,
            value: random.pick(VALUES),
            value_two: random.pick(VALUES),
            op: random.pick(OPS),
        });
        let args = args.collect();
        profile.syscalls.push(SyscallRule {
            names: vec![name.to_owned()],
            action,
            errno_ret,
            args,
        });
    }
    profile
}

pub(crate) fn calls(random: &mut Random, conditional: &HashSet<u32>) -> Vec<Call> {
    let mut calls = Vec::new();
    let odd = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xc000_0000, u32::MAX - 1, u32::MAX];
    for arch in [AUDIT_X86_64, AUDIT_X86, 0xc000_00b7, 0] {
        let plain = 0..1024;
        let x32 = X32_BIT..X32_BIT + 1024;
        for nr in plain.chain(x32).chain(odd) {
            let rounds = if conditional.contains(&(nr & !X32_BIT)) { 24 } else { 1 };
            for _ in 0..rounds {
                let mut args = [0; 6].map(|_: u64| {
                    random.pick(VALUES).wrapping_add(random.pick(&[0, 0, 0, 0, 1, u64::MAX]))
                });
                if arch == AUDIT_X86 {
                    // The kernel hands 32-bit programs' arguments over so.
                    args = args.map(|arg| arg & 0xffff_ffff);
                }
                calls.push(Call { nr, arch, args });
            }
        }
    }
    calls
}
