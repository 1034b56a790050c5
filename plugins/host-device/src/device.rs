//! Devices: found on the node, through the kernel's links and `/sys`.

use crate::config::{Device, is_pci};
use cni_types::{Code, Error, Result};
use netlink::{Link, Netlink};
use std::path::{Path, PathBuf};

/// Drivers that hand a device to a program in user space: it has no link then.
const USERSPACE: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// What a device turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A link of the node.
    Link(Box<Link>),
    /// A device in the hands of a program in user space, with its PCI address.
    Userspace(String),
}

/// Finds `device`, whose link may have come back from a pod that is gone under another name.
///
/// # Errors
/// [`Code::InvalidConfig`] when it is not there: it does not exist, or a pod has it.
pub(crate) fn find(node: &Netlink, device: &Device) -> Result<Found> {
    if let Some(pci) = in_userspace(device) {
        return Ok(Found::Userspace(pci));
    }
    let link = link(node, device)?.ok_or_else(|| {
        Error::new(Code::InvalidConfig, format!("{}: there is no such link", shown(device)))
            .with_details("the device is missing or without a driver, or a pod has it already")
    })?;
    Ok(Found::Link(Box::new(link)))
}

/// The PCI address, if the device is in the hands of a program in user space.
pub(crate) fn in_userspace(device: &Device) -> Option<String> {
    let Device::Pci(id) = device else { return None };
    let driver = std::fs::read_link(bus("pci", id).join("driver")).ok()?;
    let name = driver.file_name()?.to_str()?;
    USERSPACE.contains(&name).then(|| id.clone())
}

/// The link of a device on the node.
pub(crate) fn link(node: &Netlink, device: &Device) -> Result<Option<Link>> {
    let name = match device {
        Device::Name(name) => match node.link_by_name(name)? {
            Some(link) => return Ok(Some(link)),
            // It has come back from a pod, with its name in its alias.
            None => return Ok(node.links()?.into_iter().find(|link| link.alias == *name)),
        },
        Device::Address(mac) => {
            return Ok(node.links()?.into_iter().find(|link| link.mac == Some(*mac)));
        }
        Device::KernelPath(path) => first_link_of(path),
        Device::Pci(id) => first_link_of(&bus("pci", id)),
        Device::Auxiliary(id) => first_link_of(&bus("auxiliary", id)),
    };
    Ok(name.map(|name| node.link_by_name(&name)).transpose()?.flatten())
}

/// The PCI address of the device behind the node's link `name`; empty if it is on no PCI bus.
pub(crate) fn pci_of(name: &str) -> String {
    let Ok(path) = Path::new("/sys/class/net").join(name).join("device").canonicalize() else {
        return String::new();
    };
    // The link of a virtio device, and that of a subfunction, is one level below.
    let parts = path.components().rev().filter_map(|part| part.as_os_str().to_str());
    parts.map(str::to_owned).find(|part| is_pci(part)).unwrap_or_default()
}

fn bus(bus: &str, id: &str) -> PathBuf {
    PathBuf::from(format!("/sys/bus/{bus}/devices/{id}"))
}

/// The first link, by name, of the device in this directory, or of the virtio device in it.
fn first_link_of(device: &Path) -> Option<String> {
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    };
    let own = names(&device.join("net")).into_iter().next();
    own.or_else(|| {
        let children = names(device).into_iter().filter(|name| name.starts_with("virtio"));
        children.flat_map(|child| names(&device.join(child).join("net"))).next()
    })
}

fn shown(device: &Device) -> String {
    match device {
        Device::Name(name) => format!("device {name:?}"),
        Device::Address(mac) => format!("hwaddr {mac}"),
        Device::KernelPath(path) => format!("kernelpath {}", path.display()),
        Device::Pci(id) => format!("PCI device {id}"),
        Device::Auxiliary(id) => format!("auxiliary device {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_of_a_device_is_below_it_or_below_its_virtio_device() {
        let root = std::env::temp_dir().join(format!("host-device-{}", std::process::id()));
        let (plain, virtio) = (root.join("plain"), root.join("virtio"));
        for dir in [plain.join("net/ens2"), plain.join("net/ens10"), virtio.join("virtio4/net/x")] {
            std::fs::create_dir_all(dir).expect("a directory");
        }
        let found = [first_link_of(&plain), first_link_of(&virtio), first_link_of(&root)];
        std::fs::remove_dir_all(&root).expect("removed");
        assert_eq!(found, [Some("ens10".into()), Some("x".into()), None]);
    }
}
