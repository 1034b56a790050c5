//! `status`.

use super::Desk;
use crate::args::Networks;
use crate::fault::{Fault, Result};
use crate::print::{self, Table};
use cni_types::Code;
use libcni::{Error, NetworkList, load_dir, load_network};
use serde_json::{Value, json};

struct Row {
    network: String,
    version: String,
    state: &'static str,
    fault: Option<Fault>,
    chain: String,
}

pub(super) async fn status(desk: &Desk, asked: &Networks) -> Result<()> {
    let mut rows = Vec::new();
    // cnitool's command line has a namespace there, which STATUS is not about.
    let names: Vec<_> = asked.networks.iter().filter(|name| !name.contains('/')).collect();
    if names.is_empty() {
        for file in load_dir(&desk.conf_dir)? {
            rows.push(match file.network {
                Ok(network) => row(desk, &network).await,
                Err(e) => broken(&e),
            });
        }
    }
    for name in names {
        rows.push(row(desk, &load_network(&desk.conf_dir, name)?).await);
    }
    if rows.is_empty() {
        let subject = desk.conf_dir.display().to_string();
        let fault = Fault::new(3, subject, "there is no network configuration");
        return Err(fault.advise("put a .conflist file there, or name another --conf-dir"));
    }
    show(desk, &rows)?;
    let faults: Vec<_> = rows.into_iter().filter_map(|row| row.fault).collect();
    Fault::join(faults).map_or(Ok(()), Err)
}

fn broken(error: &Error) -> Row {
    let name = error.network_name();
    Row {
        network: if name.is_empty() { "?".to_owned() } else { name.to_owned() },
        version: String::new(),
        state: "invalid",
        fault: Some(error.into()),
        chain: String::new(),
    }
}

async fn row(desk: &Desk, network: &NetworkList) -> Row {
    let asked = match desk.cni.status(network).await {
        // Before 1.1.0 nobody can be asked, but a plugin that is missing can serve nothing.
        Ok(()) if !network.version.has_gc() => desk.cni.validate(network).await.map(|_| ()),
        outcome => outcome,
    };
    let chain: Vec<_> = network.plugins.iter().map(|p| p.plugin.as_str()).collect();
    let state = match asked.as_ref().map_err(Error::code) {
        Ok(()) if network.version.has_gc() => "ready",
        Ok(()) => "unknown",
        Err(Code::LimitedConnectivity) => "limited",
        Err(_) => "not ready",
    };
    Row {
        network: network.name.to_string(),
        version: network.version.to_string(),
        state,
        fault: asked.err().map(Fault::from),
        chain: chain.join(" > "),
    }
}

fn show(desk: &Desk, rows: &[Row]) -> Result<()> {
    if desk.is_json() {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| {
                json!({
                    "network": row.network, "cniVersion": row.version, "state": row.state,
                    "error": row.fault.as_ref().map(Fault::document),
                })
            })
            .collect();
        return print::json(&json!(rows));
    }
    let mut table = Table::new(&["NETWORK", "VERSION", "STATE", "CHAIN"]);
    for row in rows {
        let state = match row.state {
            "unknown" => "unknown (no STATUS before 1.1.0)",
            state => state,
        };
        let network = row.network.clone();
        table.row(vec![network, row.version.clone(), state.to_owned(), row.chain.clone()]);
    }
    print::out(&table.text())
}
