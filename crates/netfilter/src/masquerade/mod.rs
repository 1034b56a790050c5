//! Masquerade of pods' addresses (`ipMasq`), over nftables or iptables.
//!
//! The rules are those of the reference plugins, in the same tables and chains under the same
//! names and comments: each side removes what the other made. Every change is one transaction per
//! family. A record of the rules (see `record.rs`) makes DEL cost the same whatever the number of
//! other pods; rules without a record, as the reference makes them, are found by their names.

mod iptables;
mod nftables;

use crate::iptables::{Family, is_installed, probe as probe_iptables};
use crate::nft::Nft;
pub use crate::record::Owner;
use crate::record::{Records, Stored, remove};
use cni_types::{Attachment, Code, Error, Result};
use ipnetwork::IpNetwork;

/// What the rules are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `iptables-restore`.
    Iptables,
    /// nf_tables.
    Nftables,
}

impl Backend {
    /// Reads `ipMasqBackend`.
    ///
    /// # Errors
    /// [`Code::InvalidConfig`] for any other word than `iptables` and `nftables`.
    pub fn parse(text: &str) -> Result<Backend> {
        match text {
            "iptables" => Ok(Backend::Iptables),
            "nftables" => Ok(Backend::Nftables),
            _ => {
                Err(Error::new(Code::InvalidConfig, format!("ipMasqBackend: {text:?} is unknown"))
                    .with_details("want \"iptables\" or \"nftables\""))
            }
        }
    }

    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Iptables => "iptables",
            Backend::Nftables => "nftables",
        }
    }
}

/// The wish: packets from these addresses to outside their subnets leave with the node's address.
#[derive(Clone, Copy, Debug)]
pub struct Masquerade<'a> {
    /// `None`: iptables where it works, else nftables.
    pub backend: Option<Backend>,
    /// Whose addresses.
    pub owner: Owner<'a>,
    /// The pod's addresses with their subnets' prefix lengths.
    pub addresses: &'a [IpNetwork],
}

/// How far a [`Teardown`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// What a record of ours names. Costs one failed `open` where there is none.
    Recorded,
    /// Without a record, also what the reference plugins may have made.
    Everything,
}

const RECORDS: &str = "masquerade";

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rules {
    /// Rules of nf_tables by handle; none are known when the process was killed in between.
    Nftables(Vec<u64>),
    /// Addresses with iptables rules.
    Iptables(Vec<IpNetwork>),
    /// The process was killed before it wrote a word.
    Unknown,
}

impl Rules {
    fn of(stored: &Stored) -> Rules {
        let mut lines = stored.body.iter().map(String::as_str);
        match lines.next() {
            Some("nftables") => {
                let handle = |line: &str| line.rsplit_once(' ').and_then(|(_, h)| h.parse().ok());
                Rules::Nftables(lines.filter_map(handle).collect())
            }
            Some("iptables") => Rules::Iptables(lines.filter_map(|l| l.parse().ok()).collect()),
            _ => Rules::Unknown,
        }
    }
}

/// Makes the rules. What an earlier call for the same owner made, or began to make, is replaced.
///
/// # Errors
/// Those of the backend; then no rule is left.
pub fn setup(wish: &Masquerade<'_>) -> Result<()> {
    if wish.addresses.is_empty() {
        return Ok(());
    }
    let backend = wish.backend.map_or_else(|| choose(wish.addresses), Ok)?;
    let first = apply(backend, wish);
    let retry = wish.backend.is_none() && backend == Backend::Iptables;
    match first {
        // Installed, but this kernel or namespace refuses it: the other one may serve.
        Err(cause) if retry && nft_works().is_ok() => {
            apply(Backend::Nftables, wish).map_err(|e| cause.context(e))
        }
        other => other,
    }
}

fn apply(backend: Backend, wish: &Masquerade<'_>) -> Result<()> {
    let records = Records::of(RECORDS);
    let owner = &wish.owner;
    let body = match backend {
        Backend::Nftables => "nftables\n".to_owned(),
        Backend::Iptables => iptables::record_body(wish.addresses),
    };
    let claim = match records.claim(owner, &body)? {
        Some(claim) => claim,
        None => {
            teardown(owner, Search::Everything)?;
            records.claim(owner, &body)?.ok_or_else(|| busy(owner))?
        }
    };
    let made = match backend {
        Backend::Nftables => nftables::setup(wish, claim),
        Backend::Iptables => iptables::setup(wish, &addresses_of(&records.kin(owner)?)),
    };
    made.map_err(|cause| match teardown(owner, Search::Everything) {
        Ok(()) => cause,
        Err(e) => Error { details: format!("{}; undoing it: {e}", cause.details), ..cause },
    })
}

fn busy(owner: &Owner<'_>) -> Error {
    let Owner { network, container_id, ifname } = owner;
    Error::new(
        Code::TryAgain,
        format!("masquerade for {network}/{container_id}/{ifname}: another process is at it"),
    )
}

/// iptables, as the reference chooses, unless its programs are not there.
fn choose(addresses: &[IpNetwork]) -> Result<Backend> {
    let installed = addresses.iter().all(|net| is_installed(Family::of(net.ip())));
    if installed {
        return Ok(Backend::Iptables);
    }
    nft_works().map(|()| Backend::Nftables).map_err(|e| {
        Error::new(Code::Program, "masquerade: neither iptables nor nftables can be used")
            .with_details(format!("install the iptables package, or load nf_tables: {e}"))
    })
}

fn nft_works() -> Result<()> {
    Nft::open()?.generation()?;
    Ok(())
}

/// Removes the rules of `owner`, whichever backend and whoever made them. Nothing there is fine.
///
/// # Errors
/// As for [`Teardown::finish`].
pub fn teardown(owner: &Owner<'_>, search: Search) -> Result<()> {
    Teardown::begin(owner, search)?.finish()
}

/// A removal of rules that is under way.
///
/// The kernel lets whoever deletes rules wait for a grace period, as it does whoever deletes a
/// link. Between [`Teardown::begin`] and [`Teardown::finish`] a DEL deletes its links, so that it
/// waits for both at once. Dropped unfinished, the record stays, and the next call completes it.
#[must_use = "finish it, after the links are deleted"]
pub struct Teardown<'a> {
    owner: Owner<'a>,
    records: Records,
    /// Open to the end: closing it earlier would wait for the kernel.
    nft: Option<Nft>,
    step: Step,
}

enum Step {
    /// There was no record, and no more was asked for.
    Nothing,
    Deleted,
    Deleting(iptables::Transactions),
    Search,
}

impl<'a> Teardown<'a> {
    /// Begins to remove the rules of `owner`.
    ///
    /// # Errors
    /// The record or the kernel's rules cannot be read.
    pub fn begin(owner: &Owner<'a>, search: Search) -> Result<Teardown<'a>> {
        let records = Records::of(RECORDS);
        let mut nft = None;
        let step = match records.read(owner)?.as_ref().map(Rules::of) {
            None if search == Search::Recorded => Step::Nothing,
            Some(Rules::Nftables(handles)) if !handles.is_empty() => {
                nft = open_nft()?;
                let deleted = match &mut nft {
                    Some(nft) => nftables::delete_recorded(nft, owner, &handles)?,
                    None => false,
                };
                if deleted { Step::Deleted } else { Step::Search }
            }
            Some(Rules::Iptables(addresses)) => {
                let kin = addresses_of(&records.kin(owner)?);
                Step::Deleting(iptables::delete_recorded(owner, &addresses, &kin))
            }
            _ => Step::Search,
        };
        Ok(Teardown { owner: *owner, records, nft, step })
    }

    /// Waits until the rules are gone.
    ///
    /// # Errors
    /// Those of the backends; the record is kept then, so that the next call tries again.
    pub fn finish(mut self) -> Result<()> {
        match std::mem::replace(&mut self.step, Step::Nothing) {
            Step::Nothing => return Ok(()),
            Step::Deleted => {}
            Step::Deleting(transactions) => {
                if transactions.finish().is_err() {
                    self.search()?;
                }
            }
            Step::Search => self.search()?,
        }
        if let Some(nft) = self.nft.take() {
            nft.leave_to_collector();
        }
        self.records.remove(&self.owner)
    }

    fn search(&mut self) -> Result<()> {
        if self.nft.is_none() {
            self.nft = open_nft()?;
        }
        let owner = &self.owner;
        let kin = addresses_of(&self.records.kin(owner)?);
        let over_nft = self.nft.as_mut().map_or(Ok(()), |nft| nftables::delete_found(nft, owner));
        Error::collect([over_nft, iptables::delete_found(self.nft.as_mut(), owner, &kin)])
    }
}

/// nf_tables, unless this kernel lacks it: then it has no rules either.
fn open_nft() -> Result<Option<Nft>> {
    match Nft::open() {
        Err(e) if e.is_unsupported() => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// The addresses that records of iptables rules name.
fn addresses_of(records: &[Stored]) -> Vec<IpNetwork> {
    let addresses = records.iter().map(Rules::of).map(|rules| match rules {
        Rules::Iptables(addresses) => addresses,
        _ => Vec::new(),
    });
    addresses.flatten().collect()
}

/// Whether the rules of `wish` are all there.
///
/// # Errors
/// [`Code::Drift`] naming what is missing; those of the backend.
pub fn check(wish: &Masquerade<'_>) -> Result<()> {
    if wish.addresses.is_empty() {
        return Ok(());
    }
    let recorded = Records::of(RECORDS).read(&wish.owner)?.as_ref().map(Rules::of);
    match (recorded, wish.backend) {
        (Some(Rules::Nftables(handles)), _) => nftables::check(wish, &handles),
        (Some(Rules::Iptables(_)), _) => iptables::check(wish),
        (_, Some(Backend::Nftables)) => nftables::check(wish, &[]),
        (_, Some(Backend::Iptables)) => iptables::check(wish),
        // Without a record and a configured backend the reference chose at ADD.
        (_, None) => nftables::check(wish, &[]).or_else(|_| iptables::check(wish)),
    }
}

/// Removes all rules of `network` that belong to none of the `valid` attachments.
///
/// # Errors
/// All that went wrong, after everything was tried.
pub fn gc(network: &str, valid: &[Attachment]) -> Result<()> {
    let mut results = vec![gc_records(network, valid)];
    let mut nft = open_nft()?;
    results.extend(nft.as_mut().map(|nft| nftables::gc(nft, network, valid)));
    results.push(iptables::gc(nft.as_mut(), network, valid));
    Error::collect(results)
}

fn gc_records(network: &str, valid: &[Attachment]) -> Result<()> {
    let all = Records::of(RECORDS).all()?;
    let stale = all.stored.iter().map(Stored::owner).filter(|owner| {
        let is_owner =
            |a: &Attachment| a.container_id == owner.container_id && a.ifname == owner.ifname;
        owner.network == network && !valid.iter().any(is_owner)
    });
    let torn = stale.map(|owner| teardown(&owner, Search::Recorded));
    Error::collect(torn.chain(all.blank.iter().map(|path| remove(path))))
}

/// Whether [`setup`] would find its backend working, for IPv4 and, if `v6`, for IPv6.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason.
pub fn probe(backend: Option<Backend>, v6: bool) -> Result<()> {
    let families: &[Family] = if v6 { &Family::ALL } else { &[Family::V4] };
    let iptables = || families.iter().try_for_each(|family| probe_iptables(*family, "nat"));
    let outcome = match backend {
        Some(Backend::Nftables) => nft_works(),
        Some(Backend::Iptables) => iptables(),
        None => iptables().or_else(|cause| nft_works().map_err(|e| cause.context(e))),
    };
    outcome.map_err(|e| Error { code: Code::NotAvailable, ..e }.context("ipMasq"))
}
