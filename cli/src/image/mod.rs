//! `podloom image`: images of this node.

pub(crate) mod args;
mod progress;
mod pull;
mod show;
mod transfer;

pub(crate) use progress::bytes;

use crate::fault::{Fault, Result};
use crate::print;
use args::{Image, ImageCommand, ImagePlace, ListForm, RmArgs};
use image::{Catalog, ImageService, Kind, RegistryConfig, Settings, Summary};
use serde_json::Value;
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};

/// The place to work in.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) place: ImagePlace,
}

impl Desk {
    /// Opens the store; `what` is who is named to others meanwhile.
    pub(crate) fn open(&self, what: &str, registry: RegistryConfig) -> Result<ImageService> {
        self.open_with(what, registry, true)
    }

    pub(crate) fn open_with(
        &self,
        what: &str,
        registry: RegistryConfig,
        keep_blobs: bool,
    ) -> Result<ImageService> {
        Ok(ImageService::open(Settings { registry, keep_blobs, ..self.settings(what) })?)
    }

    /// Opens only what lists and looks need.
    pub(crate) fn catalog(&self, what: &str) -> Result<Catalog> {
        Ok(Catalog::open(&self.settings(what))?)
    }

    /// All images.
    pub(crate) fn images(&self, what: &str) -> Result<Vec<Summary>> {
        Ok(Catalog::list_of(&self.settings(what))?)
    }

    fn settings(&self, what: &str) -> Settings {
        let holder = format!("podloom image {what}");
        Settings { holder, ..Settings::below(&self.place.root) }
    }

    /// Prints a document in the form that was asked for; `table` is what people are shown.
    pub(crate) fn print(&self, doc: &Value, table: impl FnOnce() -> String) -> Result<()> {
        match self.place.output {
            ListForm::Json => print::json(doc),
            ListForm::Yaml => print::yaml(doc),
            ListForm::Table => print::out(&table()),
        }
    }
}

/// Runs one command to its end.
pub(crate) fn run(image: Image) -> Result<()> {
    let desk = Desk { place: image.place };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fault::new(5, "runtime", e.to_string()))?;
    let outcome = runtime.block_on(until_interrupted(command(&desk, image.command)));
    // An interrupted pull's threads notice that nobody feeds them, and leave what came resumable.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome
}

async fn command(desk: &Desk, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Pull(pull) => pull::pull(desk, &pull).await,
        ImageCommand::Ls(ls) => show::list(desk, &ls),
        ImageCommand::Rm(rm) => remove(desk, &rm).await,
        ImageCommand::Inspect(inspect) => show::inspect(desk, &inspect),
        ImageCommand::Import(import) => transfer::import(desk, &import).await,
        ImageCommand::Export(export) => transfer::export(desk, &export).await,
        ImageCommand::Prune(prune) => show::prune(desk, &prune).await,
    }
}

async fn remove(desk: &Desk, rm: &RmArgs) -> Result<()> {
    let service = desk.open("rm", RegistryConfig::default())?;
    let mut faults = Vec::new();
    for image in &rm.images {
        match service.remove(image, rm.force).await {
            Ok(removal) => show::removal(desk, &removal)?,
            Err(e) => faults.push(Fault::from(e)),
        }
    }
    Fault::join(faults).map_or(Ok(()), Err)
}

async fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let watch = |kind| signal(kind).map_err(|e| Fault::new(5, "signals", e.to_string()));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Err(interrupted()),
        _ = terminate.recv() => Err(interrupted()),
    }
}

fn interrupted() -> Fault {
    Fault::new(130, "interrupted", "what came is kept for the next attempt")
}

impl From<image::Error> for Fault {
    fn from(error: image::Error) -> Fault {
        let code = match error.kind() {
            Kind::NotFound => 3,
            Kind::Ambiguous => 2,
            Kind::Invalid | Kind::Refused | Kind::Config => 4,
            Kind::Denied | Kind::Unavailable | Kind::Mismatch => 8,
            Kind::Cancelled => 130,
            _ => 5,
        };
        let text = error.to_string();
        let (subject, cause) = text.split_once(": ").unwrap_or(("image", text.as_str()));
        let fault = Fault::new(code, subject, cause);
        match error.advice() {
            Some(advice) => fault.advise(advice),
            None => fault,
        }
    }
}
