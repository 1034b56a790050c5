//! Queueing disciplines.

use super::class::{Handle, INGRESS, ROOT};
use super::spec::rate_of;
use super::{Bucket, HEADER, Head, KIND, OPTIONS};
use crate::wire::{Attributes, Request, put, put_nested, put_text, text_of, u32_at};
use crate::{Netlink, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};

/// A queueing discipline of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// The index of the link.
    pub link: u32,
    /// Where it is: [`ROOT`], [`INGRESS`], or a class.
    pub parent: Handle,
    /// Its name, as `major:0`.
    pub handle: Handle,
    /// What it does.
    pub discipline: Discipline,
}

/// What a queueing discipline does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discipline {
    /// Sends within one bucket (`tbf`). Packets that are larger than the burst are cut first where
    /// they were joined for speed, and dropped otherwise.
    TokenBucket(Bucket),
    /// Sends each class within a bucket of its own (`htb`).
    Classes {
        /// The minor number of the class of what no filter picks; [`super::DIRECT`] for none.
        default: u16,
    },
    /// Sends in order, at most this many bytes waiting (`bfifo`).
    Fifo(u32),
    /// Holds nothing, but filters for what the link receives (`ingress`).
    Ingress,
    /// Any other, by the kernel's name.
    Other(String),
}

const PARMS: u16 = 1;
const TBF_RATE64: u16 = 4;
const HTB_INIT: u16 = 2;
const HTB_DIRECT_QLEN: u16 = 5;

impl Discipline {
    /// Its name in the kernel.
    pub fn kind(&self) -> &str {
        match self {
            Discipline::TokenBucket(_) => "tbf",
            Discipline::Classes { .. } => "htb",
            Discipline::Fifo(_) => "bfifo",
            Discipline::Ingress => "ingress",
            Discipline::Other(kind) => kind,
        }
    }

    fn options(&self, body: &mut Vec<u8>) {
        match self {
            Discipline::TokenBucket(bucket) => put_nested(body, OPTIONS, |options| {
                // struct tc_tbf_qopt: rate, peak rate, limit, bucket, bucket of the peak rate.
                let mut parms = [bucket.spec(), [0; 12]].concat();
                for word in [bucket.limit, bucket.ticks, 0] {
                    parms.extend_from_slice(&word.to_ne_bytes());
                }
                put(options, PARMS, &parms);
                bucket.wide_rate(options, TBF_RATE64);
            }),
            Discipline::Classes { default } => put_nested(body, OPTIONS, |options| {
                // struct tc_htb_glob: version, unused divisor, default class, debug, counter.
                const VERSION: u32 = 3;
                const DIVISOR: u32 = 10;
                let words = [VERSION, DIVISOR, u32::from(*default), 0, 0];
                let glob: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                put(options, HTB_INIT, &glob);
                // A link made without a queue would drop what is not counted.
                put(options, HTB_DIRECT_QLEN, &1000_u32.to_ne_bytes());
            }),
            Discipline::Fifo(limit) => put(body, OPTIONS, &limit.to_ne_bytes()),
            Discipline::Ingress | Discipline::Other(_) => {}
        }
    }

    fn read(kind: &str, options: &[u8]) -> Option<Discipline> {
        let parms = || Attributes::of(options).find(|(kind, _)| *kind == PARMS).map(|(_, v)| v);
        Some(match kind {
            "tbf" => {
                let parms = parms()?;
                let rate = rate_of(parms, options, TBF_RATE64)?;
                let (limit, ticks) = (u32_at(parms, 24)?, u32_at(parms, 28)?);
                Discipline::TokenBucket(Bucket::from_ticks(rate, ticks, limit))
            }
            "htb" => {
                let (_, glob) = Attributes::of(options).find(|(kind, _)| *kind == HTB_INIT)?;
                let default = u16::try_from(u32_at(glob, 8)? & 0xffff).ok()?;
                Discipline::Classes { default }
            }
            "bfifo" => Discipline::Fifo(u32_at(options, 0)?),
            "ingress" => Discipline::Ingress,
            other => Discipline::Other(other.to_owned()),
        })
    }
}

impl Qdisc {
    fn body(&self) -> Vec<u8> {
        let head = Head { link: self.link, handle: self.handle.0, parent: self.parent.0, info: 0 };
        let mut body = head.emit();
        put_text(&mut body, KIND, self.discipline.kind());
        self.discipline.options(&mut body);
        body
    }

    fn read(body: &[u8]) -> Option<Qdisc> {
        let head = Head::read(body)?;
        let (mut name, mut options) = (String::new(), &[][..]);
        for (kind, value) in Attributes::after(body, HEADER) {
            match kind {
                KIND => name = text_of(value),
                OPTIONS => options = value,
                _ => {}
            }
        }
        let discipline = Discipline::read(&name, options).unwrap_or(Discipline::Other(name));
        let (link, parent, handle) = (head.link, Handle(head.parent), Handle(head.handle));
        Some(Qdisc { link, parent, handle, discipline })
    }
}

impl Netlink {
    /// Adds a queueing discipline. The kernel's own default in its place gives way to it.
    ///
    /// # Errors
    /// With EEXIST if somebody has put one there already, ENOENT if this kernel has no such
    /// discipline, and when the kernel refuses.
    pub fn add_qdisc(&self, qdisc: &Qdisc) -> Result<()> {
        let request = Request::raw(libc::RTM_NEWQDISC, qdisc.body());
        let op = || format!("add qdisc {} to link {}", qdisc.discipline.kind(), qdisc.link);
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_EXCL, op)
    }

    /// Takes a queueing discipline away, with its classes and filters; says whether there was one.
    /// The kernel puts its default back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_qdisc(&self, link: u32, parent: Handle) -> Result<bool> {
        let head = Head { link, parent: parent.0, ..Head::default() };
        let request = Request::raw(libc::RTM_DELQDISC, head.emit());
        let op = || format!("delete qdisc of link {link}");
        match self.socket.borrow_mut().change(&request, 0, op) {
            Ok(()) => Ok(true),
            // EINVAL: nothing is in this place, or the kernel's default only.
            Err(e) if e.is_not_found() || e.errno == libc::EINVAL => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The queueing discipline at a link's root or ingress hook; `None` where there is none but
    /// the kernel's default.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn qdisc(&self, link: u32, parent: Handle) -> Result<Option<Qdisc>> {
        let head = Head { link, parent: parent.0, ..Head::default() };
        let request = Request::raw(libc::RTM_GETQDISC, head.emit());
        let op = || format!("get qdisc of link {link}");
        // Without the flag the kernel tells those who listen, and not who asks.
        match self.socket.borrow_mut().ask(&request, NLM_F_ECHO, op, Qdisc::read) {
            Ok(qdisc) => Ok(qdisc.filter(|qdisc| qdisc.handle.0 != 0)),
            // The kernel does not show what it put there itself.
            Err(e) if e.is_not_found() || e.errno == libc::EINVAL => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The queueing disciplines of all links.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn qdiscs(&self) -> Result<Vec<Qdisc>> {
        let request = Request::raw(libc::RTM_GETQDISC, Head::default().emit());
        let read =
            |kind, body: &[u8]| (kind == libc::RTM_NEWQDISC).then(|| Qdisc::read(body)).flatten();
        self.socket.borrow_mut().dump(&request, || "list qdiscs".to_owned(), read)
    }
}

impl Qdisc {
    /// One at the root of a link, named `1:`.
    pub fn root(link: u32, discipline: Discipline) -> Qdisc {
        Qdisc { link, parent: ROOT, handle: Handle::new(1, 0), discipline }
    }

    /// The ingress hook of a link, whose name is always `ffff:`.
    pub fn ingress(link: u32) -> Qdisc {
        let handle = Handle::new(0xffff, 0);
        Qdisc { link, parent: INGRESS, handle, discipline: Discipline::Ingress }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_token_bucket_has_the_layout_of_the_kernel() {
        let bucket = Bucket::new(1_875_000, 20_480, 67_355);
        let body = Qdisc::root(3, Discipline::TokenBucket(bucket)).body();
        let mut wanted = vec![0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0, 255, 255, 255, 255, 0, 0, 0, 0];
        wanted.extend_from_slice(&[8, 0, 1, 0, b't', b'b', b'f', 0, 44, 0, 2, 0, 40, 0, 1, 0]);
        wanted.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        wanted.extend_from_slice(&1_875_000_u32.to_le_bytes());
        wanted.extend_from_slice(&[0; 12]);
        wanted.extend_from_slice(&67_355_u32.to_le_bytes());
        wanted.extend_from_slice(&170_656_u32.to_le_bytes());
        wanted.extend_from_slice(&[0; 4]);
        assert_eq!(body, wanted);
    }

    #[test]
    fn each_discipline_reads_back() {
        for discipline in [
            Discipline::TokenBucket(Bucket::new(5_000_000_000, 1_000_000, 7)),
            Discipline::Classes { default: 5 },
            Discipline::Fifo(65_536),
            Discipline::Ingress,
            Discipline::Other("fq_codel".to_owned()),
        ] {
            let qdisc = Qdisc { link: 3, parent: Handle(7), handle: Handle(9), discipline };
            assert_eq!(Qdisc::read(&qdisc.body()), Some(qdisc));
        }
    }
}
