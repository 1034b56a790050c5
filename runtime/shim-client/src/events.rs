//! What a shim tells unasked.

use shim_protocol::Event;
use tokio::sync::mpsc;

/// Events of one shim, none lost, from the moment this was made.
#[derive(Debug)]
pub struct Events(pub(crate) mpsc::UnboundedReceiver<Event>);

impl Events {
    /// Waits until the shim tells that nothing is wrong with a container that it makes. False when the
    /// shim is gone; one of an older release never tells.
    pub async fn accepted(&mut self, id: &str) -> bool {
        while let Some(event) = self.next().await {
            if matches!(&event, Event::Accepted { id: accepted } if accepted == id) {
                return true;
            }
        }
        false
    }

    /// The next one; `None` when the shim is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}
