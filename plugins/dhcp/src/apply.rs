//! The verbs: the daemon does the work; DEL and GC are done without it where it is dead.

use crate::clock::Dice;
use crate::config::{self, Config};
use crate::dial::{self, Failure};
use crate::give_back::{Outcome, give_back};
use crate::plan;
use crate::protocol::{self, Key, Reply};
use crate::store::{Record, Store};
use cni_plugin::{Call, NodeCall, log};
use cni_types::{Args, CniResult, Code, Error, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often a daemon that ended in the middle is asked again, and after what pause: a service
/// manager starts it anew meanwhile.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Leases addresses for the attachment.
pub(crate) fn add(call: &Call) -> Result<CniResult> {
    let config = Config::read(&call.conf, &call.args)?;
    call.pod()?;
    let key = plan::key(call);
    let wish = plan::wish(&config, &key);
    let add = protocol::Call::Add { key, netns: absolute(&call.netns_path)?, wish };
    match ask(&config.socket, &add, Code::Program)? {
        Reply::Leased { leases } => Ok(plan::result(&leases)),
        other => Err(unexpected(&other)),
    }
}

/// The daemon has another working directory.
fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|e| Error::new(Code::InvalidEnvironment, format!("CNI_NETNS: {path}: {e}")))
}

/// Gives the leases of the attachment back.
pub(crate) fn del(call: &Call) -> Result<()> {
    let socket = config::socket(&call.conf)?;
    let key = plan::key(call);
    let own = key.clone();
    with_or_without(&socket, &protocol::Call::Del { key }, |store| {
        match store.read(&own) {
            Ok(Some(record)) => end(store, &record),
            // What cannot be read cannot be given back, and must not keep a pod from being deleted.
            Err(fault) if fault.code == Code::Decode => {
                log("going on", Err::<(), _>(fault));
                store.remove(&own)
            }
            Ok(None) => Ok(()),
            Err(fault) => Err(fault),
        }
    })
}

/// Sees that the leases of the attachment are kept.
pub(crate) fn check(call: &Call) -> Result<()> {
    let config = Config::read(&call.conf, &call.args)?;
    let addresses = call.prev_result()?.ips.iter().map(|ip| ip.address).collect();
    let check = protocol::Call::Check { key: plan::key(call), addresses };
    ask(&config.socket, &check, Code::Program).map(drop)
}

/// Gives back what no valid attachment owns.
pub(crate) fn gc(call: &NodeCall) -> Result<()> {
    let socket = config::socket(&call.conf)?;
    let network = call.conf.name.as_str().to_owned();
    let gc = protocol::Call::Gc { network: network.clone(), valid: call.valid.clone() };
    with_or_without(&socket, &gc, |store| {
        let (records, faults) = store.all()?;
        let stale =
            |key: &Key| key.network == network && !call.is_valid(&key.container_id, &key.ifname);
        let ended = records.iter().filter(|r| stale(&r.key)).map(|record| end(store, record));
        Error::collect(ended.chain(faults.into_iter().map(Err)))
    })
}

/// Tells whether ADD can be served.
pub(crate) fn status(call: &NodeCall) -> Result<()> {
    let unavailable = |e: Error| Error { code: Code::NotAvailable, ..e };
    let config = Config::read(&call.conf, &Args::default()).map_err(unavailable)?;
    let network = call.conf.name.as_str().to_owned();
    let status = protocol::Call::Status { network };
    ask(&config.socket, &status, Code::NotAvailable).map(drop).map_err(|e| match e.code {
        Code::LimitedConnectivity => e,
        _ => unavailable(e),
    })
}

/// Asks the daemon; one that ends meanwhile is asked again when it is back: all calls can be
/// repeated. ADD waits as well for one that left its socket behind: it was killed.
fn ask(socket: &Path, call: &protocol::Call, absent: Code) -> Result<Reply> {
    let mut tries = 0;
    let mut comes_back = false;
    loop {
        match dial::ask(socket, call) {
            Ok(reply) => return Ok(reply),
            Err(Failure::Ended) if tries < TRIES => comes_back = true,
            Err(Failure::NoDaemon(_)) if comes_back && tries < TRIES => {}
            Err(Failure::NoDaemon(cause))
                if cause.kind() == ErrorKind::ConnectionRefused
                    && matches!(call, protocol::Call::Add { .. })
                    && tries < TRIES => {}
            Err(failure) => return Err(failure.error(socket, absent)),
        }
        tries += 1;
        thread::sleep(PAUSE);
    }
}

/// Has the daemon do it, or does it with the records where there is no daemon.
///
/// Whoever holds the records' lock may change them. A daemon that holds it and does not listen is
/// about to do so, or about to end.
fn with_or_without(
    socket: &Path,
    call: &protocol::Call,
    without: impl Fn(&Store) -> Result<()>,
) -> Result<()> {
    let store = Store::beside(socket);
    let mut tries = 0;
    loop {
        let failure = match dial::ask(socket, call) {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        if matches!(failure, Failure::Refused(_)) || tries >= TRIES {
            return Err(failure.error(socket, Code::TryAgain));
        }
        if matches!(failure, Failure::NoDaemon(_)) {
            if store.is_absent() {
                return Ok(());
            }
            if let Some(_lock) = store.lock()? {
                return without(&store);
            }
        }
        tries += 1;
        thread::sleep(PAUSE);
    }
}

/// Gives the leases of a record back and forgets it. What a server was not told runs out by itself.
fn end(store: &Store, record: &Record) -> Result<()> {
    match give_back(record, &mut Dice::default()) {
        Ok(Outcome::Left(why)) => {
            let what = format!("lease of {}", record.key);
            log(what, Err::<(), _>(format!("is left to run out: {why}")));
        }
        other => log(format!("giving back the lease of {}", record.key), other),
    }
    store.remove(&record.key)
}

fn unexpected(reply: &Reply) -> Error {
    Error::new(Code::Decode, format!("DHCP daemon: an answer that was not asked for: {reply:?}"))
        .with_details("plugin and daemon must be podloom's both, of releases that go together")
}
