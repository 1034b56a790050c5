//! What is wished, in the kernel's terms: no effects here.

use crate::config::{Config, Limit, Scope};
use cni_plugin::Owner;
use ipnetwork::IpNetwork;
use netlink::traffic::{Bucket, Class, DIRECT, Discipline, Filter, Handle, Pick, Qdisc, Verdict};
use sha2::{Digest, Sha512};

/// Bytes of an Ethernet header with a VLAN tag.
const HEADER: u64 = 18;
/// Minor number of the class that is limited, where only some peers are.
pub(crate) const LIMITED: u16 = 1;
/// Bytes that may wait in that class at least: packets that were joined for speed are not cut
/// there, and have 64 KiB.
const CLASS_QUEUE: u32 = 128 << 10;

/// Where the link is that the limits are put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    /// On the node: the other end of the pod's link. It sends what the pod receives.
    Node,
    /// In the pod: the link itself, which sends what the pod sends.
    Pod,
    /// In the pod, but with the guest of a virtual machine behind it, as a tap has: it sends what
    /// the guest receives.
    Guest,
}

/// What a link is to let pass in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// The limit as asked for.
    pub(crate) limit: Limit,
    /// The limit as the kernel keeps it.
    pub(crate) bucket: Bucket,
    /// Whether the pod's peer is where packets come from, or where they go.
    peer_is_source: bool,
    scope: Scope,
}

/// What a link is to let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Of what it sends.
    pub(crate) sends: Option<Side>,
    /// Of what it receives.
    pub(crate) receives: Option<Side>,
}

impl Plan {
    /// The plan for a link in `seat` with this MTU.
    pub(crate) fn new(config: &Config, seat: Seat, mtu: u32) -> Plan {
        let side = |limit: Option<Limit>, peer_is_source| {
            let scope = config.scope.clone();
            limit.map(|limit| Side { limit, bucket: bucket(limit, mtu), peer_is_source, scope })
        };
        let (ingress, egress) = (side(config.ingress, true), side(config.egress, false));
        match seat {
            Seat::Node | Seat::Guest => Plan { sends: ingress, receives: egress },
            Seat::Pod => Plan { sends: egress, receives: ingress },
        }
    }
}

/// The bucket that keeps a limit, on a link with this MTU.
///
/// A burst of 10 ms at the rate is enough for the kernel's timers. Packets that were joined for
/// speed have 64 KiB; if the burst holds one, it need not be cut, which makes a sender on this node
/// believe that it is sent. But no second is to have 4 % more than its due.
///
/// A burst that was asked for is taken, if a whole packet fits in, and a millisecond. What would
/// wait longer than 25 ms is dropped then, as in the reference plugin; otherwise three joined packets
/// may wait, if that takes no longer than 100 ms. Some packets may always wait: a connection cannot
/// find its pace otherwise.
fn bucket(limit: Limit, mtu: u32) -> Bucket {
    const JOINED: u64 = 64 << 10;
    const QUEUE: u64 = 20;
    let (rate, packet) = (limit.rate, u64::from(mtu) + HEADER);
    let default = (rate / 100).max((JOINED + packet).min(rate / 25)).max(2 * packet);
    let burst = limit.burst.unwrap_or(default).max(packet).max(rate / 1000);
    let waiting = match limit.burst {
        Some(_) => rate / 40,
        None => (rate / 40).max((3 * JOINED).min(rate / 10)),
    };
    let queue = (burst + waiting).max(QUEUE * packet);
    Bucket::new(rate, burst, u32::try_from(queue).unwrap_or(u32::MAX))
}

/// The bucket that the reference plugin keeps a limit in, whose numbers wrap around at 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "as it does")]
pub(crate) fn bucket_of_reference(limit: Limit) -> Bucket {
    let micros = (u128::from(limit.written) * 1_000_000 / u128::from(limit.rate.max(1))) as u32;
    let ticks = (u64::from(micros) * 1000 / 64) as u32;
    let queue = ((limit.rate / 40) as u32).wrapping_add(limit.written as u32);
    Bucket::from_ticks(limit.rate, ticks, queue)
}

impl Side {
    /// Whether `found` keeps the limit, put there by this plugin or by the reference's.
    pub(crate) fn accepts(&self, found: &Discipline) -> bool {
        match found {
            Discipline::TokenBucket(found) => {
                *found == self.bucket || *found == bucket_of_reference(self.limit)
            }
            _ => false,
        }
    }

    /// The discipline at the root of the link that receives what a filter redirects to it.
    pub(crate) fn bucket_at(&self, link: u32) -> Qdisc {
        Qdisc::root(link, Discipline::TokenBucket(self.bucket))
    }

    /// The discipline at the root of the link that sends: of all, or with a class of what is limited.
    pub(crate) fn root(&self, link: u32) -> Qdisc {
        match self.scope {
            Scope::All => self.bucket_at(link),
            Scope::AllBut(_) => Qdisc::root(link, Discipline::Classes { default: LIMITED }),
            Scope::Only(_) => Qdisc::root(link, Discipline::Classes { default: DIRECT }),
        }
    }

    /// The class of what is limited, and the discipline in it; none where all is.
    pub(crate) fn class(&self, link: u32) -> Option<(Class, Qdisc)> {
        if self.scope == Scope::All {
            return None;
        }
        let handle = Handle::new(1, LIMITED);
        let bucket = self.bucket.with_limit(0);
        let class = Class { link, parent: Handle::new(1, 0), handle, bucket };
        let discipline = Discipline::Fifo(self.bucket.limit.max(CLASS_QUEUE));
        Some((class, Qdisc { link, parent: handle, handle: Handle::new(2, 0), discipline }))
    }

    /// The filters of the link that sends: which class a packet is of.
    pub(crate) fn sending_filters(&self, link: u32) -> Vec<Filter> {
        let verdict = match self.scope {
            Scope::All => return Vec::new(),
            Scope::AllBut(_) => Verdict::Class(Handle::new(1, DIRECT)),
            Scope::Only(_) => Verdict::Class(Handle::new(1, LIMITED)),
        };
        self.listed(link, Handle::new(1, 0), verdict)
    }

    /// The filters of the link that receives: what is sent by the link `ifb` first.
    pub(crate) fn receiving_filters(&self, link: u32, ifb: u32) -> Vec<Filter> {
        let parent = Qdisc::ingress(link).handle;
        let redirect = Verdict::Redirect(ifb);
        let rest = |priority| Filter { link, parent, priority, pick: Pick::All, verdict: redirect };
        match self.scope {
            Scope::All => vec![rest(1)],
            Scope::AllBut(_) => {
                let mut filters = self.listed(link, parent, Verdict::Pass);
                filters.push(rest(3));
                filters
            }
            Scope::Only(_) => self.listed(link, parent, redirect),
        }
    }

    /// A filter for each network of the list; a priority is for one family.
    fn listed(&self, link: u32, parent: Handle, verdict: Verdict) -> Vec<Filter> {
        let (Scope::AllBut(list) | Scope::Only(list)) = &self.scope else { return Vec::new() };
        let filter = |network: &IpNetwork| Filter {
            link,
            parent,
            priority: if network.is_ipv4() { 1 } else { 2 },
            pick: if self.peer_is_source { Pick::From(*network) } else { Pick::To(*network) },
            verdict,
        };
        list.iter().map(filter).collect()
    }
}

/// Whether a link may be an ifb of this plugin or of the reference's, by its name.
pub(crate) fn is_ifb_name(name: &str) -> bool {
    name.strip_prefix(IFB)
        .is_some_and(|rest| rest.len() == IFB_DIGITS && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

const IFB: &str = "bwp";
const IFB_DIGITS: usize = 12;

/// The name that the reference plugin gives to a container's ifb; all interfaces of a container in
/// one network share it.
pub(crate) fn container_ifb(network: &str, container_id: &str) -> String {
    ifb_of(&format!("{network}{container_id}"))
}

/// The name of an ifb of an interface whose container has one already.
pub(crate) fn interface_ifb(network: &str, container_id: &str, ifname: &str) -> String {
    ifb_of(&format!("{network}/{container_id}/{ifname}"))
}

fn ifb_of(key: &str) -> String {
    let digest = Sha512::digest(key.as_bytes());
    let digits: String = digest.iter().take(IFB_DIGITS / 2).map(|b| format!("{b:02x}")).collect();
    format!("{IFB}{digits}")
}

/// Whose an ifb is: an attachment, with the names that its ifb may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IfbOwner {
    /// In the order in which they are tried.
    pub(crate) names: [String; 2],
    /// The attachment, spelled out in the alias of its links.
    pub(crate) owner: Owner,
}

impl IfbOwner {
    /// That of an attachment.
    pub(crate) fn new(network: &str, container_id: &str, ifname: &str) -> IfbOwner {
        let shared = container_ifb(network, container_id);
        let own = interface_ifb(network, container_id, ifname);
        IfbOwner { names: [shared, own], owner: Owner::new(network, container_id, ifname) }
    }

    /// That of the attachment that `call` is about.
    pub(crate) fn of(call: &cni_plugin::Call) -> IfbOwner {
        IfbOwner::new(call.conf.name.as_str(), call.container_id.as_str(), call.ifname.as_str())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
