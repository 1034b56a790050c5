//! Netlink messages and attributes: writing and walking.

/// nf_tables' number among the nfnetlink subsystems.
const SUBSYSTEM: u16 = 10;
/// Starts a transaction.
pub(crate) const BATCH_BEGIN: u16 = 0x10;
/// Ends a transaction.
pub(crate) const BATCH_END: u16 = 0x11;
/// Bytes of `nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Bytes of `nfgenmsg`.
pub(crate) const NFGEN: usize = 4;

/// `NLM_F_REQUEST`.
pub(crate) const F_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(crate) const F_ACK: u16 = 0x4;
/// `NLM_F_ECHO`.
pub(crate) const F_ECHO: u16 = 0x8;
/// `NLM_F_DUMP_INTR`: the tables changed while they were listed.
pub(crate) const F_DUMP_INTR: u16 = 0x10;
/// `NLM_F_CAPPED`: an error carries only the header of the message it is about.
pub(crate) const F_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: an error carries attributes.
pub(crate) const F_ACK_TLVS: u16 = 0x200;
/// `NLM_F_DUMP`.
pub(crate) const F_DUMP: u16 = 0x300;
/// `NLM_F_EXCL`.
pub(crate) const F_EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub(crate) const F_CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(crate) const F_APPEND: u16 = 0x800;

/// `NLMSG_ERROR`: an acknowledgement or an error.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a list.
pub(crate) const DONE: u16 = 3;

const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;

/// The netlink type of nf_tables message `number`.
pub(crate) const fn message_type(number: u16) -> u16 {
    SUBSYSTEM << 8 | number
}

/// What `nfgenmsg.res_id` is in batch delimiters: the subsystem, in network order.
pub(crate) const RES_SUBSYSTEM: u16 = SUBSYSTEM;

const fn align(len: usize) -> usize {
    (len + 3) & !3
}

/// One message's fixed part.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) family: u8,
    pub(crate) res_id: u16,
}

/// A buffer of netlink messages.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// An attribute was longer than its 16-bit length can say.
    overflow: bool,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Writer {
        Writer { bytes: Vec::with_capacity(bytes), overflow: false }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.overflow
    }

    /// Appends a message whose attributes `fill` writes; returns where it begins.
    pub(crate) fn message(&mut self, header: Header, fill: impl FnOnce(&mut Writer)) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&header.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&header.flags.to_ne_bytes());
        self.bytes.extend_from_slice(&header.seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[header.family, 0]);
        self.bytes.extend_from_slice(&header.res_id.to_be_bytes());
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        start
    }

    /// Sets `flags` on the message that begins at `start`, beside those it has.
    pub(crate) fn add_flags(&mut self, start: usize, flags: u16) {
        let at = start + 6;
        let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, fill: impl FnOnce(&mut Writer)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = self.bytes.len() - start;
        let stored = u16::try_from(length).unwrap_or_else(|_| {
            self.overflow = true;
            4
        });
        self.bytes[start..start + 2].copy_from_slice(&stored.to_ne_bytes());
        self.bytes.resize(start + align(length), 0);
    }

    pub(crate) fn raw(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |w| w.bytes.extend_from_slice(value));
    }

    pub(crate) fn string(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |w| {
            w.bytes.extend_from_slice(value.as_bytes());
            w.bytes.push(0);
        });
    }

    pub(crate) fn be32(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) {
        self.raw(kind, &value.to_be_bytes());
    }

    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Writer)) {
        self.attribute(kind | NESTED, fill);
    }
}

/// The messages in a received buffer.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

/// One received message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// Everything behind the netlink header.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The nf_tables message number, if it is one.
    pub(crate) fn number(&self) -> Option<u16> {
        (self.kind >> 8 == SUBSYSTEM).then_some(self.kind & 0xff)
    }

    /// The attributes behind `nfgenmsg`.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.body.get(NFGEN..).unwrap_or_default())
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let bytes = self.0;
        let length = usize::try_from(ne32(bytes)?).ok()?;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        self.0 = bytes.get(align(length)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            seq: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            body: &bytes[HEADER..length],
        })
    }
}

/// The attributes in a run of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let bytes = self.0;
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & KIND_MASK;
        if length < 4 || length > bytes.len() {
            return None;
        }
        self.0 = bytes.get(align(length)..).unwrap_or_default();
        Some((kind, &bytes[4..length]))
    }
}

impl<'a> Attributes<'a> {
    /// The value of the first attribute `kind`.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(k, value)| (k == kind).then_some(value))
    }

    pub(crate) fn be32(self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(be32)
    }

    pub(crate) fn be64(self, kind: u16) -> Option<u64> {
        self.find(kind).and_then(|v| v.try_into().ok()).map(u64::from_be_bytes)
    }

    pub(crate) fn text(self, kind: u16) -> Option<String> {
        self.find(kind).map(text)
    }

    pub(crate) fn nested(self, kind: u16) -> Option<Attributes<'a>> {
        self.find(kind).map(Attributes)
    }
}

/// A number in network order.
pub(crate) fn be32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// The number in machine order at the start of `bytes`.
pub(crate) fn ne32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b))
}

/// A string up to its NUL.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// Type-length-value triples of an object's user data (one byte each for type and length).
pub(crate) struct UserData<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for UserData<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[kind, length], rest) = self.0.split_first_chunk::<2>()?;
        let value = rest.get(..usize::from(length))?;
        self.0 = &rest[usize::from(length)..];
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut writer = Writer::with_capacity(64);
        let header =
            Header { kind: message_type(6), flags: F_REQUEST, seq: 7, family: 1, res_id: 0 };
        let at = writer.message(header, |w| {
            w.string(1, "abc");
            w.nest(4, |w| w.be32(2, 0x0102_0304));
            w.be64(3, 9);
        });
        writer.add_flags(at, F_ACK);
        let message = Messages(writer.as_bytes()).next().expect("a message");
        assert_eq!((message.number(), message.seq, message.body[0]), (Some(6), 7, 1));
        assert_eq!(message.flags, F_REQUEST | F_ACK);
        let attributes = message.attributes();
        assert_eq!(attributes.text(1).as_deref(), Some("abc"));
        assert_eq!(attributes.nested(4).and_then(|n| n.be32(2)), Some(0x0102_0304));
        assert_eq!(attributes.be64(3), Some(9));
        assert_eq!(attributes.be32(9), None);
        assert!(!writer.overflowed());
    }

    #[test]
    fn cut_off_input_ends_the_walk() {
        assert_eq!(Messages(&[1, 2, 3]).count(), 0);
        assert_eq!(Messages(&[40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(Attributes(&[200, 0, 1, 0, 5]).count(), 0);
        assert_eq!(Attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(UserData(&[0, 9, 1]).count(), 0);
        assert_eq!(UserData(&[0, 1, 65, 200, 2, 1, 2]).count(), 2);
    }

    #[test]
    fn an_attribute_that_is_too_long_is_noticed() {
        let mut writer = Writer::default();
        writer.raw(1, &vec![0; 70_000]);
        assert!(writer.overflowed());
    }
}
