//! `validate`.

use super::Desk;
use crate::args::ValidateArgs;
use crate::fault::{Fault, Result};
use crate::print::{self, Table};
use libcni::{ConfFile, load_dir, load_file};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) async fn validate(desk: &Desk, args: &ValidateArgs) -> Result<()> {
    let files = if args.files.is_empty() {
        load_dir(&desk.conf_dir)?
    } else {
        let read =
            |path: &std::path::PathBuf| ConfFile { path: path.clone(), network: load_file(path) };
        args.files.iter().map(read).collect()
    };
    if files.is_empty() {
        let subject = desk.conf_dir.display().to_string();
        return Err(Fault::new(3, subject, "there is no network configuration"));
    }
    let mut faults = Vec::new();
    let mut table = Table::new(&["FILE", "NETWORK", "VERSION", "VERDICT"]);
    let mut docs: Vec<Value> = Vec::new();
    let mut names = BTreeMap::new();
    for file in &files {
        let path = file.path.display().to_string();
        let (name, version, fault) = match &file.network {
            Err(e) => (e.network_name().to_owned(), String::new(), Some(Fault::from(e))),
            Ok(network) => {
                let earlier = names.insert(network.name.to_string(), path.clone());
                let fault = match earlier {
                    Some(earlier) if args.files.is_empty() => Some(hidden(&path, &earlier)),
                    _ if args.no_run => None,
                    _ => desk.cni.validate(network).await.err().map(Fault::from),
                };
                (network.name.to_string(), network.version.to_string(), fault)
            }
        };
        let verdict = if fault.is_some() { "invalid" } else { "valid" };
        docs.push(json!({
            "file": path, "network": name, "cniVersion": version, "valid": fault.is_none(),
            "error": fault.as_ref().map(Fault::document),
        }));
        table.row(vec![path, name, version, verdict.to_owned()]);
        faults.extend(fault);
    }
    if desk.is_json() {
        print::json(&json!(docs))?;
    } else {
        print::out(&table.text())?;
    }
    Fault::join(faults).map_or(Ok(()), Err)
}

fn hidden(path: &str, earlier: &str) -> Fault {
    let fault = Fault::new(4, path, format!("name: the network of this name in {earlier} counts"));
    fault.advise("rename one of the two networks, or remove one of the files")
}
