//! The output and input of one container, copied by a thread of its own.
//!
//! Output goes to the log first and then to the clients that are attached. A client that does not read
//! holds the container back for a while and is then cut off; the log misses nothing.

mod flow;
mod line;
mod log;
mod sink;
mod thread;

use crate::error::{Result, io};
use crate::stdio::Ends;
use crate::work;
use rustix::fd::OwnedFd;
use shim_protocol::Stdio;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory of a copier's stack.
const STACK: usize = 128 << 10;

/// Who hears how an order went.
pub(crate) type Told = Box<dyn FnOnce(Result<()>) + Send>;

/// What a copier is told to do.
pub(crate) enum Order {
    /// Copy to and from these, too.
    Attach(Streams, Told),
    /// End the container's input.
    CloseStdin(Told),
    /// Open the log anew.
    ReopenLog(Told),
    /// The container has ended: tell when all is copied that it wrote before.
    Drain(Told),
    /// Stop.
    End,
}

/// A client's streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// What copier and main thread share.
struct Shared {
    /// `None` once the copier has ended.
    orders: Mutex<Option<VecDeque<Order>>>,
    wake: Arc<OwnedFd>,
    lost: Arc<AtomicU64>,
    log: Option<shim_protocol::Log>,
}

/// A copier, as the main thread has it; dropped, it stops.
pub(crate) struct Copier(Arc<Shared>);

impl Copier {
    /// Begins to copy. Fails, for the log, before there is a container.
    pub(crate) fn prepare(stdio: &Stdio) -> Result<Prepared> {
        let lost = Arc::new(AtomicU64::new(0));
        let log = stdio.log.clone();
        let rate = log.as_ref().map_or(0, |log| log.max_rate);
        let log = log.map(|log| log::Log::new(log, Arc::clone(&lost))).transpose()?;
        let orders = Mutex::new(Some(VecDeque::new()));
        let wanted = stdio.log.clone();
        let shared = Arc::new(Shared { orders, wake: work::wake()?, lost, log: wanted });
        Ok(Prepared { shared, log, rate, stdin_once: stdio.stdin_once })
    }

    /// Gives an order. One that has ended copies nothing any more, and says so.
    pub(crate) fn order(&self, order: Order) {
        let refused = {
            let mut orders = self.0.orders.lock().unwrap_or_else(PoisonError::into_inner);
            match orders.as_mut() {
                Some(orders) => {
                    orders.push_back(order);
                    None
                }
                None => Some(order),
            }
        };
        match refused {
            None => work::rouse(&self.0.wake),
            Some(order) => order.after_end(&self.0),
        }
    }

    /// Bytes of output that are not in the log.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.order(Order::End);
    }
}

impl Order {
    /// What is said when all output was copied and its thread has ended.
    fn after_end(self, shared: &Shared) {
        match self {
            Order::Attach(_, told) => {
                let cause = "its output has ended";
                told(Err(shim_protocol::Error::new(
                    shim_protocol::Kind::Precondition,
                    "attach",
                    cause,
                )));
            }
            Order::ReopenLog(told) => match shared.log.clone() {
                Some(log) => make_empty(log, told),
                None => told(Ok(())),
            },
            Order::CloseStdin(told) | Order::Drain(told) => told(Ok(())),
            Order::End => {}
        }
    }
}

/// A log that was renamed as the output ended: readers expect a file at its path. By a thread of its
/// own, as the disk may hang.
fn make_empty(log: shim_protocol::Log, told: Told) {
    let told = Arc::new(Mutex::new(Some(told)));
    let tell = |told: &Mutex<Option<Told>>, result| {
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(told) = told {
            told(result);
        }
    };
    let builder = std::thread::Builder::new().name("log".to_owned()).stack_size(STACK);
    let teller = Arc::clone(&told);
    let started = builder.spawn(move || tell(&teller, log::open(&log).map(drop)));
    if let Err(error) = started {
        tell(&told, Err(io("log", "start a thread for it", error)));
    }
}

/// A copier whose container is being made.
pub(crate) struct Prepared {
    shared: Arc<Shared>,
    log: Option<log::Log>,
    rate: u64,
    stdin_once: bool,
}

impl Prepared {
    /// Copies pipes.
    pub(crate) fn pipes(self, ends: Ends) -> Result<Copier> {
        let copying = thread::Copying::pipes(ends);
        self.start(copying)
    }

    /// Copies a terminal, which nobody else may have.
    pub(crate) fn terminal(self, master: &OwnedFd) -> Result<Copier> {
        let dup = || {
            rustix::io::fcntl_dupfd_cloexec(master, 3).map_err(|errno| io("terminal", "dup", errno))
        };
        crate::stdio::unblock(master)?;
        let copying = thread::Copying::terminal(dup()?, dup()?);
        self.start(copying)
    }

    fn start(self, mut copying: thread::Copying) -> Result<Copier> {
        copying.log = self.log;
        copying.rate = self.rate;
        copying.stdin_once = self.stdin_once;
        let copier = Copier(Arc::clone(&self.shared));
        let builder = std::thread::Builder::new().name("copier".to_owned()).stack_size(STACK);
        builder
            .spawn(move || copying.run(&self.shared))
            .map_err(|error| io("copier", "start", error))?;
        Ok(copier)
    }
}
