//! Devices of the node in a container, and who may use them.

use crate::{Error, Kind, Result};
use cri_api::v1 as cri;
use runtime_spec::{Device, DeviceKind, DeviceRule};
use std::path::PathBuf;

/// A device that the container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedDevice {
    pub(crate) path: PathBuf,
    pub(crate) node: PathBuf,
    /// Letters of `rwm`.
    pub(crate) access: String,
}

/// A device of the node, as the container has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) device: Device,
    pub(crate) access: String,
}

/// Reads the devices of a configuration.
///
/// # Errors
/// A path is relative or climbs, or the access is none.
pub(crate) fn wanted(devices: &[cri::Device]) -> Result<Vec<WantedDevice>> {
    devices.iter().map(one).collect()
}

fn one(device: &cri::Device) -> Result<WantedDevice> {
    let wrong = |cause| Error::new(Kind::Invalid, format!("device {:?}", device.host_path), cause);
    let node = PathBuf::from(&device.host_path);
    if !node.is_absolute() || device.host_path.contains('\0') {
        return Err(wrong("has no absolute path of the node"));
    }
    let text = match device.container_path.as_str() {
        "" => &device.host_path,
        text => text,
    };
    let path = super::mounts::inside(text).ok_or_else(|| wrong("has no path in the container"))?;
    let access = match device.permissions.as_str() {
        "" => "rwm",
        letters => letters,
    };
    if !access.bytes().all(|letter| b"rwm".contains(&letter)) {
        return Err(wrong("has permissions of other letters than r, w, m"));
    }
    Ok(WantedDevice { path, node, access: access.to_owned() })
}

/// The rules of a container's devices: nothing but those granted, or everything.
pub(crate) fn rules(granted: &[Granted], everything: bool) -> Vec<DeviceRule> {
    let all = |allow| DeviceRule { allow, access: Some("rwm".to_owned()), ..DeviceRule::default() };
    if everything {
        return vec![all(true)];
    }
    let mut rules = vec![all(false)];
    let usable = granted.iter().filter(|g| g.device.kind != DeviceKind::Pipe);
    rules.extend(usable.map(|granted| DeviceRule {
        allow: true,
        kind: Some(granted.device.kind),
        major: Some(granted.device.major),
        minor: Some(granted.device.minor),
        access: Some(granted.access.clone()),
    }));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(node: &str, path: &str, permissions: &str) -> cri::Device {
        cri::Device {
            container_path: path.to_owned(),
            host_path: node.to_owned(),
            permissions: permissions.to_owned(),
        }
    }

    #[test]
    fn devices_are_where_they_are_on_the_node_unless_said() {
        let found = wanted(&[device("/dev/null", "", ""), device("/dev/zero", "/dev/z", "r")]);
        let found = found.expect("devices");
        assert_eq!(
            (found[0].path.as_path(), found[0].access.as_str()),
            (found[0].node.as_path(), "rwm")
        );
        assert_eq!((found[1].path.to_str(), found[1].access.as_str()), (Some("/dev/z"), "r"));
        for wrong in [device("null", "", ""), device("/dev/x", "/../x", ""), device("/x", "", "rx")]
        {
            assert!(wanted(std::slice::from_ref(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_granted_is_denied() {
        let device = Device {
            path: "/dev/x".into(),
            kind: DeviceKind::Char,
            major: 1,
            minor: 3,
            file_mode: None,
            uid: None,
            gid: None,
        };
        let rules = rules(&[Granted { device, access: "rw".to_owned() }], false);
        assert!(!rules[0].allow && rules[0].kind.is_none());
        assert_eq!((rules[1].allow, rules[1].minor), (true, Some(3)));
    }
}
