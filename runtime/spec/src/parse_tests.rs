//! Documents as callers write them.

use crate::{DOCUMENT_MAX, NamespaceKind, Process, Resources, SeccompAction, SeccompArch, Spec};

const SMALL: &str = r#"{"ociVersion": "1.3.0"}"#;

fn error(text: &str) -> String {
    Spec::from_json(text.as_bytes()).expect_err("must be refused").to_string()
}

#[test]
fn the_least_document_is_read() {
    let spec = Spec::from_json(SMALL.as_bytes()).expect("valid");
    assert_eq!(spec.oci_version, "1.3.0");
    assert!(spec.process.is_none() && spec.linux.is_none() && spec.mounts.is_empty());
}

#[test]
fn null_is_as_good_as_absent() {
    let text = r#"{"ociVersion":"1.0.2","process":{"cwd":"/","args":["sh"],"env":null,"user":{"uid":1,"gid":2,
        "additionalGids":null},"capabilities":null,"rlimits":null},"mounts":null,"annotations":null,
        "linux":{"namespaces":null,"sysctl":null,"seccomp":null,"resources":{"devices":null}}}"#;
    let spec = Spec::from_json(text.as_bytes()).expect("valid");
    let process = spec.process.expect("process");
    assert_eq!((process.user.uid, process.user.gid), (1, 2));
    assert!(process.env.is_empty() && process.capabilities.is_none());
    assert!(spec.linux.expect("linux").namespaces.is_empty());
}

#[test]
fn names_of_json_are_those_of_the_specification() {
    let text = r#"{"ociVersion":"1.3.0","linux":{
        "uidMappings":[{"containerID":0,"hostID":1000,"size":1}],
        "namespaces":[{"type":"pid"},{"type":"network","path":"/n"}],
        "devices":[{"path":"/dev/x","type":"c","major":1,"minor":3,"fileMode":438}],
        "intelRdt":{"closID":"a","l3CacheSchema":"L3:0=f"},
        "timeOffsets":{"monotonic":{"secs":-5,"nanosecs":9}},
        "memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES"]},
        "resources":{"blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":9}]},
            "memory":{"disableOOMKiller":true,"kernelTCP":5},"network":{"classID":7}},
        "seccomp":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}}}"#;
    let linux = Spec::from_json(text.as_bytes()).expect("valid").linux.expect("linux");
    assert_eq!(linux.uid_mappings[0].host_id, 1000);
    assert_eq!(linux.namespaces[1].kind, NamespaceKind::Network);
    assert_eq!(linux.intel_rdt.expect("rdt").clos_id.as_deref(), Some("a"));
    assert_eq!(linux.time_offsets["monotonic"].secs, -5);
    let resources = linux.resources.expect("resources");
    assert_eq!(resources.block_io.expect("blockIO").throttle_read_iops_device[0].rate, 9);
    assert_eq!(resources.memory.expect("memory").disable_oom_killer, Some(true));
    assert_eq!(resources.network.expect("network").class_id, Some(7));
    let seccomp = linux.seccomp.expect("seccomp");
    assert_eq!(seccomp.default_action, SeccompAction::Errno);
    assert_eq!(seccomp.architectures, [SeccompArch::X86_64]);
}

#[test]
fn what_is_written_reads_as_the_same() {
    let text = r#"{"ociVersion":"1.3.0","process":{"terminal":true,"cwd":"/","args":["a"],"user":{"uid":0,"gid":0},
        "execCPUAffinity":{"initial":"0","final":"1"},"scheduler":{"policy":"SCHED_RR","priority":3}},
        "hooks":{"createRuntime":[{"path":"/h","timeout":3}]},"annotations":{"a":"b"}}"#;
    let spec = Spec::from_json(text.as_bytes()).expect("valid");
    let written = serde_json::to_vec(&spec).expect("written");
    assert_eq!(Spec::from_json(&written).expect("valid"), spec);
    assert!(!String::from_utf8(written).expect("text").contains("null"));
}

#[test]
fn errors_name_the_key() {
    assert!(
        error(r#"{"ociVersion":"1.0.0","linux":{"namespaces":[{"type":"pid"},{"type":"moon"}]}}"#)
            .starts_with("linux.namespaces[1].type: unknown variant `moon`")
    );
    assert!(
        error(r#"{"ociVersion":"1.0.0","process":{"user":{"uid":4294967296}}}"#)
            .starts_with("process.user.uid: invalid value: integer `4294967296`")
    );
    assert!(
        error(r#"{"ociVersion":"1.0.0","process":{"user":{"uid":-1}}}"#)
            .starts_with("process.user.uid:")
    );
    assert!(error("{}").contains("ociVersion"));
    assert!(error("{\"ociVersion\":\"1.0.0\"} x").contains("trailing characters"));
    assert!(error("").contains("EOF"));
}

#[test]
fn documents_are_bounded() {
    let huge = vec![b' '; DOCUMENT_MAX + 1];
    assert!(Spec::from_json(&huge).expect_err("too large").to_string().contains("at most"));
    // Depth costs no stack: it is refused, or skipped where the key is unknown.
    let deep = "[".repeat(1_000_000);
    assert!(error(&format!("{{\"ociVersion\":\"1.0.0\",\"x\":{deep}")).contains("EOF"));
    assert!(error(&format!("{{\"ociVersion\":\"1.0.0\",\"mounts\":[{deep}")).contains("mounts[0]"));
}

#[test]
fn parts_are_read_alone() {
    assert_eq!(Process::from_json(br#"{"cwd":"/","args":["id"]}"#).expect("valid").args, ["id"]);
    let resources = Resources::from_json(br#"{"pids":{"limit":7}}"#).expect("valid");
    assert_eq!(resources.pids.expect("pids").limit, Some(7));
    assert!(Resources::from_json(br#"{"pids":{"limit":"7"}}"#).is_err());
}
