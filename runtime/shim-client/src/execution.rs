//! A process that was added to a container.

use crate::{Result, gone};
use rustix::fd::OwnedFd;
use shim_protocol::Exit;
use tokio::sync::oneshot;

/// A process that was added and runs, or has ended.
#[derive(Debug)]
pub struct Execution {
    /// Its number, as the node sees it.
    pub pid: i32,
    /// Its terminal's master, where it has one.
    pub terminal: Option<OwnedFd>,
    pub(crate) subject: String,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

impl Execution {
    /// Waits for its end. The wait may be given up and taken up again, until it gave an exit.
    ///
    /// # Errors
    /// The shim is gone.
    pub async fn wait(&mut self) -> Result<Exit> {
        (&mut self.exit).await.map_err(|_| gone(&self.subject))
    }
}
