//! The end of an attachment: its leases are given back. The daemon does it, or DEL and GC
//! themselves where there is no daemon.

use crate::clock::Dice;
use crate::exchange::Patience;
use crate::pod::Pod;
use crate::store::Record;
use cni_types::{Error, Result};
use std::time::Duration;

/// Of a client that sends one thing more.
const NONE: Patience = Patience { resend: Duration::ZERO, answer: Duration::ZERO };

/// What became of the leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There were none.
    Nothing,
    /// Their servers were told.
    Sent,
    /// They are left to run out; why.
    Left(String),
}

/// Tells the servers that the leases of a record are over, and takes their addresses from the pod,
/// which may not use them any longer (RFC 2131, 4.4.6).
///
/// # Errors
/// Those of the kernel; servers that could be told were.
pub(crate) fn give_back(record: &Record, dice: &mut Dice) -> Result<Outcome> {
    if record.leases.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let Some(space) = record.place.find() else {
        return Ok(Outcome::Left("the pod's network namespace is gone".to_owned()));
    };
    let families: Vec<_> = record.leases.iter().map(|(family, _)| *family).collect();
    let pod = match Pod::open(&space, &record.key.ifname, &families) {
        Ok(pod) if pod.mac() == record.interface.mac => pod,
        Ok(_) => return Ok(Outcome::Left("the pod has another interface now".to_owned())),
        Err(fault) => return Ok(Outcome::Left(fault.to_string())),
    };
    let mut outcomes = Vec::new();
    for client in record.clients(NONE, false) {
        let Some(lease) = client.lease() else { continue };
        // The address is taken first: what goes by DHCPv6 goes from the link-local one, and what
        // goes by DHCPv4 is a frame of our own.
        outcomes.push(pod.take(lease));
        outcomes.extend(client.release(dice).map(|datagram| pod.send(&datagram)));
    }
    Error::collect(outcomes).map(|()| Outcome::Sent)
}
