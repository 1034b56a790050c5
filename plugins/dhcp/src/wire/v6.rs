//! DHCPv6 messages (RFC 8415, 8 and 21).

use super::{long, names, number};
use std::net::Ipv6Addr;

/// Where servers and relays listen.
pub(crate) const SERVER_PORT: u16 = 547;
/// Where clients listen.
pub(crate) const CLIENT_PORT: u16 = 546;
/// All servers and relays of the link.
pub(crate) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Numbers of options.
pub(crate) mod code {
    pub(crate) const CLIENT_ID: u16 = 1;
    pub(crate) const SERVER_ID: u16 = 2;
    pub(crate) const ADDRESSES: u16 = 3;
    pub(crate) const ADDRESS: u16 = 5;
    pub(crate) const WANTED: u16 = 6;
    pub(crate) const PREFERENCE: u16 = 7;
    pub(crate) const ELAPSED: u16 = 8;
    pub(crate) const STATUS: u16 = 13;
    pub(crate) const NAME_SERVERS: u16 = 23;
    pub(crate) const SEARCH: u16 = 24;
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Solicit = 1,
    Advertise = 2,
    Request = 3,
    Renew = 5,
    Rebind = 6,
    Reply = 7,
    Release = 8,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        use Kind::*;
        let all = [Solicit, Advertise, Request, Renew, Rebind, Reply, Release];
        all.into_iter().find(|kind| *kind as u8 == number)
    }

    /// As the RFC writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Solicit => "SOLICIT",
            Kind::Advertise => "ADVERTISE",
            Kind::Request => "REQUEST",
            Kind::Renew => "RENEW",
            Kind::Rebind => "REBIND",
            Kind::Reply => "REPLY",
            Kind::Release => "RELEASE",
        }
    }
}

/// How an operation ended (option 13): a number, zero for well, and words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) number: u16,
    pub(crate) text: String,
}

impl Status {
    /// The server has no address to give.
    pub(crate) const NO_ADDRESS: u16 = 2;
    /// The server knows nothing of this address.
    pub(crate) const NO_BINDING: u16 = 3;
    /// The address does not belong to this link.
    pub(crate) const NOT_ON_LINK: u16 = 4;

    fn read(value: &[u8]) -> Option<Status> {
        let (number, text) = number(value)?;
        let text: String =
            String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        Some(Status { number, text })
    }
}

/// An address with its lifetimes, in seconds; `u32::MAX` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: Ipv6Addr,
    pub(crate) preferred: u32,
    pub(crate) valid: u32,
}

/// An association of addresses (IA_NA), of which this client has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Association {
    pub(crate) id: u32,
    /// Seconds until renewal; zero leaves it to the client.
    pub(crate) renewal: u32,
    /// Seconds until rebinding; zero leaves it to the client.
    pub(crate) rebinding: u32,
    pub(crate) addresses: Vec<Address>,
    pub(crate) status: Status,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// Transaction, 24 bits.
    pub(crate) xid: u32,
    /// The client's identity (DUID).
    pub(crate) client: Vec<u8>,
    /// The server's identity (DUID); empty if none.
    pub(crate) server: Vec<u8>,
    pub(crate) association: Option<Association>,
    /// Since the client began, in hundredths of a second; of a client's message only.
    pub(crate) elapsed: Option<u16>,
    /// Numbers of options that the client wants; of a client's message only.
    pub(crate) wanted: Vec<u16>,
    /// Of several servers the one with the greatest is to be taken.
    pub(crate) preference: u8,
    pub(crate) status: Status,
    pub(crate) name_servers: Vec<Ipv6Addr>,
    pub(crate) search: Vec<String>,
}

fn option(out: &mut Vec<u8>, number: u16, value: &[u8]) {
    out.extend(number.to_be_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(value);
}

/// The options of a field; ends early at one that is cut off.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (code, rest) = number(self.0)?;
        let (length, rest) = number(rest)?;
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some((code, value))
    }
}

impl Association {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [self.id, self.renewal, self.rebinding] {
            out.extend(word.to_be_bytes());
        }
        for address in &self.addresses {
            let mut value = address.ip.octets().to_vec();
            value.extend(address.preferred.to_be_bytes());
            value.extend(address.valid.to_be_bytes());
            option(&mut out, code::ADDRESS, &value);
        }
        out
    }

    fn read(value: &[u8]) -> Option<Association> {
        let (head, rest) = value.split_at_checked(12)?;
        let word = |at: usize| long(head.get(at..)?);
        let mut read = Association {
            id: word(0)?,
            renewal: word(4)?,
            rebinding: word(8)?,
            ..Association::default()
        };
        for (number, value) in Options(rest) {
            match number {
                code::ADDRESS => {
                    let ip: [u8; 16] = *value.first_chunk()?;
                    let (preferred, valid) = (long(value.get(16..)?)?, long(value.get(20..)?)?);
                    read.addresses.push(Address { ip: ip.into(), preferred, valid });
                }
                code::STATUS => read.status = Status::read(value)?,
                _ => {}
            }
        }
        Some(read)
    }
}

impl Message {
    /// A client's message without anything in it but who the client is.
    pub(crate) fn new(kind: Kind, xid: u32, client: &[u8]) -> Message {
        Message {
            kind,
            xid: xid & 0x00ff_ffff,
            client: client.to_vec(),
            server: Vec::new(),
            association: None,
            elapsed: None,
            wanted: Vec::new(),
            preference: 0,
            status: Status::default(),
            name_servers: Vec::new(),
            search: Vec::new(),
        }
    }

    /// A client's message as the payload of a datagram.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = (u32::from(self.kind as u8) << 24 | self.xid).to_be_bytes().to_vec();
        option(&mut out, code::CLIENT_ID, &self.client);
        if !self.server.is_empty() {
            option(&mut out, code::SERVER_ID, &self.server);
        }
        if let Some(association) = &self.association {
            option(&mut out, code::ADDRESSES, &association.encode());
        }
        if let Some(elapsed) = self.elapsed {
            option(&mut out, code::ELAPSED, &elapsed.to_be_bytes());
        }
        if !self.wanted.is_empty() {
            let list: Vec<u8> = self.wanted.iter().flat_map(|n| n.to_be_bytes()).collect();
            option(&mut out, code::WANTED, &list);
        }
        out
    }

    /// Reads a payload; `None` when it is no message that a client or server sends.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let head = u32::from_be_bytes(*head);
        let mut read = Message::new(Kind::of((head >> 24) as u8)?, head, &[]);
        for (number, value) in Options(rest) {
            match number {
                code::CLIENT_ID => value.clone_into(&mut read.client),
                code::SERVER_ID => value.clone_into(&mut read.server),
                code::ADDRESSES => read.association = Some(Association::read(value)?),
                code::PREFERENCE => read.preference = *value.first()?,
                code::ELAPSED => read.elapsed = super::number(value).map(|(n, _)| n),
                code::STATUS => read.status = Status::read(value)?,
                code::NAME_SERVERS => {
                    let all = value.chunks_exact(16).filter_map(|c| c.first_chunk::<16>());
                    read.name_servers = all.map(|octets| Ipv6Addr::from(*octets)).collect();
                }
                code::SEARCH => read.search = names::read(value).unwrap_or_default(),
                _ => {}
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Message {
        let ip = "fd00::5".parse().expect("address");
        let mut message = Message::new(Kind::Reply, 0xff01_0203, &[0, 4, 1, 2]);
        message.server = vec![0, 1, 9];
        message.elapsed = Some(7);
        message.association = Some(Association {
            id: 1,
            renewal: 50,
            rebinding: 80,
            addresses: vec![Address { ip, preferred: 100, valid: 200 }],
            status: Status::default(),
        });
        message
    }

    #[test]
    fn messages_read_back() {
        let read = Message::decode(&sample().encode()).expect("decode");
        assert_eq!(read, sample());
        assert_eq!(read.xid, 0x01_0203);
    }

    #[test]
    fn resolvers_and_status_are_read() {
        let mut bytes = sample().encode();
        let servers: Vec<u8> = ["fd00::1", "fd00::2"]
            .iter()
            .flat_map(|ip| ip.parse::<Ipv6Addr>().expect("address").octets())
            .collect();
        option(&mut bytes, code::NAME_SERVERS, &servers);
        option(&mut bytes, code::SEARCH, b"\x01a\x01b\x00");
        option(&mut bytes, code::STATUS, b"\x00\x02none\n left");
        option(&mut bytes, code::PREFERENCE, &[255]);
        let read = Message::decode(&bytes).expect("decode");
        assert_eq!(read.name_servers.len(), 2);
        assert_eq!(read.search, ["a.b"]);
        assert_eq!((read.status.number, read.status.text.as_str()), (2, "none left"));
        assert_eq!(read.preference, 255);
    }

    #[test]
    fn hostile_bytes_are_survived() {
        let whole = sample().encode();
        for bytes in super::super::mangled(&whole) {
            let _ = Message::decode(&bytes);
        }
        assert_eq!(Message::decode(&[]), None);
        assert_eq!(Message::decode(&[99, 0, 0, 0]), None);
    }
}
