//! One blocking socket: requests out, answers in.

use crate::wire::{Attributes, HEADER, Request, text_of, u16_at, u32_at};
use crate::{Error, Result};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NLMSG_OVERRUN,
};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;

/// The kernel makes no datagram larger than this for a reader that offers as much.
const BUFFER: usize = 32 * 1024;

/// How often an interrupted dump is taken again before the state is called too restless to read.
const DUMPS: u32 = 50;

#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// How one pass over the answers ended.
enum Ending {
    Done,
    /// A change in the kernel came between two parts of a dump.
    Interrupted,
}

impl Socket {
    pub(crate) fn open() -> Result<Socket> {
        let open = || -> io::Result<Socket> {
            let socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
            // The kernel binds it with the first request. A kernel older than 4.20 knows no strict
            // checking: it does not filter then, and the callers filter again themselves.
            socket.connect(&SocketAddr::new(0, 0))?;
            let _ = socket.set_ext_ack(true);
            let _ = socket.set_cap_ack(true);
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(Socket { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
        };
        open().map_err(|e| Error::io("open a netlink socket", &e))
    }

    /// Sends a request that changes something; `op` names it if it fails.
    pub(crate) fn change(
        &mut self,
        request: &Request,
        flags: u16,
        op: impl Fn() -> String,
    ) -> Result<()> {
        self.send(request, NLM_F_ACK | flags, &op)?;
        self.receive(&op, |_, _| {}).map(|_| ())
    }

    /// Sends a question with one answer, which `read` is given without its header.
    pub(crate) fn get<T>(
        &mut self,
        request: &Request,
        op: impl Fn() -> String,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let found = self.ask(request, 0, &op, read)?;
        found.ok_or_else(|| Error::local(op(), "the kernel's answer was not understood"))
    }

    /// As [`Socket::get`] for a question that the kernel may not answer, although it is none to refuse.
    pub(crate) fn ask<T>(
        &mut self,
        request: &Request,
        flags: u16,
        op: impl Fn() -> String,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        // The acknowledgement marks the end whether or not there was an answer.
        self.send(request, NLM_F_ACK | flags, &op)?;
        let mut found = None;
        self.receive(&op, |_, body| found = read(body))?;
        Ok(found)
    }

    /// Sends a question with many answers and collects what `read` makes of them.
    pub(crate) fn dump<T>(
        &mut self,
        request: &Request,
        op: impl Fn() -> String,
        read: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMPS {
            let mut found = Vec::new();
            self.send(request, NLM_F_DUMP, &op)?;
            match self.receive(&op, |kind, body| found.extend(read(kind, body)))? {
                Ending::Done => return Ok(found),
                Ending::Interrupted => {}
            }
        }
        Err(Error::local(op(), format!("changed under {DUMPS} attempts to read it")))
    }

    fn send(&mut self, request: &Request, flags: u16, op: &impl Fn() -> String) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + request.body.len();
        let mut bytes = Vec::with_capacity(length);
        let size = u32::try_from(length).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&size.to_ne_bytes());
        bytes.extend_from_slice(&request.kind.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        // The port, which the kernel does not look at.
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&request.body);
        loop {
            match self.socket.send(&bytes, 0) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(op(), &e)),
            }
        }
    }

    /// Reads the answers to the last request up to the one that ends them.
    fn receive(
        &mut self,
        op: &impl Fn() -> String,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<Ending> {
        let mut ending = Ending::Done;
        loop {
            self.buffer.clear();
            // The answer is queued before `send` returns; were it lost, waiting would not help.
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            let length = match self.socket.recv(&mut self.buffer, flags) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io(op(), &e)),
            };
            if length > self.buffer.len() {
                return Err(Error::local(op(), format!("an answer of {length} bytes was cut off")));
            }
            let mut rest = self.buffer.as_slice();
            while let Some((message, after)) = Message::split(rest) {
                rest = after;
                if message.sequence != self.sequence {
                    // Left over from a request that failed half way.
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    ending = Ending::Interrupted;
                }
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_OVERRUN => return Err(Error::local(op(), "answers were lost")),
                    NLMSG_DONE | NLMSG_ERROR => return message.verdict(op).map(|()| ending),
                    kind => each(kind, message.body),
                }
            }
        }
    }
}

/// One message of a datagram.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Message<'a>, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body: bytes.get(HEADER..length)?,
        };
        Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
    }

    /// The result that an error or an end message stands for.
    fn verdict(&self, op: &impl Fn() -> String) -> Result<()> {
        let code = u32_at(self.body, 0).unwrap_or_default().cast_signed();
        if code == 0 {
            return Ok(());
        }
        Err(Error { op: op(), errno: code.wrapping_neg(), text: self.extended() })
    }

    /// The text the kernel gives beside an errno (NLMSGERR_ATTR_MSG).
    ///
    /// It follows the request's header, and the rest of the request unless the kernel left that
    /// out (NLM_F_CAPPED). In an end message it follows the code at once.
    fn extended(&self) -> String {
        const ACK_TLVS: u16 = 0x200;
        const CAPPED: u16 = 0x100;
        const TEXT: u16 = 1;
        if self.flags & ACK_TLVS == 0 {
            return String::new();
        }
        let request = match self.kind {
            NLMSG_DONE => 0,
            _ if self.flags & CAPPED != 0 => HEADER,
            _ => u32_at(self.body, 4).map_or(HEADER, |n| n.next_multiple_of(4) as usize),
        };
        Attributes::after(self.body, 4 + request)
            .find(|(kind, _)| *kind == TEXT)
            .map(|(_, value)| text_of(value))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = u32::try_from(HEADER + body.len()).expect("short");
        bytes.extend_from_slice(&length.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn the_kernels_text_is_found_with_and_without_the_request() {
        let text = [7_u8, 0, 1, 0, b'n', b'o', 0, 0];
        let mut capped = (-libc::EINVAL).to_ne_bytes().to_vec();
        capped.extend_from_slice(&message(16, 0, &[]));
        capped.extend_from_slice(&text);
        let mut whole = (-libc::EINVAL).to_ne_bytes().to_vec();
        whole.extend_from_slice(&message(16, 0, &[1, 2, 3, 4]));
        whole.extend_from_slice(&text);
        let mut done = (-libc::EINVAL).to_ne_bytes().to_vec();
        done.extend_from_slice(&text);
        for bytes in [
            message(NLMSG_ERROR, 0x300, &capped),
            message(NLMSG_ERROR, 0x200, &whole),
            message(NLMSG_DONE, 0x200, &done),
        ] {
            let (message, rest) = Message::split(&bytes).expect("one message");
            assert!(rest.is_empty());
            let error = message.verdict(&|| "try".to_owned()).expect_err("refused");
            assert_eq!((error.errno, error.text.as_str()), (libc::EINVAL, "no"));
        }
    }

    #[test]
    fn a_cut_message_is_none() {
        let bytes = message(16, 0, &[1, 2, 3, 4]);
        assert!(Message::split(&bytes[..bytes.len() - 1]).is_none());
        assert!(Message::split(&bytes[..3]).is_none());
    }
}
