//! Connection tracking entries: found by a filter that the kernel applies, removed one by one by
//! their exact tuple and identity. Nothing here can empty a table.

mod entry;
mod wire;

pub use entry::{Entry, Family, Filter, Tuple};

use crate::nft::farewell::leave_to_collector;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::io;
use std::os::fd::AsRawFd;

/// Room for the largest part of a dump the kernel sends at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// Whether the calling thread's network namespace tracks any connection. To list none costs the
/// kernel as much as to list many: it walks a table sized for the machine.
pub fn is_empty() -> bool {
    std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")
        .is_ok_and(|count| count.trim() == "0")
}

/// A ctnetlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
    sequence: u32,
}

impl Drop for Conntrack {
    /// Any netfilter socket waits at its close for rules that anybody has just deleted.
    fn drop(&mut self) {
        leave_to_collector(self.socket.as_raw_fd());
    }
}

impl Conntrack {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's, e.g. without netfilter support.
    pub fn open() -> io::Result<Conntrack> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Conntrack { socket, sequence: 0 })
    }

    /// The entries that match `filter`.
    ///
    /// Kernels since 5.8 apply the filter themselves; what older ones send is filtered here, so
    /// the answer is the same.
    ///
    /// # Errors
    /// The kernel's.
    pub fn list(&mut self, family: Family, filter: &Filter) -> io::Result<Vec<Entry>> {
        match self.dump(&wire::dump(family, Some(filter))) {
            // A kernel may know the attribute and still refuse a combination of flags.
            Err(error) if wire::is_unsupported(&error) => self.dump(&wire::dump(family, None)),
            other => other,
        }
        .map(|all| all.into_iter().filter(|e| filter.admits(e)).collect())
    }

    /// Removes the entries that match `filter` and that `pick` chooses; says how many.
    ///
    /// An entry that ends in the meantime, or is replaced by another with the same tuple, counts
    /// as done and the new one stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget(
        &mut self,
        family: Family,
        filter: &Filter,
        mut pick: impl FnMut(&Entry) -> bool,
    ) -> io::Result<usize> {
        let mut gone = 0;
        for entry in self.list(family, filter)? {
            if pick(&entry) && self.delete(family, &entry)? {
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Removes all entries that match `filter`.
    ///
    /// The kernel does it alone where it can: since 6.11, and not by IPv6 address. It then looks
    /// at every entry once without listing any, which is some eighty times faster.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep(&mut self, family: Family, filter: &Filter) -> io::Result<()> {
        let by_address = filter.to.is_some() || filter.answered_by.is_some();
        if family == Family::V4 || !by_address {
            let sequence = self.send(wire::sweep(family, filter))?;
            match self.acknowledged(sequence) {
                Err(error) if wire::is_unsupported(&error) => {}
                other => return other.map(|_| ()),
            }
        }
        self.forget(family, filter, |_| true).map(|_| ())
    }

    fn delete(&mut self, family: Family, entry: &Entry) -> io::Result<bool> {
        let sequence = self.send(wire::delete(family, entry))?;
        self.acknowledged(sequence)
    }

    /// Whether what was to be deleted was there.
    fn acknowledged(&mut self, sequence: u32) -> io::Result<bool> {
        loop {
            let mut buffer = Vec::with_capacity(BUFFER);
            self.socket.recv(&mut buffer, 0)?;
            for message in wire::messages(&buffer) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                match message.status()? {
                    Some(0) => return Ok(true),
                    Some(errno) if errno == nix::errno::Errno::ENOENT as i32 => return Ok(false),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    None => {}
                }
            }
        }
    }

    fn dump(&mut self, request: &[u8]) -> io::Result<Vec<Entry>> {
        let sequence = self.send(request.to_vec())?;
        let mut entries = Vec::new();
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            for message in wire::messages(&buffer) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                match message.status()? {
                    Some(0) => return Ok(entries),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    None => entries.extend(message.entry()),
                }
            }
        }
    }

    fn send(&mut self, mut request: Vec<u8>) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        wire::number(&mut request, self.sequence);
        self.socket.send(&request, 0)?;
        Ok(self.sequence)
    }
}
