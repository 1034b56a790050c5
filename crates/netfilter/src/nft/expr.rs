//! Expressions: the steps of a rule.

use super::wire::{Attributes, Writer, text};

/// A register of the rule machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(pub u32);

impl Reg {
    /// First 16-byte register.
    pub const R1: Reg = Reg(1);
    /// Second 16-byte register.
    pub const R2: Reg = Reg(2);
    /// The second 4 bytes of [`Reg::R1`]: where the second part of a concatenation lies.
    pub const R1_SECOND_WORD: Reg = Reg(9);
}

/// Packet and interface facts (`NFT_META_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    /// Ethernet type of what the frame carries, 2 bytes, network order.
    Protocol = 1,
    /// Packet mark, 4 bytes, machine order.
    Mark = 3,
    /// Index of the input interface, 4 bytes, machine order.
    Iif = 4,
    /// Index of the output interface, 4 bytes, machine order.
    Oif = 5,
    /// Name of the input interface, 16 bytes.
    IifName = 6,
    /// Name of the output interface, 16 bytes.
    OifName = 7,
    /// Address family, 1 byte.
    NfProto = 15,
    /// Transport protocol, 1 byte.
    L4Proto = 16,
}

/// Facts of a connection (`NFT_CT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Ct {
    /// State bits.
    State = 0,
    /// Direction, 1 byte.
    Direction = 1,
    /// Status bits (`IPS_*`).
    Status = 2,
    /// Connection mark.
    Mark = 3,
}

/// Where a payload offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PayloadBase {
    /// The link header.
    Link = 0,
    /// The IP header.
    Network = 1,
    /// The TCP, UDP or SCTP header.
    Transport = 2,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CmpOp {
    /// `==`
    Eq = 0,
    /// `!=`
    Neq = 1,
    /// `<`
    Lt = 2,
    /// `<=`
    Lte = 3,
    /// `>`
    Gt = 4,
    /// `>=`
    Gte = 5,
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let pass.
    Accept,
    /// Drop.
    Drop,
    /// Go on behind the rule that jumped here.
    Return,
    /// Call a chain.
    Jump(String),
    /// Continue in a chain, without coming back.
    Goto(String),
}

impl Verdict {
    /// The kernel's number (`NF_*`, `NFT_*`).
    fn code(&self) -> i32 {
        match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => -3,
            Verdict::Goto(_) => -4,
            Verdict::Return => -5,
        }
    }

    fn from_wire(code: i32, chain: Option<String>) -> Option<Verdict> {
        Some(match (code, chain) {
            (0, _) => Verdict::Drop,
            (1, _) => Verdict::Accept,
            (-3, Some(chain)) => Verdict::Jump(chain),
            (-4, Some(chain)) => Verdict::Goto(chain),
            (-5, _) => Verdict::Return,
            _ => return None,
        })
    }
}

/// Which address is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NatKind {
    /// Source.
    Snat = 0,
    /// Destination.
    Dnat = 1,
}

/// `NF_NAT_RANGE_MAP_IPS`.
const NAT_MAP_IPS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`, which nft sets when a port is given.
pub const NAT_PROTO_SPECIFIED: u32 = 2;
/// `NF_NAT_RANGE_PROTO_RANDOM`: pick source ports at random.
pub const NAT_RANDOM: u32 = 4;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
pub const NAT_FULLY_RANDOM: u32 = 16;

/// One step of a rule. Numbers in `data` fields are as the kernel compares them: packet fields in
/// network order, metadata in machine order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads a packet fact.
    Meta {
        /// Which fact.
        key: Meta,
        /// Destination.
        dreg: Reg,
    },
    /// Sets a packet fact.
    MetaSet {
        /// Which fact.
        key: Meta,
        /// Source.
        sreg: Reg,
    },
    /// Loads a fact of the connection.
    Ct {
        /// Which fact.
        key: Ct,
        /// Destination.
        dreg: Reg,
    },
    /// Sets a fact of the connection.
    CtSet {
        /// Which fact.
        key: Ct,
        /// Source.
        sreg: Reg,
    },
    /// Loads bytes of the packet.
    Payload {
        /// Where `offset` counts from.
        base: PayloadBase,
        /// Bytes behind the base.
        offset: u32,
        /// Bytes to load.
        len: u32,
        /// Destination.
        dreg: Reg,
    },
    /// Ends the rule unless a comparison holds.
    Cmp {
        /// Left side.
        sreg: Reg,
        /// Operator.
        op: CmpOp,
        /// Right side.
        data: Vec<u8>,
    },
    /// Ends the rule unless `from <= register <= to` (or, inverted, if so).
    Range {
        /// The value.
        sreg: Reg,
        /// Match what lies outside.
        invert: bool,
        /// Lower bound.
        from: Vec<u8>,
        /// Upper bound.
        to: Vec<u8>,
    },
    /// `dreg = (sreg & mask) ^ xor`
    Bitwise {
        /// Source.
        sreg: Reg,
        /// Destination.
        dreg: Reg,
        /// Bits kept.
        mask: Vec<u8>,
        /// Bits flipped afterwards; as long as `mask`.
        xor: Vec<u8>,
    },
    /// Loads a constant.
    Immediate {
        /// Destination.
        dreg: Reg,
        /// The constant.
        data: Vec<u8>,
    },
    /// Decides.
    Verdict(Verdict),
    /// Translates an address and, where given, a port.
    Nat {
        /// Source or destination.
        kind: NatKind,
        /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10).
        family: u8,
        /// Register of the address.
        addr: Option<Reg>,
        /// Register of the port.
        port: Option<Reg>,
        /// `NAT_*` bits.
        flags: u32,
    },
    /// Translates the source address to that of the output interface.
    Masquerade {
        /// `NAT_*` bits.
        flags: u32,
    },
    /// Loads the type of an address (`RTN_*`; local is 2), 4 bytes, machine order.
    FibAddrType {
        /// `NFTA_FIB_F_*` bits; 2 is the destination address.
        flags: u32,
        /// Destination.
        dreg: Reg,
    },
    /// Looks a value up in a set, or in a map when `dreg` is given.
    Lookup {
        /// Name of the set.
        set: String,
        /// The key.
        sreg: Reg,
        /// Where the map's data goes; register 0 for a verdict map.
        dreg: Option<Reg>,
        /// Match what is not in the set.
        invert: bool,
    },
    /// Counts.
    Counter,
    /// Anything else found in a rule of somebody else; cannot be written.
    Other(String),
}

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const LIST_ELEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

pub(crate) fn write_value(w: &mut Writer, kind: u16, data: &[u8]) {
    w.nest(kind, |w| w.raw(DATA_VALUE, data));
}

pub(crate) fn write_verdict(w: &mut Writer, kind: u16, verdict: &Verdict) {
    w.nest(kind, |w| {
        w.nest(DATA_VERDICT, |w| {
            w.raw(1, &verdict.code().to_be_bytes());
            if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
                w.string(2, chain);
            }
        });
    });
}

pub(crate) fn read_value(data: Attributes<'_>) -> Option<Vec<u8>> {
    data.find(DATA_VALUE).map(<[u8]>::to_vec)
}

pub(crate) fn read_verdict(data: Attributes<'_>) -> Option<Verdict> {
    let verdict = data.nested(DATA_VERDICT)?;
    let code = i32::from_be_bytes(verdict.find(1)?.try_into().ok()?);
    Verdict::from_wire(code, verdict.text(2))
}

impl Expr {
    fn name(&self) -> &str {
        match self {
            Expr::Meta { .. } | Expr::MetaSet { .. } => "meta",
            Expr::Ct { .. } | Expr::CtSet { .. } => "ct",
            Expr::Payload { .. } => "payload",
            Expr::Cmp { .. } => "cmp",
            Expr::Range { .. } => "range",
            Expr::Bitwise { .. } => "bitwise",
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
            Expr::Nat { .. } => "nat",
            Expr::Masquerade { .. } => "masq",
            Expr::FibAddrType { .. } => "fib",
            Expr::Lookup { .. } => "lookup",
            Expr::Counter => "counter",
            Expr::Other(name) => name,
        }
    }

    /// Writes the expression as one element of a rule's list.
    pub(crate) fn write(&self, w: &mut Writer) {
        w.nest(LIST_ELEM, |w| {
            w.string(EXPR_NAME, self.name());
            w.nest(EXPR_DATA, |w| self.write_data(w));
        });
    }

    fn write_data(&self, w: &mut Writer) {
        match self {
            Expr::Meta { key, dreg } => numbers(w, &[(1, dreg.0), (2, *key as u32)]),
            Expr::MetaSet { key, sreg } => numbers(w, &[(2, *key as u32), (3, sreg.0)]),
            Expr::Ct { key, dreg } => numbers(w, &[(1, dreg.0), (2, *key as u32)]),
            Expr::CtSet { key, sreg } => numbers(w, &[(2, *key as u32), (4, sreg.0)]),
            Expr::Payload { base, offset, len, dreg } => {
                numbers(w, &[(1, dreg.0), (2, *base as u32), (3, *offset), (4, *len)]);
            }
            Expr::Cmp { sreg, op, data } => {
                numbers(w, &[(1, sreg.0), (2, *op as u32)]);
                write_value(w, 3, data);
            }
            Expr::Range { sreg, invert, from, to } => {
                numbers(w, &[(1, sreg.0), (2, u32::from(*invert))]);
                write_value(w, 3, from);
                write_value(w, 4, to);
            }
            Expr::Bitwise { sreg, dreg, mask, xor } => {
                let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
                numbers(w, &[(1, sreg.0), (2, dreg.0), (3, len)]);
                write_value(w, 4, mask);
                write_value(w, 5, xor);
            }
            Expr::Immediate { dreg, data } => {
                w.be32(1, dreg.0);
                write_value(w, 2, data);
            }
            Expr::Verdict(verdict) => {
                w.be32(1, 0);
                write_verdict(w, 2, verdict);
            }
            Expr::Nat { kind, family, addr, port, flags } => {
                numbers(w, &[(1, *kind as u32), (2, u32::from(*family))]);
                optional(w, 3, addr.map(|r| r.0));
                optional(w, 5, port.map(|r| r.0));
                optional(w, 7, (*flags != 0).then_some(*flags));
            }
            Expr::Masquerade { flags } => optional(w, 1, (*flags != 0).then_some(*flags)),
            Expr::FibAddrType { flags, dreg } => numbers(w, &[(1, dreg.0), (2, 3), (3, *flags)]),
            Expr::Lookup { set, sreg, dreg, invert } => {
                w.string(1, set);
                w.be32(2, sreg.0);
                optional(w, 3, dreg.map(|r| r.0));
                optional(w, 5, invert.then_some(1));
            }
            Expr::Counter | Expr::Other(_) => {}
        }
    }
}

fn numbers(w: &mut Writer, values: &[(u16, u32)]) {
    for (kind, value) in values {
        w.be32(*kind, *value);
    }
}

fn optional(w: &mut Writer, kind: u16, value: Option<u32>) {
    if let Some(value) = value {
        w.be32(kind, value);
    }
}

/// The expressions of a rule as the kernel lists them.
pub(crate) fn read_list(list: &[u8]) -> Vec<Expr> {
    Attributes(list)
        .filter(|(kind, _)| *kind == LIST_ELEM)
        .map(|(_, element)| {
            let element = Attributes(element);
            let name = element.find(EXPR_NAME).map(text).unwrap_or_default();
            let data = element.nested(EXPR_DATA).unwrap_or(Attributes(&[]));
            read(&name, data).unwrap_or(Expr::Other(name))
        })
        .collect()
}

fn read(name: &str, data: Attributes<'_>) -> Option<Expr> {
    let number = |kind: u16| data.be32(kind);
    let reg = |kind: u16| data.be32(kind).map(Reg);
    Some(match name {
        "meta" => match reg(3) {
            Some(sreg) => Expr::MetaSet { key: meta(number(2)?)?, sreg },
            None => Expr::Meta { key: meta(number(2)?)?, dreg: reg(1)? },
        },
        "ct" => match reg(4) {
            Some(sreg) => Expr::CtSet { key: ct(number(2)?)?, sreg },
            None => Expr::Ct { key: ct(number(2)?)?, dreg: reg(1)? },
        },
        "payload" => Expr::Payload {
            dreg: reg(1)?,
            base: base(number(2)?)?,
            offset: number(3)?,
            len: number(4)?,
        },
        "cmp" => Expr::Cmp {
            sreg: reg(1)?,
            op: cmp_op(number(2)?)?,
            data: data.nested(3).and_then(read_value)?,
        },
        "range" => Expr::Range {
            sreg: reg(1)?,
            invert: number(2)? == 1,
            from: data.nested(3).and_then(read_value)?,
            to: data.nested(4).and_then(read_value)?,
        },
        "bitwise" => Expr::Bitwise {
            sreg: reg(1)?,
            dreg: reg(2)?,
            mask: data.nested(4).and_then(read_value)?,
            xor: data.nested(5).and_then(read_value)?,
        },
        "immediate" if number(1)? == 0 => Expr::Verdict(data.nested(2).and_then(read_verdict)?),
        "immediate" => {
            Expr::Immediate { dreg: reg(1)?, data: data.nested(2).and_then(read_value)? }
        }
        "fib" if number(2)? == 3 => Expr::FibAddrType { dreg: reg(1)?, flags: number(3)? },
        "counter" => Expr::Counter,
        _ => return read_action(name, data),
    })
}

fn read_action(name: &str, data: Attributes<'_>) -> Option<Expr> {
    let number = |kind: u16| data.be32(kind);
    let reg = |kind: u16| data.be32(kind).map(Reg);
    Some(match name {
        "masq" => Expr::Masquerade { flags: number(1).unwrap_or_default() },
        "lookup" => Expr::Lookup {
            set: data.text(1)?,
            sreg: reg(2)?,
            dreg: reg(3),
            invert: number(5).unwrap_or_default() & 1 == 1,
        },
        "nat" => Expr::Nat {
            kind: if number(1)? == 0 { NatKind::Snat } else { NatKind::Dnat },
            family: u8::try_from(number(2)?).ok()?,
            addr: reg(3),
            port: reg(5),
            // The kernel adds the bit that says there is an address.
            flags: number(7).unwrap_or_default() & !NAT_MAP_IPS,
        },
        _ => return None,
    })
}

fn meta(number: u32) -> Option<Meta> {
    use Meta::{Iif, IifName, L4Proto, Mark, NfProto, Oif, OifName, Protocol};
    let all = [Protocol, Mark, Iif, Oif, IifName, OifName, NfProto, L4Proto];
    all.into_iter().find(|k| *k as u32 == number)
}

fn ct(number: u32) -> Option<Ct> {
    [Ct::State, Ct::Direction, Ct::Status, Ct::Mark].into_iter().find(|k| *k as u32 == number)
}

fn base(number: u32) -> Option<PayloadBase> {
    use PayloadBase::{Link, Network, Transport};
    [Link, Network, Transport].into_iter().find(|k| *k as u32 == number)
}

fn cmp_op(number: u32) -> Option<CmpOp> {
    use CmpOp::{Eq, Gt, Gte, Lt, Lte, Neq};
    [Eq, Neq, Lt, Lte, Gt, Gte].into_iter().find(|k| *k as u32 == number)
}
