//! Threads at work, which an async caller that gave up does not wait for.

use tokio::sync::watch;

/// Counts threads.
#[derive(Debug)]
pub(crate) struct Threads(watch::Sender<usize>);

/// One thread at work; held by it.
#[derive(Debug)]
pub(crate) struct AtWork(watch::Sender<usize>);

impl Default for Threads {
    fn default() -> Threads {
        Threads(watch::Sender::new(0))
    }
}

impl Threads {
    pub(crate) fn enter(&self) -> AtWork {
        self.0.send_modify(|count| *count += 1);
        AtWork(self.0.clone())
    }

    pub(crate) async fn idle(&self) {
        // The sender is ours, so waiting cannot fail.
        let mut count = self.0.subscribe();
        let _idle = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
