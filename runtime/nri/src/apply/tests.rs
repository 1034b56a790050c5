use super::*;
use crate::v1alpha1::{
    IoPrioClass, LinuxContainerAdjustment, LinuxCpu, LinuxDevice, LinuxIoPriority, LinuxMemory,
    LinuxNamespace, LinuxNetDevice, LinuxPids, LinuxResources, LinuxScheduler, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, LinuxSeccomp, LinuxSyscall, Mount, OptionalFileMode, OptionalInt,
    OptionalInt64, OptionalString, OptionalUInt64,
};
use runtime_spec::{Linux, Namespace, NamespaceKind, SeccompAction};
use std::path::Path;

fn spec() -> Spec {
    let place = |destination: &str| runtime_spec::Mount {
        destination: destination.into(),
        ..runtime_spec::Mount::default()
    };
    Spec {
        process: Some(Process {
            env: vec!["PATH=/bin".to_owned(), "A=image".to_owned()],
            args: vec!["sleep".to_owned()],
            ..Process::default()
        }),
        mounts: vec![place("/proc"), place("/data")],
        annotations: [("old".to_owned(), "1".to_owned())].into(),
        linux: Some(Linux {
            namespaces: vec![Namespace { kind: NamespaceKind::Ipc, path: Some("/ipc".into()) }],
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

fn adjusted(adjust: ContainerAdjustment) -> Result<Spec> {
    let mut spec = spec();
    apply(&mut spec, adjust, &[])?;
    Ok(spec)
}

fn on_linux(linux: LinuxContainerAdjustment) -> Result<Spec> {
    adjusted(ContainerAdjustment { linux: Some(linux), ..ContainerAdjustment::default() })
}

#[test]
fn nothing_wanted_is_nothing_changed() {
    assert_eq!(adjusted(ContainerAdjustment::default()).expect("adjusted"), spec());
    let empty = LinuxContainerAdjustment {
        resources: Some(LinuxResources {
            memory: Some(LinuxMemory::default()),
            cpu: Some(LinuxCpu::default()),
            ..LinuxResources::default()
        }),
        ..LinuxContainerAdjustment::default()
    };
    let linux = on_linux(empty).expect("adjusted").linux.expect("linux");
    assert_eq!(linux.resources, Some(runtime_spec::Resources::default()));
}

#[test]
fn process_mounts_and_annotations_are_adjusted() {
    let variable =
        |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
    let mount = |destination: &str, option: &str| Mount {
        destination: destination.to_owned(),
        r#type: "bind".to_owned(),
        source: "/src".to_owned(),
        options: vec![option.to_owned()],
    };
    let hook = Hook { path: "/hook".to_owned(), ..Hook::default() };
    let spec = adjusted(ContainerAdjustment {
        annotations: [("-old".to_owned(), String::new()), ("new".to_owned(), "2".to_owned())]
            .into(),
        env: vec![variable("A", "plugin"), variable("-PATH", ""), variable("B", "b")],
        args: vec!["echo".to_owned()],
        mounts: vec![mount("/a/b", "rslave"), mount("-/data", "")],
        hooks: Some(Hooks { create_runtime: vec![hook], ..Hooks::default() }),
        rlimits: vec![PosixRlimit { r#type: "RLIMIT_CORE".to_owned(), hard: 2, soft: 1 }],
        ..ContainerAdjustment::default()
    });
    let spec = spec.expect("adjusted");
    assert_eq!(spec.annotations, [("new".to_owned(), "2".to_owned())].into());
    let process = spec.process.expect("process");
    assert_eq!(process.env, ["A=plugin", "B=b"]);
    assert_eq!((process.args[0].as_str(), process.rlimits[0].soft), ("echo", 1));
    let places: Vec<_> = spec.mounts.iter().map(|mount| mount.destination.as_path()).collect();
    assert_eq!(places, [Path::new("/proc"), Path::new("/a/b")]);
    assert_eq!(spec.linux.expect("linux").rootfs_propagation.as_deref(), Some("rslave"));
    assert_eq!(spec.hooks.expect("hooks").create_runtime[0].path, Path::new("/hook"));
}

#[test]
fn what_is_particular_to_linux_is_adjusted() {
    let spec = on_linux(LinuxContainerAdjustment {
        devices: vec![LinuxDevice {
            path: "/dev/x".to_owned(),
            r#type: "b".to_owned(),
            major: 7,
            minor: 1,
            file_mode: Some(OptionalFileMode { value: 0o440 }),
            ..LinuxDevice::default()
        }],
        cgroups_path: "/elsewhere/c".to_owned(),
        oom_score_adj: Some(OptionalInt { value: 7 }),
        io_priority: Some(LinuxIoPriority {
            class: IoPrioClass::IoprioClassIdle.into(),
            priority: 3,
        }),
        scheduler: Some(LinuxScheduler {
            policy: LinuxSchedulerPolicy::SchedBatch.into(),
            nice: 5,
            flags: vec![LinuxSchedulerFlag::SchedFlagResetOnFork.into()],
            ..LinuxScheduler::default()
        }),
        seccomp_policy: Some(LinuxSeccomp {
            default_action: "SCMP_ACT_ALLOW".to_owned(),
            syscalls: vec![LinuxSyscall {
                names: vec!["mkdir".to_owned()],
                action: "SCMP_ACT_ERRNO".to_owned(),
                ..LinuxSyscall::default()
            }],
            ..LinuxSeccomp::default()
        }),
        namespaces: vec![
            LinuxNamespace { r#type: "-ipc".to_owned(), path: String::new() },
            LinuxNamespace { r#type: "cgroup".to_owned(), path: String::new() },
        ],
        sysctl: [("net.core.somaxconn".to_owned(), "9".to_owned())].into(),
        net_devices: [("eno1".to_owned(), LinuxNetDevice { name: "net1".to_owned() })].into(),
        ..LinuxContainerAdjustment::default()
    });
    let spec = spec.expect("adjusted");
    let (process, linux) = (spec.process.expect("process"), spec.linux.expect("linux"));
    assert_eq!(process.oom_score_adj, Some(7));
    assert_eq!(process.io_priority.expect("priority").priority, 3);
    assert_eq!(process.scheduler.expect("scheduler").nice, Some(5));
    assert_eq!(linux.cgroups_path.as_deref(), Some("/elsewhere/c"));
    assert_eq!(linux.seccomp.expect("filter").syscalls[0].action, SeccompAction::Errno);
    let kinds: Vec<_> = linux.namespaces.iter().map(|space| space.kind).collect();
    assert_eq!(kinds, [NamespaceKind::Cgroup]);
    assert_eq!(linux.sysctl["net.core.somaxconn"], "9");
    assert_eq!(linux.net_devices["eno1"].name.as_deref(), Some("net1"));
    let rules = linux.resources.expect("rules").devices;
    assert_eq!(rules[0].access.as_deref(), Some("rm"), "none may write it");
}

#[test]
fn limits_are_put_over_those_that_are() {
    let resources = LinuxResources {
        memory: Some(LinuxMemory {
            limit: Some(OptionalInt64 { value: 1 << 20 }),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            shares: Some(OptionalUInt64 { value: 9 }),
            cpus: "0".to_owned(),
            ..LinuxCpu::default()
        }),
        unified: [("memory.high".to_owned(), "max".to_owned())].into(),
        pids: Some(LinuxPids { limit: 11 }),
        rdt_class: Some(OptionalString { value: "gold".to_owned() }),
        ..LinuxResources::default()
    };
    let wish = LinuxContainerAdjustment { resources: Some(resources), ..Default::default() };
    let linux = on_linux(wish).expect("adjusted").linux.expect("linux");
    let limits = linux.resources.expect("limits");
    assert_eq!(limits.memory.expect("memory").limit, Some(1 << 20));
    let cpu = limits.cpu.expect("cpu");
    assert_eq!((cpu.shares, cpu.cpus.as_deref()), (Some(9), Some("0")));
    assert_eq!(limits.unified["memory.high"], "max");
    assert_eq!(limits.pids.expect("pids").limit, Some(11));
    assert_eq!(linux.intel_rdt.expect("class").clos_id.as_deref(), Some("gold"));
}

#[test]
fn what_is_no_such_value_is_refused_by_its_name() {
    let linux = |wish: LinuxContainerAdjustment| on_linux(wish).expect_err("no value").to_string();
    let space = |kind: &str| LinuxContainerAdjustment {
        namespaces: vec![LinuxNamespace { r#type: kind.to_owned(), path: String::new() }],
        ..Default::default()
    };
    assert!(linux(space("nets")).contains("namespaces"));
    let group = |path: &str| LinuxContainerAdjustment {
        cgroups_path: path.to_owned(),
        ..Default::default()
    };
    for path in ["../x", "/a/../../b", "x", "a:b:c:d"] {
        assert!(linux(group(path)).contains("cgroups_path"), "{path}");
    }
    let sysctl = |key: &str, value: &str| LinuxContainerAdjustment {
        sysctl: [(key.to_owned(), value.to_owned())].into(),
        ..Default::default()
    };
    for (key, value) in [("net.x", "1\nkernel.y=2"), ("net.x+kernel.y", "1"), ("../kernel", "1")] {
        assert!(linux(sysctl(key, value)).contains("sysctl"), "{key}");
    }
    let file = |name: &str| LinuxContainerAdjustment {
        resources: Some(LinuxResources {
            unified: [(name.to_owned(), "1".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    for name in ["../cgroup.procs", "cgroup.procs", "a/b"] {
        assert!(linux(file(name)).contains("unified"), "{name}");
    }
    let mount = |destination: &str| ContainerAdjustment {
        mounts: vec![Mount { destination: destination.to_owned(), ..Mount::default() }],
        ..Default::default()
    };
    for destination in ["", "/", "data", "/a/../../etc"] {
        assert!(adjusted(mount(destination)).is_err(), "{destination}");
    }
    let class = LinuxContainerAdjustment {
        resources: Some(LinuxResources {
            blockio_class: Some(OptionalString { value: "slow".to_owned() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert!(linux(class).contains("blockio_class"));
}
