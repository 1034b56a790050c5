//! One attachment: its clients, its sockets, who waits for it.

use super::flags::Settings;
use super::note;
use crate::clock::{Dice, Time};
use crate::exchange::{Client, Event, Step};
use crate::lease::{Family, Lease};
use crate::pod::Pod;
use crate::store::{Record, Store};
use cni_types::{Code, Error, Result};
use std::time::Duration;

/// How often a link that is coming up is looked at, and for how long.
const LOOK: Duration = Duration::from_millis(5);
const COMING_UP: Duration = Duration::from_secs(3);

/// What everything here works with.
pub(crate) struct Means<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) store: &'a Store,
    pub(crate) dice: &'a mut Dice,
    pub(crate) now: Time,
}

/// What an attachment came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It goes on.
    Going,
    /// All its leases are there, for these who waited.
    Leased(Vec<u64>),
    /// It has failed, for these who waited.
    Failed(Vec<u64>, Error),
    /// Its pod is gone; why, and who waited.
    Gone(Vec<u64>, String),
}

/// Who waits for the leases.
#[derive(Debug)]
struct Waiting {
    connections: Vec<u64>,
    until: Time,
}

/// A link that is coming up.
#[derive(Clone, Copy, Debug)]
struct ComingUp {
    next: Time,
    until: Time,
}

/// An attachment.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) record: Record,
    clients: Vec<Client>,
    pod: Option<Pod>,
    link: Option<ComingUp>,
    waiting: Option<Waiting>,
    gone: Option<String>,
}

impl Attachment {
    /// One that asks for its first leases, for a caller that waits.
    pub(crate) fn new(record: Record, pod: Pod, connection: u64, means: &Means<'_>) -> Attachment {
        let mut attachment = Attachment::resumed(record, means);
        attachment.pod = Some(pod);
        attachment.link = Some(ComingUp { next: means.now, until: means.now.after(COMING_UP) });
        attachment.wait(connection, means);
        attachment
    }

    /// One that goes on where a daemon before this one was.
    pub(crate) fn resumed(record: Record, means: &Means<'_>) -> Attachment {
        let clients = record.clients(means.settings.patience, means.settings.broadcast);
        Attachment { record, clients, pod: None, link: None, waiting: None, gone: None }
    }

    /// Makes a caller wait for the leases.
    pub(crate) fn wait(&mut self, connection: u64, means: &Means<'_>) {
        let until = means.now.after(means.settings.limit);
        let waiting =
            self.waiting.get_or_insert_with(|| Waiting { connections: Vec::new(), until });
        waiting.connections.push(connection);
        waiting.until = until;
    }

    /// A caller has gone; whether nobody waits any more for what was never told to anybody.
    pub(crate) fn left(&mut self, connection: u64) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        waiting.connections.retain(|c| *c != connection);
        if !waiting.connections.is_empty() {
            return false;
        }
        self.waiting = None;
        !self.record.told
    }

    /// Who waits.
    pub(crate) fn waiters(&mut self) -> Vec<u64> {
        self.waiting.take().map(|waiting| waiting.connections).unwrap_or_default()
    }

    /// The leases, if all are there.
    pub(crate) fn leases(&self) -> Option<Vec<Lease>> {
        let families = self.record.wish.families.iter();
        families.map(|family| self.record.lease(*family).cloned()).collect()
    }

    /// Whether pods may lose their connection: a lease is over, or its server silent for long.
    pub(crate) fn is_in_danger(&self) -> bool {
        self.record.told
            && (self.leases().is_none() || self.clients.iter().any(Client::is_rebinding))
    }

    /// Of those clients that have no lease, or have trouble with it.
    pub(crate) fn plight(&self) -> String {
        let troubled = self.clients.iter().filter(|c| c.is_asking() || c.lease().is_none());
        let texts: Vec<_> = troubled.map(Client::plight).collect();
        texts.join("; ")
    }

    /// The sockets to wait on.
    pub(crate) fn pod(&self) -> Option<&Pod> {
        self.pod.as_ref()
    }

    /// When [`Attachment::tick`] is due.
    pub(crate) fn wake(&self) -> Time {
        let clients = self.clients.iter().map(Client::wake);
        let others = [self.link.map(|link| link.next), self.waiting.as_ref().map(|w| w.until)];
        clients.chain(others.into_iter().flatten()).min().unwrap_or(Time::NEVER)
    }

    /// Starts the clients that have no lease.
    pub(crate) fn begin(&mut self, means: &mut Means<'_>) -> Outcome {
        self.link = None;
        for n in 0..self.clients.len() {
            self.with(n, means, |client, means| client.begin(means.now, means.dice));
        }
        self.settle(means)
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, means: &mut Means<'_>) -> Outcome {
        if let Some(link) = self.link
            && means.now >= link.next
        {
            if means.now >= link.until || self.is_up() {
                return self.begin(means);
            }
            self.link = Some(ComingUp { next: means.now.after(LOOK), ..link });
        }
        for n in 0..self.clients.len() {
            self.with(n, means, |client, means| client.tick(means.now, means.dice));
        }
        self.settle(means)
    }

    fn is_up(&self) -> bool {
        match self.pod.as_ref().map(Pod::is_ready) {
            Some(Ok(ready)) => ready,
            // What is wrong is told when something is sent.
            Some(Err(_)) | None => true,
        }
    }

    /// Takes what has come in.
    pub(crate) fn receive(&mut self, means: &mut Means<'_>) -> Outcome {
        let received = self.pod.as_ref().map(Pod::receive).unwrap_or_default();
        for message in &received {
            for n in 0..self.clients.len() {
                self.with(n, means, |client, means| client.receive(means.now, message, means.dice));
            }
        }
        self.settle(means)
    }

    /// Lets a client work, and does what comes of it.
    fn with(
        &mut self,
        n: usize,
        means: &mut Means<'_>,
        work: impl FnOnce(&mut Client, &mut Means<'_>) -> Step,
    ) {
        let Some(client) = self.clients.get_mut(n) else { return };
        let step = work(client, means);
        let (family, lease) = (client.family(), client.lease().cloned());
        // What is lost is taken from the pod before another address is asked for.
        match (step.event, lease) {
            (Some(Event::Lost(why)), _) => self.lost(family, &why, means),
            (Some(Event::Bound), Some(lease)) => self.bound(family, lease, means),
            _ => {}
        }
        let Some(datagram) = step.send else { return };
        self.open();
        if let Some(pod) = &self.pod
            && let Err(fault) = pod.send(&datagram)
        {
            note(&self.record.key, fault);
        }
    }

    /// Opens the sockets, if the pod is there still.
    fn open(&mut self) {
        if self.pod.is_some() || self.gone.is_some() {
            return;
        }
        let (record, wish) = (&self.record, &self.record.wish);
        let Some(space) = record.place.find() else {
            self.gone = Some("the pod's network namespace is gone".to_owned());
            return;
        };
        match Pod::open(&space, &record.key.ifname, &wish.families) {
            Ok(pod) if pod.mac() == record.interface.mac => self.pod = Some(pod),
            Ok(_) => self.gone = Some("the pod has another interface now".to_owned()),
            Err(fault) if fault.code == Code::InvalidConfig => self.gone = Some(fault.to_string()),
            // The client tries again in its time.
            Err(fault) => note(&record.key, fault),
        }
    }

    fn bound(&mut self, family: Family, mut lease: Lease, means: &Means<'_>) {
        for route in &mut lease.routes {
            route.priority = self.record.wish.priority;
        }
        let old = self.record.lease(family).cloned();
        let (key, most) = (&self.record.key, self.record.interface.mtu);
        let given = match (&self.pod, &old) {
            // The main plugin gives the pod its first address itself; an MTU it is not told of.
            (Some(pod), _) if !self.record.told && lease.mtu.is_some() => {
                pod.limit_mtu(&lease, most)
            }
            (Some(pod), old) if self.record.told => match old {
                Some(old) if old.same_terms(&lease) => Ok(()),
                old => {
                    note(key, format!("the pod has {} now, by {}", lease.address, lease.server));
                    pod.give(old.as_ref(), &lease, most)
                }
            },
            _ => Ok(()),
        };
        if let Err(fault) = given {
            note(key, fault.context("the lease cannot be applied"));
        }
        self.record.set(family, Some(lease));
        self.keep(means);
    }

    fn lost(&mut self, family: Family, why: &str, means: &Means<'_>) {
        note(&self.record.key, why);
        self.open();
        if let (Some(pod), Some(lease)) = (&self.pod, self.record.lease(family))
            && let Err(fault) = pod.take(lease)
        {
            note(&self.record.key, fault);
        }
        self.record.set(family, None);
        self.keep(means);
    }

    fn keep(&self, means: &Means<'_>) {
        if let Err(fault) = means.store.write(&self.record) {
            note(&self.record.key, fault);
        }
    }

    fn settle(&mut self, means: &Means<'_>) -> Outcome {
        if let Some(why) = self.gone.take() {
            return Outcome::Gone(self.waiters(), why);
        }
        if self.link.is_none() && !self.clients.iter().any(Client::is_asking) {
            self.pod = None;
        }
        if self.waiting.is_none() {
            return Outcome::Going;
        }
        if self.leases().is_some() {
            return match self.tell(means) {
                Ok(()) => Outcome::Leased(self.waiters()),
                Err(fault) => Outcome::Failed(self.waiters(), fault),
            };
        }
        match self.waiting.take_if(|waiting| means.now >= waiting.until) {
            Some(waiting) => Outcome::Failed(waiting.connections, self.failure(means.settings)),
            None => Outcome::Going,
        }
    }

    /// From here on the caller knows of the leases: first on disk, then to the caller.
    fn tell(&mut self, means: &Means<'_>) -> Result<()> {
        if !self.record.told {
            self.record.told = true;
            means.store.write(&self.record)?;
        }
        Ok(())
    }

    fn failure(&self, settings: &Settings) -> Error {
        let (key, seconds) = (&self.record.key, settings.limit.as_secs_f64());
        let subject = format!(
            "DHCP on interface {} (network {}): no lease within {seconds:.0} s: {}",
            key.ifname,
            key.network,
            self.plight()
        );
        Error::new(Code::TryAgain, subject).with_details(format!(
            "see that a DHCP server serves the network that {} leads to and has addresses left, and \
             that nothing on the way drops UDP ports 67, 68, 546 or 547; the limit is the daemon's \
             -resendtimeout",
            key.ifname
        ))
    }
}
