//! One plugin: who it is, what it wants to hear, and how it is asked.

use crate::link::{Failure, Link};
use crate::measure::Measure;
use crate::v1alpha1::{
    ConfigureRequest, ConfigureResponse, Container, ContainerUpdate, Empty, Event, PodSandbox,
    StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use prost::Message;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::Child;

/// Bytes of one piece of a synchronization: room is left for its envelope.
const PIECE_MAX: usize = 3 << 20;

/// Longest name, in bytes.
const NAME_MAX: usize = 128;

/// Events that plugins older than their calls hear by [`StateChangeEvent`].
const BY_STATE: [Event; 9] = [
    Event::RunPodSandbox,
    Event::StopPodSandbox,
    Event::RemovePodSandbox,
    Event::PostUpdatePodSandbox,
    Event::PostCreateContainer,
    Event::StartContainer,
    Event::PostStartContainer,
    Event::PostUpdateContainer,
    Event::RemoveContainer,
];

fn bit(event: Event) -> i32 {
    1 << (event as i32 - 1)
}

/// All events that there are.
const ALL: i32 = (1 << (Event::Last as i32 - 1)) - 1;

/// The call of an event.
pub(crate) fn call(event: Event) -> &'static str {
    match event {
        Event::RunPodSandbox => "RunPodSandbox",
        Event::StopPodSandbox => "StopPodSandbox",
        Event::RemovePodSandbox => "RemovePodSandbox",
        Event::CreateContainer => "CreateContainer",
        Event::PostCreateContainer => "PostCreateContainer",
        Event::StartContainer => "StartContainer",
        Event::PostStartContainer => "PostStartContainer",
        Event::UpdateContainer => "UpdateContainer",
        Event::PostUpdateContainer => "PostUpdateContainer",
        Event::StopContainer => "StopContainer",
        Event::RemoveContainer => "RemoveContainer",
        Event::UpdatePodSandbox => "UpdatePodSandbox",
        Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
        Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        Event::Unknown | Event::Last => "StateChange",
    }
}

/// Who a plugin says that it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    /// Two digits.
    pub(crate) index: String,
    /// The name without them.
    pub(crate) name: String,
}

impl Identity {
    /// Reads what a plugin says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(index: &str, name: &str) -> Result<Identity, String> {
        if index.len() != 2 || !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("index {index:?} is not two digits"));
        }
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(sound) {
            return Err(format!("name {name:?}: want 1 to {NAME_MAX} letters, digits, -, _, ., +"));
        }
        Ok(Identity { index: index.to_owned(), name: name.to_owned() })
    }

    /// Reads the name of a program, `NN-name`.
    pub(crate) fn of_file(name: &str) -> Result<Identity, String> {
        let (index, name) = name.split_once('-').ok_or("want two digits, a dash, a name")?;
        Identity::new(index, name)
    }

    /// Both together, as they are shown.
    pub(crate) fn full(&self) -> String {
        format!("{}-{}", self.index, self.name)
    }
}

/// A plugin that has registered.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) identity: Identity,
    /// As it is shown.
    pub(crate) name: String,
    pub(crate) link: Link,
    measure: Measure,
    /// What it wants to hear.
    events: AtomicI32,
    /// What it hears by [`StateChangeEvent`], as was found.
    by_state: AtomicI32,
    /// The program, where this started it.
    child: Mutex<Option<Child>>,
}

impl Plugin {
    pub(crate) fn new(
        identity: Identity,
        link: Link,
        measure: Measure,
        child: Option<Child>,
    ) -> Plugin {
        Plugin {
            name: identity.full(),
            identity,
            link,
            measure,
            events: AtomicI32::new(0),
            by_state: AtomicI32::new(0),
            child: Mutex::new(child),
        }
    }

    pub(crate) fn wants(&self, event: Event) -> bool {
        self.events.load(Ordering::Relaxed) & bit(event) != 0
    }

    /// Asks it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn ask<Q: Message, A: Message + Default>(
        &self,
        call: &str,
        argument: &Q,
        limit: Duration,
    ) -> Result<A, Failure> {
        let begun = Instant::now();
        let answer = self.link.call(call, argument, limit).await;
        let outcome = match &answer {
            Ok(_) => "OK",
            Err(Failure::Refused(_)) => "REFUSED",
            Err(Failure::Deadline(_)) => "DEADLINE",
            Err(Failure::Closed(_)) => "CLOSED",
            Err(Failure::TooLong(_)) => "TOO_LONG",
            Err(Failure::Garbled(_)) => "GARBLED",
        };
        self.measure.call(&self.name, call, outcome, begun.elapsed());
        answer
    }

    /// Asks what it wants at an event; nothing, where it does not know that.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn wish<Q: Message, A: Message + Default>(
        &self,
        event: Event,
        argument: &Q,
        limit: Duration,
    ) -> Result<A, Failure> {
        match self.ask(call(event), argument, limit).await {
            Err(failure) if failure.is_unimplemented() => Ok(A::default()),
            answer => answer,
        }
    }

    /// Tells it of an event, the older way where it does not know the newer one.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn tell<Q: Message>(
        &self,
        event: Event,
        (argument, about): (&Q, &About),
        limit: Duration,
    ) -> Result<(), Failure> {
        if self.by_state.load(Ordering::Relaxed) & bit(event) == 0 {
            let told = self.ask::<_, Empty>(call(event), argument, limit).await;
            match told {
                Err(failure) if failure.is_unimplemented() => {}
                told => return told.map(drop),
            }
            self.by_state.fetch_or(bit(event), Ordering::Relaxed);
            let plugin = self.name.as_str();
            tracing::debug!(
                plugin,
                call = call(event),
                "is not known to it: state changes instead"
            );
        }
        if !BY_STATE.contains(&event) {
            return Ok(());
        }
        let (pod, container) = (Some(about.pod.clone()), about.container.clone());
        let change = StateChangeEvent { event: event.into(), pod, container };
        match self.ask::<_, Empty>("StateChange", &change, limit).await {
            Err(failure) if failure.is_unimplemented() => Ok(()),
            told => told.map(drop),
        }
    }

    /// Hears what it wants to hear.
    ///
    /// # Errors
    /// Why it is of no use.
    pub(crate) async fn configure(
        &self,
        request: &ConfigureRequest,
        limit: Duration,
    ) -> Result<(), String> {
        let answer = self.ask::<_, ConfigureResponse>("Configure", request, limit).await;
        let answer = answer.map_err(|failure| format!("Configure: {failure}"))?;
        let events = match answer.events {
            0 => ALL,
            events => events,
        };
        if events & !ALL != 0 {
            return Err(format!("wants events that there are not: {:#x}", events & !ALL));
        }
        self.events.store(events, Ordering::Relaxed);
        Ok(())
    }

    /// Tells it all that is there, and hears what it wants changed.
    ///
    /// # Errors
    /// Why it is of no use.
    pub(crate) async fn synchronize(
        &self,
        pods: Vec<PodSandbox>,
        containers: Vec<Container>,
        limit: Duration,
    ) -> Result<Vec<ContainerUpdate>, String> {
        let until = Instant::now() + limit;
        let mut pieces = pieces(pods, containers).into_iter().peekable();
        while let Some(mut piece) = pieces.next() {
            piece.more = pieces.peek().is_some();
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.ask::<_, SynchronizeResponse>("Synchronize", &piece, left).await;
            let answer = answer.map_err(|failure| match failure {
                Failure::Deadline(_) => format!("Synchronize: gave no answer in {limit:?}"),
                failure => format!("Synchronize: {failure}"),
            })?;
            if !piece.more {
                return Ok(answer.update);
            }
            if !answer.more || !answer.update.is_empty() {
                return Err("Synchronize: takes no pieces, and there is too much".to_owned());
            }
        }
        Ok(Vec::new())
    }

    /// Ends it. Who waits for its answer is told.
    pub(crate) fn end(&self, why: &str) {
        self.link.close(why);
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut child) = child else { return };
        let plugin = self.name.clone();
        // Waited for, so that nothing is left of it.
        tokio::spawn(async move {
            if let Err(e) = child.kill().await {
                tracing::warn!(plugin, cause = %e, "its program may still run");
            }
        });
    }
}

/// What an event is about, for the older way of telling it.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) pod: PodSandbox,
    pub(crate) container: Option<Container>,
}

/// All that is there, in pieces that a message can hold. At least one.
fn pieces(pods: Vec<PodSandbox>, containers: Vec<Container>) -> Vec<SynchronizeRequest> {
    let mut pieces = vec![SynchronizeRequest::default()];
    let mut size = 0;
    let mut room = |pieces: &mut Vec<SynchronizeRequest>, more: usize| {
        size += more;
        if size > PIECE_MAX && size > more {
            pieces.push(SynchronizeRequest::default());
            size = more;
        }
        pieces.len() - 1
    };
    for pod in pods {
        let at = room(&mut pieces, pod.encoded_len());
        pieces[at].pods.push(pod);
    }
    for container in containers {
        let at = room(&mut pieces, container.encoded_len());
        pieces[at].containers.push(container);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_two_digits_and_a_name() {
        assert_eq!(Identity::of_file("10-a.b").expect("a name").full(), "10-a.b");
        for wrong in ["a", "1-a", "1x-a", "10-", "100-a", "10-a b", "10-a/b", "٣٣-a"] {
            assert!(Identity::of_file(wrong).is_err(), "{wrong}");
        }
        assert!(Identity::new("10", &"x".repeat(NAME_MAX + 1)).is_err());
    }

    #[test]
    fn all_events_have_a_bit_and_a_call_of_their_own() {
        let events: Vec<_> = (1..Event::Last as i32)
            .map(|number| Event::try_from(number).expect("an event"))
            .collect();
        assert_eq!(events.iter().fold(0, |all, event| all | bit(*event)), ALL);
        let calls: std::collections::BTreeSet<_> =
            events.iter().map(|event| call(*event)).collect();
        assert_eq!(calls.len(), events.len());
    }

    #[test]
    fn much_comes_in_pieces_and_nothing_is_lost() {
        let container = |number: usize| Container {
            id: number.to_string(),
            env: vec!["x".repeat(1 << 20)],
            ..Container::default()
        };
        let pods = vec![PodSandbox::default()];
        let all = pieces(pods, (0..10).map(container).collect());
        assert!(all.len() >= 4, "{}", all.len());
        assert!(all.iter().all(|piece| piece.encoded_len() <= PIECE_MAX + 4096));
        let ids: Vec<_> = all.iter().flat_map(|p| &p.containers).map(|c| c.id.clone()).collect();
        assert_eq!(ids, (0..10).map(|n: usize| n.to_string()).collect::<Vec<_>>());
        assert_eq!(pieces(Vec::new(), Vec::new()).len(), 1);
    }
}
