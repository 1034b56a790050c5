//! `podloom run`: a pod with one container, as kubelet would have it made.

use super::args::Run;
use super::daemon::{Daemon, fault};
use super::{ending, logs, session, streams};
use crate::fault::{Fault, Result};
use crate::print;
use cri_api::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, ImageStatusRequest,
    KeyValue, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, Mount, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, PullImageRequest,
    RunPodSandboxRequest, StartContainerRequest,
};
use serde_json::json;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// The log of the one container.
const LOG: &str = "0.log";

pub(super) async fn run(daemon: &Daemon, wanted: &Run) -> Result<ExitCode> {
    let pod = pod_config(wanted)?;
    let container = container_config(wanted, &pod)?;
    if wanted.tty && !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        let advice = "leave out --tty, or call this from a terminal";
        return Err(Fault::usage("--tty", "standard input is no terminal", advice));
    }
    pull(daemon, &wanted.image).await?;
    let request =
        RunPodSandboxRequest { config: Some(pod.clone()), runtime_handler: wanted.handler.clone() };
    let answer = daemon.runtime().run_pod_sandbox(request).await;
    let id = answer.map_err(|status| fault("pod", &status))?.into_inner().pod_sandbox_id;
    let logs = pod.log_directory.clone();
    let outcome = start(daemon, wanted, &id, (pod, container)).await;
    // A pod without its container is of no use to whoever asked for one.
    if wanted.rm || outcome.is_err() {
        let removed = async {
            ending::stop_pod(daemon, &id).await?;
            ending::remove_pod(daemon, &id).await?;
            remove_logs(&logs)
        };
        if let Err(fault) = removed.await {
            ending::left(&id, &fault);
        }
    }
    outcome
}

/// Logs are their maker's to remove, and this command was it.
fn remove_logs(directory: &str) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Fault::new(5, directory, e.to_string()))
        }
        _ => Ok(()),
    }
}

/// Fetches the image unless it is there.
async fn pull(daemon: &Daemon, image: &str) -> Result<()> {
    let spec = Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() });
    let request = ImageStatusRequest { image: spec.clone(), verbose: false };
    let answer = daemon.images().image_status(request).await;
    if answer.map_err(|status| fault(image, &status))?.into_inner().image.is_some() {
        return Ok(());
    }
    print::note(&format!("pulling {image}"));
    let request = PullImageRequest { image: spec, ..PullImageRequest::default() };
    daemon.images().pull_image(request).await.map_err(|status| fault(image, &status))?;
    Ok(())
}

async fn start(
    daemon: &Daemon,
    wanted: &Run,
    pod: &str,
    (sandbox, config): (PodSandboxConfig, ContainerConfig),
) -> Result<ExitCode> {
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.to_owned(),
        config: Some(config),
        sandbox_config: Some(sandbox),
    };
    let created = daemon.runtime().create_container(request).await;
    let id = created.map_err(|status| fault("container", &status))?.into_inner().container_id;
    // Before it is started, so that nothing of its output is missed.
    let session = match wanted.interactive || wanted.tty {
        true => {
            let local = streams::local(wanted.interactive, wanted.tty);
            Some(streams::attach_to(daemon, &id, local).await?)
        }
        false => None,
    };
    let request = StartContainerRequest { container_id: id.clone() };
    let started = daemon.runtime().start_container(request).await;
    started.map_err(|status| fault("container", &status))?;
    if let Some(session) = session {
        let attached = session.run().await?;
        // Those who attach are told of success: the code is in the status.
        return if wanted.rm { ended(daemon, &id).await } else { Ok(attached) };
    }
    if wanted.rm {
        let end = logs::follow(daemon, &id).await?;
        return Ok(session::exit_code(end.exit_code.into()));
    }
    let doc = json!({ "pod": pod, "container": id });
    daemon.print(&doc, || format!("{id}\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn ended(daemon: &Daemon, id: &str) -> Result<ExitCode> {
    let status = logs::status(daemon, id).await?;
    Ok(session::exit_code(status.exit_code.into()))
}

fn pod_config(wanted: &Run) -> Result<PodSandboxConfig> {
    let name = wanted.name.clone().unwrap_or_else(|| name_of(&wanted.image));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let uid = format!("{now:x}-{}", std::process::id());
    let namespace = wanted.namespace.clone();
    let network = if wanted.host_network { NamespaceMode::Node } else { NamespaceMode::Pod };
    let options = NamespaceOption {
        network: network as i32,
        pid: NamespaceMode::Container as i32,
        ..NamespaceOption::default()
    };
    let context =
        LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
    Ok(PodSandboxConfig {
        hostname: if wanted.host_network { String::new() } else { name.clone() },
        log_directory: format!("{}/{namespace}_{name}_{uid}", wanted.log_dir.display()),
        metadata: Some(PodSandboxMetadata { name, uid, namespace, attempt: 0 }),
        port_mappings: wanted.publish.iter().map(|text| port(text)).collect::<Result<_>>()?,
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(context),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    })
}

fn container_config(wanted: &Run, pod: &PodSandboxConfig) -> Result<ContainerConfig> {
    let name = pod.metadata.as_ref().map_or(String::new(), |metadata| metadata.name.clone());
    let variable = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok(KeyValue { key: key.to_owned(), value: value.as_bytes().to_vec() })
        }
        _ => Err(Fault::usage("--env", format!("{text:?} is not NAME=VALUE"), "write NAME=VALUE")),
    };
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name, attempt: 0 }),
        image: Some(ImageSpec { image: wanted.image.clone(), ..ImageSpec::default() }),
        command: wanted.command.clone(),
        envs: wanted.env.iter().map(variable).collect::<Result<_>>()?,
        mounts: wanted.volume.iter().map(|text| mount(text)).collect::<Result<_>>()?,
        log_path: LOG.to_owned(),
        stdin: wanted.interactive,
        stdin_once: wanted.interactive,
        tty: wanted.tty,
        ..ContainerConfig::default()
    })
}

/// A name for a pod of an image: the last part of the image's, as DNS may have it.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split(['@', ':']).next().unwrap_or(last).to_ascii_lowercase();
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(allowed).collect::<String>().trim_matches('-').to_owned()
}

fn port(text: &str) -> Result<PortMapping> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let pair = ports.split_once(':').and_then(|(h, c)| Some((number(h)?, number(c)?)));
    match (pair, protocol) {
        (Some((host, container)), Some(protocol)) => Ok(PortMapping {
            protocol: protocol as i32,
            container_port: container.into(),
            host_port: host.into(),
            host_ip: String::new(),
        }),
        _ => Err(Fault::usage("--publish", format!("{text:?} is no pair"), "write 8080:80")),
    }
}

fn mount(text: &str) -> Result<Mount> {
    let parts: Vec<_> = text.split(':').collect();
    let (host, container, readonly) = match parts[..] {
        [host, container] => (host, container, false),
        [host, container, "ro"] => (host, container, true),
        _ => ("", "", false),
    };
    if !host.starts_with('/') || !container.starts_with('/') {
        let cause = format!("{text:?} is no pair of absolute paths");
        return Err(Fault::usage("--volume", cause, "write /on/the/node:/in/the/container"));
    }
    Ok(Mount {
        container_path: container.to_owned(),
        host_path: host.to_owned(),
        readonly,
        ..Mount::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_images() {
        assert_eq!(name_of("registry.k8s.io/e2e-test-images/busybox:1.29-4"), "busybox");
        assert_eq!(name_of("localhost:5000/Team/Some_App@sha256:00"), "some-app");
    }

    #[test]
    fn ports_and_volumes_are_pairs() {
        let mapping = port("53:5353/udp").unwrap();
        assert_eq!((mapping.host_port, mapping.container_port, mapping.protocol), (53, 5353, 1));
        assert!(port("80").is_err() && port("0:80").is_err() && port("1:2/icmp").is_err());
        assert!(mount("/a:/b:ro").unwrap().readonly);
        assert!(mount("/a").is_err() && mount("a:/b").is_err() && mount("/a:/b:rw:x").is_err());
    }
}
