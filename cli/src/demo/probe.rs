//! Traffic: pings, and echo servers for TCP and UDP.

use super::stage::Stage;
use crate::fault::{Fault, Result};
use netns::Netns;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which transport a host port has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        })
    }
}

/// One ping; an error if it is not answered.
pub(super) fn ping(stage: &Stage, from: &Netns, to: IpAddr) -> Result<()> {
    stage.say(from, &["ping", "-n", "-c", "1", "-W", "5", &to.to_string()]).map(|_| ())
}

fn trouble(what: &str, e: impl ToString) -> Fault {
    Fault::new(1, what, e.to_string())
}

/// A server inside a namespace that answers `count` requests with `greeting`, in the background.
pub(super) fn serve(
    place: &Netns,
    transport: Transport,
    port: u16,
    (greeting, count): (&'static str, usize),
) -> Result<JoinHandle<io::Result<()>>> {
    let what = "server in a pod";
    // For both families: an IPv6 socket takes IPv4 too unless told otherwise.
    let any: SocketAddr = ([0u16; 8], port).into();
    let server = place.run(|| match transport {
        Transport::Tcp => TcpListener::bind(any).map(Server::Tcp),
        Transport::Udp => UdpSocket::bind(any).map(Server::Udp),
    });
    let server = server.map_err(|e| trouble(what, e))?.map_err(|e| trouble(what, e))?;
    Ok(std::thread::spawn(move || (0..count).try_for_each(|_| server.answer(greeting.as_bytes()))))
}

enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Server {
    fn answer(&self, greeting: &[u8]) -> io::Result<()> {
        match self {
            Server::Tcp(listener) => {
                readable(listener)?;
                let (mut stream, _) = listener.accept()?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.write_all(greeting)
            }
            Server::Udp(socket) => {
                socket.set_read_timeout(Some(PATIENCE))?;
                let (_, from) = socket.recv_from(&mut [0; 64])?;
                socket.send_to(greeting, from).map(|_| ())
            }
        }
    }
}

fn readable(listener: &TcpListener) -> io::Result<()> {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, patience)? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Asks a server from inside a namespace and returns its greeting.
pub(super) fn ask(from: &Netns, transport: Transport, to: SocketAddr) -> Result<String> {
    let what = format!("{transport} request to {to}");
    let talk = || -> io::Result<String> {
        let mut answer = [0; 64];
        let length = match transport {
            Transport::Tcp => {
                let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.read(&mut answer)?
            }
            Transport::Udp => {
                let any: SocketAddr =
                    if to.is_ipv4() { ([0u8; 4], 0).into() } else { ([0u16; 8], 0).into() };
                let socket = UdpSocket::bind(any)?;
                socket.connect(to)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.send(b"hello")?;
                socket.recv(&mut answer)?
            }
        };
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let answer = from.run(talk).map_err(|e| trouble(&what, e))?;
    answer.map_err(|e| trouble(&what, e))
}
