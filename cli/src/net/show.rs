//! `show`.

use super::Desk;
use super::attach::result_text;
use super::target::{container_id, namespace};
use crate::args::ShowArgs;
use crate::fault::{Fault, Result};
use crate::print::{self, Table};
use cni_types::CniResult;
use libcni::{Entry, NetworkList, Pod, Record, load_network};
use serde_json::{Value, json};

pub(super) async fn show(desk: &Desk, show: &ShowArgs) -> Result<()> {
    match &show.attachment {
        Some(named) => attachment(desk, show, named).await,
        None => network(desk, &load_network(&desk.conf_dir, &show.network)?).await,
    }
}

async fn network(desk: &Desk, network: &NetworkList) -> Result<()> {
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    for conf in &network.plugins {
        let versions = match desk.cni.versions(&conf.plugin).await {
            Ok(versions) => versions,
            Err(e) => {
                faults.push(Fault::from(e));
                Vec::new()
            }
        };
        rows.push((conf, versions));
    }
    if desk.is_json() {
        let plugins: Vec<Value> = rows
            .iter()
            .map(|(conf, versions)| {
                json!({
                    "type": conf.plugin.as_str(), "capabilities": conf.capabilities,
                    "supportedVersions": versions, "conf": conf.document,
                })
            })
            .collect();
        print::json(&json!({
            "name": network.name.as_str(), "cniVersion": network.version.as_str(),
            "file": network.source, "disableCheck": network.disable_check,
            "disableGC": network.disable_gc, "plugins": plugins,
        }))?;
    } else {
        let file = network.source.as_ref().map(|path| path.display().to_string());
        let mut text = format!(
            "network  {}\nversion  {}\nfile     {}\ncheck    {}\ngc       {}\n\n",
            network.name,
            network.version,
            file.unwrap_or_default(),
            if network.disable_check { "disabled" } else { "enabled" },
            if network.disable_gc { "disabled" } else { "enabled" },
        );
        let mut table = Table::new(&["STEP", "PLUGIN", "IPAM", "CAPABILITIES", "SUPPORTS"]);
        for (index, (conf, versions)) in rows.iter().enumerate() {
            let ipam = conf.document.get("ipam").and_then(|ipam| ipam.get("type"));
            let ipam = ipam.and_then(Value::as_str).unwrap_or_default().to_owned();
            let caps = conf.capabilities.join(" ");
            let (step, plugin) = ((index + 1).to_string(), conf.plugin.to_string());
            table.row(vec![step, plugin, ipam, caps, versions.join(" ")]);
        }
        text.push_str(&table.text());
        print::out(&text)?;
    }
    Fault::join(faults).map_or(Ok(()), Err)
}

/// The attachment of a container ID, or of a namespace by its path or name.
async fn attachment(desk: &Desk, show: &ShowArgs, named: &str) -> Result<()> {
    let mut ids = vec![container_id(&namespace(named)?)];
    if !named.contains('/') {
        ids.insert(0, named.to_owned());
    }
    for id in ids {
        let pod = Pod::new(&id, &show.ifname, "")?;
        match desk.cni.record(&show.network, &pod).await? {
            None => {}
            Some(Entry::Record(record)) => return print_record(desk, &record),
            Some(Entry::Legacy { result, .. }) => return print::json(&result),
            Some(Entry::Corrupt { file, fault }) => {
                let subject = file.display().to_string();
                let fault = Fault::new(5, subject, format!("is not a record: {fault}"));
                return Err(fault.advise("`podloom net del` removes it with the attachment"));
            }
        }
    }
    let subject = format!("network {:?}, attachment {named:?}, {}", show.network, show.ifname);
    let fault = Fault::new(3, subject, "nothing is recorded");
    Err(fault.advise("see the attachments with `podloom net list`"))
}

fn print_record(desk: &Desk, record: &Record) -> Result<()> {
    let state = super::list::state(record);
    let config: Value = serde_json::from_slice(&record.config).unwrap_or_default();
    if desk.is_json() {
        return print::json(&json!({
            "network": record.network, "containerID": record.container_id,
            "ifname": record.ifname, "netns": record.netns, "state": state,
            "args": record.args, "capabilityArgs": record.capability_args,
            "result": record.result, "config": config,
        }));
    }
    let args: Vec<_> = record.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut text = format!(
        "network       {}\ncontainer     {}\ninterface     {}\nnamespace     {}\nstate         {state}\n\
         arguments     {}\ncapabilities  {}\n\n",
        record.network,
        record.container_id,
        record.ifname,
        record.netns,
        args.join(";"),
        Value::Object(record.capability_args.clone()),
    );
    if let Some(doc) = &record.result {
        match CniResult::from_value(doc, Default::default()) {
            Ok(result) => text.push_str(&result_text(&result)),
            Err(e) => text.push_str(&format!("the recorded result cannot be read: {e}\n")),
        }
    }
    print::out(&text)
}
