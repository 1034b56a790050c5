//! Echo servers and their clients over TCP, UDP and SCTP.
//!
//! A server answers with its own name and the client's address as it sees it, so that a test can
//! tell which of several servers a port leads to, and whether the source was translated.

use crate::PATIENCE;
use crate::enter::Ns;
use crate::sctp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one try of a client waits for its answer.
const ROUND: Duration = Duration::from_millis(200);

/// A server in a namespace; it ends when this is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Name of the namespace that answered.
    pub server: String,
    /// The client's address as the server saw it.
    pub seen: SocketAddr,
    /// The client's own address as it sees it.
    pub local: SocketAddr,
}

impl Ns {
    /// Answers TCP connections to `port`, over IPv4 and IPv6.
    pub fn tcp_echo(&self, port: u16) -> Echo {
        let listener = self.run(|| {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
            socket.listen(64)?;
            io::Result::Ok(TcpListener::from(socket))
        });
        let listener = listener.unwrap_or_else(|e| panic!("tcp {port} in {}: {e}", self.name()));
        let name = self.name().to_owned();
        self.serve(move |stop| {
            while ready(&listener, &stop) {
                let Ok((mut stream, from)) = listener.accept() else { continue };
                // A client that hung up gets no answer; the next one does.
                drop(stream.write_all(answer(&name, from).as_bytes()));
            }
        })
    }

    /// Answers UDP datagrams to `port`, over IPv4 and IPv6.
    pub fn udp_echo(&self, port: u16) -> Echo {
        let socket = self.run(|| {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
            socket.set_only_v6(false)?;
            socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
            io::Result::Ok(UdpSocket::from(socket))
        });
        let socket = socket.unwrap_or_else(|e| panic!("udp {port} in {}: {e}", self.name()));
        let name = self.name().to_owned();
        self.serve(move |stop| {
            let mut buffer = [0_u8; 512];
            while ready(&socket, &stop) {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
                drop(socket.send_to(answer(&name, from).as_bytes(), from));
            }
        })
    }

    /// Answers SCTP INIT to `port` over the family of `family`. The lab speaks SCTP's first two
    /// messages itself, because a kernel may come without the protocol; for address translation
    /// and connection tracking they are all that counts.
    pub fn sctp_echo(&self, family: IpAddr, port: u16) -> Echo {
        let name = self.name().to_owned();
        let socket = self.run(|| sctp::socket(family));
        let mut socket = socket.unwrap_or_else(|e| panic!("sctp in {name}: {e}"));
        self.serve(move |stop| {
            while ready(&socket, &stop) {
                sctp::answer(&mut socket, port, |from| answer(&name, from));
            }
        })
    }

    /// Connects over TCP until a server answers.
    ///
    /// # Errors
    /// No answer within [`PATIENCE`].
    pub fn tcp(&self, to: SocketAddr) -> Result<Reply, String> {
        self.tcp_within(to, PATIENCE)
    }

    /// As [`Ns::tcp`], for as long as `limit`.
    ///
    /// # Errors
    /// No answer within `limit`.
    pub fn tcp_within(&self, to: SocketAddr, limit: Duration) -> Result<Reply, String> {
        self.tried("tcp", to, limit, || {
            let mut stream = TcpStream::connect_timeout(&to, ROUND)?;
            stream.set_read_timeout(Some(ROUND))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok((text, stream.local_addr()?))
        })
    }

    /// Sends UDP datagrams until a server answers.
    ///
    /// # Errors
    /// No answer within [`PATIENCE`].
    pub fn udp(&self, to: SocketAddr) -> Result<Reply, String> {
        self.udp_from(0, to, PATIENCE)
    }

    /// As [`Ns::udp`] from a fixed source port (0: any), for as long as `limit`.
    ///
    /// # Errors
    /// No answer within `limit`.
    pub fn udp_from(&self, port: u16, to: SocketAddr, limit: Duration) -> Result<Reply, String> {
        self.tried("udp", to, limit, || {
            let socket = UdpSocket::bind((unspecified(to.ip()), port))?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(ROUND))?;
            socket.send(b"who")?;
            let mut buffer = [0_u8; 512];
            let length = socket.recv(&mut buffer)?;
            Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), socket.local_addr()?))
        })
    }

    /// Sends SCTP INIT from `port` until a server answers.
    ///
    /// # Errors
    /// No answer within `limit`.
    pub fn sctp_from(&self, port: u16, to: SocketAddr, limit: Duration) -> Result<Reply, String> {
        self.tried("sctp", to, limit, || sctp::ask(port, to, ROUND))
    }

    fn tried(
        &self,
        protocol: &str,
        to: SocketAddr,
        limit: Duration,
        mut ask: impl FnMut() -> io::Result<(String, SocketAddr)> + Send,
    ) -> Result<Reply, String> {
        self.run(|| {
            let start = Instant::now();
            loop {
                let last = match ask() {
                    Ok((text, local)) => match understood(&text, local) {
                        Some(reply) => return Ok(reply),
                        None => format!("strange answer {text:?}"),
                    },
                    Err(e) => e.to_string(),
                };
                if start.elapsed() >= limit {
                    let name = self.name();
                    return Err(format!("{protocol} {name} -> {to}: {last} within {limit:?}"));
                }
                // Refusals come at once.
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    }

    fn serve(&self, f: impl FnOnce(UnixStream) + Send + 'static) -> Echo {
        let (stop, stopped) = UnixStream::pair().expect("a socket pair");
        let thread = self.thread(move || f(stopped));
        Echo { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A server that panicked has failed its clients already.
            drop(thread.join());
        }
    }
}

/// Waits for input; false when the server is to stop.
pub(crate) fn ready(socket: &impl AsFd, stop: &UnixStream) -> bool {
    let mut fds = [
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
            Ok(_) => return !fds[1].any().unwrap_or(true),
        }
    }
}

fn answer(name: &str, from: SocketAddr) -> String {
    format!("{name}|{}", SocketAddr::new(from.ip().to_canonical(), from.port()))
}

fn understood(text: &str, local: SocketAddr) -> Option<Reply> {
    let (server, seen) = text.split_once('|')?;
    Some(Reply { server: server.to_owned(), seen: seen.parse().ok()?, local })
}

pub(crate) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A raw socket of this protocol number and family.
pub(crate) fn raw(family: IpAddr, protocol: i32) -> io::Result<Socket> {
    let domain = if family.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))
}
