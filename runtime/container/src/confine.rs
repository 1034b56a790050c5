//! Profiles and labels, from wish to what the runtime is told.

use crate::apparmor::{DEFAULT_PROFILE, DefaultProfile, has_profile};
use crate::node::Node;
use crate::spec::{self, Confined, Labels, Profile};
use crate::{Error, Kind, Result, Settings};
use cri_api::v1::LinuxContainerSecurityContext;
use runtime_spec::{Capabilities, Seccomp};
use std::io::Read;
use std::path::Path;

/// Longest file of a profile, in bytes.
const PROFILE_MAX: u64 = 4 << 20;

/// What confines a container.
///
/// # Errors
/// A profile is not there, or is none.
pub(crate) fn confine(
    context: &LinuxContainerSecurityContext,
    settings: &Settings,
    node: &Node,
) -> Result<Confined> {
    let capabilities = spec::capabilities(context, &settings.capabilities, &node.capabilities)?;
    let labels = match settings.selinux && node.selinux {
        true => spec::labels(context.selinux_options.as_ref())?,
        false => Labels::default(),
    };
    Ok(Confined {
        seccomp: filter(context, settings, &capabilities)?,
        apparmor: apparmor(context, settings, node)?,
        labels,
        capabilities,
    })
}

fn filter(
    context: &LinuxContainerSecurityContext,
    settings: &Settings,
    capabilities: &Capabilities,
) -> Result<Option<Seccomp>> {
    match (spec::wanted_filter(context)?, &settings.seccomp_profile) {
        (Profile::Unconfined, _) => Ok(None),
        (Profile::Default, None) => spec::built_in_filter(capabilities).map(Some),
        (Profile::Default, Some(path)) => read_filter(path).map(Some),
        (Profile::Local(name), _) => {
            read_filter(&spec::profile_path(&name, &settings.seccomp_dir)?).map(Some)
        }
    }
}

fn read_filter(path: &Path) -> Result<Seccomp> {
    let subject = format!("seccomp profile {}", path.display());
    let fail = |e: std::io::Error| {
        let e = Error::new(Kind::Invalid, &subject, e);
        e.with_advice("put the profile there on this node")
    };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(PROFILE_MAX + 1).read_to_end(&mut text).map_err(fail)?;
    if text.len() as u64 > PROFILE_MAX {
        return Err(Error::new(Kind::Invalid, subject, format!("is over {PROFILE_MAX} bytes")));
    }
    spec::parse_filter(&text, &subject)
}

fn apparmor(
    context: &LinuxContainerSecurityContext,
    settings: &Settings,
    node: &Node,
) -> Result<Option<String>> {
    match (spec::apparmor(context)?, &settings.apparmor_profile) {
        (Some(Profile::Local(name)), _) => loaded(&name).map(Some),
        (Some(Profile::Unconfined), _) | (_, None) => Ok(None),
        _ if context.privileged => Ok(None),
        (Some(Profile::Default), Some(name)) => default_profile(name, node)?.map(Some),
        // Who asked for nothing is confined where that can be.
        (None, Some(name)) => Ok(default_profile(name, node)?.ok()),
    }
}

/// The node's own profile; within, why this node can have none.
///
/// # Errors
/// The node can have it, and it is not there.
fn default_profile(name: &str, node: &Node) -> Result<std::result::Result<String, Error>> {
    if name != DEFAULT_PROFILE {
        return match has_profile(name)? {
            Some(true) => Ok(Ok(name.to_owned())),
            Some(false) => Err(not_loaded(name)),
            None => Ok(Err(no_apparmor(name))),
        };
    }
    Ok(match node.apparmor.ensure_default()? {
        DefaultProfile::Loaded => Ok(name.to_owned()),
        DefaultProfile::NoAppArmor => Err(no_apparmor(name)),
        DefaultProfile::NoParser => {
            let e = Error::new(Kind::Invalid, subject(name), "apparmor_parser is not installed");
            Err(e.with_advice(
                "install it on this node (package apparmor), or leave the profile out",
            ))
        }
    })
}

fn loaded(name: &str) -> Result<String> {
    match has_profile(name)? {
        Some(true) => Ok(name.to_owned()),
        Some(false) => Err(not_loaded(name)),
        None => Err(no_apparmor(name)),
    }
}

fn not_loaded(name: &str) -> Error {
    let e = Error::new(Kind::Invalid, subject(name), "is not loaded on this node");
    e.with_advice("load it with apparmor_parser")
}

fn subject(name: &str) -> String {
    format!("AppArmor profile {name:?}")
}

fn no_apparmor(name: &str) -> Error {
    let e = Error::new(Kind::Invalid, subject(name), "this node has no AppArmor");
    e.with_advice("choose another node, or leave the profile out")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::SecurityProfile;
    use cri_api::v1::security_profile::ProfileType;

    fn local(name: &str) -> Option<SecurityProfile> {
        Some(SecurityProfile {
            profile_type: ProfileType::Localhost.into(),
            localhost_ref: name.to_owned(),
        })
    }

    #[test]
    fn profiles_that_are_not_there_are_named() {
        let node = Node::look().expect("a node");
        let settings = Settings::default();
        let mut context =
            LinuxContainerSecurityContext { seccomp: local("no/such"), ..Default::default() };
        let e = confine(&context, &settings, &node).expect_err("no file");
        assert_eq!(e.kind(), Kind::Invalid);
        assert!(e.to_string().contains("/var/lib/kubelet/seccomp/no/such"), "{e}");
        context.seccomp = local("/proc/self/status");
        let e = confine(&context, &settings, &node).expect_err("no profile");
        assert!(e.to_string().contains("is no seccomp profile"), "{e}");
        context.seccomp = local("/dev/zero");
        let e = confine(&context, &settings, &node).expect_err("endless");
        assert!(e.to_string().contains("is over"), "{e}");
        context.seccomp = None;
        context.apparmor = local("podloom-no-such-profile");
        let e = confine(&context, &settings, &node).expect_err("no profile");
        assert_eq!(e.kind(), Kind::Invalid);
        assert!(e.to_string().contains("podloom-no-such-profile"), "{e}");
    }
}
