//! libseccomp in a program of its own.

use runtime_spec::{Seccomp, SeccompAction, SeccompArch, SeccompOp, SyscallArg};
use seccomp::Insn;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The C program beside this file, built and running.
pub(crate) struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    program: PathBuf,
}

impl Oracle {
    /// None, and a skip, without a compiler or libseccomp's headers.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libseccomp/oracle.c");
        let program =
            std::env::temp_dir().join(format!("podloom-oracle-{name}-{}", std::process::id()));
        let built = Command::new("gcc")
            .args(["-O1", "-D_GNU_SOURCE", "-Wall", "-Werror", "-o"])
            .arg(&program)
            .args([source, "-lseccomp"])
            .output();
        match built {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(text.contains("seccomp.h: No such file"), "{text}");
                lab::skip("libseccomp: no headers (package libseccomp-dev)");
                return None;
            }
            Err(error) => {
                lab::skip(&format!("gcc: {error}"));
                return None;
            }
        }
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the oracle");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("a pipe");
        Some(Oracle { child, input, output, program })
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.input.as_mut().expect("open").write_all(text.as_bytes()).expect("send");
    }

    pub(crate) fn word(&mut self) -> u32 {
        let mut word = [0; 4];
        self.output.read_exact(&mut word).expect("an answer");
        u32::from_ne_bytes(word)
    }

    pub(crate) fn number(&mut self, arch: &str, name: &str) -> i32 {
        self.send(&format!("number {arch} {name}\n"));
        self.word().cast_signed()
    }

    /// The filter of a profile, its rules added as runc adds them.
    pub(crate) fn filter(&mut self, profile: &Seccomp) -> Vec<Insn> {
        let default = verdict(profile.default_action, profile.default_errno_ret);
        let mut text = format!("default {default:x}\n");
        for arch in &profile.architectures {
            let name = match arch {
                SeccompArch::X86 => "x86",
                SeccompArch::X32 => "x32",
                _ => "x86_64",
            };
            writeln!(text, "arch {name}").expect("text");
        }
        for rule in &profile.syscalls {
            let action = verdict(rule.action, rule.errno_ret);
            if action == default {
                continue;
            }
            for name in &rule.names {
                for conditions in split(&rule.args) {
                    writeln!(text, "rule {action:x} {name}{conditions}").expect("text");
                }
            }
        }
        self.send(&text);
        self.send("end\n");
        let mut bytes = vec![0; self.word() as usize];
        self.output.read_exact(&mut bytes).expect("a filter");
        let insn = |raw: &[u8]| Insn {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        };
        bytes.chunks_exact(8).map(insn).collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("the oracle ends with its input");
        std::fs::remove_file(&self.program).expect("remove the oracle");
    }
}

/// Conditions as the oracle reads them; apart, if two are about one argument.
pub(crate) fn split(args: &[SyscallArg]) -> Vec<String> {
    let text = |arg: &SyscallArg| {
        let op = match arg.op {
            SeccompOp::Ne => 1,
            SeccompOp::Lt => 2,
            SeccompOp::Le => 3,
            SeccompOp::Eq => 4,
            SeccompOp::Ge => 5,
            SeccompOp::Gt => 6,
            SeccompOp::MaskedEq => 7,
        };
        format!(" {} {op} {:x} {:x}", arg.index, arg.value, arg.value_two)
    };
    let indexes: HashSet<u32> = args.iter().map(|arg| arg.index).collect();
    let texts = args.iter().map(text);
    if indexes.len() == args.len() { vec![texts.collect()] } else { texts.collect() }
}

pub(crate) fn verdict(action: SeccompAction, errno: Option<u32>) -> u32 {
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => 0x8000_0000,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | errno.unwrap_or(1),
        SeccompAction::Notify => 0x7fc0_0000,
        SeccompAction::Trace => 0x7ff0_0000 | errno.unwrap_or(1),
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Allow => 0x7fff_0000,
    }
}
