//! Rules: built step by step, or as the kernel lists them.

use super::expr::{CmpOp, Ct, Expr, Meta, PayloadBase, Reg, Verdict, read_list};
use super::object::{ChainRef, Family, read_user_data, user_data};
use super::wire::{Message, Writer};
use ipnetwork::IpNetwork;
use std::net::IpAddr;

/// `RTN_LOCAL`: an address of this node.
const RTN_LOCAL: u32 = 2;
/// `NFTA_FIB_F_DADDR`.
const FIB_DADDR: u32 = 2;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)`.
const CT_ESTABLISHED: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_RELATED)`.
const CT_RELATED: u32 = 4;

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Source.
    Source,
    /// Destination.
    Destination,
}

/// A rule to be added. The methods append what `nft` would for the statement they name, so that
/// `nft list ruleset` shows exactly that statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Where it goes.
    pub chain: ChainRef<'a>,
    /// Its steps.
    pub exprs: Vec<Expr>,
    /// Its comment, at most 128 bytes.
    pub comment: Option<String>,
    /// A tag of ours beside the comment, unseen by `nft`; with the comment at most 251 bytes.
    pub owner: Option<Vec<u8>>,
}

impl<'a> Rule<'a> {
    /// An empty rule for `chain`.
    pub fn new(chain: ChainRef<'a>) -> Rule<'a> {
        Rule { chain, exprs: Vec::with_capacity(8), comment: None, owner: None }
    }

    /// Appends one expression.
    #[must_use]
    pub fn expr(mut self, expr: Expr) -> Rule<'a> {
        self.exprs.push(expr);
        self
    }

    /// Sets the comment.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<String>) -> Rule<'a> {
        self.comment = Some(comment.into());
        self
    }

    /// Sets the owner tag.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<Vec<u8>>) -> Rule<'a> {
        self.owner = Some(owner.into());
        self
    }

    fn compare(self, op: CmpOp, data: Vec<u8>) -> Rule<'a> {
        self.expr(Expr::Cmp { sreg: Reg::R1, op, data })
    }

    fn meta(self, key: Meta, data: Vec<u8>) -> Rule<'a> {
        self.expr(Expr::Meta { key, dreg: Reg::R1 }).compare(CmpOp::Eq, data)
    }

    /// `ip|ip6 saddr|daddr [!=] net`. In an inet table the family is matched first, unless the
    /// rule does so already.
    #[must_use]
    pub fn address(self, which: Address, op: CmpOp, net: IpNetwork) -> Rule<'a> {
        let (protocol, offset, bytes) = match (net.network(), which) {
            (IpAddr::V4(ip), Address::Source) => (NFPROTO_IPV4, 12, ip.octets().to_vec()),
            (IpAddr::V4(ip), Address::Destination) => (NFPROTO_IPV4, 16, ip.octets().to_vec()),
            (IpAddr::V6(ip), Address::Source) => (NFPROTO_IPV6, 8, ip.octets().to_vec()),
            (IpAddr::V6(ip), Address::Destination) => (NFPROTO_IPV6, 24, ip.octets().to_vec()),
        };
        let base = PayloadBase::Network;
        let rule = self.nfproto_once(protocol);
        let bits = usize::from(net.prefix());
        let load = |len: usize| Expr::Payload {
            base,
            offset,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            dreg: Reg::R1,
        };
        if bits % 8 == 0 && bits > 0 {
            let len = bits / 8;
            return rule.expr(load(len)).compare(op, bytes[..len].to_vec());
        }
        let mask = (0..bytes.len()).map(|i| prefix_byte(bits, i)).collect();
        rule.expr(load(bytes.len()))
            .expr(Expr::Bitwise { sreg: Reg::R1, dreg: Reg::R1, mask, xor: vec![0; bytes.len()] })
            .compare(op, bytes)
    }

    fn nfproto_once(self, protocol: u8) -> Rule<'a> {
        let load = Expr::Meta { key: Meta::NfProto, dreg: Reg::R1 };
        if self.chain.family == Family::Inet && !self.exprs.contains(&load) {
            return self.meta(Meta::NfProto, vec![protocol]);
        }
        self
    }

    /// `ip|ip6 saddr net`
    #[must_use]
    pub fn saddr(self, net: IpNetwork) -> Rule<'a> {
        self.address(Address::Source, CmpOp::Eq, net)
    }

    /// `ip|ip6 daddr net`
    #[must_use]
    pub fn daddr(self, net: IpNetwork) -> Rule<'a> {
        self.address(Address::Destination, CmpOp::Eq, net)
    }

    /// `ip|ip6 daddr != net`
    #[must_use]
    pub fn not_daddr(self, net: IpNetwork) -> Rule<'a> {
        self.address(Address::Destination, CmpOp::Neq, net)
    }

    /// `meta l4proto protocol` (6 TCP, 17 UDP, 132 SCTP).
    #[must_use]
    pub fn l4proto(self, protocol: u8) -> Rule<'a> {
        self.meta(Meta::L4Proto, vec![protocol])
    }

    /// `tcp|udp|sctp dport port`
    #[must_use]
    pub fn dport(self, protocol: u8, port: u16) -> Rule<'a> {
        let load = Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, dreg: Reg::R1 };
        self.l4proto(protocol).expr(load).compare(CmpOp::Eq, port.to_be_bytes().to_vec())
    }

    /// `tcp|udp|sctp dport first-last`
    #[must_use]
    pub fn dports(self, protocol: u8, first: u16, last: u16) -> Rule<'a> {
        let load = Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, dreg: Reg::R1 };
        self.l4proto(protocol)
            .expr(load)
            .compare(CmpOp::Gte, first.to_be_bytes().to_vec())
            .compare(CmpOp::Lte, last.to_be_bytes().to_vec())
    }

    /// `ether saddr mac`
    #[must_use]
    pub fn ether_saddr(self, mac: [u8; 6]) -> Rule<'a> {
        self.expr(Expr::Payload { base: PayloadBase::Link, offset: 6, len: 6, dreg: Reg::R1 })
            .compare(CmpOp::Eq, mac.to_vec())
    }

    /// `iifname "name"`
    #[must_use]
    pub fn iifname(self, name: &str) -> Rule<'a> {
        self.meta(Meta::IifName, link_name(name))
    }

    /// `oifname "name"`
    #[must_use]
    pub fn oifname(self, name: &str) -> Rule<'a> {
        self.meta(Meta::OifName, link_name(name))
    }

    /// `oifname != "name"`
    #[must_use]
    pub fn not_oifname(self, name: &str) -> Rule<'a> {
        self.expr(Expr::Meta { key: Meta::OifName, dreg: Reg::R1 })
            .compare(CmpOp::Neq, link_name(name))
    }

    /// `iifname|oifname @set`
    #[must_use]
    pub fn link_in(self, key: Meta, set: &str) -> Rule<'a> {
        self.expr(Expr::Meta { key, dreg: Reg::R1 }).lookup(set)
    }

    fn lookup(self, set: &str) -> Rule<'a> {
        let set = set.to_owned();
        self.expr(Expr::Lookup { set, sreg: Reg::R1, dreg: None, invert: false })
    }

    /// `ip|ip6 saddr|daddr @set`, of the family of `protocol` (2 IPv4, 10 IPv6).
    #[must_use]
    pub fn address_in(self, which: Address, protocol: u8, set: &str) -> Rule<'a> {
        let (offset, len) = match (protocol, which) {
            (NFPROTO_IPV4, Address::Source) => (12, 4),
            (NFPROTO_IPV4, Address::Destination) => (16, 4),
            (_, Address::Source) => (8, 16),
            (_, Address::Destination) => (24, 16),
        };
        let load = Expr::Payload { base: PayloadBase::Network, offset, len, dreg: Reg::R1 };
        self.nfproto_once(protocol).expr(load).lookup(set)
    }

    /// `ct state established,related`
    #[must_use]
    pub fn ct_known(self) -> Rule<'a> {
        let mask = (CT_ESTABLISHED | CT_RELATED).to_ne_bytes().to_vec();
        let zero = || vec![0; 4];
        self.expr(Expr::Ct { key: Ct::State, dreg: Reg::R1 })
            .expr(Expr::Bitwise { sreg: Reg::R1, dreg: Reg::R1, mask, xor: zero() })
            .compare(CmpOp::Neq, zero())
    }

    /// `fib daddr type local`
    #[must_use]
    pub fn daddr_is_local(self) -> Rule<'a> {
        self.expr(Expr::FibAddrType { flags: FIB_DADDR, dreg: Reg::R1 })
            .compare(CmpOp::Eq, RTN_LOCAL.to_ne_bytes().to_vec())
    }

    /// `meta mark & bits == bits`
    #[must_use]
    pub fn mark_has(self, bits: u32) -> Rule<'a> {
        let bits = bits.to_ne_bytes().to_vec();
        self.expr(Expr::Meta { key: Meta::Mark, dreg: Reg::R1 })
            .expr(Expr::Bitwise {
                sreg: Reg::R1,
                dreg: Reg::R1,
                mask: bits.clone(),
                xor: vec![0; 4],
            })
            .compare(CmpOp::Eq, bits)
    }

    /// `meta mark set meta mark | bits`
    #[must_use]
    pub fn mark_set(self, bits: u32) -> Rule<'a> {
        self.expr(Expr::Meta { key: Meta::Mark, dreg: Reg::R1 })
            .expr(Expr::Bitwise {
                sreg: Reg::R1,
                dreg: Reg::R1,
                mask: (!bits).to_ne_bytes().to_vec(),
                xor: bits.to_ne_bytes().to_vec(),
            })
            .expr(Expr::MetaSet { key: Meta::Mark, sreg: Reg::R1 })
    }

    /// `dnat to ip[:port]`, or in an inet table `dnat ip|ip6 to ...`.
    #[must_use]
    pub fn dnat(self, to: IpAddr, port: Option<u16>) -> Rule<'a> {
        let (family, data) = match to {
            IpAddr::V4(ip) => (NFPROTO_IPV4, ip.octets().to_vec()),
            IpAddr::V6(ip) => (NFPROTO_IPV6, ip.octets().to_vec()),
        };
        let mut rule = self.expr(Expr::Immediate { dreg: Reg::R1, data });
        if let Some(port) = port {
            let data = port.to_be_bytes().to_vec();
            rule = rule.expr(Expr::Immediate { dreg: Reg::R2, data });
        }
        rule.expr(Expr::Nat {
            kind: super::NatKind::Dnat,
            family,
            addr: Some(Reg::R1),
            port: port.map(|_| Reg::R2),
            flags: if port.is_some() { super::NAT_PROTO_SPECIFIED } else { 0 },
        })
    }

    /// `masquerade`
    #[must_use]
    pub fn masquerade(self) -> Rule<'a> {
        self.expr(Expr::Masquerade { flags: 0 })
    }

    /// `accept`, `drop`, `return`, `jump` or `goto`.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> Rule<'a> {
        self.expr(Expr::Verdict(verdict))
    }

    /// `jump chain`
    #[must_use]
    pub fn jump(self, chain: &str) -> Rule<'a> {
        self.verdict(Verdict::Jump(chain.to_owned()))
    }

    /// `goto chain`
    #[must_use]
    pub fn goto(self, chain: &str) -> Rule<'a> {
        self.verdict(Verdict::Goto(chain.to_owned()))
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.string(1, self.chain.table);
        w.string(2, self.chain.name);
        w.nest(4, |w| self.exprs.iter().for_each(|expr| expr.write(w)));
        let data = user_data(self.comment.as_deref(), self.owner.as_deref());
        if !data.is_empty() {
            w.raw(7, &data);
        }
    }
}

/// A link's name as the kernel compares it.
pub(crate) fn link_name(name: &str) -> Vec<u8> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    padded
}

/// Byte `index` of the mask of a prefix of `bits` bits.
fn prefix_byte(bits: usize, index: usize) -> u8 {
    match bits.saturating_sub(index * 8) {
        0 => 0,
        n if n >= 8 => 0xff,
        n => !(0xff_u8 >> n),
    }
}

/// A rule as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Name of its table.
    pub table: String,
    /// Name of its chain.
    pub chain: String,
    /// Handle: names it in its table, never given out twice in the life of the table.
    pub handle: u64,
    /// Comment.
    pub comment: Option<String>,
    /// Our tag.
    pub owner: Option<Vec<u8>>,
    raw: Vec<u8>,
}

impl RuleInfo {
    pub(crate) fn read(message: &Message<'_>) -> Option<RuleInfo> {
        let attributes = message.attributes();
        let (comment, owner) = read_user_data(attributes.find(7));
        Some(RuleInfo {
            table: attributes.text(1)?,
            chain: attributes.text(2)?,
            handle: attributes.be64(3)?,
            comment,
            owner,
            raw: attributes.find(4).unwrap_or_default().to_vec(),
        })
    }

    /// Its steps. Those that this crate does not write are [`Expr::Other`].
    pub fn exprs(&self) -> Vec<Expr> {
        read_list(&self.raw)
    }

    /// Whether these bytes are anywhere in its steps, those that this crate cannot read included.
    pub(crate) fn mentions(&self, bytes: &[u8]) -> bool {
        self.raw.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Address and port of its first `dnat`, where they are constants.
    pub fn dnat_target(&self) -> Option<(IpAddr, Option<u16>)> {
        let exprs = self.exprs();
        let constant = |wanted: Reg| {
            exprs.iter().rev().find_map(|e| match e {
                Expr::Immediate { dreg, data } if *dreg == wanted => Some(data.as_slice()),
                _ => None,
            })
        };
        let (addr, port) = exprs.iter().find_map(|e| match e {
            Expr::Nat { kind: super::NatKind::Dnat, addr: Some(addr), port, .. } => {
                Some((*addr, *port))
            }
            _ => None,
        })?;
        let data = constant(addr)?;
        let ip = <[u8; 4]>::try_from(data)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(data).map(IpAddr::from))
            .ok()?;
        let port = port.and_then(constant).and_then(|d| d.try_into().ok()).map(u16::from_be_bytes);
        Some((ip, port))
    }
}
