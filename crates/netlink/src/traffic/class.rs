//! Names of disciplines and classes, and classes of a hierarchical token bucket.

use super::spec::rate_of;
use super::{Bucket, HEADER, Head, KIND, OPTIONS};
use crate::wire::{Attributes, Request, put, put_nested, put_text, u32_at};
use crate::{Netlink, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

/// The name of a discipline or class: a major number, which names the discipline, and a minor one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

/// Where the discipline goes that holds all that a link sends.
pub const ROOT: Handle = Handle(0xffff_ffff);
/// Where filters go that see all that a link receives.
pub const INGRESS: Handle = Handle(0xffff_fff1);
/// The minor number of what passes a hierarchical token bucket without being counted.
pub const DIRECT: u16 = 0;

impl Handle {
    /// `major:minor`.
    pub const fn new(major: u16, minor: u16) -> Handle {
        Handle((major as u32) << 16 | minor as u32)
    }

    /// The minor number.
    pub const fn minor(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

/// A class of a hierarchical token bucket: those of its packets are sent within a bucket of their
/// own. A bucket's limit is that of the discipline in the class, not of the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The index of the link.
    pub link: u32,
    /// The discipline that it is of, as `major:0`.
    pub parent: Handle,
    /// Its name.
    pub handle: Handle,
    /// What it may send. The limit is not the class's.
    pub bucket: Bucket,
}

const PARMS: u16 = 1;
const RATE64: u16 = 6;
const CEIL64: u16 = 7;

impl Class {
    fn body(&self) -> Vec<u8> {
        let head = Head { link: self.link, handle: self.handle.0, parent: self.parent.0, info: 0 };
        let mut body = head.emit();
        put_text(&mut body, KIND, "htb");
        put_nested(&mut body, OPTIONS, |options| {
            // struct tc_htb_opt: rate, ceiling, both buckets, quantum, level, priority.
            // The quantum says how siblings share; without one the kernel guesses, and complains.
            const QUANTUM: u32 = 65_536;
            let spec = self.bucket.spec();
            let mut parms = [spec, spec].concat();
            for word in [self.bucket.ticks, self.bucket.ticks, QUANTUM, 0, 0] {
                parms.extend_from_slice(&word.to_ne_bytes());
            }
            put(options, PARMS, &parms);
            self.bucket.wide_rate(options, RATE64);
            self.bucket.wide_rate(options, CEIL64);
        });
        body
    }

    fn read(body: &[u8]) -> Option<Class> {
        let head = Head::read(body)?;
        let (_, options) = Attributes::after(body, HEADER).find(|(kind, _)| *kind == OPTIONS)?;
        let (_, parms) = Attributes::of(options).find(|(kind, _)| *kind == PARMS)?;
        let rate = rate_of(parms, options, RATE64)?;
        Some(Class {
            link: head.link,
            parent: Handle(head.handle & 0xffff_0000),
            handle: Handle(head.handle),
            bucket: Bucket::from_ticks(rate, u32_at(parms, 24)?, 0),
        })
    }
}

impl Netlink {
    /// Adds a class to a hierarchical token bucket.
    ///
    /// # Errors
    /// With EEXIST if there is one of this name, and when the kernel refuses.
    pub fn add_class(&self, class: &Class) -> Result<()> {
        let request = Request::raw(libc::RTM_NEWTCLASS, class.body());
        let op = || format!("add class {:x} to link {}", class.handle.0, class.link);
        self.socket.borrow_mut().change(&request, NLM_F_CREATE | NLM_F_EXCL, op)
    }

    /// The classes of the hierarchical token bucket of a link.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn classes(&self, link: u32) -> Result<Vec<Class>> {
        let request = Request::raw(libc::RTM_GETTCLASS, Head { link, ..Head::default() }.emit());
        let read = |kind, body: &[u8]| {
            let class = (kind == libc::RTM_NEWTCLASS).then(|| Class::read(body)).flatten();
            class.filter(|class| class.link == link)
        };
        self.socket.borrow_mut().dump(&request, || format!("list classes of link {link}"), read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_reads_back() {
        let handle = Handle::new(1, 5);
        let parent = Handle::new(1, 0);
        for rate in [1_875_000, 5_000_000_000] {
            let class = Class { link: 3, parent, handle, bucket: Bucket::new(rate, 60_000, 0) };
            assert_eq!(Class::read(&class.body()), Some(class));
        }
        assert_eq!((handle.0, handle.minor()), (0x1_0005, 5));
    }
}
