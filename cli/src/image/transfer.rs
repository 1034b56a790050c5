//! `podloom image import` and `export`.

use super::Desk;
use super::args::{ExportArgs, ExportForm, ImportArgs};
use super::progress::Bars;
use crate::fault::{Fault, Result};
use image::{Export, Form, Import, RegistryConfig};
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;

pub(super) async fn import(desk: &Desk, args: &ImportArgs) -> Result<()> {
    let service = desk.open("import", RegistryConfig::default())?;
    let import = Import {
        path: args.path.clone(),
        platform: args.platform.clone().unwrap_or_else(image::Platform::host),
        name: args.name.clone(),
    };
    let progress = service.begin_import(&args.path);
    let bars = Bars::new(progress.clone(), args.quiet);
    let images = bars.until(service.import_with(import, &progress)).await?;
    desk.print(&json!(images), || images.iter().map(|image| format!("{}\n", image.id)).collect())
}

pub(super) async fn export(desk: &Desk, args: &ExportArgs) -> Result<()> {
    if args.path == Path::new("-") {
        if args.format == ExportForm::OciLayout {
            let cause = "a layout is a directory";
            return Err(Fault::usage("standard output", cause, "choose an archive's form"));
        }
        if std::io::stdout().is_terminal() {
            let cause = "is a terminal, an archive is no text";
            return Err(Fault::usage("standard output", cause, "redirect it, or name a file"));
        }
    }
    let service = desk.open("export", RegistryConfig::default())?;
    let form = match args.format {
        ExportForm::OciArchive => Form::OciArchive,
        ExportForm::OciLayout => Form::OciLayout,
        ExportForm::DockerArchive => Form::DockerArchive,
    };
    let export =
        Export { images: args.images.clone(), path: args.path.clone(), form, gzip: args.gzip };
    Ok(service.export(export).await?)
}
