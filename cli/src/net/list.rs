//! `list`.

use super::Desk;
use crate::fault::{Fault, Result};
use crate::print::{self, Table};
use libcni::{ConfFile, Entry, Listing, Record, load_dir};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// How an attachment stands, as far as its record and namespace tell.
pub(super) fn state(record: &Record) -> &'static str {
    if record.is_of_earlier_boot() {
        return "stale: of an earlier boot";
    }
    match netns::Netns::open(Path::new(&record.netns)) {
        Ok(_) => "attached",
        Err(e) if e.is_gone() => "stale: namespace gone",
        Err(_) => "namespace cannot be opened",
    }
}

/// The addresses of a result of any version, for a table.
fn addresses(record: &Record) -> Vec<String> {
    let result = record.result.as_ref();
    let read =
        result.and_then(|doc| cni_types::CniResult::from_value(doc, Default::default()).ok());
    read.unwrap_or_default().ips.iter().map(|ip| ip.address.ip().to_string()).collect()
}

pub(super) async fn list(desk: &Desk) -> Result<()> {
    let files = load_dir(&desk.conf_dir)?;
    let listing = desk.cni.listing().await?;
    if desk.is_json() {
        print::json(&json!({
            "networks": networks_json(&files),
            "attachments": attachments_json(&listing),
        }))?;
    } else {
        let mut text = networks_text(&files);
        text.push('\n');
        text.push_str(&attachments_text(&listing));
        print::out(&text)?;
    }
    let mut faults: Vec<Fault> = listing.errors.iter().map(Fault::from).collect();
    faults.extend(files.iter().filter_map(|file| file.network.as_ref().err()).map(Fault::from));
    for fault in faults {
        print::note(fault.text().trim_end());
    }
    Ok(())
}

fn networks_json(files: &[ConfFile]) -> Vec<Value> {
    let read = |file: &ConfFile| match &file.network {
        Err(e) => json!({ "file": file.path, "error": Fault::from(e).document() }),
        Ok(network) => {
            let plugins: Vec<_> = network.plugins.iter().map(|p| p.plugin.as_str()).collect();
            json!({
                "file": file.path,
                "name": network.name.as_str(),
                "cniVersion": network.version.as_str(),
                "plugins": plugins,
                "disableCheck": network.disable_check,
                "disableGC": network.disable_gc,
            })
        }
    };
    files.iter().map(read).collect()
}

fn networks_text(files: &[ConfFile]) -> String {
    let mut table = Table::new(&["NETWORK", "VERSION", "CHAIN", "FILE"]);
    let mut seen = BTreeSet::new();
    for file in files {
        let path = file.path.display().to_string();
        let cells = match &file.network {
            Ok(network) => {
                let chain: Vec<_> = network.plugins.iter().map(|p| p.plugin.as_str()).collect();
                let first = seen.insert(network.name.clone());
                let path = if first { path } else { format!("{path} (hidden by the one above)") };
                let version = network.version.to_string();
                vec![network.name.to_string(), version, chain.join(" > "), path]
            }
            Err(_) => vec!["invalid".to_owned(), String::new(), String::new(), path],
        };
        table.row(cells);
    }
    if table.is_empty() { "no networks\n".to_owned() } else { table.text() }
}

fn record_json(record: &Record, state: &str) -> Value {
    json!({
        "network": record.network,
        "containerID": record.container_id,
        "ifname": record.ifname,
        "netns": record.netns,
        "addresses": addresses(record),
        "state": state,
    })
}

fn attachments_json(listing: &Listing) -> Vec<Value> {
    let mut rows: Vec<Value> = listing
        .entries
        .iter()
        .map(|entry| match entry {
            Entry::Record(record) => record_json(record, state(record)),
            Entry::Legacy { file, .. } => json!({ "file": file, "state": "only a result" }),
            Entry::Corrupt { file, fault } => {
                json!({ "file": file, "state": "corrupt", "error": fault })
            }
        })
        .collect();
    rows.extend(listing.unfinished.iter().map(|record| record_json(record, "unfinished ADD")));
    rows
}

fn attachments_text(listing: &Listing) -> String {
    let head = ["NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "STATE", "NAMESPACE"];
    let mut table = Table::new(&head);
    let mut add = |record: &Record, state: &str| {
        table.row(vec![
            record.network.clone(),
            record.container_id.clone(),
            record.ifname.clone(),
            addresses(record).join(" "),
            state.to_owned(),
            record.netns.clone(),
        ]);
    };
    for entry in &listing.entries {
        if let Entry::Record(record) = entry {
            add(record, state(record));
        }
    }
    for record in &listing.unfinished {
        add(record, "unfinished ADD");
    }
    let mut text = if table.is_empty() { "no attachments\n".to_owned() } else { table.text() };
    for entry in &listing.entries {
        match entry {
            Entry::Record(_) => {}
            Entry::Legacy { file, .. } => {
                text.push_str(&format!("{}: only a result, of unknown owner\n", file.display()));
            }
            Entry::Corrupt { file, fault } => {
                text.push_str(&format!("{}: corrupt: {fault}\n", file.display()));
            }
        }
    }
    text
}
