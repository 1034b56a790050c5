//! A process that was added to a container.

use crate::{Result, gone, io};
use rustix::fd::{AsFd, OwnedFd};
use rustix::termios::Winsize;
use shim_protocol::{Exit, Size};
use tokio::sync::oneshot;

/// A process that was added and runs, or has ended.
#[derive(Debug)]
pub struct Execution {
    /// Its number, as the node sees it.
    pub pid: i32,
    /// Its terminal's master, where it has one, and nobody else has it: closing it hangs up.
    pub terminal: Option<OwnedFd>,
    pub(crate) subject: String,
    pub(crate) exit: oneshot::Receiver<Exit>,
}

/// Sets the size of a terminal by its master.
///
/// # Errors
/// It is no terminal.
pub fn resize(terminal: impl AsFd, size: Size) -> Result<()> {
    let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
        .map_err(|errno| io("terminal", "set its size", errno))
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
