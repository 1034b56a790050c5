//! Filters: which packets go where.

use super::class::Handle;
use super::{HEADER, Head, KIND, OPTIONS};
use crate::wire::{Attributes, Request, put, put_nested, put_text, text_of, u32_at};
use crate::{Netlink, Result};
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A filter of a queueing discipline (`u32`). Those with a lower priority number are asked first;
/// all filters of one priority must be for the same protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The index of the link.
    pub link: u32,
    /// The discipline that it is of, as `major:0`.
    pub parent: Handle,
    /// From 1.
    pub priority: u16,
    /// What it picks.
    pub pick: Pick,
    /// What becomes of that.
    pub verdict: Verdict,
}

/// Which packets a filter picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pick {
    /// All of any protocol.
    All,
    /// Those from addresses of a network.
    From(IpNetwork),
    /// Those to addresses of a network.
    To(IpNetwork),
}

/// What becomes of a packet that a filter picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on; later filters are not asked.
    Pass,
    /// It belongs to this class.
    Class(Handle),
    /// It is sent by the link with this index, instead of going on; lost where that is 0, which stands
    /// for a link that is gone.
    Redirect(u32),
}

const ETH_P_ALL: u16 = 0x0003;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const U32_CLASSID: u16 = 1;
const U32_SEL: u16 = 5;
const U32_ACT: u16 = 7;
const ACT_KIND: u16 = 1;
const ACT_OPTIONS: u16 = 2;
const MIRRED_PARMS: u16 = 2;
/// `TCA_EGRESS_REDIR`.
const EGRESS_REDIRECT: u32 = 1;

/// A word of the packet, counted from its network header, that must have a value under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    offset: u32,
    mask: [u8; 4],
    value: [u8; 4],
}

/// Where the header of a protocol has the source's address, and the destination's.
fn places(protocol: u16) -> Option<(u32, u32)> {
    match protocol {
        ETH_P_IP => Some((12, 16)),
        ETH_P_IPV6 => Some((8, 24)),
        _ => None,
    }
}

impl Pick {
    fn protocol(self) -> u16 {
        match self {
            Pick::All => ETH_P_ALL,
            Pick::From(IpNetwork::V4(_)) | Pick::To(IpNetwork::V4(_)) => ETH_P_IP,
            Pick::From(IpNetwork::V6(_)) | Pick::To(IpNetwork::V6(_)) => ETH_P_IPV6,
        }
    }

    fn keys(self) -> Vec<Key> {
        let (network, is_source) = match self {
            Pick::All => return vec![Key { offset: 0, mask: [0; 4], value: [0; 4] }],
            Pick::From(network) => (network, true),
            Pick::To(network) => (network, false),
        };
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let (values, masks) = (octets(network.network()), octets(network.mask()));
        let (source, destination) = places(self.protocol()).unwrap_or_default();
        let mut offset = if is_source { source } else { destination };
        let mut keys = Vec::new();
        for (value, mask) in values.chunks_exact(4).zip(masks.chunks_exact(4)) {
            // Words that may have any value are left out, but a filter needs one key.
            if mask != [0; 4] || keys.is_empty() {
                keys.push(Key { offset, mask: word(mask), value: word(value) });
            }
            offset += 4;
        }
        keys
    }

    /// The packets that these keys pick; `None` for any that this crate does not write.
    fn read(protocol: u16, keys: &[Key]) -> Option<Pick> {
        if protocol == ETH_P_ALL {
            return keys.iter().all(|key| key.mask == [0; 4]).then_some(Pick::All);
        }
        let (source, destination) = places(protocol)?;
        let is_source = keys.first()?.offset == source;
        let start = if is_source { source } else { destination };
        let (mut address, mut prefix) = ([0; 16], 0);
        for key in keys {
            let at = usize::try_from(key.offset.checked_sub(start)?).ok()?;
            address.get_mut(at..at + 4)?.copy_from_slice(&key.value);
            prefix += u32::from_be_bytes(key.mask).leading_ones();
        }
        let prefix = u8::try_from(prefix).ok()?;
        let ip = if protocol == ETH_P_IP {
            IpAddr::V4(Ipv4Addr::from(word(&address[..4])))
        } else {
            IpAddr::V6(Ipv6Addr::from(address))
        };
        let network = IpNetwork::new(ip, prefix).ok()?;
        let pick = if is_source { Pick::From(network) } else { Pick::To(network) };
        (pick.keys() == keys).then_some(pick)
    }
}

fn word(bytes: &[u8]) -> [u8; 4] {
    bytes.try_into().unwrap_or_default()
}

impl Filter {
    fn body(&self) -> Vec<u8> {
        let protocol = u32::from(self.pick.protocol().to_be());
        let info = u32::from(self.priority) << 16 | protocol;
        let mut body = Head { link: self.link, handle: 0, parent: self.parent.0, info }.emit();
        put_text(&mut body, KIND, "u32");
        put_nested(&mut body, OPTIONS, |options| {
            if let Verdict::Class(class) = self.verdict {
                put(options, U32_CLASSID, &class.0.to_ne_bytes());
            }
            put(options, U32_SEL, &selector(&self.pick.keys()));
            if let Verdict::Redirect(to) = self.verdict {
                put_nested(options, U32_ACT, |actions| {
                    put_nested(actions, 1, |action| redirect(action, to));
                });
            }
        });
        body
    }

    /// A filter that this crate could have written.
    fn read(body: &[u8]) -> Option<Filter> {
        let head = Head::read(body)?;
        let (mut kind, mut options) = (String::new(), &[][..]);
        for (name, value) in Attributes::after(body, HEADER) {
            match name {
                KIND => kind = text_of(value),
                OPTIONS => options = value,
                _ => {}
            }
        }
        if kind != "u32" {
            return None;
        }
        let option = |name| Attributes::of(options).find(|(kind, _)| *kind == name).map(|(_, v)| v);
        let protocol = u16::from_be(u16::try_from(head.info & 0xffff).ok()?);
        let verdict = match (option(U32_ACT), option(U32_CLASSID)) {
            (Some(actions), _) => Verdict::Redirect(redirect_of(actions)?),
            (None, Some(class)) => Verdict::Class(Handle(u32_at(class, 0)?)),
            (None, None) => Verdict::Pass,
        };
        Some(Filter {
            link: head.link,
            parent: Handle(head.parent),
            priority: u16::try_from(head.info >> 16).ok()?,
            pick: Pick::read(protocol, &keys_of(option(U32_SEL)?)?)?,
            verdict,
        })
    }
}

/// `struct tc_u32_sel` with its keys.
fn selector(keys: &[Key]) -> Vec<u8> {
    const TERMINAL: u8 = 1;
    let mut sel = vec![0; 16];
    sel[0] = TERMINAL;
    sel[2] = u8::try_from(keys.len()).unwrap_or(u8::MAX);
    for key in keys {
        sel.extend_from_slice(&key.mask);
        sel.extend_from_slice(&key.value);
        sel.extend_from_slice(&key.offset.to_ne_bytes());
        sel.extend_from_slice(&[0; 4]);
    }
    sel
}

fn keys_of(selector: &[u8]) -> Option<Vec<Key>> {
    let count = usize::from(*selector.get(2)?);
    let key = |bytes: &[u8]| {
        Some(Key { mask: word(&bytes[..4]), value: word(&bytes[4..8]), offset: u32_at(bytes, 8)? })
    };
    selector.get(16..16 + 16 * count)?.chunks_exact(16).map(key).collect()
}

/// The action `mirred`: `struct tc_mirred` is index, capabilities, verdict, two counts, what to do,
/// and the link.
fn redirect(action: &mut Vec<u8>, to: u32) {
    const STOLEN: u32 = 4;
    put_text(action, ACT_KIND, "mirred");
    put_nested(action, ACT_OPTIONS, |options| {
        let words = [0, 0, STOLEN, 0, 0, EGRESS_REDIRECT, to];
        let parms: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        put(options, MIRRED_PARMS, &parms);
    });
}

/// Where the first action redirects to; no packet gets to a second one.
fn redirect_of(actions: &[u8]) -> Option<u32> {
    let (_, action) = Attributes::of(actions).next()?;
    let part = |name| Attributes::of(action).find(|(kind, _)| *kind == name).map(|(_, v)| v);
    if text_of(part(ACT_KIND)?) != "mirred" {
        return None;
    }
    let (_, parms) = Attributes::of(part(ACT_OPTIONS)?).find(|(kind, _)| *kind == MIRRED_PARMS)?;
    (u32_at(parms, 20)? == EGRESS_REDIRECT).then(|| u32_at(parms, 24)).flatten()
}

impl Netlink {
    /// Adds a filter.
    ///
    /// # Errors
    /// With ENOENT if this kernel lacks the classifier `u32` or the action `mirred`, and when it
    /// refuses.
    pub fn add_filter(&self, filter: &Filter) -> Result<()> {
        let request = Request::raw(libc::RTM_NEWTFILTER, filter.body());
        let op = || format!("add filter to link {}", filter.link);
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_EXCL, op)
    }

    /// The filters of a discipline, in the order of their priorities; `None` for one that
    /// [`Filter`] cannot tell.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn filters(&self, link: u32, parent: Handle) -> Result<Vec<Option<Filter>>> {
        let head = Head { link, parent: parent.0, ..Head::default() };
        let request = Request::raw(libc::RTM_GETTFILTER, head.emit());
        let read = |kind, body: &[u8]| {
            (kind == libc::RTM_NEWTFILTER && !is_frame(body)).then(|| Filter::read(body))
        };
        self.socket.borrow_mut().dump(&request, || format!("list filters of link {link}"), read)
    }
}

/// Whether an entry of the kernel's list is no filter, but the priority or the hash table that
/// filters are in.
fn is_frame(body: &[u8]) -> bool {
    // A filter's number has a part within its table.
    const WITHIN: u32 = 0xfff;
    let is_u32 = Attributes::after(body, HEADER).any(|(k, v)| k == KIND && text_of(v) == "u32");
    is_u32 && Head::read(body).is_some_and(|head| head.handle & WITHIN == 0)
        || Head::read(body).is_some_and(|head| head.handle == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().expect("network")
    }

    #[test]
    fn each_filter_reads_back() {
        for pick in [
            Pick::All,
            Pick::From(network("10.1.0.0/16")),
            Pick::To(network("192.0.2.7/32")),
            Pick::To(network("0.0.0.0/0")),
            Pick::From(network("::/0")),
            Pick::From(network("fd00::/8")),
            Pick::To(network("2001:db8:1:2::/64")),
            Pick::To(network("2001:db8::9/128")),
        ] {
            for verdict in [Verdict::Pass, Verdict::Class(Handle::new(1, 5)), Verdict::Redirect(9)]
            {
                let parent = Handle::new(0xffff, 0);
                let filter = Filter { link: 3, parent, priority: 2, pick, verdict };
                assert_eq!(Filter::read(&filter.body()), Some(filter), "{pick:?}");
            }
        }
    }

    #[test]
    fn keys_pick_words_of_the_header() {
        let keys = Pick::To(network("10.1.2.0/24")).keys();
        let key = Key { offset: 16, mask: [255, 255, 255, 0], value: [10, 1, 2, 0] };
        assert_eq!(keys, [key]);
        let keys = Pick::From(network("2001:db8::/48")).keys();
        assert_eq!(keys.iter().map(|key| key.offset).collect::<Vec<_>>(), [8, 12]);
        assert_eq!(keys[1].mask, [255, 255, 0, 0]);
        // A mask that is no prefix, and a word of another header, are somebody else's.
        let odd = Key { offset: 16, mask: [255, 0, 255, 0], value: [10, 0, 2, 0] };
        assert_eq!(Pick::read(ETH_P_IP, &[odd]), None);
        assert_eq!(Pick::read(ETH_P_IP, &[Key { offset: 20, ..key }]), None);
        assert_eq!(Pick::read(0x0806, &[key]), None);
    }
}
