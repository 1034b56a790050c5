//! The verbs' effects on the lease directory.

use crate::boot::Boot;
use crate::config::{Config, Place};
use crate::index::PoolId;
use crate::plan;
use crate::range::{Bits, address};
use crate::store::{Found, Look, Owner, Purpose, Store, name};
use cni_types::{Attachment, CniResult, Code, Error, Result};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat};
use std::collections::HashSet;
use std::path::Path;

/// Attempts to take addresses that somebody creates without the lock.
const TAKE_TRIES: usize = 4;

/// How far STATUS looks before it counts.
const STATUS_STEPS: usize = 64;

/// An address chosen for a range set.
#[derive(Clone, Copy, Debug)]
struct Pick {
    ip: Bits,
    pool: PoolId,
}

/// Leases one address of each range set, all or none.
///
/// # Errors
/// [`Code::Conflict`], [`Code::PoolExhausted`], [`Code::InvalidConfig`], [`Code::Io`].
pub(crate) fn add(config: &Config, attachment: &Attachment, boot: Boot) -> Result<CniResult> {
    let wishes = plan::requests(&config.sets, &config.requested)?;
    let Some(mut store) = Store::open(&config.place, Purpose::Add, boot)? else {
        return Err(Error::new(
            Code::Internal,
            format!("{}: was not made", config.place.data_dir.display()),
        ));
    };
    refuse_second(&mut store, config, attachment)?;
    let [owner, _] = Owner::forms(attachment);
    for _ in 0..TAKE_TRIES {
        let picks = choose(&mut store, config, &wishes)?;
        let picked: Vec<_> = picks.iter().map(|pick| pick.ip).collect();
        // Whatever can fail is made before the lock is given up.
        let result = plan::result(config, &picked)?;
        if take(&mut store, &picks, &owner)? {
            return Ok(result);
        }
        // Somebody has changed the directory without the lock: look at it again.
        store.rebuild_from_self()?;
    }
    Err(Error::new(Code::TryAgain, format!("{}: changes all the time", shown(&config.place)))
        .with_details("another program makes leases without taking the lock"))
}

fn shown(place: &Place) -> String {
    place.data_dir.join(&place.network).display().to_string()
}

/// A second ADD without a DEL between is an error of the runtime (CNI 1.1.0, ADD).
fn refuse_second(store: &mut Store, config: &Config, attachment: &Attachment) -> Result<()> {
    for owner in Owner::forms(attachment) {
        let leases = store.leases_of(&owner)?;
        let held = leases.into_iter().find(|ip| config.sets.iter().any(|set| set.spans(*ip)));
        if let Some(ip) = held {
            let subject = format!("address {}: is leased to this attachment", address(ip));
            return Err(Error::new(Code::Conflict, subject).with_details(format!(
                "{} of {} was added before; call DEL first",
                attachment.ifname, attachment.container_id
            )));
        }
    }
    Ok(())
}

/// Chooses an address of each set; changes nothing on disk.
fn choose(store: &mut Store, config: &Config, wishes: &[Option<Bits>]) -> Result<Vec<Pick>> {
    let mut picks = Vec::with_capacity(config.sets.len());
    let mut any_counted = false;
    for (n, (set, wish)) in config.sets.iter().zip(wishes).enumerate() {
        let (pool, counted) =
            store.with_index(|index, dir| index.pool(set, || dir.last_reserved(n)))?;
        any_counted |= counted;
        let ip = match *wish {
            Some(ip) => {
                refuse_taken(store, ip)?;
                ip
            }
            None => store.with_index(|index, _| index.choose(pool, set))?.ok_or_else(|| {
                Error::new(Code::PoolExhausted, format!("range set {n} ({set}): no free address"))
                    .with_details(format!(
                        "all {} addresses are leased in {}; GC frees those of vanished pods, or \
                         widen the ranges",
                        set.usable(),
                        shown(&config.place)
                    ))
            })?,
        };
        picks.push(Pick { ip, pool });
    }
    if any_counted {
        store.with_index(|index, _| index.drop_unclaimed())?;
    }
    Ok(picks)
}

fn refuse_taken(store: &mut Store, ip: Bits) -> Result<()> {
    let holder = match store.dir.read(ip)? {
        Found::Nothing => return Ok(()),
        Found::Lease(owner, _) => owner.shown(),
        Found::Torn | Found::Foreign => "something that is not a lease".to_owned(),
    };
    let subject = format!("requested address {}: is not available", address(ip));
    Err(Error::new(Code::Conflict, subject).with_details(format!("it is held by {holder}")))
}

/// Makes the leases, and takes all back when one cannot be made. `false` if a name was taken.
fn take(store: &mut Store, picks: &[Pick], owner: &Owner) -> Result<bool> {
    let mut made: Vec<(Pick, i64)> = Vec::with_capacity(picks.len());
    let outcome = make(store, picks, owner, &mut made);
    if !matches!(outcome, Ok(true)) {
        let undone: Vec<_> =
            made.iter().filter_map(|(pick, _)| store.dir.remove(pick.ip).err()).collect();
        // Without commit: the next call sees that the directory has changed, and walks it.
        return match (outcome, Error::join(undone)) {
            (Err(error), None) => Err(error),
            (Err(error), Some(more)) => Err(error.with_details(more.to_string())),
            (Ok(_), Some(more)) => Err(more),
            (Ok(_), None) => Ok(false),
        };
    }
    store.note(|index| {
        for (pick, changed) in &made {
            index.set_used(pick.ip, owner.hash(), *changed, pick.pool)?;
            index.set_last(pick.pool, pick.ip);
        }
        Ok(())
    });
    Ok(true)
}

fn make(store: &Store, picks: &[Pick], owner: &Owner, made: &mut Vec<(Pick, i64)>) -> Result<bool> {
    for pick in picks {
        match store.dir.create(pick.ip, owner)? {
            Some(changed) => made.push((*pick, changed)),
            None => return Ok(false),
        }
    }
    for (n, pick) in picks.iter().enumerate() {
        store.dir.set_last_reserved(n, pick.ip)?;
    }
    Ok(true)
}

/// Frees the leases of an attachment.
///
/// # Errors
/// [`Code::Io`] when a lease cannot be removed.
pub(crate) fn del(place: &Place, attachment: &Attachment, boot: Boot) -> Result<()> {
    let Some(mut store) = Store::open(place, Purpose::Remove, boot)? else { return Ok(()) };
    for owner in Owner::forms(attachment) {
        let leases = store.leases_of(&owner)?;
        // Leases of the oldest form name no interface; they count where there is no other.
        if !leases.is_empty() {
            return free(&mut store, &leases);
        }
    }
    Ok(())
}

fn free(store: &mut Store, leases: &[Bits]) -> Result<()> {
    let mut errors = Vec::new();
    let mut freed = Vec::with_capacity(leases.len());
    for ip in leases {
        match store.dir.remove(*ip) {
            Ok(()) => freed.push(*ip),
            Err(error) => errors.push(error),
        }
    }
    store.note(|index| freed.iter().try_for_each(|ip| index.set_freed(*ip)));
    Error::join(errors).map_or(Ok(()), Err)
}

/// Compares the leases with the result of ADD.
///
/// # Errors
/// [`Code::Drift`].
pub(crate) fn check(
    config: &Config,
    attachment: &Attachment,
    result: &CniResult,
    boot: Boot,
) -> Result<()> {
    let owners = Owner::forms(attachment);
    let expected = plan::expected(&config.sets, result);
    let Some(mut leases) = Look::open(&config.place, &boot)? else {
        return Err(Error::new(Code::Drift, format!("{}: is missing", shown(&config.place)))
            .with_details("the leases of the network were deleted; delete and add the pod anew"));
    };
    let mut held = 0;
    for (ip, must) in expected {
        let cause = match leases.read(ip)? {
            Found::Lease(owner, _) if owners.contains(&owner) => {
                held += 1;
                continue;
            }
            Found::Lease(owner, _) => format!("is leased to {}", owner.shown()),
            Found::Nothing => "is not leased".to_owned(),
            Found::Torn | Found::Foreign => "has something that is not a lease".to_owned(),
        };
        if must {
            return Err(drift(format!("address {}: {cause}", name(ip)), attachment));
        }
    }
    if held == 0 {
        return Err(drift("prevResult.ips: no address of it is leased".to_owned(), attachment));
    }
    Ok(())
}

fn drift(subject: String, attachment: &Attachment) -> Error {
    Error::new(Code::Drift, subject).with_details(format!(
        "it must be leased to {} of {}; delete and add the pod anew",
        attachment.ifname, attachment.container_id
    ))
}

/// Frees the leases of all attachments but the valid ones.
///
/// # Errors
/// All failures, joined.
pub(crate) fn gc(place: &Place, valid: &[Attachment], boot: Boot) -> Result<()> {
    let Some(mut store) = Store::open(place, Purpose::Remove, boot)? else { return Ok(()) };
    let keep: HashSet<u64> = valid.iter().flat_map(Owner::forms).map(|o| o.hash()).collect();
    let stale = store.walked()?.into_iter().filter(|(_, owner)| !keep.contains(owner));
    let stale: Vec<_> = stale.map(|(ip, _)| ip).collect();
    if stale.is_empty() { Ok(()) } else { free(&mut store, &stale) }
}

/// Tells whether ADD would find an address and could note it.
///
/// # Errors
/// [`Code::NotAvailable`] with the reason.
pub(crate) fn status(config: &Config, boot: Boot) -> Result<()> {
    let place = &config.place;
    writable(place)?;
    let Some(mut leases) = Look::open(place, &boot)? else { return Ok(()) };
    if is_free_ahead(&mut leases, config)? {
        return Ok(());
    }
    drop(leases);
    let Some(mut store) = Store::open(place, Purpose::Look, boot)? else { return Ok(()) };
    let nothing = vec![None; config.sets.len()];
    choose(&mut store, config, &nothing).map(|_| ()).map_err(|error| match error.code {
        Code::PoolExhausted => Error { code: Code::NotAvailable, ..error },
        _ => error,
    })
}

/// Whether each set has a free address a few steps after the last one given out. Nearly always
/// there is, and then nothing needs to be searched.
fn is_free_ahead(leases: &mut Look, config: &Config) -> Result<bool> {
    for (n, set) in config.sets.iter().enumerate() {
        let last = leases.last_reserved(n).filter(|ip| set.spans(*ip));
        let mut ip = last.map_or_else(|| set.first(), |ip| set.next(ip));
        let mut steps = 0;
        while leases.read(ip)? != Found::Nothing {
            ip = set.next(ip);
            steps += 1;
            if steps == STATUS_STEPS {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Probes the directory that ADD would write to: the network's, or the nearest above it that
/// exists.
fn writable(place: &Place) -> Result<()> {
    let wanted = place.data_dir.join(&place.network);
    let there = wanted.ancestors().find(|path| path.symlink_metadata().is_ok());
    let there = there.unwrap_or(Path::new("/"));
    let refused = |cause: String| {
        Error::new(Code::NotAvailable, format!("{}: {cause}", there.display()))
            .with_details(format!("ADD must be able to write leases to {}", wanted.display()))
    };
    if !there.is_dir() {
        return Err(refused("is not a directory".to_owned()));
    }
    let mode = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(AT_FDCWD, there, mode, AtFlags::AT_EACCESS)
        .map_err(|errno| refused(errno.desc().to_owned()))?;
    let room = statvfs(there).map_err(|errno| refused(errno.desc().to_owned()))?;
    // File systems without a fixed number of files report none at all.
    if room.blocks_free() == 0 || (room.files() > 0 && room.files_free() == 0) {
        return Err(refused("the file system is full".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
