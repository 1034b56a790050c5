//! `podloom image pull`.

use super::Desk;
use super::args::{ListForm, PullArgs};
use super::progress::Bars;
use crate::fault::{Fault, Result};
use crate::print;
use image::{Pull, RegistryConfig};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// A directory of configuration that goes with the value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Only configuration without secrets is in it.
        let _left = fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn pull(desk: &Desk, args: &PullArgs) -> Result<()> {
    let mut config = RegistryConfig { docker_config: args.authfile.clone(), ..Default::default() };
    if !args.certs_dir.is_empty() {
        config.certs_d.clone_from(&args.certs_dir);
    }
    let _plain = if args.plain_http { Some(plain(args, &mut config)?) } else { None };
    let service = desk.open_with("pull", config, !args.drop_blobs)?;
    let mut pulled = Vec::new();
    for reference in &args.references {
        let pull = Pull {
            reference: reference.clone(),
            platform: args.platform.clone().unwrap_or_else(image::Platform::host),
            credentials: args.creds.clone(),
        };
        let pulling = service.pull(pull);
        let bars = Bars::new(pulling.progress(), args.quiet);
        let image = bars.until(pulling).await?;
        if desk.place.output == ListForm::Table {
            print::out(&format!("{}\n", image.id))?;
        }
        pulled.push(json!(image));
    }
    match desk.place.output {
        ListForm::Table => Ok(()),
        ListForm::Json => print::json(&Value::from(pulled)),
        ListForm::Yaml => print::yaml(&Value::from(pulled)),
    }
}

/// Configuration that says "no TLS" for the registries that are asked.
fn plain(args: &PullArgs, config: &mut RegistryConfig) -> Result<Scratch> {
    let dir = std::env::temp_dir().join(format!("podloom-plain-{}", std::process::id()));
    let fault = |e: std::io::Error| Fault::new(5, dir.display().to_string(), e.to_string());
    fs::create_dir(&dir).map_err(fault)?;
    let scratch = Scratch(dir.clone());
    for reference in &args.references {
        let host = reference.registry();
        let text = format!("server = \"http://{host}\"\n\n[host.\"http://{host}\"]\n");
        let folder = dir.join(host);
        fs::create_dir_all(&folder).map_err(fault)?;
        fs::write(folder.join("hosts.toml"), text).map_err(fault)?;
    }
    config.certs_d.insert(0, dir);
    Ok(scratch)
}
