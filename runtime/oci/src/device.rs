//! Network devices of the host that move into the container (config-linux.md, Network Devices).
//!
//! A device keeps its hardware address and MTU by itself; its permanent addresses of global scope are
//! given to it again, and it is set up. From then on it is the network namespace's: it goes with that, or
//! comes back to the host when it is hardware. Only a creation that fails gives it back.

use crate::namespace;
use crate::netlink::{Link, Route};
use crate::{Error, Result, sys};
use runtime_spec::NamespaceKind;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A network namespace: where devices are put, and asked for.
#[derive(Debug)]
struct Space {
    fd: OwnedFd,
    route: Route,
}

/// Devices that are in the container; dropped, they go back.
#[derive(Debug)]
pub(crate) struct Moved {
    host: Space,
    container: Space,
    /// As they were on the host, with their numbers in the container.
    devices: Vec<(Link, String)>,
}

/// A failed step: the words and the kernel's answer.
type Done<T> = std::result::Result<T, (&'static str, Errno)>;

impl Moved {
    /// They stay in the container.
    pub(crate) fn keep(moved: Option<Moved>) {
        moved.map(|mut moved| std::mem::take(&mut moved.devices));
    }

    fn carry(&mut self, name: &str, inside: &str) -> Done<()> {
        let (host, container) = (&self.host, &self.container);
        let find = |name| host.route.find(0, Some(name)).map_err(|errno| ("find it", errno));
        let link = find(name)?.ok_or(("find it on the host", Errno::NODEV))?;
        let given = addresses(host, link)?;
        let (index, failed) = carry(host, container, link, inside)?;
        self.devices.push((Link { index, ..link }, name.to_owned()));
        match failed {
            Some(errno) => Err(("name it in the container", errno)),
            None => dress(&self.container, index, &given),
        }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        while let Some((link, name)) = self.devices.pop() {
            // The failure that led here is what is reported. What does not come back shares the fate
            // of the namespace.
            let Ok(given) = addresses(&self.container, link) else { continue };
            let Ok((index, None)) = carry(&self.container, &self.host, link, &name) else {
                continue;
            };
            if link.up {
                let _ = dress(&self.host, index, &given);
            } else {
                let _ = given.iter().try_for_each(|one| self.host.route.give(index, one));
            }
        }
    }
}

/// Moves devices into the network namespace of a process.
pub(crate) fn move_all(devices: &[(String, String)], pid: i32) -> Result<Option<Moved>> {
    if devices.is_empty() {
        return Ok(None);
    }
    let fail = |errno| Error::errno("linux.netDevices", "open a netlink socket", errno);
    let own = namespace::open(NamespaceKind::Network, Path::new("/proc/thread-self/ns/net"))?.fd;
    let host = Space { fd: own, route: Route::open().map_err(fail)? };
    let fd =
        namespace::open(NamespaceKind::Network, &PathBuf::from(format!("/proc/{pid}/ns/net")))?.fd;
    let mut route = Err(Errno::SRCH);
    sys::aside(&mut || {
        route = sys::join(&fd, sys::NEWNET).and_then(|()| Route::open());
        0
    })
    .map_err(fail)?;
    let container = Space { fd, route: route.map_err(fail)? };
    let mut moved = Moved { host, container, devices: Vec::with_capacity(devices.len()) };
    for (name, inside) in devices {
        moved.carry(name, inside).map_err(|(what, errno)| {
            let subject = format!("linux.netDevices {name:?} to {inside:?}");
            Error::errno(subject, what, errno)
        })?;
    }
    Ok(Some(moved))
}

fn addresses(space: &Space, link: Link) -> Done<Vec<Vec<u8>>> {
    space.route.addresses(link.index).map_err(|errno| ("read its addresses", errno))
}

/// Moves one device; its number there, and what failed once it was there.
fn carry(from: &Space, to: &Space, link: Link, name: &str) -> Done<(i32, Option<Errno>)> {
    let look =
        |index, name| to.route.find(index, name).map_err(|errno| ("look for its name", errno));
    // Without `%d`, for which the kernel chooses a free name.
    let plain = !name.contains('%');
    if plain && look(0, Some(name))?.is_some() {
        return Err(("a device of this name is in the container already", Errno::EXIST));
    }
    let mut number = link.index;
    while look(number, None)?.is_some() {
        number += 1;
    }
    let moved = from.route.carry(link.index, to.fd.as_fd(), (name, number));
    let there = look(number, None)?.or(if plain { look(0, Some(name))? } else { None });
    match (there, moved) {
        (Some(link), moved) => Ok((link.index, moved.err())),
        (None, Err(errno)) => Err(("move it", errno)),
        (None, Ok(())) => Err(("find it in the container", Errno::NODEV)),
    }
}

/// Gives it its addresses again, and sets it up.
fn dress(space: &Space, index: i32, addresses: &[Vec<u8>]) -> Done<()> {
    let all = addresses.iter().try_for_each(|one| space.route.give(index, one));
    all.map_err(|errno| ("give it its addresses", errno))?;
    space.route.set_up(index).map_err(|errno| ("set it up", errno))
}
