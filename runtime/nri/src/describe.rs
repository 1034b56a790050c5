//! Pods and containers as plugins see them.

use crate::limits;
use crate::v1alpha1::{
    CdiDevice, Container as Shown, ContainerState, Hook, Hooks, Image, LinuxContainer, LinuxDevice,
    LinuxNamespace, LinuxNetDevice, LinuxPodSandbox, LinuxRdt, LinuxScheduler, Mount, OptionalBool,
    OptionalFileMode, OptionalInt, OptionalRepeatedString, OptionalString, OptionalUInt32,
    PodSandbox, PosixRlimit, SecurityProfile, User,
};
use crate::v1alpha1::{IoPrioClass, LinuxIoPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy};
use container::Container;
use cri_api::v1 as cri;
use runtime_spec::{Linux, Process, Spec};
use sandbox::{Network, Pid, Sandbox};
use std::path::Path;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A pod, with the addresses of its network.
pub(crate) fn pod(pod: &Sandbox, network: &Network) -> PodSandbox {
    let (config, metadata) = (pod.config(), pod.metadata());
    let (overhead, resources) = pod.resources();
    let asked = config.linux.clone().unwrap_or_default();
    let limits = |of_status: Option<cri::LinuxContainerResources>,
                  asked: Option<cri::LinuxContainerResources>| {
        of_status.or(asked).as_ref().map(limits::from_cri)
    };
    PodSandbox {
        id: pod.id().to_owned(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        labels: config.labels.clone().into_iter().collect(),
        annotations: config.annotations.clone().into_iter().collect(),
        runtime_handler: pod.handler().to_owned(),
        linux: Some(LinuxPodSandbox {
            pod_overhead: limits(overhead, asked.overhead),
            pod_resources: limits(resources, asked.resources),
            cgroup_parent: pod.cgroup_parent().to_owned(),
            namespaces: spaces(pod),
            ..LinuxPodSandbox::default()
        }),
        pid: 0,
        ips: network.ips.iter().map(ToString::to_string).collect(),
    }
}

/// Namespaces that the pod's containers join, as far as they are there.
fn spaces(pod: &Sandbox) -> Vec<LinuxNamespace> {
    let spaces = pod.namespaces();
    let pid = match &spaces.pid {
        Pid::Pod(path) => Some(path),
        Pid::Container | Pid::Node => None,
    };
    let user = spaces.user.as_ref().map(|user| &user.path);
    let all = [
        ("network", spaces.net.as_ref()),
        ("ipc", spaces.ipc.as_ref()),
        ("uts", spaces.uts.as_ref()),
        ("pid", pid),
        ("user", user),
    ];
    let there = all.into_iter().filter_map(|(kind, path)| Some((kind, path?)));
    there
        .filter(|(_, path)| path.exists())
        .map(|(kind, path)| LinuxNamespace { r#type: kind.to_owned(), path: text(path) })
        .collect()
}

/// A container, with its configuration for the runtime where that is known.
pub(crate) fn container(
    container: &Container,
    spec: Option<&Spec>,
    digest: Option<String>,
) -> Shown {
    let (config, status) = (container.config(), container.status());
    let state = match status.state {
        cri::ContainerState::ContainerCreated => ContainerState::ContainerCreated,
        cri::ContainerState::ContainerRunning => ContainerState::ContainerRunning,
        cri::ContainerState::ContainerExited => ContainerState::ContainerStopped,
        cri::ContainerState::ContainerUnknown => ContainerState::ContainerUnknown,
    };
    let image = config.image.clone().unwrap_or_default();
    let named = match image.user_specified_image.as_str() {
        "" => image.image,
        named => named.to_owned(),
    };
    let mut shown = Shown {
        id: container.id().to_owned(),
        pod_sandbox_id: container.sandbox_id().to_owned(),
        name: container.metadata().name.clone(),
        state: state.into(),
        labels: config.labels.clone().into_iter().collect(),
        pid: u32::try_from(status.pid).unwrap_or_default(),
        created_at: container.created_at(),
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        status_reason: status.reason,
        status_message: status.message,
        cdi_devices: config
            .cdi_devices
            .iter()
            .map(|device| CdiDevice { name: device.name.clone() })
            .collect(),
        image: Some(Image {
            name: named,
            digest: digest.unwrap_or_default(),
            config_digest: container.image_id().to_owned(),
        }),
        ..Shown::default()
    };
    if let Some(spec) = spec {
        shown.annotations.clone_from(&spec.annotations);
        shown.mounts = spec.mounts.iter().map(mount).collect();
        shown.hooks = spec.hooks.as_ref().map(hooks);
        shown.linux = Some(linux(spec));
        if let Some(process) = &spec.process {
            of_process(&mut shown, process);
        }
    }
    shown.annotations.extend(status.annotations);
    shown.linux.get_or_insert_default().seccomp_profile = profile(config);
    shown
}

fn of_process(shown: &mut Shown, process: &Process) {
    shown.args.clone_from(&process.args);
    shown.env.clone_from(&process.env);
    let limit = |limit: &runtime_spec::Rlimit| PosixRlimit {
        r#type: limit.kind.clone(),
        hard: limit.hard,
        soft: limit.soft,
    };
    shown.rlimits = process.rlimits.iter().map(limit).collect();
    shown.user = Some(User {
        uid: process.user.uid,
        gid: process.user.gid,
        additional_gids: process.user.additional_gids.clone(),
    });
}

fn mount(mount: &runtime_spec::Mount) -> Mount {
    Mount {
        destination: text(&mount.destination),
        r#type: mount.kind.clone().unwrap_or_default(),
        source: mount.source.as_deref().map(text).unwrap_or_default(),
        options: mount.options.clone(),
    }
}

fn hooks(hooks: &runtime_spec::Hooks) -> Hooks {
    let all = |list: &[runtime_spec::Hook]| {
        let one = |hook: &runtime_spec::Hook| Hook {
            path: text(&hook.path),
            args: hook.args.clone(),
            env: hook.env.clone(),
            timeout: hook.timeout.map(|value| OptionalInt { value }),
        };
        list.iter().map(one).collect()
    };
    Hooks {
        prestart: all(&hooks.prestart),
        create_runtime: all(&hooks.create_runtime),
        create_container: all(&hooks.create_container),
        start_container: all(&hooks.start_container),
        poststart: all(&hooks.poststart),
        poststop: all(&hooks.poststop),
    }
}

fn linux(spec: &Spec) -> LinuxContainer {
    let process = spec.process.clone().unwrap_or_default();
    let empty = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&empty);
    let space = |space: &runtime_spec::Namespace| LinuxNamespace {
        r#type: space.kind.name().to_owned(),
        path: space.path.as_deref().map(text).unwrap_or_default(),
    };
    let moved = |(name, device): (&String, &runtime_spec::NetDevice)| {
        (name.clone(), LinuxNetDevice { name: device.name.clone().unwrap_or_default() })
    };
    LinuxContainer {
        namespaces: linux.namespaces.iter().map(space).collect(),
        devices: linux.devices.iter().map(device).collect(),
        resources: linux.resources.as_ref().map(limits::from_spec),
        oom_score_adj: process.oom_score_adj.map(|score| OptionalInt { value: score.into() }),
        cgroups_path: linux.cgroups_path.clone().unwrap_or_default(),
        io_priority: process.io_priority.as_ref().map(|of| LinuxIoPriority {
            class: IoPrioClass::from_str_name(of.class.name()).unwrap_or_default().into(),
            priority: i32::try_from(of.priority).unwrap_or_default(),
        }),
        seccomp_profile: None,
        seccomp_policy: None,
        sysctl: linux.sysctl.clone(),
        net_devices: linux.net_devices.iter().map(moved).collect(),
        scheduler: process.scheduler.as_ref().map(scheduler),
        rdt: linux.intel_rdt.as_ref().map(|rdt| LinuxRdt {
            clos_id: rdt.clos_id.clone().map(|value| OptionalString { value }),
            schemata: Some(OptionalRepeatedString { value: rdt.schemata.clone() }),
            enable_monitoring: Some(OptionalBool { value: rdt.enable_monitoring }),
            remove: false,
        }),
    }
}

fn device(device: &runtime_spec::Device) -> LinuxDevice {
    let id = |value: Option<u32>| value.map(|value| OptionalUInt32 { value });
    LinuxDevice {
        path: text(&device.path),
        r#type: device.kind.name().to_owned(),
        major: device.major,
        minor: device.minor,
        file_mode: device.file_mode.map(|value| OptionalFileMode { value }),
        uid: id(device.uid),
        gid: id(device.gid),
    }
}

fn scheduler(of: &runtime_spec::Scheduler) -> LinuxScheduler {
    let flag = |flag: &runtime_spec::SchedulerFlag| {
        LinuxSchedulerFlag::from_str_name(flag.name()).map(i32::from)
    };
    LinuxScheduler {
        policy: LinuxSchedulerPolicy::from_str_name(of.policy.name()).unwrap_or_default().into(),
        nice: of.nice.unwrap_or_default(),
        priority: of.priority.unwrap_or_default(),
        flags: of.flags.iter().filter_map(flag).collect(),
        runtime: of.runtime.unwrap_or_default(),
        deadline: of.deadline.unwrap_or_default(),
        period: of.period.unwrap_or_default(),
    }
}

/// The filter that was asked for; the numbers of both interfaces are the same.
fn profile(config: &cri::ContainerConfig) -> Option<SecurityProfile> {
    let context = config.linux.as_ref()?.security_context.as_ref()?;
    let asked = context.seccomp.as_ref()?;
    let localhost_ref = asked.localhost_ref.clone();
    Some(SecurityProfile { profile_type: asked.profile_type, localhost_ref })
}
