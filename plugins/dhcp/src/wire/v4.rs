//! DHCPv4 messages (RFC 2131, 2).

use super::long;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Where servers and relays listen.
pub(crate) const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub(crate) const CLIENT_PORT: u16 = 68;

/// Numbers of options (RFC 2132, 3442, 3397).
pub(crate) mod code {
    pub(crate) const PAD: u8 = 0;
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTERS: u8 = 3;
    pub(crate) const NAME_SERVERS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const STATIC_ROUTES: u8 = 33;
    pub(crate) const REQUESTED_ADDRESS: u8 = 50;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const OVERLOAD: u8 = 52;
    pub(crate) const KIND: u8 = 53;
    pub(crate) const SERVER: u8 = 54;
    pub(crate) const WANTED: u8 = 55;
    pub(crate) const TEXT: u8 = 56;
    pub(crate) const LARGEST: u8 = 57;
    pub(crate) const RENEWAL: u8 = 58;
    pub(crate) const REBINDING: u8 = 59;
    pub(crate) const CLIENT_ID: u8 = 61;
    pub(crate) const SEARCH: u8 = 119;
    pub(crate) const CLASSLESS_ROUTES: u8 = 121;
    pub(crate) const END: u8 = 255;
}

/// What a message is (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Discover,
    Offer,
    Request,
    Ack,
    Nak,
    Release,
}

impl Kind {
    const NUMBERS: [(Kind, u8); 6] = [
        (Kind::Discover, 1),
        (Kind::Offer, 2),
        (Kind::Request, 3),
        (Kind::Ack, 5),
        (Kind::Nak, 6),
        (Kind::Release, 7),
    ];

    fn number(self) -> u8 {
        Kind::NUMBERS.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, number)| *number)
    }

    fn of(number: u8) -> Option<Kind> {
        Kind::NUMBERS.iter().find(|(_, n)| *n == number).map(|(kind, _)| *kind)
    }
}

/// Options by number; parts of one option are joined (RFC 3396).
pub(crate) type Options = BTreeMap<u8, Vec<u8>>;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Whether it is a server's.
    pub(crate) reply: bool,
    /// What it is.
    pub(crate) kind: Kind,
    /// Transaction.
    pub(crate) xid: u32,
    /// Seconds since the client began.
    pub(crate) secs: u16,
    /// Whether the answer is to be sent to everybody.
    pub(crate) broadcast: bool,
    /// The client's address, where it has one (`ciaddr`).
    pub(crate) client: Ipv4Addr,
    /// The address for the client (`yiaddr`).
    pub(crate) yours: Ipv4Addr,
    /// The client's hardware address.
    pub(crate) mac: [u8; 6],
    /// All but option 53.
    pub(crate) options: Options,
}

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Of the fields before the cookie.
const FIXED: usize = 236;
/// What relays of old may drop if it is less.
const LEAST: usize = 300;

impl Message {
    /// A client's message without anything in it.
    pub(crate) fn new(kind: Kind, xid: u32, mac: [u8; 6]) -> Message {
        Message {
            reply: false,
            kind,
            xid,
            secs: 0,
            broadcast: false,
            client: Ipv4Addr::UNSPECIFIED,
            yours: Ipv4Addr::UNSPECIFIED,
            mac,
            options: Options::new(),
        }
    }

    /// The message as the payload of a datagram.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.reply { 2 } else { 1 }, 1, 6, 0];
        out.extend(self.xid.to_be_bytes());
        out.extend(self.secs.to_be_bytes());
        out.extend([if self.broadcast { 0x80 } else { 0 }, 0]);
        out.extend(self.client.octets());
        out.extend(self.yours.octets());
        // The next server's and the relay's addresses are not a client's to say.
        out.extend([0; 8]);
        out.extend(self.mac);
        out.resize(FIXED, 0);
        out.extend(COOKIE);
        out.extend([code::KIND, 1, self.kind.number()]);
        for (number, value) in &self.options {
            let parts = value.chunks(255).chain(value.is_empty().then_some(&[][..]));
            for part in parts {
                out.extend([*number, part.len() as u8]);
                out.extend(part);
            }
        }
        out.push(code::END);
        if out.len() < LEAST {
            out.resize(LEAST, 0);
        }
        out
    }

    /// Reads a payload; `None` when it is no message of a kind that a client meets.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
        let (fixed, rest) = bytes.split_at_checked(FIXED)?;
        let options = rest.strip_prefix(&COOKIE)?;
        if fixed[1] != 1 || fixed[2] != 6 || !matches!(fixed[0], 1 | 2) {
            return None;
        }
        let mut found = Options::new();
        collect(options, &mut found)?;
        // Full options may go on in the fields for a boot file's and server's names.
        let overload = found.remove(&code::OVERLOAD).and_then(|v| v.first().copied());
        let overload = overload.unwrap_or_default();
        if overload & 1 != 0 {
            collect(&fixed[108..236], &mut found)?;
        }
        if overload & 2 != 0 {
            collect(&fixed[44..108], &mut found)?;
        }
        let kind = found.remove(&code::KIND)?;
        let ip = |at: usize| long(fixed.get(at..)?).map(Ipv4Addr::from);
        Some(Message {
            reply: fixed[0] == 2,
            kind: Kind::of(*kind.first()?)?,
            xid: long(&fixed[4..])?,
            secs: u16::from_be_bytes([fixed[8], fixed[9]]),
            broadcast: fixed[10] & 0x80 != 0,
            client: ip(12)?,
            yours: ip(16)?,
            mac: *fixed[28..].first_chunk()?,
            options: found,
        })
    }

    /// The value of an option that is one address, or the first of a list.
    pub(crate) fn address(&self, number: u8) -> Option<Ipv4Addr> {
        self.options.get(&number).and_then(|value| long(value)).map(Ipv4Addr::from)
    }

    /// The value of an option that is a list of addresses.
    pub(crate) fn addresses(&self, number: u8) -> Vec<Ipv4Addr> {
        let value = self.options.get(&number).map(Vec::as_slice).unwrap_or_default();
        value.chunks_exact(4).filter_map(long).map(Ipv4Addr::from).collect()
    }

    /// The value of an option that is a number of four bytes.
    pub(crate) fn number(&self, code: u8) -> Option<u32> {
        self.options.get(&code).filter(|value| value.len() == 4).and_then(|value| long(value))
    }
}

/// Adds the options of one field; `None` when one is cut off.
fn collect(mut field: &[u8], found: &mut Options) -> Option<()> {
    loop {
        match field {
            [] | [code::END, ..] => return Some(()),
            [code::PAD, rest @ ..] => field = rest,
            [number, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                found.entry(*number).or_default().extend(value);
                field = rest;
            }
            [_] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Message {
        let mut message = Message::new(Kind::Ack, 0x0102_0304, [2, 0, 0, 0, 0, 5]);
        message.reply = true;
        message.yours = Ipv4Addr::new(10, 0, 0, 9);
        message.options.insert(code::SUBNET_MASK, vec![255, 255, 255, 0]);
        message.options.insert(code::LEASE_TIME, 600_u32.to_be_bytes().to_vec());
        message.options.insert(code::ROUTERS, vec![10, 0, 0, 1, 10, 0, 0, 2]);
        message
    }

    #[test]
    fn messages_read_back() {
        let bytes = sample().encode();
        assert_eq!(bytes.len(), 300);
        let read = Message::decode(&bytes).expect("decode");
        assert_eq!(read, sample());
        assert_eq!(read.address(code::ROUTERS), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(read.addresses(code::ROUTERS).len(), 2);
        assert_eq!(read.number(code::LEASE_TIME), Some(600));
        assert_eq!(read.number(code::ROUTERS), None);
    }

    #[test]
    fn long_options_are_cut_and_joined() {
        let mut long = sample();
        long.options.insert(code::SEARCH, (0..=255).cycle().take(700).collect());
        assert_eq!(Message::decode(&long.encode()).expect("decode"), long);
    }

    #[test]
    fn options_go_on_in_other_fields() {
        let mut bytes = sample().encode();
        bytes.truncate(240);
        bytes.extend([code::OVERLOAD, 1, 3, code::KIND, 1, 5, code::END]);
        bytes[108..113].copy_from_slice(&[code::MTU, 2, 5, 0x78, code::END]);
        bytes[44..48].copy_from_slice(&[code::DOMAIN, 1, b'x', code::END]);
        let read = Message::decode(&bytes).expect("decode");
        assert_eq!(read.options.get(&code::MTU), Some(&vec![5, 0x78]));
        assert_eq!(read.options.get(&code::DOMAIN), Some(&vec![b'x']));
    }

    #[test]
    fn hostile_bytes_are_survived() {
        let whole = sample().encode();
        for bytes in super::super::mangled(&whole) {
            if let Some(read) = Message::decode(&bytes) {
                let _ = (read.addresses(code::ROUTERS), read.number(code::LEASE_TIME));
            }
        }
        for end in 0..240 {
            assert_eq!(Message::decode(&whole[..end]), None);
        }
    }
}
