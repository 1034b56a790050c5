//! Making what is wished, in an order that a kill at any point leaves for DEL and GC to finish.

use super::state::{Rules, State, User};
use super::{Backend, Isolation, Policy, Wish, antispoof, firewalld, frames, iptables, nftables};
use super::{antispoof::Guard, teardown};
use cni_types::{Code, Error, Result};

/// Makes all of `wish`. What an earlier call for the same owner made, or began to make, is completed
/// or replaced.
///
/// # Errors
/// Those of the backends; then nothing is left.
pub fn setup(wish: &Wish<'_>) -> Result<()> {
    let state = State::of_node();
    let rules = rules_of(wish);
    if let Some(earlier) = state.rules(&wish.owner)?
        && earlier != rules
    {
        teardown(&wish.owner, &[], wish.zone)?;
    }
    state.remember(&wish.owner, &rules)?;
    make(&state, wish, &rules).map_err(|cause| match teardown(&wish.owner, &[], wish.zone) {
        Ok(()) => cause,
        Err(e) => Error { details: format!("{}; undoing it: {e}", cause.details), ..cause },
    })
}

/// What the record of `wish` is to say.
fn rules_of(wish: &Wish<'_>) -> Rules {
    let isolation = wish.isolation.as_ref();
    Rules {
        backend: Some(wish.backend),
        zone: (wish.backend == Backend::Firewalld).then(|| wish.zone.to_owned()),
        addresses: wish.addresses.to_vec(),
        user: isolation.map(|isolation| User {
            bridge: isolation.bridge.to_owned(),
            policy: isolation.policy,
            place: wish.backend.of_isolation(),
        }),
        port: isolation.and_then(isolated_port).map(str::to_owned),
        guarded: wish.guard.as_ref().map(|guard| (guard.link.to_owned(), guard.addresses.to_vec())),
    }
}

/// The port whose frames are to be dropped.
fn isolated_port<'a>(isolation: &Isolation<'a>) -> Option<&'a str> {
    isolation.port.filter(|_| isolation.policy == Policy::Isolated)
}

/// The guard and the isolation are up before anything is admitted.
fn make(state: &State, wish: &Wish<'_>, rules: &Rules) -> Result<()> {
    if let Some(guard) = &wish.guard {
        antispoof::guard(&wish.owner, guard).map_err(|e| unguarded(guard, e))?;
    }
    if let Some(port) = &rules.port {
        frames::open(&wish.owner, port)?;
    }
    if let (Some(user), Some(isolation)) = (&rules.user, &wish.isolation) {
        let _lock = state.lock()?;
        state.join(user, &wish.owner)?;
        match user.place {
            Backend::Nftables => nftables::part_bridges(isolation.bridge, isolation.policy)?,
            _ => iptables::part_bridges(wish.addresses, isolation.bridge, isolation.policy)?,
        }
    }
    for ip in wish.addresses {
        state.take_address(*ip, &wish.owner)?;
    }
    match wish.backend {
        Backend::Iptables => iptables::admit(state, wish.addresses, wish.admin_chain),
        Backend::Nftables => nftables::admit(&wish.owner, wish.addresses, wish.admin_chain),
        Backend::Firewalld => firewalld::admit(wish.zone, wish.addresses),
    }
}

fn unguarded(guard: &Guard<'_>, cause: Error) -> Error {
    if cause.code == Code::Kernel && cause.details.is_empty() {
        cause.with_details(format!(
            "frames from {} cannot be looked at: this kernel may lack nf_tables for the netdev family",
            guard.link
        ))
    } else {
        cause
    }
}
