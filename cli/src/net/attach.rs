//! `add`, `check`, `del`.

use super::Desk;
use super::target::{namespace, pod};
use crate::args::{DelArgs, Form, Target};
use crate::fault::{Fault, Result};
use crate::print::{self, Table};
use cni_types::CniResult;
use libcni::{Detached, Kind, load_network};

pub(super) async fn add(desk: &Desk, target: &Target) -> Result<()> {
    let network = load_network(&desk.conf_dir, &target.network)?;
    let pod = pod(&target.call, &namespace(&target.netns)?)?;
    let added = desk.cni.add(&network, &pod).await?;
    match print::form_of_result(desk.form) {
        Form::Json => print::json(&added.document),
        Form::Table => {
            print::note(&format!("{} is attached to {}", pod.container_id, network.name));
            print::out(&result_text(&added.result))
        }
    }
}

pub(super) async fn check(desk: &Desk, target: &Target) -> Result<()> {
    let network = load_network(&desk.conf_dir, &target.network)?;
    let pod = pod(&target.call, &namespace(&target.netns)?)?;
    desk.cni.check(&network, &pod).await?;
    if network.disable_check {
        print::note(&format!("network {}: disableCheck is set, nothing was run", network.name));
    }
    Ok(())
}

/// With the configuration of `add` where it is recorded: the file may have changed since, or be
/// gone, and the pod must be removable.
pub(super) async fn del(desk: &Desk, del: &DelArgs) -> Result<()> {
    let netns = match &del.netns {
        Some(netns) => namespace(netns)?,
        None => String::new(),
    };
    let pod = pod(&del.call, &netns)?;
    let said_more = !pod.args.is_empty() || !pod.capability_args.is_empty();
    if !del.current_conf && !said_more {
        let netns = del.netns.as_ref().map(|_| netns.as_str());
        let recorded = desk.cni.del_recorded(&del.network, &pod.attachment(), netns).await;
        match recorded {
            Ok(Some(done)) => return tell(&done),
            Ok(None) => {}
            // The record is no use: then today's configuration has to do.
            Err(e) if e.kind() == Kind::Cache => print::note(Fault::from(e).text().trim_end()),
            Err(e) => return Err(e.into()),
        }
    }
    let network = load_network(&desk.conf_dir, &del.network)?;
    tell(&desk.cni.del(&network, &pod).await?)
}

fn tell(done: &Detached) -> Result<()> {
    for warning in &done.warnings {
        print::note(Fault::from(warning).text().trim_end());
    }
    Ok(())
}

/// A result as tables.
pub(super) fn result_text(result: &CniResult) -> String {
    let mut text = String::new();
    let mut append = |table: Table| {
        if !table.is_empty() {
            text.push_str(&table.text());
            text.push('\n');
        }
    };
    let mut interfaces = Table::new(&["INTERFACE", "MAC", "MTU", "NAMESPACE"]);
    for interface in &result.interfaces {
        let mtu = interface.mtu.map(|mtu| mtu.to_string()).unwrap_or_default();
        let place = if interface.sandbox.is_empty() { "node" } else { &interface.sandbox };
        let name = interface.name.clone();
        interfaces.row(vec![name, interface.mac.clone(), mtu, place.to_owned()]);
    }
    append(interfaces);
    let mut ips = Table::new(&["ADDRESS", "GATEWAY", "INTERFACE"]);
    for ip in &result.ips {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        let interface = interface.map(|i| i.name.clone()).unwrap_or_default();
        let gateway = ip.gateway.map(|gw| gw.to_string()).unwrap_or_default();
        ips.row(vec![ip.address.to_string(), gateway, interface]);
    }
    append(ips);
    let mut routes = Table::new(&["ROUTE", "VIA"]);
    for route in &result.routes {
        let via = route.gw.map(|gw| gw.to_string()).unwrap_or_default();
        routes.row(vec![route.dst.to_string(), via]);
    }
    append(routes);
    let dns = &result.dns;
    if !dns.is_empty() {
        let servers = dns.nameservers.join(" ");
        text.push_str(&format!("DNS  servers {servers}; search {}\n", dns.search.join(" ")));
    }
    text.trim_end_matches('\n').to_owned() + if text.is_empty() { "" } else { "\n" }
}
