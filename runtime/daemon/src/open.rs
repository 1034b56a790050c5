//! The rooms, opened one after the other, with what each came upon.

use crate::fault::Fault;
use crate::settings;
use container::Containers;
use cri::{Cri, Parts};
use image::ImageService;
use nri::Nri;
use runtime_config::Config;
use sandbox::Sandboxes;
use stats::Stats;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

/// All that serves.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) parts: Parts,
    pub(crate) cri: Cri,
    pub(crate) nri: Nri,
}

pub(crate) async fn open(config: &Config) -> Result<Opened, Fault> {
    for dir in [&config.files.root, &config.files.state] {
        // Pods with ids of their own reach their root file systems through these.
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(dir);
        made.map_err(|e| Fault::new(dir.display(), e))?;
    }
    let wanted = settings::images(config);
    let images = tokio::task::spawn_blocking(move || ImageService::open(wanted)).await;
    let images = images.map_err(|e| Fault::new("images", e))?.map_err(|e| {
        let advice = e.advice().unwrap_or_default().to_owned();
        Fault::new("images", e).with_advice(advice)
    })?;
    let nri = Nri::new(settings::nri(config));
    let pods = pods(config, &nri).await?;
    let containers = containers(config, &nri, (&pods, &images)).await?;
    // Before anybody is served: who is started with this daemon misses nothing.
    nri.begin(containers.clone()).await.map_err(|e| Fault::new("NRI", e))?;
    let stats = Stats::new(containers.clone());
    let parts = Parts { pods, containers, images, stats };
    let streams = streaming::Server::bind(settings::streams(config), Cri::backend(&parts)).await;
    let streams = streams.map_err(|e| Fault::new("streaming", e))?;
    tracing::info!(address = %streams.address(), "streams are served");
    let cri = Cri::new(parts.clone(), settings::services(config)?, streams);
    Ok(Opened { parts, cri, nri })
}

async fn pods(config: &Config, nri: &Nri) -> Result<Sandboxes, Fault> {
    let mut wanted = settings::pods(config)?;
    wanted.hooks = Arc::new(nri.clone());
    let opened = Sandboxes::open(wanted).await;
    let (pods, found) = opened.map_err(|e| Fault::new("pods", e))?;
    for e in &found.errors {
        tracing::error!(cause = %e, "a pod could not be taken up; it is tried again at the next start");
    }
    let (ready, not_ready) = (found.ready.len(), found.not_ready.len());
    tracing::info!(ready, not_ready, undone = found.undone.len(), "pods were taken up");
    Ok(pods)
}

async fn containers(
    config: &Config,
    nri: &Nri,
    (pods, images): (&Sandboxes, &ImageService),
) -> Result<Containers, Fault> {
    let mut wanted = settings::containers(config);
    wanted.hooks = Arc::new(nri.clone());
    let opened = Containers::open(wanted, pods.clone(), images.clone()).await;
    let (containers, found) = opened.map_err(|e| Fault::new("containers", e))?;
    for e in &found.errors {
        tracing::error!(cause = %e, "a container could not be taken up; it is tried again at the next start");
    }
    let (running, exited) = (found.running.len(), found.exited.len());
    tracing::info!(running, exited, undone = found.undone.len(), "containers were taken up");
    Ok(containers)
}
