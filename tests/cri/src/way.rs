//! The way to a node's daemon, for threads that outlast it.

use crate::Client;
use lab::Lab;
use std::path::PathBuf;
use std::sync::Arc;

/// How a node's daemon is reached; whether it runs does not matter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Way {
    pub(crate) lab: Arc<Lab>,
    pub(crate) socket: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) log_dir: PathBuf,
}

impl Way {
    /// A client with a connection of its own, which it makes again after each end of the daemon. To
    /// be called within a tokio runtime.
    pub fn client(&self) -> Client {
        Client::new(&self.socket, self.cgroup.clone(), self.log_dir.clone())
    }

    /// A connection for whoever is no client of the CRI.
    pub fn channel(&self) -> tonic::transport::Channel {
        crate::client::channel(&self.socket)
    }

    /// Runs `work` with a client, inside the node's network.
    ///
    /// # Panics
    /// Without threads, and where `work` does.
    pub fn run<T: Send>(&self, work: impl AsyncFnOnce(&mut Client) -> T + Send) -> T {
        self.lab.node().run(|| {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().expect("runtime");
            runtime.block_on(async { work(&mut self.client()).await })
        })
    }
}
