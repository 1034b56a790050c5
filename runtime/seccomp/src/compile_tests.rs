//! The shape of filters, and what the documentation of the crate promises.

use super::*;
use crate::bpf::Call;
use crate::error::Warning;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

fn profile(json: &str) -> Seccomp {
    serde_json::from_str(json).expect("a profile")
}

fn built(json: &str) -> Program {
    built_for(json, SeccompArch::X86_64)
}

fn built_for(json: &str, native: SeccompArch) -> Program {
    let program = compile_for(&profile(json), native).expect("compiles");
    assert!(program.is_sound(), "{json}");
    program
}

fn asked(program: &Program, arch: u32, nr: u32, first: u64) -> u32 {
    let call = Call { nr, arch, args: [first, 0, 0, 0, 0, 0] };
    program.verdict(&call).expect("sound")
}

fn refused(json: &str) -> String {
    compile_for(&profile(json), SeccompArch::X86_64).expect_err("refused").to_string()
}

#[test]
fn the_default_profile_is_small() {
    let program = built(include_str!("../testdata/default.json"));
    assert!(program.insns().len() <= 439, "{} instructions", program.insns().len());
    assert_eq!(program.warnings(), []);
    assert_eq!(program.flags(), 0);
    for (nr, verdict) in [(0, ALLOW), (435, 0x0005_0026), (165, EPERM), (900, ENOSYS)] {
        assert_eq!(asked(&program, X86_64, nr, 0), verdict, "{nr}");
    }
    assert_eq!(asked(&program, X86_64, 41, 40), EPERM, "AF_VSOCK");
    assert_eq!(asked(&program, X86_64, 41, 2), ALLOW, "AF_INET");
    assert_eq!(asked(&program, X86_64, 56, 0x1000_0000), EPERM, "CLONE_NEWUSER");
    assert_eq!(asked(&program, X86_64, 56, 0x11), ALLOW, "fork");
}

#[test]
fn x32_calls_do_not_slip_through_x86_64() {
    let rule = r#""syscalls":[{"names":["execve"],"action":"SCMP_ACT_ERRNO"}]"#;
    let closed = built(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{rule}}}"#));
    assert_eq!(asked(&closed, X86_64, 59, 0), EPERM);
    for nr in [59 | X32_BIT, 520 | X32_BIT, X32_BIT, 0xc000_0000, u32::MAX - 1] {
        assert_eq!(asked(&closed, X86_64, nr, 0), KILL_THREAD, "{nr:#x}");
    }
    assert_eq!(asked(&closed, X86_64, u32::MAX, 0), ALLOW, "skipped by a tracer");
    let listed =
        format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X32"],{rule}}}"#);
    let open = built(&listed);
    assert_eq!(asked(&open, X86_64, 520 | X32_BIT, 0), EPERM);
    assert_eq!(asked(&open, X86_64, X32_BIT, 0), ALLOW);
    assert_eq!(asked(&open, X86, 11, 0), KILL_THREAD, "x86 is not listed");
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let with = |more: &str| {
        built(&format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO",{more}"syscalls":[{{"names":["openat2","read"],
            "action":"SCMP_ACT_ALLOW"}}]}}"#
        ))
    };
    let plain = with("");
    assert_eq!(asked(&plain, X86_64, 437, 0), ALLOW);
    assert_eq!(asked(&plain, X86_64, 436, 0), EPERM);
    assert_eq!(asked(&plain, X86_64, 438, 0), ENOSYS);
    let told = with(r#""defaultErrnoRet":38,"#);
    assert_eq!(asked(&told, X86_64, 436, 0), ENOSYS, "as the profile says");
    let other = with(r#""defaultErrnoRet":6,"#);
    assert_eq!(asked(&other, X86_64, 436, 0), 0x0005_0006);
    assert_eq!(asked(&other, X86_64, 438, 0), ENOSYS);
    let open = built(
        r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL"}]}"#,
    );
    assert_eq!(asked(&open, X86_64, 438, 0), 0x7ffc_0000, "the default lets calls through");
}

#[test]
fn a_rule_that_repeats_the_default_still_says_what_is_known() {
    let program = built(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW"},
        {"names":["landlock_restrict_self"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(asked(&program, X86_64, 446, 0), EPERM);
    assert_eq!(asked(&program, X86_64, 447, 0), ENOSYS);
}

#[test]
fn call_zero_of_s390x_stands_for_unknown_ones() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],
        "action":"SCMP_ACT_ALLOW"}]}"#;
    let program = built_for(json, SeccompArch::S390x);
    assert_eq!(asked(&program, 0x8000_0016, 0, 0), ENOSYS);
    assert_eq!(asked(&program, 0x8000_0016, 1, 0), EPERM);
    assert_eq!(asked(&program, 0x8000_0016, 3, 0), ALLOW);
}

#[test]
fn every_architecture_has_its_numbers() {
    let json = r#"{"defaultAction":"SCMP_ACT_TRAP","architectures":["SCMP_ARCH_ARM"],
        "syscalls":[{"names":["openat"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let both = built_for(json, SeccompArch::Aarch64);
    assert_eq!(asked(&both, AARCH64, 56, 0), ALLOW);
    assert_eq!(asked(&both, 0x4000_0028, 322, 0), ALLOW);
    assert_eq!(asked(&both, X86_64, 257, 0), KILL_THREAD);
    for arch in SeccompArch::ALL {
        match compile_for(&profile(json), *arch) {
            Ok(program) => {
                let facts = arch::facts(*arch).expect("known");
                let row = table::row("openat").expect("known");
                let nr = table::number(row, facts.column).expect("everywhere") + facts.base;
                assert_eq!(asked(&program, facts.audit, nr, 0), ALLOW, "{arch:?}");
                assert_eq!(asked(&program, facts.audit, nr - 1, 0), 0x0003_0000, "{arch:?}");
            }
            Err(error) => assert_eq!(error, Error::Architecture(*arch)),
        }
    }
}

#[test]
fn unknown_names_are_told_once_and_skipped() {
    let program = built(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["fly","read","fly"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    assert_eq!(program.warnings(), [Warning::UnknownCall("fly".to_owned())]);
    assert_eq!(asked(&program, X86_64, 0, 0), 0x8000_0000);
}

#[test]
fn conditions_on_one_argument_suffice_each() {
    let program = built(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],
        "action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":3,"op":"SCMP_CMP_EQ"},
        {"index":0,"value":5,"op":"SCMP_CMP_EQ"},{"index":1,"value":9,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    for (first, verdict) in [(3, ALLOW), (5, ALLOW), (4, EPERM)] {
        assert_eq!(asked(&program, X86_64, 0, first), verdict);
    }
    let call = Call { nr: 0, arch: X86_64, args: [4, 9, 0, 0, 0, 0] };
    assert_eq!(program.verdict(&call), Some(ALLOW));
}

#[test]
fn what_socketcall_hides_is_decided_strictly() {
    let with = |default: &str, action: &str| {
        built(&format!(
            r#"{{"defaultAction":"SCMP_ACT_{default}","architectures":["SCMP_ARCH_X86"],
            "syscalls":[{{"names":["socket"],"action":"SCMP_ACT_{action}",
            "args":[{{"index":0,"value":40,"op":"SCMP_CMP_EQ"}}]}}]}}"#
        ))
    };
    let denies = with("ALLOW", "ERRNO");
    assert_eq!(asked(&denies, X86, 359, 40), EPERM);
    assert_eq!(asked(&denies, X86, 359, 2), ALLOW);
    assert_eq!(asked(&denies, X86, 102, 1), EPERM, "might be family 40");
    assert_eq!(asked(&denies, X86, 102, 2), ALLOW);
    let allows = with("ERRNO", "ALLOW");
    assert_eq!(asked(&allows, X86, 359, 40), ALLOW);
    assert_eq!(asked(&allows, X86, 102, 1), EPERM, "might be another family");
    let ipc = built(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
        "syscalls":[{"names":["shmget"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(asked(&ipc, X86, 117, 23), EPERM);
    assert_eq!(asked(&ipc, X86, 117, 0x1_0017), EPERM, "a version is no way around");
    assert_eq!(asked(&ipc, X86, 117, 24), ALLOW);
}

#[test]
fn flags_and_listener_are_carried() {
    let json = |flags: &str| {
        format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":[{flags}],"listenerPath":"/run/agent",
            "listenerMetadata":"m","syscalls":[{{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}}]}}"#
        )
    };
    let all = r#""SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#;
    let program = built(&json(all));
    assert_eq!(program.flags(), 0x3f);
    assert!(program.listens());
    let listener = program.listener().expect("a listener");
    assert_eq!(listener.path.to_str(), Some("/run/agent"));
    assert_eq!(listener.metadata.as_deref(), Some("m"));
    let quiet = built(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent",
        "flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV","SECCOMP_FILTER_FLAG_TSYNC"]}"#,
    );
    assert_eq!((quiet.flags(), quiet.listener()), (1, None));
}

#[test]
fn wrong_profiles_are_refused_with_the_place() {
    let rule = |rule: &str| {
        refused(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#))
    };
    let args = rule(
        r#"{"names":["read"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
    );
    assert!(args.contains("syscalls[0]: argument 6"), "{args}");
    let errno = rule(r#"{"names":["read"],"action":"SCMP_ACT_TRAP","errnoRet":1}"#);
    assert!(errno.contains("syscalls[0]: SCMP_ACT_TRAP takes no errnoRet"), "{errno}");
    let large = rule(r#"{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":4096}"#);
    assert!(large.contains("at most 4095"), "{large}");
    let empty = rule(r#"{"names":[""],"action":"SCMP_ACT_ERRNO"}"#);
    assert!(empty.contains("empty name"), "{empty}");
    let alone = rule(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#);
    assert!(alone.contains("listenerPath: missing"), "{alone}");
    let write = refused(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a",
        "syscalls":[{"names":["read","write"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    );
    assert!(write.contains("cannot be used for the write syscall"), "{write}");
    let other = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a",
        "syscalls":[{"names":["read","sendmsg"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    assert!(built(other).listens());
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).contains("default action"));
}

#[test]
fn filters_too_long_for_the_kernel_are_refused() {
    let rules: Vec<String> = (0..2000)
        .map(|value| {
            format!(
                r#"{{"names":["read"],"action":"SCMP_ACT_ALLOW",
                "args":[{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
            )
        })
        .collect();
    let json = |count: usize| {
        format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, rules[..count].join(","))
    };
    assert!(refused(&json(2000)).contains("the kernel takes 4096"));
    let long = built(&json(900));
    for (value, verdict) in [(0, ALLOW), (450, ALLOW), (899, ALLOW), (900, EPERM)] {
        assert_eq!(asked(&long, X86_64, 0, value), verdict, "{value}");
    }
}
