//! The verbs: what podlink does not know of devices.

use crate::config::{Config, Device};
use crate::device::{self, Found};
use crate::{plan, transfer};
use cni_plugin::verify::drift;
use cni_plugin::{Call, NodeCall, ipam, log};
use cni_types::{CniResult, Code, Error, Interface, Result};
use netlink::{Link, Netlink};
use podlink::Wish;

fn wish(config: &Config) -> Wish {
    Wish { dns: config.dns.clone(), ..Wish::default() }
}

/// Makes the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf)?;
    let wanted = config.device()?;
    if let Some(pci) = device::in_userspace(wanted) {
        return reported_only(call, &config, pci);
    }
    let mut pci_id = String::new();
    let before = std::cell::OnceCell::new();
    let make = |node: &Netlink, pod: &Netlink| {
        log("giving a device its name again", transfer::restore(node, wanted));
        let Found::Link(link) = device::find(node, wanted)? else { return Err(no_link(wanted)) };
        pci_id = device::pci_of(&link.name);
        transfer::into_pod(&link, call.ifname.as_str(), (node, pod, call.pod()?))?;
        before.set(*link).ok();
        Ok(())
    };
    let unmake = |node: &Netlink, pod: &Netlink, link: &Link| {
        transfer::out_of_pod(link, before.get().map(|was| was.name.as_str()), (node, pod))?;
        before.get().into_iter().for_each(|was| transfer::set_up_again(node, was));
        Ok(())
    };
    let mut result = podlink::add_undone_by(call, &wish(&config), make, unmake)?;
    for interface in &mut result.interfaces {
        interface.pci_id.clone_from(&pci_id);
    }
    Ok(result)
}

fn no_link(wanted: &Device) -> Error {
    Error::new(Code::TryAgain, format!("device {wanted:?}: changes its driver just now"))
}

/// A device in the hands of a program in user space: nothing is moved, addresses are only leased.
fn reported_only(call: &Call, config: &Config, pci_id: String) -> Result<CniResult> {
    let lease = ipam::prepare_add(call)?.begin()?.finish()?;
    let mut result = lease.keep();
    for ip in &mut result.ips {
        ip.interface = Some(0);
    }
    if !config.dns.is_empty() {
        result.dns = config.dns.clone();
    }
    let (name, sandbox) = (call.ifname.as_str().to_owned(), call.netns_path.clone());
    result.interfaces = vec![Interface { name, sandbox, pci_id, ..Interface::default() }];
    Ok(result)
}

/// Gives the device back and releases its addresses; where the pod is gone, the kernel gave it back
/// already, under the name it had there.
pub(crate) fn del(call: &Call) -> Result<()> {
    podlink::del_by(call, || {
        let node = Netlink::open()?;
        if let Some(space) = &call.netns {
            let pod = Netlink::open_in(space)?;
            if let Some(link) = pod.link_by_name(call.ifname.as_str())? {
                return transfer::out_of_pod(&link, plan::home(&link), (&node, &pod));
            }
        }
        restored(&node, Config::read(&call.conf));
        Ok(())
    })
}

/// Best effort: a configuration that was edited since, or a name that is taken, strands no pod.
fn restored(node: &Netlink, config: Result<Config>) {
    if let Ok(Config { device: Some(wanted), .. }) = config {
        log("giving a device its name again", transfer::restore(node, &wanted));
    }
}

/// Compares the attachment with the result of its ADD.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf)?;
    if config.device.as_ref().and_then(device::in_userspace).is_some() {
        call.prev_result()?;
        return ipam::check(call);
    }
    let link = podlink::check(call, &wish(&config))?;
    match plan::home(&link) {
        Some(_) => Ok(()),
        None => {
            let subject = format!("interface {}", link.name);
            Err(drift(subject, "has lost the note of its name on the node (its alias)"))
        }
    }
}

/// Frees the addresses that none of the valid attachments owns, and names again what came back.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    restored(&Netlink::open()?, Config::read(&call.conf));
    podlink::gc(call)
}

/// Whether the configuration is valid. The device may well be in a pod: that is no fault of the
/// node's.
pub(crate) fn ready(call: &NodeCall) -> Result<()> {
    Config::read(&call.conf).map(drop)
}
