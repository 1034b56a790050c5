//! What may go to and from a pod: admission of its addresses, isolation of its bridge, and a guard
//! against forged addresses.
//!
//! - *Admission*: what a pod sends is forwarded, and so is what answers it, where the node would
//!   otherwise drop it. In iptables with the chains and rules of the reference plugin, in nftables
//!   in a table of its own, in firewalld by the zone of the addresses.
//! - *Isolation*: a bridge does not reach other isolated bridges, and, if asked, its pods do not
//!   reach each other. Kept with the last user.
//! - *Guard*: frames that a pod sends carry its own addresses. By nf_tables at the link's entrance,
//!   whatever the backend.
//!
//! A record of what an attachment has makes DEL precise. Rules of iptables are exactly the
//! reference's and do not say whose they are; the record, and an index by address, do.

mod antispoof;
mod firewalld;
mod frames;
mod iptables;
mod leftovers;
mod nftables;
mod setup;
mod state;

use crate::nft::Nft;
pub use crate::record::Owner;
pub use antispoof::Guard;
use cni_types::{Attachment, Code, Error, Result};
pub use setup::setup;
use state::{Rules, State};
use std::net::IpAddr;

/// What takes the rules of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `iptables-restore`.
    Iptables,
    /// nf_tables.
    Nftables,
    /// The firewalld daemon, over D-Bus.
    Firewalld,
}

impl Backend {
    /// The word for it in configurations and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
            Backend::Firewalld => "firewalld",
        }
    }

    /// The backend of that word.
    pub fn parse(word: &str) -> Option<Backend> {
        let all = [Backend::Iptables, Backend::Nftables, Backend::Firewalld];
        all.into_iter().find(|backend| backend.as_str() == word)
    }

    /// The backend that this node uses: firewalld where it runs, else iptables where it works, else
    /// nftables.
    pub fn of_node() -> Backend {
        if firewalld::is_running() {
            return Backend::Firewalld;
        }
        if !iptables::is_usable() && nftables::probe().is_ok() {
            Backend::Nftables
        } else {
            Backend::Iptables
        }
    }

    /// What takes the rules of isolation: packets are dropped by rules in either kind of tables, and
    /// firewalld knows none of this kind.
    fn of_isolation(self) -> Backend {
        match self {
            Backend::Nftables => Backend::Nftables,
            Backend::Iptables => Backend::Iptables,
            Backend::Firewalld if crate::iptables::is_installed(crate::iptables::Family::V4) => {
                Backend::Iptables
            }
            Backend::Firewalld => Backend::Nftables,
        }
    }
}

/// Whom pods on a bridge are reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each other, and not from other bridges that have a policy.
    SameBridge,
    /// Not even each other.
    Isolated,
}

impl Policy {
    /// Both.
    pub(crate) const ALL: [Policy; 2] = [Policy::SameBridge, Policy::Isolated];

    /// The word for it in configurations, comments and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::SameBridge => "same-bridge",
            Policy::Isolated => "isolated",
        }
    }
}

/// Isolation of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolation<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// From whom.
    pub policy: Policy,
    /// The pod's port of the bridge, if it is one: frames that the bridge itself passes on are seen
    /// there.
    pub port: Option<&'a str>,
}

/// The wish for one attachment.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Whose.
    pub owner: Owner<'a>,
    /// What takes the rules of admission.
    pub backend: Backend,
    /// The pod's addresses.
    pub addresses: &'a [IpAddr],
    /// The chain in which an operator decides before the rules of pods do; not for firewalld.
    pub admin_chain: &'a str,
    /// The zone of firewalld.
    pub zone: &'a str,
    /// Isolation of the pod's bridge, if there is to be any.
    pub isolation: Option<Isolation<'a>>,
    /// Guard against forged addresses, if there is to be one.
    pub guard: Option<Guard<'a>>,
}

/// The backend that the rules of `owner` are in, if it has any.
///
/// # Errors
/// [`Code::Io`].
pub fn backend_of(owner: &Owner<'_>) -> Result<Option<Backend>> {
    Ok(State::of_node().rules(owner)?.and_then(|rules| rules.backend))
}

/// Removes all that `owner` has, whoever made it. Where there is no record, `told` are the addresses
/// that the pod had, and `zone` is where the reference put them; what is somebody else's is left
/// alone.
///
/// # Errors
/// All that went wrong, after everything was tried; the record is kept then, so that the next call
/// tries again.
pub fn teardown(owner: &Owner<'_>, told: &[IpAddr], zone: &str) -> Result<()> {
    let state = State::of_node();
    let recorded = state.rules(owner)?;
    let is_recorded = recorded.is_some();
    let rules = recorded.unwrap_or_else(|| Rules {
        addresses: told.to_vec(),
        // A daemon is asked only for a pod that the reference may have put there.
        zone: (!told.is_empty() && firewalld::is_running()).then(|| zone.to_owned()),
        ..Rules::default()
    });
    let mut own = Vec::new();
    for ip in &rules.addresses {
        if state.may_be_of(*ip, owner)? {
            own.push(*ip);
        }
    }
    let mut outcomes = vec![iptables::dismiss(&own)];
    outcomes.push(if is_recorded {
        nftables::dismiss(owner, &own)
    } else {
        nftables::dismiss_found(owner)
    });
    if let Some(zone) = &rules.zone {
        outcomes.push(firewalld::dismiss(zone, &own));
    }
    outcomes.extend(rules.user.as_ref().map(|user| leave(&state, user, owner)));
    outcomes.push(frames::close(owner, rules.port.as_deref()));
    outcomes.push(antispoof::lift(owner));
    Error::collect(outcomes)?;
    for ip in &own {
        state.free_address(*ip, owner)?;
    }
    if is_recorded { state.forget(owner) } else { Ok(()) }
}

/// A user of a bridge's isolation leaves; the last one takes the rules along.
fn leave(state: &State, user: &state::User, owner: &Owner<'_>) -> Result<()> {
    let _lock = state.lock()?;
    if !state.leave(user, owner)? {
        return Ok(());
    }
    match user.place {
        Backend::Nftables => nftables::join_bridges(&user.bridge, user.policy),
        _ => iptables::join_bridges(&user.bridge, user.policy),
    }
}

/// Whether all of `wish` is there.
///
/// # Errors
/// [`Code::Drift`] naming what is missing; those of the backend.
pub fn check(wish: &Wish<'_>) -> Result<()> {
    match wish.backend {
        Backend::Iptables => iptables::check(wish.addresses, wish.admin_chain)?,
        Backend::Nftables => nftables::check(&wish.owner, wish.addresses, wish.admin_chain)?,
        Backend::Firewalld => firewalld::check(wish.zone, wish.addresses)?,
    }
    if let Some(isolation) = &wish.isolation {
        match wish.backend.of_isolation() {
            Backend::Nftables => nftables::check_bridge(isolation.bridge, isolation.policy)?,
            _ => iptables::check_bridge(wish.addresses, isolation.bridge, isolation.policy)?,
        }
        // The reference knows nothing of ports.
        let is_ours = || State::of_node().rules(&wish.owner).map(|rules| rules.is_some());
        if let (Policy::Isolated, Some(port)) = (isolation.policy, isolation.port)
            && is_ours()?
        {
            frames::check(&wish.owner, port)?;
        }
    }
    match &wish.guard {
        Some(guard) => check_guard(&wish.owner, guard),
        None => Ok(()),
    }
}

/// The link-local addresses that count are those that the pod had at ADD.
fn check_guard(owner: &Owner<'_>, guard: &Guard<'_>) -> Result<()> {
    let recorded = State::of_node().rules(owner)?.and_then(|rules| rules.guarded);
    match recorded {
        Some((link, addresses)) if link == guard.link => {
            antispoof::check(owner, &Guard { addresses: &addresses, ..*guard })
        }
        _ => antispoof::check(owner, guard),
    }
}

/// Removes what attachments of `network` have that are not `valid`, what isolates bridges that are
/// gone, and what the reference left for addresses that no runtime knows: see `known`, which are
/// all addresses in the results of runtimes on this node; `None` where that cannot be told.
///
/// # Errors
/// All that went wrong, after everything was tried.
pub fn gc(network: &str, valid: &[Attachment], known: Option<&[IpAddr]>) -> Result<()> {
    let state = State::of_node();
    let (stale, blank) = state.stale(network, valid)?;
    let mut outcomes: Vec<Result<()>> = Vec::new();
    for stored in &stale {
        outcomes.push(teardown(&stored.owner(), &[], ""));
    }
    outcomes.extend(blank.iter().map(|path| crate::record::remove(path)));
    outcomes.push(nftables::collect(network, valid));
    outcomes.push(frames::collect(network, valid));
    outcomes.push(antispoof::collect(network, valid));
    {
        let _lock = state.lock()?;
        outcomes.push(iptables::collect_bridges());
        outcomes.push(nftables::collect_bridges());
    }
    if let Some(known) = known {
        outcomes.push(leftovers::collect(&state, known));
    }
    Error::collect(outcomes)
}

/// What [`probe`] asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// What takes the rules of admission.
    pub backend: Backend,
    /// Isolation of a bridge, if there is to be any.
    pub policy: Option<Policy>,
    /// A guard against forged addresses, which needs nf_tables whatever the backend; so do
    /// isolated ports.
    pub guard: bool,
}

/// Whether [`setup`] could work.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason.
pub fn probe(means: Means) -> Result<()> {
    let works = || -> Result<()> {
        let backends = [Some(means.backend), means.policy.map(|_| means.backend.of_isolation())];
        for backend in backends.into_iter().flatten() {
            match backend {
                Backend::Firewalld => firewalld::probe()?,
                Backend::Nftables => nftables::probe()?,
                Backend::Iptables => iptables::probe(crate::iptables::Family::V4).or_else(|e| {
                    // A node without IPv4 has no use for its tables.
                    iptables::probe(crate::iptables::Family::V6).map_err(|_| e)
                })?,
            }
        }
        if means.guard || means.policy == Some(Policy::Isolated) {
            nftables::probe()?;
        }
        Ok(())
    };
    works().map_err(|e| Error { code: Code::NotAvailable, ..e })
}

/// nf_tables, closed in the background: the close of a netfilter socket waits until the kernel has
/// freed what was deleted in the namespace, by whomever.
struct Session(Nft);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.leave_to_collector();
    }
}

impl std::ops::Deref for Session {
    type Target = Nft;

    fn deref(&self) -> &Nft {
        &self.0
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Nft {
        &mut self.0
    }
}

fn session() -> Result<Session> {
    Ok(Session(Nft::open()?))
}

/// nf_tables, unless this kernel lacks it: then it has no rules either.
fn open_nft() -> Result<Option<Session>> {
    match Nft::open() {
        Err(e) if e.is_unsupported() => Ok(None),
        other => Ok(Some(Session(other?))),
    }
}

fn drift(cause: impl std::fmt::Display) -> Error {
    Error::new(Code::Drift, format!("firewall: {cause}"))
        .with_details("the rules were changed after ADD; delete and add the pod to restore them")
}
