//! The plugin's configuration: as the operator wrote it, and valid by construction.

use cni_types::{Code, Dns, Error, NetConf, Result};
use netlink::Mac;
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};

/// The keys of the configuration, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    device: String,
    hwaddr: String,
    kernelpath: String,
    #[serde(rename = "pciBusID")]
    pci_bus_id: String,
    dns: Dns,
    runtime_config: WireRuntime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireRuntime {
    #[serde(rename = "deviceID")]
    device_id: String,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Which device; absent where the runtime has yet to name it.
    pub(crate) device: Option<Device>,
    /// Resolver settings that replace those of the IPAM plugin; may be empty.
    pub(crate) dns: Dns,
}

/// How a device is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// By its link's name on the node.
    Name(String),
    /// By its link's hardware address.
    Address(Mac),
    /// By its directory below `/sys/devices`.
    KernelPath(PathBuf),
    /// By its address on the PCI bus.
    Pci(String),
    /// By its name on the auxiliary bus, as a subfunction has it: `mlx5_core.sf.2`.
    Auxiliary(String),
}

impl Config {
    /// Reads `conf`. What the runtime says in `runtimeConfig.deviceID` counts alone; else the first
    /// key that is given does, in the order of the fields of [`Wire`].
    ///
    /// # Errors
    /// [`Code::Decode`] for a wrong type; [`Code::InvalidConfig`].
    pub(crate) fn read(conf: &NetConf) -> Result<Config> {
        let wire: Wire = conf.decode()?;
        let device = match wire.runtime_config.device_id.as_str() {
            "" => configured(&wire)?,
            id if is_pci(id) => Some(Device::Pci(id.to_owned())),
            id if is_auxiliary(id) => Some(Device::Auxiliary(id.to_owned())),
            id => {
                let want = "want a PCI address as 0000:03:00.1, or a device of the auxiliary bus";
                return Err(invalid("runtimeConfig.deviceID", id, want));
            }
        };
        Ok(Config { device, dns: wire.dns })
    }

    /// The device, which ADD cannot do without.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] when none is named.
    pub(crate) fn device(&self) -> Result<&Device> {
        self.device.as_ref().ok_or_else(|| {
            Error::new(Code::InvalidConfig, "device: no device is named").with_details(
                "give device, hwaddr, kernelpath or pciBusID, or have the runtime give deviceID",
            )
        })
    }
}

fn configured(wire: &Wire) -> Result<Option<Device>> {
    if !wire.device.is_empty() {
        if !is_link_name(&wire.device) {
            return Err(invalid("device", &wire.device, "is no name of a link"));
        }
        return Ok(Some(Device::Name(wire.device.clone())));
    }
    let hwaddr = ("hwaddr", wire.hwaddr.as_str(), Code::InvalidConfig);
    if let Some(mac) = podlink::first_mac(&[hwaddr])? {
        return Ok(Some(Device::Address(mac)));
    }
    if !wire.kernelpath.is_empty() {
        let path = Path::new(&wire.kernelpath);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if climbs || !path.starts_with("/sys/devices") {
            let want = "want the path of a device below /sys/devices";
            return Err(invalid("kernelpath", &wire.kernelpath, want));
        }
        return Ok(Some(Device::KernelPath(path.to_owned())));
    }
    match wire.pci_bus_id.as_str() {
        "" => Ok(None),
        id if is_pci(id) => Ok(Some(Device::Pci(id.to_owned()))),
        id => Err(invalid("pciBusID", id, "want an address as 0000:03:00.1")),
    }
}

fn invalid(key: &str, value: &str, want: &str) -> Error {
    Error::new(Code::InvalidConfig, format!("{key} {value:?}: {want}"))
}

/// Whether the kernel takes `text` as the name of a link.
pub(crate) fn is_link_name(text: &str) -> bool {
    let fits = (1..=15).contains(&text.len()) && text != "." && text != "..";
    fits && !text.bytes().any(|b| matches!(b, b'/' | b':' | b'%' | b' ') || !b.is_ascii_graphic())
}

/// Whether `text` is a PCI address: domain of four to eight digits, bus, slot, function.
pub(crate) fn is_pci(text: &str) -> bool {
    let hex = |part: &str, sizes: std::ops::RangeInclusive<usize>| {
        sizes.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let mut parts = text.split(':');
    let (Some(domain), Some(bus), Some(slot), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Some((slot, function)) = slot.split_once('.') else { return false };
    let is_function = matches!(function.as_bytes(), [b'0'..=b'7']);
    hex(domain, 4..=8) && hex(bus, 2..=2) && hex(slot, 2..=2) && is_function
}

/// Whether `text` can be a name on the auxiliary bus: module, kind and number with dots between.
fn is_auxiliary(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.bytes().all(plain) && text.split('.').filter(|part| !part.is_empty()).count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn conf(mut keys: Value) -> NetConf {
        for (key, value) in [("name", "net"), ("type", "host-device"), ("cniVersion", "1.1.0")] {
            keys[key] = value.into();
        }
        NetConf::from_value(keys).expect("configuration")
    }

    fn read(keys: Value) -> Result<Config> {
        Config::read(&conf(keys))
    }

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let blocks = readme.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let mut seen = 0;
        for block in blocks {
            let document: Value = serde_json::from_str(block).expect("JSON");
            Config::read(&conf(document)).expect("valid");
            seen += 1;
        }
        assert!(seen > 1);
    }

    #[test]
    fn a_device_is_named_in_five_ways() {
        let device = |keys: Value| read(keys).expect("valid").device.expect("a device");
        assert_eq!(device(json!({"device": "ens1f0"})), Device::Name("ens1f0".into()));
        let mac = Device::Address(Mac([2, 0, 0, 0, 0, 7]));
        assert_eq!(device(json!({"hwaddr": "02:00:00:00:00:07"})), mac);
        let path = "/sys/devices/pci0000:00/0000:00:1f.6";
        assert_eq!(device(json!({"kernelpath": path})), Device::KernelPath(path.into()));
        let pci = Device::Pci("0000:03:00.1".into());
        assert_eq!(device(json!({"pciBusID": "0000:03:00.1"})), pci);
        let both = json!({"device": "ens1f0", "runtimeConfig": {"deviceID": "0000:03:00.1"}});
        assert_eq!(device(both), pci);
        let sf = json!({"runtimeConfig": {"deviceID": "mlx5_core.sf.2"}});
        assert_eq!(device(sf), Device::Auxiliary("mlx5_core.sf.2".into()));
        let first = json!({"device": "ens1f0", "pciBusID": "0000:03:00.1"});
        assert_eq!(device(first), Device::Name("ens1f0".into()));
    }

    #[test]
    fn only_add_needs_a_device() {
        let config = read(json!({})).expect("valid");
        let error = config.device().expect_err("none");
        assert_eq!(error.code, Code::InvalidConfig);
    }

    #[test]
    fn faults_are_named_by_their_key() {
        for (keys, start, code) in [
            (json!({"device": "a/b"}), "device \"a/b\": ", Code::InvalidConfig),
            (json!({"device": "dev%d"}), "device \"dev%d\": ", Code::InvalidConfig),
            (json!({"device": 5}), "device: ", Code::Decode),
            (json!({"hwaddr": "x"}), "hwaddr: ", Code::InvalidConfig),
            (json!({"kernelpath": "/etc"}), "kernelpath ", Code::InvalidConfig),
            (json!({"kernelpath": "/sys/devices/../.."}), "kernelpath ", Code::InvalidConfig),
            (json!({"pciBusID": "../x"}), "pciBusID ", Code::InvalidConfig),
            (json!({"pciBusID": "0000:03:00.8"}), "pciBusID ", Code::InvalidConfig),
            (
                json!({"runtimeConfig": {"deviceID": "../.."}}),
                "runtimeConfig.",
                Code::InvalidConfig,
            ),
            (json!({"runtimeConfig": {"deviceID": 1}}), "runtimeConfig.deviceID: ", Code::Decode),
        ] {
            let error = read(keys).expect_err(start);
            assert_eq!(error.code, code);
            assert!(error.msg.starts_with(start), "{error}");
        }
    }
}
