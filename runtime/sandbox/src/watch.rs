//! What becomes of a pod whose shim ends by itself.

use crate::Change;
use crate::sandbox::Sandbox;
use crate::sandboxes::{Shared, blocking};
use shim_client::protocol::Event;
use std::sync::Arc;

/// Notes the end of the pod's shim, as soon as it comes.
pub(crate) fn begin(shared: &Arc<Shared>, pod: &Arc<Sandbox>) {
    let Some(shim) = pod.held_shim() else { return };
    let (shared, pod) = (Arc::downgrade(shared), Arc::downgrade(pod));
    tokio::spawn(async move {
        let mut events = shim.events();
        let reason = loop {
            match events.next().await {
                Some(Event::InitExited { code }) => {
                    break format!("the first process of its PID namespace ended with {code}");
                }
                Some(_) => {}
                None => break format!("its shim, process {}, ended by itself", shim.about().pid),
            }
        };
        drop(shim);
        let (Some(shared), Some(pod)) = (shared.upgrade(), pod.upgrade()) else { return };
        // Who stops it holds the gate, and is the cause then.
        let _alone = pod.gate.lock().await;
        if !pod.status().ready {
            return;
        }
        tracing::error!(pod = pod.id(), reason, "pod is not ready any more");
        let (changed, why) = (pod.clone(), reason.clone());
        let written = blocking(move || {
            changed.change(|status| {
                status.ready = false;
                status.reason = why;
            })
        });
        if let Err(e) = written.await {
            tracing::error!(pod = pod.id(), error = %e, "the pod's status was not written");
        }
        shared.tell(pod.id(), Change::ShimLost(reason));
    });
}
