//! Traffic control: how much a link may send, and what becomes of what it receives.
//!
//! What a link sends waits in its root queueing discipline ([`ROOT`]), and only that can hold
//! packets back. What it receives can be looked at by filters of the ingress hook ([`INGRESS`]);
//! to hold that back too, a filter redirects it to an intermediate functional block, a link whose
//! root discipline holds it and which then hands it on as if nothing had happened.

mod class;
mod filter;
mod qdisc;
mod spec;

pub use class::{Class, DIRECT, Handle, INGRESS, ROOT};
pub use filter::{Filter, Pick, Verdict};
pub use qdisc::{Discipline, Qdisc};
pub use spec::Bucket;

use crate::wire::u32_at;

/// Length of `struct tcmsg`.
const HEADER: usize = 20;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

/// `struct tcmsg`, the head of every message here.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    link: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

impl Head {
    fn emit(self) -> Vec<u8> {
        let mut body = vec![0; 4];
        for word in [self.link, self.handle, self.parent, self.info] {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        body
    }

    fn read(body: &[u8]) -> Option<Head> {
        Some(Head {
            link: u32_at(body, 4)?,
            handle: u32_at(body, 8)?,
            parent: u32_at(body, 12)?,
            info: u32_at(body, 16)?,
        })
    }
}
