//! What the verbs do to `lo`.

use cni_plugin::Call;
use cni_plugin::verify::{self, Found, drift};
use cni_types::{CniResult, Code, Error, Interface, IpConfig, Result};
use ipnetwork::IpNetwork;
use netlink::{Link, Netlink};
use std::net::{IpAddr, Ipv4Addr};

/// The kernel's name for it, in every namespace.
const NAME: &str = "lo";
/// The hardware address that Linux shows for it.
const MAC: &str = "00:00:00:00:00:00";

/// Sets `lo` up. The result of an earlier plugin is passed on as it is.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let pod = Netlink::open_in(call.pod()?)?;
    let link = pod.expect_link(NAME)?;
    if !link.up {
        pod.set_up(link.index)?;
    }
    let addresses = addresses(&pod, &link)?;
    if let Some(foreign) = addresses.iter().find(|net| !net.ip().is_loopback()) {
        let cause = format!("interface {NAME}: has {foreign}, which is no loopback address");
        return Err(Error::new(Code::Conflict, cause)
            .with_details("give further addresses to another interface, or add them after ADD"));
    }
    if let Some(result) = &call.conf.prev_result {
        return Ok(result.clone());
    }
    let first = |v6: bool| addresses.iter().find(|net| net.is_ipv6() == v6);
    let ips = [first(false), first(true)].into_iter().flatten();
    Ok(CniResult {
        interfaces: vec![Interface {
            name: NAME.to_owned(),
            mac: MAC.to_owned(),
            mtu: Some(link.mtu),
            sandbox: call.netns_path.clone(),
            ..Interface::default()
        }],
        ips: ips.map(|net| IpConfig { interface: Some(0), address: *net, gateway: None }).collect(),
        ..CniResult::default()
    })
}

fn addresses(pod: &Netlink, link: &Link) -> Result<Vec<IpNetwork>> {
    Ok(pod.addresses(link.index)?.iter().map(|address| address.network).collect())
}

/// Sets `lo` down, where there is a pod left.
pub(crate) fn del(call: &Call) -> Result<()> {
    let Some(pod) = &call.netns else { return Ok(()) };
    let pod = Netlink::open_in(pod)?;
    if let Some(link) = pod.link_by_name(NAME)?.filter(|link| link.up) {
        pod.set_down(link.index)?;
    }
    Ok(())
}

/// `lo` is up and has the addresses that ADD reported, 127.0.0.1 at least.
pub(crate) fn check(call: &Call) -> Result<()> {
    let result = call.prev_result()?;
    let pod = Netlink::open_in(call.pod()?)?;
    let link = pod.expect_link(NAME)?;
    let addresses = addresses(&pod, &link)?;
    let found = Found {
        mac: link.mac.map_or_else(|| MAC.to_owned(), |mac| mac.to_string()),
        mtu: link.mtu,
        up: link.up,
        addresses: addresses.clone(),
    };
    // Behind another plugin the result is that plugin's and does not list it.
    match verify::reported(result, NAME, true) {
        Ok((index, reported)) => {
            verify::interface(reported, Some(&found))?;
            verify::addresses(result, index, &addresses)?;
        }
        Err(_) => {
            let wanted = Interface { name: NAME.to_owned(), ..Interface::default() };
            verify::interface(&wanted, Some(&found))?;
        }
    }
    if !addresses.iter().any(|net| net.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)) {
        return Err(drift(format!("address 127.0.0.1 on {NAME}"), "is gone"));
    }
    Ok(())
}

/// Every kernel has a loopback interface in every namespace; what can be missing is the means to
/// talk to it.
pub(crate) fn status() -> Result<()> {
    Netlink::open().map(drop).map_err(|e| Error { code: Code::NotAvailable, ..e.into() })
}

#[cfg(test)]
mod tests {
    use cni_types::NetConf;
    use serde_json::Value;

    #[test]
    fn the_examples_of_the_readme_are_valid() {
        let readme = include_str!("../README.md");
        let block = readme.split("```json").nth(1).and_then(|rest| rest.split("```").next());
        let list: Value = serde_json::from_str(block.expect("an example")).expect("JSON");
        for plugin in list["plugins"].as_array().expect("plugins") {
            let mut conf = plugin.clone();
            conf["name"] = list["name"].clone();
            conf["cniVersion"] = list["cniVersion"].clone();
            NetConf::from_value(conf).expect("valid");
        }
    }
}
