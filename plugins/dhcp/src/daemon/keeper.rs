//! All attachments, and what callers want of them.

use super::attachment::{Attachment, Means, Outcome};
use super::flags::Settings;
use super::note;
use crate::clock::{Dice, Time};
use crate::give_back::{self, give_back};
use crate::pod::{self, Pod};
use crate::protocol::{self, Call, Key, Reply, Request, Wish};
use crate::store::{Place, Record, Store};
use cni_types::{Attachment as Owned, Code, Error, Result};
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// How often pods are looked for that went without DEL.
const SWEEP: Duration = Duration::from_secs(15);
/// How long STATUS remembers that a server was silent: longer would keep a node from trying again.
const MEMORY: Duration = Duration::from_secs(60);

/// All that the daemon knows.
#[derive(Debug)]
pub(crate) struct Keeper {
    settings: Settings,
    store: Store,
    dice: Dice,
    attachments: BTreeMap<Key, Attachment>,
    /// Networks on which ADD failed last, when, and why.
    silent: BTreeMap<String, (Time, String)>,
    swept: Time,
    replies: Vec<(u64, Reply)>,
}

impl Keeper {
    /// One without attachments.
    pub(crate) fn new(settings: Settings, store: Store) -> Keeper {
        Keeper {
            settings,
            store,
            dice: Dice::default(),
            attachments: BTreeMap::new(),
            silent: BTreeMap::new(),
            swept: Time::default(),
            replies: Vec::new(),
        }
    }

    /// Goes on with the leases of the daemon before this one.
    ///
    /// # Errors
    /// [`Code::Io`] when they cannot be read.
    pub(crate) fn resume(&mut self, now: Time) -> Result<()> {
        let (records, faults) = self.store.all()?;
        for fault in faults {
            note("record of a lease", fault);
        }
        for record in records {
            let key = record.key.clone();
            if !record.told {
                self.end(&record);
                continue;
            }
            self.work(&key, now, |means| {
                let mut attachment = Attachment::resumed(record, means);
                let outcome = attachment.begin(means);
                (attachment, outcome)
            });
        }
        Ok(())
    }

    /// What is to be said to callers.
    pub(crate) fn replies(&mut self) -> Vec<(u64, Reply)> {
        std::mem::take(&mut self.replies)
    }

    /// When [`Keeper::tick`] is due.
    pub(crate) fn wake(&self) -> Time {
        let due = self.attachments.values().map(Attachment::wake);
        due.chain([self.swept.after(SWEEP)]).min().unwrap_or(Time::NEVER)
    }

    /// The sockets to wait on.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (&Key, BorrowedFd<'_>)> {
        let open = self.attachments.iter().filter_map(|(key, a)| a.pod().map(|pod| (key, pod)));
        open.flat_map(|(key, pod)| pod.sockets().map(move |socket| (key, socket)))
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Time) {
        let due = self.attachments.iter().filter(|(_, a)| a.wake() <= now);
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            self.on(&key, now, Attachment::tick);
        }
        if now >= self.swept.after(SWEEP) {
            self.swept = now;
            self.sweep(now);
        }
    }

    /// Takes what has come in for an attachment.
    pub(crate) fn receive(&mut self, key: &Key, now: Time) {
        self.on(key, now, Attachment::receive);
    }

    /// Forgets attachments whose pods are gone: their interfaces are, so nobody uses the addresses.
    fn sweep(&mut self, now: Time) {
        let gone = self.attachments.iter().filter(|(_, a)| a.record.place.find().is_none());
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.on(&key, now, |attachment, _| {
                Outcome::Gone(
                    attachment.waiters(),
                    "the pod's network namespace is gone".to_owned(),
                )
            });
        }
        self.silent.retain(|_, (since, _)| now.since(*since) < MEMORY);
    }

    /// Lets an attachment work.
    fn on(
        &mut self,
        key: &Key,
        now: Time,
        work: impl FnOnce(&mut Attachment, &mut Means<'_>) -> Outcome,
    ) {
        let Some(mut attachment) = self.attachments.remove(key) else { return };
        self.work(key, now, |means| {
            let outcome = work(&mut attachment, means);
            (attachment, outcome)
        });
    }

    /// Puts an attachment in its place, or what came of it.
    fn work(
        &mut self,
        key: &Key,
        now: Time,
        work: impl FnOnce(&mut Means<'_>) -> (Attachment, Outcome),
    ) {
        let mut means =
            Means { settings: &self.settings, store: &self.store, dice: &mut self.dice, now };
        let (attachment, outcome) = work(&mut means);
        match outcome {
            Outcome::Going => {}
            Outcome::Leased(waiters) => {
                self.silent.remove(&key.network);
                let leases = attachment.leases().unwrap_or_default();
                let texts: Vec<_> =
                    leases.iter().map(|l| format!("{} by {}", l.address, l.server)).collect();
                note(key, format!("leased {}", texts.join(", ")));
                self.answer(&waiters, &Reply::Leased { leases });
            }
            Outcome::Failed(waiters, error) => {
                note(key, &error);
                self.silent.insert(key.network.clone(), (now, error.msg.clone()));
                self.answer(&waiters, &error.into());
                if !attachment.record.told {
                    self.end(&attachment.record);
                    return;
                }
            }
            Outcome::Gone(waiters, why) => {
                let error = Error::new(Code::InvalidNetns, format!("{key}: {why}"));
                self.answer(&waiters, &error.into());
                note(key, format!("forgotten, its leases are left to run out: {why}"));
                self.forget(key);
                return;
            }
        }
        self.attachments.insert(key.clone(), attachment);
    }

    fn answer(&mut self, waiters: &[u64], reply: &Reply) {
        self.replies.extend(waiters.iter().map(|waiter| (*waiter, reply.clone())));
    }

    /// Gives the leases of a record back, and forgets it.
    fn end(&mut self, record: &Record) {
        match give_back(record, &mut self.dice) {
            Ok(give_back::Outcome::Nothing) => {}
            Ok(give_back::Outcome::Sent) => note(&record.key, "released"),
            Ok(give_back::Outcome::Left(why)) => {
                note(&record.key, format!("its leases are left to run out: {why}"));
            }
            Err(fault) => note(&record.key, fault.context("cannot be released")),
        }
        self.forget(&record.key);
    }

    fn forget(&self, key: &Key) {
        if let Err(fault) = self.store.remove(key) {
            note(key, fault);
        }
    }

    /// A caller has gone.
    pub(crate) fn left(&mut self, connection: u64) {
        let over = self
            .attachments
            .iter_mut()
            .filter_map(|(key, attachment)| attachment.left(connection).then(|| key.clone()));
        let over: Vec<Key> = over.collect();
        for key in over {
            if let Some(attachment) = self.attachments.remove(&key) {
                note(&key, "its caller is gone");
                self.end(&attachment.record);
            }
        }
    }

    /// Does what a caller asks for; the answer may come later.
    pub(crate) fn request(&mut self, connection: u64, request: Request, now: Time) {
        if request.version != protocol::VERSION {
            let (theirs, ours) = (request.version, protocol::VERSION);
            let error = Error::new(
                Code::IncompatibleVersion,
                format!("DHCP daemon: the plugin speaks version {theirs}, the daemon {ours}"),
            )
            .with_details("restart the daemon with the program that was installed");
            return self.answer(&[connection], &error.into());
        }
        let outcome = match request.call {
            Call::Add { key, netns, wish } => self.add(connection, key, (&netns, wish), now),
            Call::Del { key } => self.del(&key).map(Some),
            Call::Check { key, addresses } => self.check(&key, &addresses).map(Some),
            Call::Gc { network, valid } => self.gc(&network, &valid).map(Some),
            Call::Status { network } => self.status(&network, now).map(Some),
        };
        match outcome {
            Ok(reply) => self.replies.extend(reply.map(|reply| (connection, reply))),
            Err(error) => self.answer(&[connection], &error.into()),
        }
    }

    fn add(
        &mut self,
        connection: u64,
        key: Key,
        (netns, wish): (&Path, Wish),
        now: Time,
    ) -> Result<Option<Reply>> {
        let place = Place::of(&self.settings.prefix, netns)?;
        let gone = || Error::new(Code::InvalidNetns, format!("{}: is gone", netns.display()));
        let space = place.find().ok_or_else(gone)?;
        let within = u64::try_from(self.settings.limit.as_millis()).unwrap_or(u64::MAX);
        let interface = pod::prepare(&space, &key.ifname, &wish.families)?;
        if let Some(known) = self.attachments.get(&key) {
            let record = &known.record;
            let same = record.place == place
                && record.wish == wish
                && record.interface.mac == interface.mac;
            if same && let Some(leases) = known.leases().filter(|_| record.told) {
                return Ok(Some(Reply::Leased { leases }));
            }
            if same {
                // A request that is repeated joins the one that is under way.
                self.answer(&[connection], &Reply::Working { within });
                self.on(&key, now, |attachment, means| {
                    attachment.wait(connection, means);
                    Outcome::Going
                });
                return Ok(None);
            }
            self.del(&key)?;
        }
        let record = Record::new(key.clone(), place, interface, wish)?;
        let pod = Pod::open(&space, &key.ifname, &record.wish.families)?;
        self.answer(&[connection], &Reply::Working { within });
        self.work(&key, now, |means| {
            let mut attachment = Attachment::new(record, pod, connection, means);
            let outcome = attachment.tick(means);
            (attachment, outcome)
        });
        Ok(None)
    }

    fn del(&mut self, key: &Key) -> Result<Reply> {
        if let Some(mut attachment) = self.attachments.remove(key) {
            let waiters = attachment.waiters();
            let error =
                Error::new(Code::TryAgain, format!("{key}: was deleted while it was added"));
            self.answer(&waiters, &error.into());
            self.end(&attachment.record);
        }
        self.store.remove(key).map(|()| Reply::Done)
    }

    fn check(&self, key: &Key, addresses: &[IpNetwork]) -> Result<Reply> {
        let drift = |cause: String| {
            Error::new(Code::Drift, format!("DHCP lease of {key}: {cause}"))
                .with_details("delete and re-create the pod")
        };
        let attachment =
            self.attachments.get(key).ok_or_else(|| drift("the daemon has none".to_owned()))?;
        let leases = attachment.leases().filter(|_| attachment.record.told);
        let leases = leases.ok_or_else(|| drift(format!("is lost: {}", attachment.plight())))?;
        match leases.iter().find(|lease| !addresses.contains(&lease.address)) {
            Some(other) => {
                let cause = format!("is of {} now, which prevResult does not have", other.address);
                Err(drift(cause))
            }
            None => Ok(Reply::Done),
        }
    }

    fn gc(&mut self, network: &str, valid: &[Owned]) -> Result<Reply> {
        let is_valid = |key: &Key| {
            valid.iter().any(|a| a.container_id == key.container_id && a.ifname == key.ifname)
        };
        let stale = self.attachments.keys().filter(|k| k.network == network && !is_valid(k));
        let stale: Vec<Key> = stale.cloned().collect();
        let outcomes: Vec<_> = stale.iter().map(|key| self.del(key).map(drop)).collect();
        Error::collect(outcomes).map(|()| Reply::Done)
    }

    fn status(&self, network: &str, now: Time) -> Result<Reply> {
        let of_network = |(key, _): &(&Key, &Attachment)| key.network == network;
        let known = self.attachments.iter().filter(of_network);
        let danger =
            known.filter(|(_, a)| a.is_in_danger()).map(|(key, a)| (key, a.plight())).next();
        if let Some((key, plight)) = danger {
            let subject = format!("DHCP of network {network}: {}: {plight}", key.ifname);
            return Err(Error::new(Code::LimitedConnectivity, subject).with_details(
                "pods lose their addresses when their leases run out; look after the DHCP server",
            ));
        }
        match self.silent.get(network).filter(|(since, _)| now.since(*since) < MEMORY) {
            Some((since, why)) => {
                let seconds = now.since(*since).as_secs();
                let subject = format!("DHCP of network {network}: {seconds} s ago: {why}");
                Err(Error::new(Code::NotAvailable, subject)
                    .with_details("look after the DHCP server; this is said for a minute"))
            }
            None => Ok(Reply::Done),
        }
    }
}
