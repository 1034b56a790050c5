//! What a pod is to be: its configuration, read once and found valid.

mod annotations;
mod cgroups;
mod dns;
mod names;
mod ports;
mod spaces;
mod sysctls;

pub(crate) use names::Name;
pub(crate) use spaces::{PidMode, Spaces};
pub(crate) use sysctls::{Sysctl, Which};

use crate::{Error, Result, Settings};
use cri_api::v1::{PodSandboxConfig, PodSandboxMetadata};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// A pod to be made. Whatever is in it can be done, or fails for the node's reasons only.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) config: PodSandboxConfig,
    pub(crate) metadata: PodSandboxMetadata,
    pub(crate) name: Name,
    pub(crate) handler: String,
    /// The name of the node in the pod; `None` leaves the machine's.
    pub(crate) hostname: Option<String>,
    pub(crate) spaces: Spaces,
    pub(crate) sysctls: Vec<Sysctl>,
    /// Networks beside the default one.
    pub(crate) networks: Vec<Extra>,
    /// Capability arguments for the plugins.
    pub(crate) capabilities: Map<String, Value>,
    /// Content of `resolv.conf`; `None` for the node's.
    pub(crate) resolv_conf: Option<String>,
    /// `None`: one of our own.
    pub(crate) cgroup_parent: Option<String>,
    pub(crate) log_directory: Option<PathBuf>,
}

/// A network beside the default one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) network: String,
    pub(crate) ifname: String,
}

impl Wish {
    /// Reads a request.
    ///
    /// # Errors
    /// [`crate::Kind::Invalid`] with the field.
    pub(crate) fn parse(
        config: PodSandboxConfig,
        handler: &str,
        settings: &Settings,
    ) -> Result<Wish> {
        let Some(metadata) = config.metadata.clone() else {
            return Err(Error::invalid("metadata", "is missing")
                .with_advice("a pod needs name, namespace and uid"));
        };
        let name = Name::parse(&metadata)?;
        let networks = &settings.networks;
        let of_handler = match settings.handlers.get(handler) {
            Some(found) => found.networks.clone(),
            None if handler.is_empty() => Vec::new(),
            None => return Err(unknown_handler(handler, settings)),
        };
        let linux = config.linux.clone().unwrap_or_default();
        let spaces = spaces_of(&config)?;
        let mut wish = Wish {
            hostname: names::hostname(&config.hostname)?.filter(|_| spaces.net),
            sysctls: sysctls::parse(&linux.sysctls, &spaces)?,
            networks: Vec::new(),
            capabilities: Map::new(),
            resolv_conf: dns::resolv_conf(config.dns_config.as_ref())?,
            cgroup_parent: cgroups::parent(&linux.cgroup_parent, settings.cgroup_driver)?,
            log_directory: names::log_directory(&config.log_directory)?,
            handler: handler.to_owned(),
            spaces,
            metadata,
            name,
            config,
        };
        if wish.spaces.net {
            let always = networks.additional.iter().chain(&of_handler);
            wish.networks = annotations::networks(&wish.config, networks, always)?;
            wish.capabilities = wish.capability_args(settings)?;
        }
        Ok(wish)
    }

    fn capability_args(&self, settings: &Settings) -> Result<Map<String, Value>> {
        let mut args = Map::new();
        let ports = ports::parse(&self.config.port_mappings)?;
        if !ports.is_empty() {
            args.insert("portMappings".to_owned(), Value::Array(ports));
        }
        if let Some(bandwidth) = annotations::bandwidth(&self.config)? {
            args.insert("bandwidth".to_owned(), bandwidth);
        }
        if let Some(dns) = &self.config.dns_config {
            let dns = json!({
                "servers": dns.servers, "searches": dns.searches, "options": dns.options,
            });
            args.insert("dns".to_owned(), dns);
        }
        if settings.networks.addresses_on_request {
            annotations::addresses(&self.config, &mut args)?;
        }
        if let Some(parent) = &self.cgroup_parent {
            args.insert("cgroupPath".to_owned(), Value::from(parent.clone()));
        }
        if !self.config.annotations.is_empty() {
            let name = "io.kubernetes.cri.pod-annotations".to_owned();
            args.insert(name, json!(self.config.annotations));
        }
        Ok(args)
    }

    /// `CNI_ARGS` of the pod `id`, by the names that plugins of Kubernetes know.
    pub(crate) fn cni_args(&self, id: &str) -> Vec<(String, String)> {
        let meta = &self.metadata;
        [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", &meta.namespace),
            ("K8S_POD_NAME", &meta.name),
            ("K8S_POD_INFRA_CONTAINER_ID", id),
            ("K8S_POD_UID", &meta.uid),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

/// The namespaces that a configuration asks for.
///
/// # Errors
/// Modes that a pod cannot have.
pub(crate) fn spaces_of(config: &PodSandboxConfig) -> Result<Spaces> {
    let security = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = security.and_then(|security| security.namespace_options.as_ref());
    Spaces::parse(&options.cloned().unwrap_or_default())
}

fn unknown_handler(handler: &str, settings: &Settings) -> Error {
    let known: Vec<_> = settings.handlers.keys().map(String::as_str).collect();
    let advice = match known.as_slice() {
        [] => "no handlers are configured; leave the runtime class out".to_owned(),
        known => format!("configured are {}", known.join(", ")),
    };
    let subject = format!("runtime handler {handler:?}");
    Error::invalid(subject, "is not configured").with_advice(advice)
}

#[cfg(test)]
mod tests;
