//! What a shim tells unasked.

use shim_protocol::Event;
use tokio::sync::mpsc;

/// Events of one shim, none lost, from the moment this was made.
#[derive(Debug)]
pub struct Events(pub(crate) mpsc::UnboundedReceiver<Event>);

impl Events {
    /// The next one; `None` when the shim is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}
