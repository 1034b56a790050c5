//! A socket to a plugin, or from one: calls in both directions at the same time.
//!
//! The messages' own implementation of ttrpc stands here, because both sides call and serve over one
//! socket, with limits for what the other side sends and deadlines for what it does not send.

use crate::wire::{self, Decoder, Kind, Lane, Message, Request, Response, Status, code};
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Calls of the other side that are served at the same time; who makes more is dropped.
const SERVED: usize = 32;

/// Messages that wait to be written; who has more waits.
const WAITING: usize = 32;

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// What an answer to the other side's call takes.
pub type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, Status>> + Send>>;

/// Who answers the other side.
pub trait Serve: Send + Sync + 'static {
    /// Answers one call.
    fn serve(&self, method: &str, payload: Bytes) -> Answer;
}

/// Which side of the socket this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// That which has pods.
    Runtime,
    /// That which looks at them.
    Plugin,
}

impl Side {
    /// The connection on which it asks, and that service.
    fn asks(self) -> (Lane, &'static str) {
        match self {
            Side::Runtime => (Lane::Plugin, "nri.pkg.api.v1alpha1.Plugin"),
            Side::Plugin => (Lane::Runtime, "nri.pkg.api.v1alpha1.Runtime"),
        }
    }

    fn other(self) -> Side {
        match self {
            Side::Runtime => Side::Plugin,
            Side::Plugin => Side::Runtime,
        }
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The other side refused, or failed.
    Refused(Status),
    /// No answer within this time.
    Deadline(Duration),
    /// The socket is closed, because of this.
    Closed(String),
    /// The argument has so many bytes, and was not sent.
    TooLong(usize),
    /// What came is no answer.
    Garbled(String),
}

impl Failure {
    /// Whether the other side is of no more use.
    pub fn is_fatal(&self) -> bool {
        match self {
            Failure::Deadline(_) | Failure::Closed(_) | Failure::Garbled(_) => true,
            Failure::Refused(_) | Failure::TooLong(_) => false,
        }
    }

    /// Whether the other side has no such method.
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Failure::Refused(status) if status.code == code::UNIMPLEMENTED)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(status) => write!(f, "{}", status.message),
            Failure::Deadline(limit) => write!(f, "gave no answer in {limit:?}"),
            Failure::Closed(why) => write!(f, "{why}"),
            Failure::TooLong(length) => {
                write!(f, "cannot be told {length} bytes, over {}", wire::MESSAGE_MAX)
            }
            Failure::Garbled(what) => write!(f, "sent no sound answer: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A socket, and who waits for answers on it. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    side: Side,
    calls: Mutex<Calls>,
    out: mpsc::Sender<Vec<u8>>,
    /// Why it is closed.
    closed: watch::Sender<Option<String>>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Calls {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Response>>,
}

impl Link {
    /// Takes a socket. To be called within a tokio runtime.
    pub fn new(stream: UnixStream, side: Side, server: Arc<dyn Serve>) -> Link {
        let (reader, writer) = stream.into_split();
        let (out, to_write) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            side,
            calls: Mutex::default(),
            out,
            closed: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(SERVED)),
        });
        tokio::spawn(write_all(shared.clone(), writer, to_write));
        tokio::spawn(read_all(shared.clone(), reader, server));
        Link { shared }
    }

    /// Asks the other side.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn call<Q: prost::Message, A: prost::Message + Default>(
        &self,
        method: &str,
        argument: &Q,
        limit: Duration,
    ) -> Result<A, Failure> {
        let answer = match tokio::time::timeout(limit, self.send(method, argument, limit)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Failure::Deadline(limit)),
        };
        match answer.status {
            Some(status) if status.code != 0 => Err(Failure::Refused(status)),
            _ => A::decode(answer.payload).map_err(|e| Failure::Garbled(e.to_string())),
        }
    }

    async fn send<Q: prost::Message>(
        &self,
        method: &str,
        argument: &Q,
        limit: Duration,
    ) -> Result<Response, Failure> {
        let (lane, service) = self.shared.side.asks();
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: argument.encode_to_vec().into(),
            timeout_nano: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
        };
        let payload = request.encode_to_vec();
        if payload.len() > wire::MESSAGE_MAX {
            return Err(Failure::TooLong(payload.len()));
        }
        let (told, answer) = oneshot::channel();
        let waiting = self.shared.wait(told)?;
        let frames = wire::encode(lane, waiting.stream, Kind::Request, &payload);
        if self.shared.out.send(frames).await.is_err() {
            return Err(self.shared.gone());
        }
        answer.await.map_err(|_| self.shared.gone())
    }

    /// Ends it, because of this. Who waits for an answer is told.
    pub fn close(&self, why: &str) {
        self.shared.close(why);
    }

    /// Waits until it is closed, and tells why.
    pub async fn closed(&self) -> String {
        let mut closed = self.shared.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // The sender lives as long as this.
            Err(_) => String::new(),
        }
    }
}

/// One call that waits; forgotten when its caller goes away.
struct Waiting<'a> {
    shared: &'a Shared,
    stream: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.calls().waiting.remove(&self.stream);
    }
}

impl Shared {
    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of its own for a call. Streams are odd, and none is used again.
    fn wait(&self, told: oneshot::Sender<Response>) -> Result<Waiting<'_>, Failure> {
        let mut calls = self.calls();
        if self.closed.borrow().is_some() {
            return Err(self.gone());
        }
        let next = if calls.last == 0 { Some(1) } else { calls.last.checked_add(2) };
        let Some(stream) = next else {
            self.close("there are no more numbers for calls");
            return Err(self.gone());
        };
        calls.last = stream;
        calls.waiting.insert(stream, told);
        Ok(Waiting { shared: self, stream })
    }

    fn gone(&self) -> Failure {
        Failure::Closed(self.closed.borrow().clone().unwrap_or_default())
    }

    fn close(&self, why: &str) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert_with(|| why.to_owned());
            first
        });
    }

    /// Deals with one message.
    fn take(self: &Arc<Self>, lane: Lane, message: Message, server: &Arc<dyn Serve>) {
        let asks = lane == self.side.asks().0;
        match (asks, message.kind) {
            (true, Kind::Response) => {
                let waiting = self.calls().waiting.remove(&message.stream);
                let (Some(waiting), Ok(response)) = (waiting, Response::decode(message.payload))
                else {
                    // Of a caller who does not wait any more, or nothing that could be understood:
                    // whoever waits is told by the deadline.
                    return;
                };
                // A caller who went away meanwhile does not mind.
                let _gone = waiting.send(response);
            }
            (false, Kind::Request) => self.serve(lane, message, server),
            _ => {}
        }
    }

    fn serve(self: &Arc<Self>, lane: Lane, message: Message, server: &Arc<dyn Serve>) {
        let (shared, server) = (self.clone(), server.clone());
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return self.close(&format!("makes over {SERVED} calls at once"));
        };
        let stream = message.stream;
        let work = async move {
            let answer = match Request::decode(message.payload) {
                Err(e) => Err(Status::new(code::INVALID_ARGUMENT, e)),
                Ok(request) if request.service == shared.side.other().asks().1 => {
                    server.serve(&request.method, request.payload).await
                }
                Ok(request) => {
                    let text = format!("service {} is not known", request.service);
                    Err(Status::new(code::UNIMPLEMENTED, text))
                }
            };
            let mut payload = encoded(answer);
            if payload.len() > wire::MESSAGE_MAX {
                payload = encoded(Err(Status::new(code::RESOURCE_EXHAUSTED, "answer too long")));
            }
            let frames = wire::encode(lane, stream, Kind::Response, &payload);
            // Closed: there is nobody to answer.
            let _closed = shared.out.send(frames).await;
            drop(place);
        };
        tokio::spawn(work);
    }
}

fn encoded(answer: Result<Vec<u8>, Status>) -> Vec<u8> {
    let response = match answer {
        Ok(payload) => Response { status: None, payload: payload.into() },
        Err(status) => Response { status: Some(status), payload: Bytes::new() },
    };
    response.encode_to_vec()
}

/// Waits until it is closed.
async fn set(closed: &mut watch::Receiver<Option<String>>) {
    // The sender lives as long as who waits.
    let _why = closed.wait_for(Option::is_some).await;
}

/// Writes until the socket is closed. Whole messages only: a caller who goes away breaks none off.
async fn write_all(
    shared: Arc<Shared>,
    mut writer: OwnedWriteHalf,
    mut to_write: mpsc::Receiver<Vec<u8>>,
) {
    let mut closed = shared.closed.subscribe();
    loop {
        let written = tokio::select! {
            () = set(&mut closed) => break,
            frames = to_write.recv() => match frames {
                Some(frames) => {
                    tokio::select! {
                        () = set(&mut closed) => break,
                        written = writer.write_all(&frames) => written,
                    }
                }
                None => break,
            },
        };
        if let Err(e) = written {
            shared.close(&format!("takes nothing any more: {e}"));
            break;
        }
    }
}

/// Reads until the socket is closed.
async fn read_all(shared: Arc<Shared>, mut reader: OwnedReadHalf, server: Arc<dyn Serve>) {
    let mut closed = shared.closed.subscribe();
    let (mut decoder, mut chunk) = (Decoder::default(), vec![0; CHUNK]);
    loop {
        let length = tokio::select! {
            () = set(&mut closed) => break,
            length = reader.read(&mut chunk) => length,
        };
        let taken = match length {
            Ok(0) => Err("hung up".to_owned()),
            Ok(length) => take_all(&shared, &mut decoder, &chunk[..length], &server),
            Err(e) => Err(format!("cannot be read from: {e}")),
        };
        if let Err(why) = taken {
            shared.close(&why);
            break;
        }
    }
    // Nobody answers these any more.
    shared.calls().waiting.clear();
}

fn take_all(
    shared: &Arc<Shared>,
    decoder: &mut Decoder,
    bytes: &[u8],
    server: &Arc<dyn Serve>,
) -> Result<(), String> {
    decoder.feed(bytes).map_err(|e| e.to_string())?;
    while let Some((lane, message)) = decoder.message().map_err(|e| e.to_string())? {
        shared.take(lane, message, server);
    }
    Ok(())
}
