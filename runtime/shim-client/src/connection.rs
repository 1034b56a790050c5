//! One connection: requests in flight, replies, events.

use crate::{Result, gone, io};
use rustix::fd::OwnedFd;
use shim_protocol::wire::{Incoming, Outgoing};
use shim_protocol::{Answer, Call, Error, Event, Exit, Kind, Message, Request, frame};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

/// An answer with the descriptors that came with it.
pub(crate) type Answered = Result<(Answer, Vec<OwnedFd>)>;

/// A process that was added: its container and its own name.
type Process = (String, String);

/// The daemon's end.
pub(crate) struct Connection {
    subject: String,
    next: AtomicU64,
    outbox: mpsc::UnboundedSender<Outgoing>,
    waiting: Arc<Mutex<Waiting>>,
    closed: watch::Receiver<bool>,
    tasks: [tokio::task::AbortHandle; 2],
}

/// Who waits for what. Emptied when the connection ends, so that all hear of it.
#[derive(Default)]
struct Waiting {
    closed: bool,
    replies: HashMap<u64, oneshot::Sender<Answered>>,
    exits: HashMap<Process, oneshot::Sender<Exit>>,
    events: Vec<mpsc::UnboundedSender<Event>>,
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Takes a connected socket over.
    pub(crate) fn new(
        subject: String,
        socket: std::os::unix::net::UnixStream,
    ) -> Result<Connection> {
        socket.set_nonblocking(true).map_err(|error| io(&subject, "set non-blocking", error))?;
        let socket = UnixStream::from_std(socket)
            .map_err(|error| io(&subject, "register the socket", error))?;
        let socket = Arc::new(socket);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (outbox, queue) = mpsc::unbounded_channel();
        let (close, closed) = watch::channel(false);
        let writer = tokio::spawn(write(Arc::clone(&socket), queue));
        let reader = tokio::spawn(read(socket, Arc::clone(&waiting), close));
        let tasks = [reader.abort_handle(), writer.abort_handle()];
        let next = AtomicU64::new(1);
        Ok(Connection { subject, next, outbox, waiting, closed, tasks })
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call(&self, call: &Call, fds: Vec<OwnedFd>) -> Answered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = frame::encode(&Request::new(id, fds.len(), call)?)?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(gone(&self.subject));
            }
            waiting.replies.insert(id, sender);
        }
        if self.outbox.send(Outgoing::new(bytes, fds)).is_err() {
            return Err(gone(&self.subject));
        }
        receiver.await.unwrap_or_else(|_| Err(gone(&self.subject)))
    }

    /// The end of a process that is about to be added.
    pub(crate) fn exit_of(&self, id: &str, exec_id: &str) -> Result<oneshot::Receiver<Exit>> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            return Err(gone(&self.subject));
        }
        // Those whose caller is gone are of use to nobody.
        waiting.exits.retain(|_, sender| !sender.is_closed());
        match waiting.exits.entry((id.to_owned(), exec_id.to_owned())) {
            std::collections::hash_map::Entry::Occupied(_) => {
                let cause = format!("a process {exec_id} is there already");
                Err(Error::new(Kind::AlreadyExists, id, cause))
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(sender);
                Ok(receiver)
            }
        }
    }

    /// All events from now on.
    pub(crate) fn events(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut waiting = lock(&self.waiting);
        if !waiting.closed {
            waiting.events.push(sender);
        }
        receiver
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until the shim is gone.
    pub(crate) async fn closed(&self) {
        // Its sender goes with the reader, which means the same.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }

    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn write(socket: Arc<UnixStream>, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
    while let Some(mut frame) = queue.recv().await {
        let sent = socket.async_io(Interest::WRITABLE, || frame.send(&socket)).await;
        if sent.is_err() {
            // The reader hears of it as well, and tells all who wait.
            return;
        }
    }
}

async fn read(socket: Arc<UnixStream>, waiting: Arc<Mutex<Waiting>>, close: watch::Sender<bool>) {
    let mut incoming = Incoming::default();
    loop {
        let heard = socket.async_io(Interest::READABLE, || incoming.receive(&socket)).await;
        if !heard.unwrap_or(false) {
            break;
        }
        if !deliver(&mut incoming, &waiting) {
            break;
        }
    }
    let ended = {
        let mut waiting = lock(&waiting);
        waiting.closed = true;
        (
            std::mem::take(&mut waiting.replies),
            std::mem::take(&mut waiting.exits),
            std::mem::take(&mut waiting.events),
        )
    };
    // First the state, then those who wait: who hears of the end finds it.
    let _ = close.send(true);
    drop(ended);
}

/// Hands whole frames to those who wait; false when the shim speaks nonsense.
fn deliver(incoming: &mut Incoming, waiting: &Mutex<Waiting>) -> bool {
    loop {
        let message = match incoming.take::<Message>() {
            Ok(None) => return true,
            Ok(Some(message)) => message,
            Err(_) => return false,
        };
        match message {
            Message::Reply(reply) => {
                let Ok(fds) = incoming.take_fds(reply.fds) else { return false };
                let sender = lock(waiting).replies.remove(&reply.id);
                if let Some(sender) = sender {
                    // The caller may have given up.
                    let _ = sender.send(reply.result.map(|answer| (answer, fds)));
                }
            }
            Message::Event { event } => tell(&mut lock(waiting), event),
            Message::Unknown(value) => refuse(&value, waiting),
        }
    }
}

/// An answer of a later release, to somebody who waits.
fn refuse(value: &serde_json::Value, waiting: &Mutex<Waiting>) {
    let id = value.get("id").and_then(serde_json::Value::as_u64);
    if let Some(sender) = id.and_then(|id| lock(waiting).replies.remove(&id)) {
        let cause = "the shim's answer is not understood: it is of a later release";
        // The caller may have given up.
        let _ = sender.send(Err(Error::new(Kind::Internal, "shim", cause)));
    }
}

fn tell(waiting: &mut Waiting, event: Event) {
    if let Event::Exited(exit) = &event
        && let Some(exec_id) = &exit.exec_id
        && let Some(sender) = waiting.exits.remove(&(exit.id.clone(), exec_id.clone()))
    {
        // The caller may have given up.
        let _ = sender.send(exit.clone());
    }
    waiting.events.retain(|events| events.send(event.clone()).is_ok());
}
