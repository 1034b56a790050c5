//! What happens to containers and pods, for clients that follow it.
//!
//! One task hears both rooms, so that all clients see one order, and makes each snapshot once.
//! A client that falls behind by more than [`KEPT`] events gets `DATA_LOSS`: it must list anew.

use crate::describe;
use crate::node::Parts;
use crate::streams::Chunks;
use ::image::ImageService;
use container::Containers;
use cri_api::v1::{ContainerEventResponse, ContainerEventType};
use sandbox::{Sandbox, Sandboxes};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::Status;

/// How many events a client may be behind.
const KEPT: usize = 4096;

/// What clients are told.
#[derive(Clone, Debug)]
enum Told {
    Event(Arc<ContainerEventResponse>),
    /// So many events were lost.
    Lost(u64),
    /// This daemon ends.
    Over,
}

/// The events of this node.
#[derive(Debug)]
pub(crate) struct Events {
    told: Sender<Told>,
}

impl Events {
    /// Follows the rooms from now on.
    pub(crate) fn follow(parts: &Parts) -> Events {
        let (told, _) = broadcast::channel(KEPT);
        let follower = Follower {
            of_pods: parts.pods.events(),
            of_containers: parts.containers.events(),
            pods: parts.pods.clone(),
            containers: parts.containers.clone(),
            images: parts.images.clone(),
            known: parts.pods.list().into_iter().map(|pod| (pod.id().to_owned(), pod)).collect(),
            told: told.clone(),
        };
        tokio::spawn(follower.run());
        Events { told }
    }

    /// Events from now on; ends with `DATA_LOSS` when some were missed.
    pub(crate) fn stream(&self) -> Chunks<ContainerEventResponse> {
        let lost = |count: u64| {
            let text =
                format!("{count} events were lost: list pods and containers, then follow again");
            Err(Status::data_loss(text))
        };
        let events = BroadcastStream::new(self.told.subscribe());
        let answers = events.map(move |told| match told {
            Ok(Told::Event(event)) => Some(Ok(event.as_ref().clone())),
            Ok(Told::Over) => None,
            Ok(Told::Lost(count)) | Err(BroadcastStreamRecvError::Lagged(count)) => {
                Some(lost(count))
            }
        });
        let mut is_over = false;
        // A failure is the last that is told.
        let answers = answers.take_while(move |answer| {
            let goes_on = !is_over && answer.is_some();
            is_over |= answer.as_ref().is_some_and(Result::is_err);
            goes_on
        });
        Box::pin(answers.filter_map(|answer| answer))
    }

    /// Ends all streams: who serves them waits for that.
    pub(crate) fn close(&self) {
        let _clients = self.told.send(Told::Over);
    }
}

struct Follower {
    of_pods: Receiver<sandbox::Event>,
    of_containers: Receiver<container::Event>,
    pods: Sandboxes,
    containers: Containers,
    images: ImageService,
    /// Pods that were there, to be described when they are not any more.
    known: HashMap<String, Arc<Sandbox>>,
    told: Sender<Told>,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let missed = tokio::select! {
                biased;
                event = self.of_pods.recv() => event.map(|event| self.of_pod(event)),
                event = self.of_containers.recv() => event.map(|event| self.of_container(&event)),
            };
            match missed {
                Ok(()) => {}
                Err(RecvError::Lagged(count)) => self.tell(Told::Lost(count)),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn of_pod(&mut self, event: sandbox::Event) {
        use ContainerEventType as Type;
        let sandbox::Event { id, change, at } = event;
        let types: &[Type] = match change {
            sandbox::Change::Ready => &[Type::ContainerCreatedEvent, Type::ContainerStartedEvent],
            sandbox::Change::Stopped | sandbox::Change::ShimLost(_) => {
                &[Type::ContainerStoppedEvent]
            }
            sandbox::Change::Removed => &[Type::ContainerDeletedEvent],
        };
        for kind in types {
            self.tell_of(&id, &id, *kind, at);
        }
        if change == sandbox::Change::Removed {
            self.known.remove(&id);
        }
    }

    fn of_container(&mut self, event: &container::Event) {
        use ContainerEventType as Type;
        let kind = match event.change {
            container::Change::Created => Type::ContainerCreatedEvent,
            container::Change::Started => Type::ContainerStartedEvent,
            container::Change::Stopped => Type::ContainerStoppedEvent,
            container::Change::Deleted => Type::ContainerDeletedEvent,
        };
        self.tell_of(&event.sandbox_id, &event.id, kind, event.at);
    }

    /// Tells an event with its pod and all of the pod's containers, as they are now.
    fn tell_of(&mut self, pod_id: &str, id: &str, kind: ContainerEventType, at: i64) {
        if let Ok(pod) = self.pods.get(pod_id) {
            self.known.insert(pod_id.to_owned(), pod);
        }
        if self.told.receiver_count() == 0 {
            return;
        }
        let pod = self.known.get(pod_id);
        let containers = self.containers.of_pod(pod_id);
        let statuses = containers.iter().map(|one| describe::container_status(one, &self.images));
        self.tell(Told::Event(Arc::new(ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: at,
            pod_sandbox_status: pod.map(|pod| describe::pod_status(pod)),
            containers_statuses: statuses.collect(),
        })));
    }

    fn tell(&self, told: Told) {
        // Without a client there is nobody to tell.
        let _clients = self.told.send(told);
    }
}
