//! The socket: transactions and questions.
//!
//! nfnetlink handles a request within the `send` that carries it. When `send` returns, every
//! reply is in the receive queue; so replies are read without ever waiting.

use super::batch::Batch;
use super::error::Error;
use super::object::{ChainInfo, ChainRef, Family, comment_of};
use super::rule::RuleInfo;
use super::set::{Element, SetRef};
use super::wire::{
    Attributes, DONE, ERROR, F_ACK, F_ACK_TLVS, F_CAPPED, F_DUMP, F_DUMP_INTR, F_REQUEST, HEADER,
    Header, Message, Messages, Writer, message_type, ne32, text,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};

const GETTABLE: u16 = 1;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const GETSETELEM: u16 = 13;
const GETGEN: u16 = 16;

/// Room for the largest datagram the kernel makes for a list (32 KiB) and then some.
const BUFFER: usize = 64 * 1024;
/// Requests up to this size fit any socket's default send buffer.
const SMALL_REQUEST: usize = 64 * 1024;
/// Replies to this many messages fit any socket's default receive buffer.
const SMALL_BATCH: usize = 64;
/// Receive buffer space that one error reply may take, with the kernel's own overhead.
const REPLY_SPACE: usize = 2048;
/// How often a list is read again because the ruleset changed meanwhile.
const DUMP_ATTEMPTS: usize = 64;

/// nf_tables of the network namespace in which it was opened.
///
/// When any netfilter netlink socket is closed, the kernel first waits until everything that was
/// deleted in its namespace has been freed, an RCU grace period (10 ms or so), and holds up all
/// other nf_tables changes meanwhile. So: an ADD deletes nothing, and a DEL keeps its `Nft` until
/// it has done its other slow work (the kernel frees in the background; the close then finds
/// nothing to wait for), or ends with [`Nft::leave_to_collector`].
pub struct Nft {
    socket: Socket,
    buffer: Vec<u8>,
}

/// What a committed batch reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Handles of the rules added with [`Batch::add_rule_echo`], in that order.
    pub handles: Vec<u64>,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::is_unsupported`] when the kernel has no netfilter netlink.
    pub fn open() -> Result<Nft, Error> {
        let fail = |e: &std::io::Error| Error::io("open nf_tables socket", e);
        let socket = Socket::new(NETLINK_NETFILTER).map_err(|e| fail(&e))?;
        socket.set_ext_ack(true).map_err(|e| fail(&e))?;
        socket.set_cap_ack(true).map_err(|e| fail(&e))?;
        Ok(Nft { socket, buffer: Vec::new() })
    }

    pub(super) fn raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.socket)
    }

    /// Commits all changes of `batch`, or none.
    ///
    /// # Errors
    /// The first change that the kernel refused.
    pub fn commit(&mut self, mut batch: Batch) -> Result<Receipt, Error> {
        if let Some((op, cause)) = batch.fault {
            return Err(Error::new(op, libc::EMSGSIZE, cause));
        }
        if batch.is_empty() {
            return Ok(Receipt::default());
        }
        batch.writer.add_flags(batch.last, F_ACK);
        batch.finish();
        if batch.writer.overflowed() {
            return Err(Error::new("commit nf_tables batch", libc::EMSGSIZE, "name too long"));
        }
        self.make_room(batch.writer.as_bytes().len(), batch.len())?;
        self.send(batch.writer.as_bytes()).map_err(|e| Error::io(&batch.ops[0], &e))?;
        let mut replies = Replies::new(batch.len());
        loop {
            match self.receive() {
                Ok(None) => return replies.verdict(&batch),
                Ok(Some(bytes)) => Messages(bytes).for_each(|m| replies.take(&m)),
                // Only the kernel's words are lost; the other replies are still in the queue.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => replies.lost = true,
                Err(e) => return Err(Error::io("read nf_tables replies", &e)),
            }
        }
    }

    /// The number of the ruleset's present generation; every commit in this namespace changes it.
    ///
    /// # Errors
    /// Those of the kernel; [`Error::is_unsupported`] without nf_tables.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut id = None;
        self.ask("get generation", (GETGEN, 0, 0), |_| {}, |m| id = m.attributes().be32(1))?;
        id.ok_or_else(|| Error::new("get generation", 0, "no answer"))
    }

    /// Whether a table is there.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn has_table(&mut self, family: Family, name: &str) -> Result<bool, Error> {
        Ok(self.table_comment(family, name)?.is_some())
    }

    /// The comment of a table (empty if it has none); `None` if the table is not there.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn table_comment(&mut self, family: Family, name: &str) -> Result<Option<String>, Error> {
        let op = format!("get table {} {name}", family.as_str());
        let mut found = None;
        let query = (GETTABLE, 0, family as u8);
        let answer = self.ask(
            &op,
            query,
            |w| w.string(1, name),
            |m| {
                found = Some(comment_of(m.attributes(), 6).unwrap_or_default());
            },
        );
        absent_is_none(answer)?;
        Ok(found)
    }

    /// A chain; `None` if it or its table is not there.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn chain(&mut self, chain: ChainRef<'_>) -> Result<Option<ChainInfo>, Error> {
        let mut found = None;
        let fill = |w: &mut Writer| {
            w.string(1, chain.table);
            w.string(3, chain.name);
        };
        let query = (GETCHAIN, 0, chain.family as u8);
        let answer =
            self.ask(&format!("get chain {chain}"), query, fill, |m| found = ChainInfo::read(m));
        absent_is_none(answer)?;
        Ok(found)
    }

    /// All chains of a table; none if there is no such table.
    ///
    /// # Errors
    /// Those of the kernel; EINTR if the ruleset never stood still.
    pub fn chains(&mut self, family: Family, table: &str) -> Result<Vec<ChainInfo>, Error> {
        let op = format!("list chains {} {table}", family.as_str());
        let found = self.list(&op, (GETCHAIN, family), |_| {}, ChainInfo::read)?;
        // The kernel has no filter for chains: it lists those of all tables of the family.
        Ok(found.into_iter().filter(|c| c.table == table).collect())
    }

    /// The rule with this handle; `None` if it is not in that chain.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn rule(&mut self, chain: ChainRef<'_>, handle: u64) -> Result<Option<RuleInfo>, Error> {
        let mut found = None;
        let fill = |w: &mut Writer| {
            w.string(1, chain.table);
            w.string(2, chain.name);
            w.be64(3, handle);
        };
        let op = format!("get rule {chain} handle {handle}");
        let query = (GETRULE, 0, chain.family as u8);
        let answer = self.ask(&op, query, fill, |m| found = RuleInfo::read(m));
        absent_is_none(answer)?;
        Ok(found)
    }

    /// The rules of a chain in order; none if there is no such chain or table.
    ///
    /// # Errors
    /// Those of the kernel; EINTR if the ruleset never stood still.
    pub fn rules(&mut self, chain: ChainRef<'_>) -> Result<Vec<RuleInfo>, Error> {
        let fill = |w: &mut Writer| {
            w.string(1, chain.table);
            w.string(2, chain.name);
        };
        let op = format!("list rules {chain}");
        self.list(&op, (GETRULE, chain.family), fill, RuleInfo::read)
    }

    /// The rules of all chains of a table.
    ///
    /// # Errors
    /// Those of the kernel; EINTR if the ruleset never stood still.
    pub fn table_rules(&mut self, family: Family, table: &str) -> Result<Vec<RuleInfo>, Error> {
        let op = format!("list rules {} {table}", family.as_str());
        self.list(&op, (GETRULE, family), |w| w.string(1, table), RuleInfo::read)
    }

    /// The elements of a set; none if there is no such set or table.
    ///
    /// # Errors
    /// Those of the kernel; EINTR if the ruleset never stood still.
    pub fn elements(&mut self, set: SetRef<'_>) -> Result<Vec<Element>, Error> {
        let fill = |w: &mut Writer| {
            w.string(1, set.table);
            w.string(2, set.name);
        };
        let op = format!("list elements {set}");
        let lists = self.list(&op, (GETSETELEM, set.family), fill, |m| Some(read_elements(m)));
        match lists {
            Err(e) if e.is_not_found() => Ok(Vec::new()),
            other => Ok(other?.into_iter().flatten().collect()),
        }
    }

    /// The element with this key; `None` if it, its set or its table is not there.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn element(&mut self, set: SetRef<'_>, key: &[u8]) -> Result<Option<Element>, Error> {
        let wanted = Element::key(key);
        let fill = |w: &mut Writer| {
            w.string(1, set.table);
            w.string(2, set.name);
            w.nest(3, |w| wanted.write(w));
        };
        let mut found = None;
        let query = (GETSETELEM, 0, set.family as u8);
        let answer = self.ask(&format!("get element {set}"), query, fill, |m| {
            found = read_elements(m).into_iter().next();
        });
        absent_is_none(answer)?;
        Ok(found)
    }

    /// Lists objects, again from the start when the ruleset changed meanwhile.
    fn list<T>(
        &mut self,
        op: &str,
        (number, family): (u16, Family),
        fill: impl Fn(&mut Writer),
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            let mut torn = false;
            self.ask(op, (number, F_DUMP, family as u8), &fill, |m| {
                torn |= m.flags & F_DUMP_INTR != 0;
                found.extend(read(m));
            })?;
            if !torn {
                return Ok(found);
            }
        }
        Err(Error::new(op, libc::EINTR, "the ruleset changed during every attempt to list it"))
    }

    /// Sends one question and hands each message of the answer to `take`.
    fn ask(
        &mut self,
        op: &str,
        (number, flags, family): (u16, u16, u8),
        fill: impl FnOnce(&mut Writer),
        mut take: impl FnMut(&Message<'_>),
    ) -> Result<(), Error> {
        let mut writer = Writer::with_capacity(256);
        let header = Header {
            kind: message_type(number),
            flags: F_REQUEST | flags,
            seq: 1,
            family,
            res_id: 0,
        };
        writer.message(header, fill);
        self.send(writer.as_bytes()).map_err(|e| Error::io(op, &e))?;
        let mut outcome = Ok(());
        // A list comes datagram by datagram: each receive makes the kernel prepare the next.
        while let Some(bytes) = self.receive().map_err(|e| Error::io(op, &e))? {
            for message in Messages(bytes) {
                match message.kind {
                    ERROR | DONE => {
                        if let Some((errno, text)) = refusal(&message) {
                            outcome = Err(Error::new(op, errno, text));
                        } else if message.flags & F_DUMP_INTR != 0 {
                            take(&message);
                        }
                    }
                    _ => take(&message),
                }
            }
        }
        outcome
    }

    fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        loop {
            match self.socket.send_to(bytes, &kernel, 0) {
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// The next datagram in the queue; `None` when it is empty.
    fn receive(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.buffer.clear();
        self.buffer.reserve(BUFFER);
        loop {
            match self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(_) => return Ok(Some(&self.buffer)),
                Err(e) => match e.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return Ok(None),
                    _ => return Err(e),
                },
            }
        }
    }

    /// Widens the socket's buffers for a large batch. What is refused here shows at `send`.
    fn make_room(&self, bytes: usize, messages: usize) -> Result<(), Error> {
        let fail = |e: nix::Error| Error::new("widen nf_tables socket", e as i32, "");
        if bytes > SMALL_REQUEST {
            setsockopt(&self.socket, sockopt::SndBufForce, &(2 * bytes)).map_err(fail)?;
        }
        if messages > SMALL_BATCH {
            setsockopt(&self.socket, sockopt::RcvBufForce, &(messages * REPLY_SPACE))
                .map_err(fail)?;
        }
        Ok(())
    }
}

fn absent_is_none(answer: Result<(), Error>) -> Result<(), Error> {
    match answer {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}

fn read_elements(message: &Message<'_>) -> Vec<Element> {
    let list = message.attributes().nested(3).unwrap_or(Attributes(&[]));
    list.filter_map(|(_, element)| Element::read(Attributes(element))).collect()
}

/// Errno and explanation of an error message; `None` for an acknowledgement.
fn refusal(message: &Message<'_>) -> Option<(i32, String)> {
    let number = ne32(message.body)?.cast_signed();
    if number == 0 {
        return None;
    }
    let mut explanation = String::new();
    if message.flags & F_ACK_TLVS != 0 {
        // Behind the errno: the header of the message at fault, with its payload unless capped.
        let original = message.body.get(4..).and_then(ne32).unwrap_or_default();
        let original = usize::try_from(original).unwrap_or(HEADER).next_multiple_of(4);
        let skip = 4 + if message.flags & F_CAPPED != 0 { HEADER } else { original };
        let attributes = Attributes(message.body.get(skip..).unwrap_or_default());
        explanation = attributes.find(1).map(text).unwrap_or_default();
    }
    Some((-number, explanation))
}

/// The replies to one batch.
struct Replies {
    count: usize,
    acknowledged: bool,
    lost: bool,
    handles: Vec<u64>,
    /// Sequence number, errno and explanation of the first refused message.
    refused: Option<(usize, i32, String)>,
}

impl Replies {
    fn new(count: usize) -> Replies {
        Replies { count, acknowledged: false, lost: false, handles: Vec::new(), refused: None }
    }

    fn take(&mut self, message: &Message<'_>) {
        let seq = usize::try_from(message.seq).unwrap_or(usize::MAX);
        if message.kind == ERROR {
            match refusal(message) {
                None => self.acknowledged |= seq == self.count,
                Some((errno, text)) => {
                    self.refused.get_or_insert((seq, errno, text));
                }
            }
        } else if message.number() == Some(NEWRULE) {
            self.handles.extend(message.attributes().be64(3));
        }
    }

    fn verdict(self, batch: &Batch) -> Result<Receipt, Error> {
        let op = |seq: usize| {
            seq.checked_sub(1)
                .and_then(|i| batch.ops.get(i))
                .map_or("commit nf_tables batch", |s| s)
        };
        if let Some((seq, errno, text)) = self.refused {
            return Err(Error::new(op(seq), errno, text));
        }
        if self.lost || !self.acknowledged {
            return Err(Error::new(
                op(self.count),
                libc::ENOBUFS,
                "the kernel's reply was lost; list the rules to learn the outcome",
            ));
        }
        if self.handles.len() != batch.echoes {
            return Err(Error::new(op(self.count), 0, "the kernel did not report every handle"));
        }
        Ok(Receipt { handles: self.handles })
    }
}
