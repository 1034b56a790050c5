//! A faulty network: a TCP proxy that does to connections what networks do.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes passed on at once.
const PIECE: usize = 16 * 1024;
/// How often a connection looks whether the proxy ends.
const TICK: Duration = Duration::from_millis(20);

/// What happens to a connection when as many bytes came from the server as the fault says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is closed after this many bytes.
    Cut(u64),
    /// Nothing more comes after this many bytes, and it stays open.
    Stall(u64),
    /// The byte at this place is another.
    Corrupt(u64),
    /// Each piece of 16 KiB comes this late, from the first byte on.
    Delay(Duration),
}

/// A proxy before a port of loopback; ends with all its connections on drop.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    fault: Mutex<Option<Fault>>,
    /// Connections that still get the fault.
    left: AtomicUsize,
    /// Connections that got it.
    faults: AtomicUsize,
    passed: AtomicU64,
    ends: AtomicBool,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

impl Proxy {
    /// A proxy before `target` that does no harm yet.
    ///
    /// # Panics
    /// When there is no port left.
    pub fn start(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("proxy");
        let port = listener.local_addr().expect("address").port();
        listener.set_nonblocking(true).expect("nonblocking");
        let shared = Arc::new(Shared {
            target,
            fault: Mutex::new(None),
            left: AtomicUsize::new(0),
            faults: AtomicUsize::new(0),
            passed: AtomicU64::new(0),
            ends: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let here = Arc::clone(&shared);
        let listener = Some(thread::spawn(move || accept(&listener, &here)));
        Proxy { port, shared, listener }
    }

    /// Does `fault` to the next `times` connections that reach it.
    ///
    /// # Panics
    /// Never.
    pub fn set(&self, fault: Fault, times: usize) {
        *self.shared.fault.lock().expect("fault") = Some(fault);
        self.shared.left.store(times, Ordering::SeqCst);
    }

    /// How many connections got their fault.
    pub fn faults(&self) -> usize {
        self.shared.faults.load(Ordering::SeqCst)
    }

    /// How many bytes came from the server and were passed on.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _ended = self.listener.take().map(JoinHandle::join);
        let connections = self.shared.connections.lock().map(|mut list| std::mem::take(&mut *list));
        for connection in connections.into_iter().flatten() {
            let _ended = connection.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ends.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((client, _)) => {
                let here = Arc::clone(shared);
                let connection = thread::spawn(move || connect(&client, &here));
                shared.connections.lock().expect("connections").push(connection);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(2)),
            Err(_) => break,
        }
    }
}

fn connect(client: &TcpStream, shared: &Arc<Shared>) {
    client.set_nonblocking(false).expect("blocking");
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)) else { return };
    for stream in [client, &server] {
        stream.set_read_timeout(Some(TICK)).expect("timeout");
        stream.set_nodelay(true).expect("delay");
    }
    let up = {
        let (client, server) =
            (client.try_clone().expect("stream"), server.try_clone().expect("stream"));
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            pass(&client, &server, &shared, |_, _| true);
            let _closed = server.shutdown(Shutdown::Both);
        })
    };
    let mut count = 0;
    pass(&server, client, shared, |piece, shared| harm(piece, &mut count, shared));
    let _closed = client.shutdown(Shutdown::Both);
    let _closed = server.shutdown(Shutdown::Both);
    let _ended = up.join();
}

/// Passes on until the end; `work` may change each piece, and ends it by saying false.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    shared: &Shared,
    mut work: impl FnMut(&mut Vec<u8>, &Shared) -> bool,
) {
    let mut buffer = vec![0; PIECE];
    while !shared.ends.load(Ordering::SeqCst) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                let mut piece = buffer[..count].to_vec();
                let goes_on = work(&mut piece, shared);
                if to.write_all(&piece).is_err() || !goes_on {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
}

fn harm(piece: &mut Vec<u8>, count: &mut u64, shared: &Shared) -> bool {
    let (begin, end) = (*count, *count + piece.len() as u64);
    *count = end;
    let fault = *shared.fault.lock().expect("fault");
    let mut goes_on = true;
    match fault {
        Some(Fault::Delay(time)) => thread::sleep(time),
        Some(Fault::Cut(at) | Fault::Stall(at) | Fault::Corrupt(at))
            if (begin..end).contains(&at) && take(shared) =>
        {
            let place = usize::try_from(at - begin).expect("place");
            match fault {
                Some(Fault::Corrupt(_)) => piece[place] ^= 0xff,
                Some(Fault::Stall(_)) => {
                    while !shared.ends.load(Ordering::SeqCst) {
                        thread::sleep(TICK);
                    }
                    goes_on = false;
                }
                _ => {
                    piece.truncate(place);
                    goes_on = false;
                }
            }
        }
        _ => {}
    }
    shared.passed.fetch_add(piece.len() as u64, Ordering::SeqCst);
    goes_on
}

/// Whether this connection gets the fault.
fn take(shared: &Shared) -> bool {
    let one_less = |left: usize| left.checked_sub(1);
    let taken = shared.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
    if taken {
        shared.faults.fetch_add(1, Ordering::SeqCst);
    }
    taken
}
