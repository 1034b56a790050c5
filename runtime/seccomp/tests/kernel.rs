//! Filters in the kernel. Each test puts one thread, and the programs it starts, under a filter.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "the test is the agent that answers notifications: ioctl(2)")]
#![allow(clippy::expect_used, clippy::panic, reason = "tests may panic")]

use runtime_spec::Seccomp;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const SIGSYS: i32 = 31;

fn profile(json: &str) -> Seccomp {
    serde_json::from_str(json).expect("a profile")
}

/// Runs `work` on a thread that ends with it, under the filter of a profile.
fn under<T: Send>(json: &str, work: impl FnOnce(Option<OwnedFd>) -> T + Send) -> T {
    let program = seccomp::compile(&profile(json)).expect("compiles");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("no_new_privs");
            let listener = seccomp::install(&program).expect("installed");
            assert_eq!(listener.is_some(), program.listens());
            work(listener)
        });
        thread.join().expect("the thread ends well")
    })
}

/// The program beside this file, gone at its end.
struct Probe(PathBuf);

impl Probe {
    fn new(name: &str) -> Option<Self> {
        let path =
            std::env::temp_dir().join(format!("podloom-probe-{name}-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probe.c");
        match Command::new("gcc").args(["-O1", "-Wall", "-o"]).arg(&path).arg(source).output() {
            Ok(built) => {
                assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
                Some(Probe(path))
            }
            Err(error) => {
                lab::skip(&format!("gcc: {error}"));
                None
            }
        }
    }

    /// What the call returns, or the signal that ended the program.
    fn call(&self, args: &[&str]) -> Result<i64, i32> {
        let output = Command::new(&self.0).args(args).output().expect("start the probe");
        match output.status.signal() {
            Some(signal) => Err(signal),
            None => {
                let text = String::from_utf8(output.stdout).expect("text");
                Ok(text.trim().parse().expect("a number"))
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("remove the probe");
    }
}

fn start(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().expect("start")
}

#[test]
fn the_default_profile_lets_programs_run_and_keeps_them_in() {
    let Some(probe) = Probe::new("default") else { return };
    under(include_str!("../testdata/default.json"), |_| {
        assert!(start("true", &[]).status.success());
        assert!(start("sh", &["-c", "ls / | sort | head -n 1"]).status.success());
        let unshared = start("unshare", &["--user", "true"]);
        assert!(String::from_utf8_lossy(&unshared.stderr).contains("Operation not permitted"));
        assert_eq!(probe.call(&["x86_64", "39"]).map(|pid| pid > 0), Ok(true), "getpid");
        assert_eq!(probe.call(&["x86_64", "435"]), Ok(-38), "clone3 is told not to exist");
        assert_eq!(probe.call(&["x86_64", "2000"]), Ok(-38), "no such call");
        assert_eq!(probe.call(&["x86_64", "41", "40"]), Ok(-1), "a socket of AF_VSOCK");
        assert_eq!(probe.call(&["x86_64", "101"]), Ok(0), "ptrace(PTRACE_TRACEME)");
        assert_eq!(probe.call(&["x86_64", "155"]), Ok(-1), "pivot_root");
    });
}

#[test]
fn other_architectures_are_killed_unless_listed() {
    let Some(probe) = Probe::new("arch") else { return };
    let compat = probe.call(&["x86", "20"]).is_ok_and(|pid| pid > 0);
    let rule = r#""syscalls":[{"names":["umask"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]"#;
    under(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{rule}}}"#), |_| {
        assert_eq!(probe.call(&["x86_64", "95"]), Ok(-95));
        assert_eq!(probe.call(&["x32", "95"]), Err(SIGSYS), "x32 is no way around");
        assert_eq!(probe.call(&["x32", "39"]), Err(SIGSYS));
        if compat {
            assert_eq!(probe.call(&["x86", "20"]), Err(SIGSYS));
        }
    });
    let archs = r#""architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]"#;
    under(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{archs},{rule}}}"#), |_| {
        assert_eq!(probe.call(&["x86_64", "95"]), Ok(-95));
        assert_eq!(probe.call(&["x32", "95"]), Ok(-95));
        if compat {
            assert_eq!(probe.call(&["x86", "60"]), Ok(-95));
            assert_eq!(probe.call(&["x86", "20"]).map(|pid| pid > 0), Ok(true));
        }
    });
    if !compat {
        lab::skip("x86 calls: this kernel runs no 32-bit programs");
    }
}

#[test]
fn actions_do_what_they_say() {
    let Some(probe) = Probe::new("actions") else { return };
    for (action, want) in [
        (r#""SCMP_ACT_ALLOW""#, Ok(0o22)),
        (r#""SCMP_ACT_LOG""#, Ok(0o22)),
        (r#""SCMP_ACT_ERRNO""#, Ok(-1)),
        (r#""SCMP_ACT_ERRNO","errnoRet":4095"#, Ok(-4095)),
        (r#""SCMP_ACT_TRACE""#, Ok(-38)),
        (r#""SCMP_ACT_TRAP""#, Err(SIGSYS)),
        (r#""SCMP_ACT_KILL""#, Err(SIGSYS)),
        (r#""SCMP_ACT_KILL_THREAD""#, Err(SIGSYS)),
        (r#""SCMP_ACT_KILL_PROCESS""#, Err(SIGSYS)),
    ] {
        let default = if action.contains("ALLOW") { "LOG" } else { "ALLOW" };
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_{default}",
            "syscalls":[{{"names":["umask"],"action":{action}}}]}}"#
        );
        let have = under(&json, |_| probe.call(&["x86_64", "95", "18"]));
        let have = if want == Ok(0o22) { have.map(|_| 0o22) } else { have };
        assert_eq!(have, want, "{action}");
    }
}

#[test]
fn arguments_are_compared_with_64_bits() {
    let Some(probe) = Probe::new("args") else { return };
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["umask"],
        "action":"SCMP_ACT_ERRNO","errnoRet":77,
        "args":[{"index":0,"value":4294967296,"op":"SCMP_CMP_GT"}]}]}"#;
    under(json, |_| {
        assert_ne!(probe.call(&["x86_64", "95", "18"]), Ok(-77));
        assert_ne!(probe.call(&["x86_64", "95", "0x100000000"]), Ok(-77));
        assert_eq!(probe.call(&["x86_64", "95", "0x100000001"]), Ok(-77));
        assert_eq!(probe.call(&["x86_64", "95", "0x200000000"]), Ok(-77));
    });
}

#[test]
fn flags_are_taken_by_the_kernel() {
    for flag in ["LOG", "SPEC_ALLOW"] {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_{flag}"]}}"#
        );
        under(&json, |_| ());
    }
}

#[test]
fn without_privilege_and_no_new_privs_it_is_refused() {
    let program = seccomp::compile(&profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#));
    let program = program.expect("compiles");
    let result = std::thread::spawn(move || {
        let none = rustix::thread::CapabilitySet::empty();
        let sets =
            rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).expect("drop capabilities");
        seccomp::install(&program).map(drop)
    });
    assert_eq!(result.join().expect("ends"), Err(Errno::ACCESS));
}

/// `struct seccomp_notif` of linux/seccomp.h.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    instruction: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;

/// Answers one call.
fn answer(listener: &OwnedFd, value: i64) -> Notification {
    let mut asked = Notification::default();
    // SAFETY: the ioctl writes a `struct seccomp_notif`, laid out as `asked`, which is zeroed.
    let received = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut asked) };
    assert_eq!(received, 0, "{}", std::io::Error::last_os_error());
    let mut answer = Answer { id: asked.id, value, error: 0, flags: 0 };
    // SAFETY: the ioctl reads a `struct seccomp_notif_resp`, laid out as `answer`.
    let sent = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut answer) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    asked
}

#[test]
fn an_agent_answers_calls() {
    let Some(probe) = Probe::new("notify") else { return };
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent",
        "flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV","SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["umask"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = kernel.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(5), Some(19)) {
        lab::skip("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: needs Linux 5.19");
        return;
    }
    let (have, asked) = under(json, |listener| {
        let listener = listener.expect("a listener");
        std::thread::scope(|scope| {
            let agent = scope.spawn(|| answer(&listener, 1234));
            let have = probe.call(&["x86_64", "95", "7"]);
            (have, agent.join().expect("answered"))
        })
    });
    assert_eq!(have, Ok(1234));
    assert_eq!((asked.nr, asked.arch, asked.args[0]), (95, 0xc000_003e, 7));
    assert_ne!(asked.pid, 0);
}
