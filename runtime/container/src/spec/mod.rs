//! From a container's configuration to the runtime's: pure, but for reading what it is given.
//!
//! [`build`] puts together what the other modules decide; what they need of the node and the image
//! is read before, and given in [`Inputs`].

mod accounts;
mod capability;
mod command;
mod devices;
mod filter;
mod limits;
mod mounts;
mod security;

pub(crate) use accounts::{Accounts, Identity, identity};
pub(crate) use capability::all as all_capabilities;
pub(crate) use command::name_terminal;
pub(crate) use devices::{Granted, WantedDevice, wanted as wanted_devices};
pub(crate) use filter::{built_in as built_in_filter, parse as parse_filter};
pub(crate) use limits::{Limits, merged, oom_score, resources};
pub(crate) use mounts::{Access, Bind, Origin, Wanted, inside, wanted as wanted_mounts};
pub(crate) use security::{
    Labels, Profile, apparmor, labels, profile_path, seccomp as wanted_filter,
};

use crate::{Handler, Result, Settings};
use cri_api::v1::{ContainerConfig, LinuxContainerSecurityContext, PodSandboxMetadata};
use image::ContainerDefaults;
use runtime_spec::{
    Capabilities, IdMapping, Linux, Namespace, NamespaceKind, Process, Rlimit, Root, Seccomp, Spec,
    User,
};
use sandbox::IdRange;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What the pod gives to each of its containers.
#[derive(Debug)]
pub(crate) struct OfPod<'a> {
    pub(crate) id: &'a str,
    pub(crate) metadata: &'a PodSandboxMetadata,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) hostname: &'a str,
    pub(crate) namespaces: Namespaces,
    pub(crate) cgroups_path: String,
    /// `resolv.conf`, `hostname`, `hosts`, `/dev/shm`.
    pub(crate) files: Vec<Bind>,
}

/// Namespaces to join; `None`: the node's.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    pub(crate) net: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    pub(crate) pid: Pid,
    pub(crate) user: Option<sandbox::User>,
    /// A control group namespace of its own.
    pub(crate) cgroup: bool,
}

/// Whose processes are seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pid {
    #[default]
    Own,
    Join(PathBuf),
    Node,
}

/// What confines the process, as found on the node.
#[derive(Debug, Default)]
pub(crate) struct Confined {
    pub(crate) capabilities: Capabilities,
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) apparmor: Option<String>,
    pub(crate) labels: Labels,
}

/// Everything that a configuration is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) handler: &'a Handler,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) pod: OfPod<'a>,
    pub(crate) image: &'a ContainerDefaults,
    pub(crate) identity: &'a Identity,
    pub(crate) confined: Confined,
    pub(crate) limits: Limits,
    pub(crate) rootfs: &'a Path,
    pub(crate) binds: &'a [Bind],
    pub(crate) devices: &'a [Granted],
}

/// The security context of a configuration, empty where it has none.
pub(crate) fn context(config: &ContainerConfig) -> LinuxContainerSecurityContext {
    let linux = config.linux.as_ref();
    linux.and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

/// The sets of capabilities of a configuration.
///
/// # Errors
/// A name is not known.
pub(crate) fn capabilities(
    context: &LinuxContainerSecurityContext,
    defaults: &[String],
    all: &BTreeSet<String>,
) -> Result<Capabilities> {
    if context.privileged {
        return Ok(capability::privileged(all));
    }
    let asked = context.capabilities.clone().unwrap_or_default();
    capability::sets(&asked, defaults, all)
}

/// The runtime's configuration.
///
/// # Errors
/// What is asked for cannot be.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Spec> {
    let context = context(inputs.config);
    let kernel = mounts::Kernel { privileged: context.privileged };
    Ok(Spec {
        oci_version: runtime_spec::VERSION.to_owned(),
        process: Some(process(inputs, &context)?),
        root: Some(Root { path: inputs.rootfs.to_owned(), readonly: context.readonly_rootfs }),
        mounts: mounts::all(kernel, &inputs.pod.files, inputs.binds),
        annotations: annotations(inputs),
        linux: Some(linux(inputs, &context)?),
        ..Spec::default()
    })
}

fn process(inputs: &Inputs<'_>, context: &LinuxContainerSecurityContext) -> Result<Process> {
    let Inputs { config, image, settings, identity, confined, .. } = inputs;
    let asked = config.linux.as_ref().and_then(|linux| linux.resources.clone());
    let rlimit = |(kind, soft, hard): &(String, u64, u64)| Rlimit {
        kind: kind.clone(),
        soft: *soft,
        hard: *hard,
    };
    Ok(Process {
        terminal: config.tty,
        user: User {
            uid: identity.uid,
            gid: identity.gid,
            additional_gids: identity.groups.clone(),
            ..User::default()
        },
        args: command::args(config, image)?,
        env: command::env(config, image, &settings.env, inputs.pod.hostname)?,
        cwd: command::cwd(config, image)?,
        capabilities: Some(confined.capabilities.clone()),
        rlimits: settings.rlimits.iter().map(rlimit).collect(),
        no_new_privileges: context.no_new_privs,
        apparmor_profile: confined.apparmor.clone(),
        oom_score_adj: Some(oom_score(&asked.unwrap_or_default(), inputs.limits)?),
        selinux_label: confined.labels.process.clone(),
        ..Process::default()
    })
}

fn linux(inputs: &Inputs<'_>, context: &LinuxContainerSecurityContext) -> Result<Linux> {
    let asked = inputs.config.linux.as_ref().and_then(|linux| linux.resources.clone());
    let mut limits = resources(&asked.unwrap_or_default(), inputs.limits)?;
    let everything = context.privileged && !inputs.handler.privileged_without_devices;
    limits.devices = devices::rules(inputs.devices, everything);
    let user = inputs.pod.namespaces.user.as_ref();
    let (masked_paths, readonly_paths) = match context.privileged {
        true => (Vec::new(), Vec::new()),
        false => (context.masked_paths.clone(), context.readonly_paths.clone()),
    };
    Ok(Linux {
        uid_mappings: user.map(|user| mappings(&user.uids)).unwrap_or_default(),
        gid_mappings: user.map(|user| mappings(&user.gids)).unwrap_or_default(),
        resources: Some(limits),
        cgroups_path: Some(inputs.pod.cgroups_path.clone()),
        namespaces: namespaces(&inputs.pod.namespaces),
        devices: inputs.devices.iter().map(|granted| granted.device.clone()).collect(),
        seccomp: inputs.confined.seccomp.clone(),
        rootfs_propagation: mounts::root_propagation(inputs.binds),
        masked_paths,
        readonly_paths,
        mount_label: inputs.confined.labels.mount.clone(),
        ..Linux::default()
    })
}

fn mappings(ranges: &[IdRange]) -> Vec<IdMapping> {
    let mapping = |range: &IdRange| IdMapping {
        container_id: range.container,
        host_id: range.host,
        size: range.length,
    };
    ranges.iter().map(mapping).collect()
}

fn namespaces(of: &Namespaces) -> Vec<Namespace> {
    let joined = |kind, path: &Option<PathBuf>| {
        path.clone().map(|path| Namespace { kind, path: Some(path) })
    };
    let own = |kind| Some(Namespace { kind, path: None });
    let pid = match &of.pid {
        Pid::Own => own(NamespaceKind::Pid),
        Pid::Join(path) => joined(NamespaceKind::Pid, &Some(path.clone())),
        Pid::Node => None,
    };
    let user = of.user.as_ref().map(|user| user.path.clone());
    let all = [
        joined(NamespaceKind::User, &user),
        joined(NamespaceKind::Network, &of.net),
        joined(NamespaceKind::Ipc, &of.ipc),
        joined(NamespaceKind::Uts, &of.uts),
        pid,
        own(NamespaceKind::Mount),
        own(NamespaceKind::Cgroup).filter(|_| of.cgroup),
    ];
    all.into_iter().flatten().collect()
}

/// What runtimes such as those of virtual machines tell a pod's containers by, and what of the
/// others' annotations the handler lets through.
fn annotations(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let allowed = |name: &str| {
        inputs.handler.annotations.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    };
    let of_pod = inputs.pod.annotations.iter();
    let asked = of_pod.chain(&inputs.config.annotations).filter(|(name, _)| allowed(name));
    let mut all: BTreeMap<String, String> =
        asked.map(|(name, value)| (name.clone(), value.clone())).collect();
    let metadata = inputs.config.metadata.clone().unwrap_or_default();
    let image = inputs.config.image.clone().unwrap_or_default();
    let named = match image.user_specified_image.as_str() {
        "" => image.image,
        named => named.to_owned(),
    };
    let own = [
        ("container-type", "container".to_owned()),
        ("container-name", metadata.name),
        ("image-name", named),
        ("sandbox-id", inputs.pod.id.to_owned()),
        ("sandbox-name", inputs.pod.metadata.name.clone()),
        ("sandbox-namespace", inputs.pod.metadata.namespace.clone()),
        ("sandbox-uid", inputs.pod.metadata.uid.clone()),
    ];
    all.extend(own.map(|(name, value)| (format!("io.kubernetes.cri.{name}"), value)));
    all
}

#[cfg(test)]
mod build_tests;
