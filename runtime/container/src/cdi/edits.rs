//! What a device changes in a configuration (CDI specification, "Container edits").

use crate::{Error, Kind, Result};
use runtime_spec::{Device, DeviceKind, DeviceRule, Hook, Hooks, IntelRdt, Mount, NetDevice, Spec};
use serde::Deserialize;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

/// Changes of a container's configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Edits {
    pub(super) env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    net_devices: Vec<WireNetDevice>,
    hooks: Vec<WireHook>,
    pub(super) mounts: Vec<WireMount>,
    intel_rdt: Option<WireRdt>,
    additional_gids: Vec<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: PathBuf,
    #[serde(default)]
    host_path: Option<PathBuf>,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    major: Option<i64>,
    #[serde(default)]
    minor: Option<i64>,
    #[serde(default)]
    file_mode: Option<u32>,
    #[serde(default)]
    permissions: Option<String>,
    #[serde(default)]
    uid: Option<u32>,
    #[serde(default)]
    gid: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireNetDevice {
    host_interface_name: String,
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHook {
    hook_name: String,
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    timeout: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireMount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(default)]
    r#type: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRdt {
    #[serde(default, rename = "closID")]
    clos_id: Option<String>,
    #[serde(default)]
    l3_cache_schema: Option<String>,
    #[serde(default)]
    mem_bw_schema: Option<String>,
    #[serde(default)]
    schemata: Vec<String>,
    #[serde(default)]
    enable_monitoring: bool,
}

/// Makes the changes.
///
/// # Errors
/// A device of the node is not there, or a hook has a point in life that does not exist.
pub(crate) fn apply(spec: &mut Spec, edits: Vec<Edits>) -> Result<()> {
    edits.into_iter().try_for_each(|edits| one(spec, edits))
}

fn one(spec: &mut Spec, edits: Edits) -> Result<()> {
    for node in edits.device_nodes {
        device(spec, node)?;
    }
    for mount in edits.mounts {
        spec.mounts.retain(|old| old.destination != mount.container_path);
        let options = match mount.options.is_empty() {
            true => vec!["rbind".to_owned(), "ro".to_owned()],
            false => mount.options,
        };
        spec.mounts.push(Mount {
            destination: mount.container_path,
            kind: Some(mount.r#type.unwrap_or_else(|| "bind".to_owned())),
            source: Some(mount.host_path),
            options,
            ..Mount::default()
        });
    }
    for hook in edits.hooks {
        add_hook(spec.hooks.get_or_insert_with(Hooks::default), hook)?;
    }
    let linux = spec.linux.get_or_insert_default();
    for device in edits.net_devices {
        let inside = NetDevice { name: Some(device.name) };
        linux.net_devices.insert(device.host_interface_name, inside);
    }
    if let Some(rdt) = edits.intel_rdt {
        linux.intel_rdt = Some(IntelRdt {
            clos_id: rdt.clos_id,
            l3_cache_schema: rdt.l3_cache_schema,
            mem_bw_schema: rdt.mem_bw_schema,
            schemata: rdt.schemata,
            enable_monitoring: rdt.enable_monitoring,
        });
    }
    let process = spec.process.get_or_insert_default();
    for variable in edits.env {
        let name = format!("{}=", variable.split('=').next().unwrap_or_default());
        process.env.retain(|old| !old.starts_with(&name));
        process.env.push(variable);
    }
    for gid in edits.additional_gids {
        // Group 0 is nobody's to give.
        if gid != 0 && !process.user.additional_gids.contains(&gid) {
            process.user.additional_gids.push(gid);
        }
    }
    Ok(())
}

fn device(spec: &mut Spec, node: DeviceNode) -> Result<()> {
    let subject = format!("CDI device node {}", node.path.display());
    let kind = match node.r#type.as_deref() {
        None | Some("") => None,
        Some("c" | "u") => Some(DeviceKind::Char),
        Some("b") => Some(DeviceKind::Block),
        Some("p") => Some(DeviceKind::Pipe),
        Some(_) => return Err(Error::new(Kind::Invalid, subject, "has no known type")),
    };
    let known =
        kind.zip(node.major).zip(node.minor).map(|((kind, major), minor)| (kind, major, minor));
    let (kind, major, minor) = match (known, kind) {
        (Some(known), _) => known,
        (None, Some(DeviceKind::Pipe)) => (DeviceKind::Pipe, 0, 0),
        (None, _) => on_node(node.host_path.as_ref().unwrap_or(&node.path))
            .map_err(|cause| Error::new(Kind::Invalid, subject, cause))?,
    };
    let user = spec.process.as_ref().map(|p| (p.user.uid, p.user.gid)).unwrap_or_default();
    let own = |id: u32| Some(id).filter(|id| *id != 0);
    let device = Device {
        path: node.path,
        kind,
        major,
        minor,
        file_mode: node.file_mode,
        uid: node.uid.or_else(|| own(user.0)),
        gid: node.gid.or_else(|| own(user.1)),
    };
    let linux = spec.linux.get_or_insert_default();
    linux.devices.retain(|old| old.path != device.path);
    linux.devices.push(device);
    if kind != DeviceKind::Pipe {
        linux.resources.get_or_insert_default().devices.push(DeviceRule {
            allow: true,
            kind: Some(kind),
            major: Some(major),
            minor: Some(minor),
            access: Some(node.permissions.filter(|p| !p.is_empty()).unwrap_or("rwm".to_owned())),
        });
    }
    Ok(())
}

fn on_node(path: &PathBuf) -> Result<(DeviceKind, i64, i64), String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => DeviceKind::Char,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return Err(format!("{} is no device", path.display())),
    };
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    Ok((kind, i64::from(major), i64::from(minor)))
}

fn add_hook(hooks: &mut Hooks, wire: WireHook) -> Result<()> {
    let list = match wire.hook_name.as_str() {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        "poststop" => &mut hooks.poststop,
        other => {
            let subject = format!("CDI hook {:?}", wire.path);
            return Err(Error::new(
                Kind::Invalid,
                subject,
                format!("{other:?} is no point in life"),
            ));
        }
    };
    list.push(Hook { path: wire.path, args: wire.args, env: wire.env, timeout: wire.timeout });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(value: serde_json::Value) -> Result<Spec> {
        let mut spec = Spec::default();
        spec.process.get_or_insert_default().env = vec!["A=old".to_owned(), "B=b".to_owned()];
        apply(&mut spec, vec![serde_json::from_value(value).expect("edits")])?;
        Ok(spec)
    }

    #[test]
    fn every_edit_reaches_the_configuration() {
        let spec = applied(json!({
            "env": ["A=new"],
            "deviceNodes": [
                {"path": "/dev/x", "hostPath": "/dev/null", "permissions": "r"},
                {"path": "/dev/y", "type": "b", "major": 7, "minor": 9, "fileMode": 384}],
            "netDevices": [{"hostInterfaceName": "eno1", "name": "net1"}],
            "hooks": [{"hookName": "createContainer", "path": "/h", "args": ["h", "x"]}],
            "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro"]}],
            "intelRdt": {"closID": "c"},
            "additionalGids": [5, 0, 5],
        }));
        let spec = spec.expect("applied");
        let process = spec.process.expect("process");
        assert_eq!(process.env, ["B=b", "A=new"]);
        assert_eq!(process.user.additional_gids, [5]);
        let linux = spec.linux.expect("linux");
        assert_eq!((linux.devices[0].major, linux.devices[0].minor), (1, 3));
        assert_eq!((linux.devices[1].major, linux.devices[1].file_mode), (7, Some(384)));
        assert_eq!(linux.resources.expect("rules").devices[0].access.as_deref(), Some("r"));
        assert_eq!(linux.net_devices["eno1"].name.as_deref(), Some("net1"));
        assert_eq!(spec.hooks.expect("hooks").create_container[0].args, ["h", "x"]);
        assert_eq!(spec.mounts[0].options, ["ro"]);
    }

    #[test]
    fn what_is_not_there_is_told() {
        let node = json!({"deviceNodes": [{"path": "/dev/podloom-none"}]});
        assert_eq!(applied(node).expect_err("none").kind(), Kind::Invalid);
        let file = json!({"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc/passwd"}]});
        assert!(applied(file).is_err());
        let hook = json!({"hooks": [{"hookName": "sometimes", "path": "/h"}]});
        assert!(applied(hook).is_err());
    }
}
