//! Until the kernel has noticed a link's carrier, it drops packets.

use cni_types::{Code, Error, Result};
use netlink::{Link, Netlink, Watch};
use std::time::Duration;

/// How long a link may take to pass traffic after both ends of the pair are up. The kernel needs
/// microseconds; this bounds a broken one.
const LIMIT: Duration = Duration::from_millis(2500);

/// The link as it is now that it passes traffic; `subject` is what errors call it.
///
/// A recent kernel brings its carrier up to date when it is asked for the link; an older one
/// sends a notice when it has done so.
///
/// # Errors
/// [`Code::Kernel`] when it has no carrier in time or is gone; those of the kernel.
pub fn wait_for_carrier(node: &Netlink, index: u32, subject: &str) -> Result<Link> {
    let gone = || Error::new(Code::Kernel, format!("{subject}: is gone"));
    let now = node.link_by_index(index)?.ok_or_else(gone)?;
    if now.running {
        return Ok(now);
    }
    if !Watch::open()?.running(node, index, LIMIT)? {
        let limit = LIMIT.as_millis();
        return Err(Error::new(
            Code::Kernel,
            format!("{subject}: has no carrier after {limit} ms"),
        )
        .with_details("both ends of its veth pair are up; look at the kernel's log"));
    }
    node.link_by_index(index)?.ok_or_else(gone)
}
