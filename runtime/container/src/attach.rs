//! Streams to a container's own process, and its log.

use crate::Result;
use crate::exec::Running;
use crate::process::{Attach, Process, Resizer};
use crate::shared::{Shared, of_shim};
use crate::streams::connect;
use std::sync::Arc;

/// Attaches.
pub(crate) async fn attach(shared: &Arc<Shared>, id: &str, wanted: Attach) -> Result<Process> {
    let running = Running::find_made(shared, id).await?;
    let config = running.container.config();
    let mut process = Process::unattached();
    let ours = Attach {
        stdin: wanted.stdin && config.stdin,
        stdout: wanted.stdout,
        // A terminal has one output for all.
        stderr: wanted.stderr && !config.tty,
    };
    let ours = connect(&mut process, ours)?;
    let id = running.container.id();
    shared.ask(id, running.shim.attach(id, ours)).await?;
    if config.tty {
        let (shim, id) = (running.shim.clone(), id.to_owned());
        process.resize = Some(Resizer(Arc::new(move |size| {
            let (shim, id) = (shim.clone(), id.clone());
            Box::pin(async move { shim.resize(&id, size).await.map_err(|e| of_shim(&id, &e)) })
        })));
    }
    let container = running.container.clone();
    process.exit = Box::pin(async move {
        container.ended().await;
        Ok(container.status().exit_code)
    });
    Ok(process)
}

/// Opens the log anew.
pub(crate) async fn reopen_log(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let running = Running::find(shared, id)?;
    let id = running.container.id();
    shared.ask(id, running.shim.reopen_log(id)).await
}
