//! A transfer by TCP from one pod to another.

use super::cluster::{Cluster, Pod};
use crate::error::{About, Error, Result};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one transfer.
pub(crate) const SIZE: usize = 256 << 20;
/// Bytes of one call of the kernel.
const CHUNK: usize = 128 << 10;
const PORT: u16 = 5201;
/// How long either side waits for the other.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends [`SIZE`] bytes, and tells how long it took from before the connection is made until the
/// receiver has all of them.
pub(crate) fn transfer(
    cluster: &Cluster,
    from: &Pod,
    to: &Pod,
    index: usize,
) -> Result<std::result::Result<Duration, String>> {
    let address = to.address(index)?;
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let listener = cluster.inside(to, || TcpListener::bind(SocketAddr::new(any, PORT)))?;
    let listener = listener.about("listen in a pod")?;
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener));
        let start = Instant::now();
        let sent = cluster.inside(from, || send(SocketAddr::new(address, PORT)))?;
        if sent.is_err() {
            // The receiver waits for somebody.
            drop(cluster.inside(to, || TcpStream::connect(SocketAddr::new(address, PORT)))?);
        }
        let received = receiver.join().unwrap_or_else(|_| Err(std::io::Error::other("panicked")));
        Ok(match (sent, received) {
            (Ok(()), Ok((SIZE, end))) => Ok(end.duration_since(start)),
            (Ok(()), Ok((bytes, _))) => Err(format!("{bytes} of {SIZE} bytes arrived")),
            (Err(fault), _) | (_, Err(fault)) => Err(Error::new("tcp", fault).to_string()),
        })
    })
}

fn receive(listener: &TcpListener) -> std::io::Result<(usize, Instant)> {
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut buffer = vec![0; CHUNK];
    let mut all = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok((all, Instant::now())),
            some => all += some,
        }
    }
}

fn send(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    let chunk = vec![0x5a; CHUNK];
    for _ in 0..SIZE / CHUNK {
        stream.write_all(&chunk)?;
    }
    Ok(())
}
