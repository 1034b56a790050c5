//! Which profiles and labels confine a process.

use crate::{Error, Kind, Result};
use cri_api::v1::security_profile::ProfileType;
use cri_api::v1::{LinuxContainerSecurityContext, SeLinuxOption, SecurityProfile};
use std::path::PathBuf;

/// A profile that is wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// None.
    Unconfined,
    /// The node's.
    Default,
    /// One of the node, by name or path.
    Local(String),
}

fn profile(field: &str, wire: Option<&SecurityProfile>) -> Result<Profile> {
    let Some(wire) = wire else { return Ok(Profile::Unconfined) };
    match wire.profile_type() {
        ProfileType::RuntimeDefault => Ok(Profile::Default),
        ProfileType::Unconfined => Ok(Profile::Unconfined),
        ProfileType::Localhost if wire.localhost_ref.is_empty() => Err(nameless(field)),
        ProfileType::Localhost => Ok(Profile::Local(wire.localhost_ref.clone())),
    }
}

fn nameless(field: &str) -> Error {
    Error::new(Kind::Invalid, field, "is a local profile without a name")
}

/// The filter of system calls that is wished. Privileged containers have none.
///
/// # Errors
/// A local profile without a name.
pub(crate) fn seccomp(context: &LinuxContainerSecurityContext) -> Result<Profile> {
    let asked = profile("seccomp", context.seccomp.as_ref())?;
    Ok(if context.privileged { Profile::Unconfined } else { asked })
}

/// The AppArmor profile that is wished; `None` without a word of it.
///
/// # Errors
/// A local profile without a name.
#[allow(deprecated, reason = "older kubelets write the field")]
pub(crate) fn apparmor(context: &LinuxContainerSecurityContext) -> Result<Option<Profile>> {
    if context.apparmor.is_some() {
        return Ok(Some(match profile("apparmor", context.apparmor.as_ref())? {
            // Clients that know the older field write its prefix here as well.
            Profile::Local(name) => match name.strip_prefix("localhost/") {
                Some("") => return Err(nameless("apparmor")),
                Some(bare) => Profile::Local(bare.to_owned()),
                None => Profile::Local(name),
            },
            other => other,
        }));
    }
    let text = context.apparmor_profile.as_str();
    match (text, text.strip_prefix("localhost/")) {
        ("", _) => Ok(None),
        ("runtime/default", _) => Ok(Some(Profile::Default)),
        ("unconfined", _) => Ok(Some(Profile::Unconfined)),
        (_, Some(name)) if !name.is_empty() => Ok(Some(Profile::Local(name.to_owned()))),
        _ => {
            let subject = format!("apparmor_profile {text:?}");
            let cause = "want runtime/default, unconfined or localhost/NAME";
            Err(Error::new(Kind::Invalid, subject, cause))
        }
    }
}

/// The file of a local filter, absolute or below kubelet's directory.
///
/// # Errors
/// It climbs out of that.
pub(crate) fn profile_path(name: &str, dir: &std::path::Path) -> Result<PathBuf> {
    // Of older kubelets.
    let name = name.strip_prefix("localhost/").unwrap_or(name);
    let path = PathBuf::from(name);
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if climbs || name.contains('\0') {
        return Err(Error::new(Kind::Invalid, format!("seccomp profile {name:?}"), "climbs"));
    }
    Ok(if path.is_absolute() { path } else { dir.join(path) })
}

/// SELinux labels of a process and of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    pub(crate) process: Option<String>,
    pub(crate) mount: Option<String>,
}

/// The labels that are asked for; none unless all that makes one up is there.
///
/// # Errors
/// A part has a character that labels do not have.
pub(crate) fn labels(options: Option<&SeLinuxOption>) -> Result<Labels> {
    let Some(options) = options else { return Ok(Labels::default()) };
    let parts = [&options.user, &options.role, &options.r#type, &options.level];
    let sound =
        |part: &&String| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:,$".contains(&b));
    if !parts.iter().all(sound) {
        return Err(Error::new(Kind::Invalid, "selinux_options", "is no label"));
    }
    let or = |part: &str, other: &'static str| match part {
        "" => other.to_owned(),
        part => part.to_owned(),
    };
    if options.r#type.is_empty() && options.level.is_empty() {
        return Ok(Labels::default());
    }
    let user = or(&options.user, "system_u");
    let level = or(&options.level, "s0");
    let role = or(&options.role, "system_r");
    let kind = or(&options.r#type, "container_t");
    Ok(Labels {
        process: Some(format!("{user}:{role}:{kind}:{level}")),
        mount: Some(format!("{user}:object_r:container_file_t:{level}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: ProfileType, name: &str) -> Option<SecurityProfile> {
        Some(SecurityProfile { profile_type: kind.into(), localhost_ref: name.to_owned() })
    }

    #[test]
    fn privileged_containers_have_no_filter() {
        let mut context = LinuxContainerSecurityContext::default();
        assert_eq!(seccomp(&context).ok(), Some(Profile::Unconfined));
        context.seccomp = wire(ProfileType::RuntimeDefault, "");
        assert_eq!(seccomp(&context).ok(), Some(Profile::Default));
        context.privileged = true;
        assert_eq!(seccomp(&context).ok(), Some(Profile::Unconfined));
        context.seccomp = wire(ProfileType::Localhost, "");
        assert!(seccomp(&context).is_err());
    }

    #[test]
    #[allow(deprecated, reason = "older kubelets write the field")]
    fn both_ways_to_name_an_apparmor_profile_are_read() {
        let mut context = LinuxContainerSecurityContext::default();
        assert_eq!(apparmor(&context).ok(), Some(None));
        for (text, profile) in [
            ("runtime/default", Some(Profile::Default)),
            ("unconfined", Some(Profile::Unconfined)),
            ("localhost/x", Some(Profile::Local("x".to_owned()))),
            ("localhost/", None),
            ("x", None),
        ] {
            context.apparmor_profile = text.to_owned();
            assert_eq!(apparmor(&context).ok(), profile.map(Some), "{text}");
        }
        for name in ["x", "localhost/x"] {
            context.apparmor = wire(ProfileType::Localhost, name);
            let found = apparmor(&context).ok();
            assert_eq!(found, Some(Some(Profile::Local("x".to_owned()))), "{name}");
        }
        for name in ["", "localhost/"] {
            context.apparmor = wire(ProfileType::Localhost, name);
            assert!(apparmor(&context).is_err(), "{name}");
        }
        context.apparmor = wire(ProfileType::Unconfined, "");
        assert_eq!(apparmor(&context).ok(), Some(Some(Profile::Unconfined)));
    }

    #[test]
    fn local_filters_stay_in_their_directory() {
        let of = |name: &str| profile_path(name, std::path::Path::new("/d"));
        assert_eq!(of("a/b.json").ok(), Some(PathBuf::from("/d/a/b.json")));
        assert_eq!(of("localhost//x.json").ok(), Some(PathBuf::from("/x.json")));
        assert!(of("../x").is_err());
        assert!(of("/a/../x").is_err());
    }

    #[test]
    fn labels_are_whole_or_none() {
        let mut options = SeLinuxOption::default();
        assert_eq!(labels(Some(&options)).ok(), Some(Labels::default()));
        options.level = "s0:c1,c2".to_owned();
        let found = labels(Some(&options)).expect("labels");
        assert_eq!(found.process.as_deref(), Some("system_u:system_r:container_t:s0:c1,c2"));
        assert_eq!(found.mount.as_deref(), Some("system_u:object_r:container_file_t:s0:c1,c2"));
        options.user = "a b".to_owned();
        assert!(labels(Some(&options)).is_err());
    }
}
