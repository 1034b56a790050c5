//! `podloom net demo`: pods on real networks, and the proof that nothing is left of them.
//!
//! Everything happens in network namespaces that have no name and end with this process, and in
//! one temporary directory. The commands are those that an operator would type: this program
//! runs itself, on the demo's node.

mod lists;
mod probe;
mod snapshot;
mod stage;
mod story;
mod telling;

use crate::args::{Form, Place};
use crate::fault::{Fault, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the demo to its end; an interrupt ends it after the step that is under way.
pub(crate) fn run(place: &Place) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fault::new(5, "runtime", e.to_string()))?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.block_on(play(place.clone(), stop))
}

async fn play(place: Place, stop: Arc<AtomicBool>) -> Result<()> {
    let watch = |kind| signal(kind).map_err(|e| Fault::new(5, "signals", e.to_string()));
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let form: Option<Form> = place.output;
    let flag = stop.clone();
    // The steps block, so they run beside the task that waits for a signal.
    let mut work = tokio::task::spawn_blocking(move || {
        let mut telling = telling::Telling::new(form, flag);
        let outcome = story::tell(&mut telling, &place);
        telling.end(&outcome)?;
        outcome
    });
    let ended = tokio::select! {
        ended = &mut work => ended,
        _ = interrupt.recv() => { stop.store(true, Ordering::Relaxed); work.await }
        _ = terminate.recv() => { stop.store(true, Ordering::Relaxed); work.await }
    };
    let outcome = ended.map_err(|e| Fault::new(1, "demo", e.to_string()))?;
    // A step that was cut short by the same signal failed of it.
    if stop.load(Ordering::Relaxed) { Err(Fault::interrupted()) } else { outcome }
}
