//! Typed links, addresses, routes, policy rules and neighbours of one network namespace.
//!
//! [`Netlink`] is a blocking rtnetlink socket. It belongs to the namespace it was opened in, so
//! one [`Netlink::open_in`] is all the entering of a pod that its links, addresses and routes
//! need.
//!
//! # Transport
//! Requests are built from the message types of `netlink-packet-route` and go over a
//! `netlink-sys` socket, each as one `send` and one `recv`: the kernel works off a request inside
//! `send`, so the answer is there when it returns and there is nothing to wait for. A plugin
//! lives for two milliseconds; an async runtime (epoll, event descriptor, channels, a task per
//! connection) costs more than all its requests (measured for two
//! sockets with six questions each: 150 µs per process and 1.1 MB of program). Answers are
//! read attribute by attribute, only those this crate has a field for: a kernel that adds or
//! widens an attribute cannot break a plugin.
//!
//! Three things a plain rtnetlink client lacks:
//! - the kernel's own words (extended ACK) are part of every [`Error`];
//! - dumps are filtered in the kernel (strict checking), so their cost does not grow with the node;
//! - a dump that was interrupted by a change (`NLM_F_DUMP_INTR`) is taken again.

mod address;
mod bridge;
mod change;
mod create;
mod elsewhere;
mod error;
mod link;
mod lookup;
mod mac;
mod neighbour;
mod route;
mod rule;
mod socket;
pub mod traffic;
mod upper;
mod watch;
mod wire;

pub use address::Address;
pub use bridge::{PortFlags, VlanRange};
pub use change::Change;
pub use create::{Bridge, MacVlan, MacVlanKind, Peer, Veth};
pub use error::{Error, Result};
pub use link::{BridgeInfo, Kind, Link};
pub use lookup::Way;
pub use mac::{Mac, MacError};
pub use neighbour::Neighbour;
pub use route::{Route, RouteFilter};
pub use rule::PolicyRule;
pub use upper::{IpVlanKind, Place};
pub use watch::Watch;

use socket::Socket;
use std::cell::RefCell;

/// A connection to the kernel's routing tables of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: RefCell<Socket>,
}

impl Netlink {
    /// Connects to the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no rtnetlink socket to give.
    pub fn open() -> Result<Netlink> {
        Ok(Netlink { socket: RefCell::new(Socket::open()?) })
    }

    /// Connects to `space`, which is entered once, on a thread of its own.
    ///
    /// To do more inside on the same visit, call [`Netlink::open`] in [`netns::Netns::run`].
    ///
    /// # Errors
    /// When the namespace cannot be entered, or as [`Netlink::open`].
    pub fn open_in(space: &netns::Netns) -> Result<Netlink> {
        space.run(Netlink::open).map_err(|e| Error::local("open a netlink socket", e))?
    }
}
