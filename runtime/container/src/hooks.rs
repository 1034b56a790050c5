//! Where others may look at containers and adjust them: the points of the node resource interface.

use crate::Container;
use cri_api::v1::LinuxContainerResources;
use runtime_spec::Spec;
use sandbox::{Future, Sandbox, Update};
use std::fmt::Debug;
use std::sync::Arc;

/// A container and its pod.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The pod.
    pub pod: &'a Arc<Sandbox>,
    /// The container.
    pub container: &'a Arc<Container>,
}

/// What was adjusted at the creation of a container.
#[derive(Clone, Debug)]
pub struct Adjusted {
    /// The container's configuration, for the runtime.
    pub spec: Spec,
    /// Limits that were adjusted, put over those that were asked for; what is zero or empty was not.
    pub resources: Option<LinuxContainerResources>,
}

/// Points in the life of pods and containers, beside those of [`sandbox::Hooks`]. A hook that fails
/// stops what was about to happen, but for those of an end, whose failures are only told.
pub trait Hooks: Debug + Send + Sync {
    /// New resources of a pod are about to be noted.
    fn update_pod<'a>(&'a self, pod: &'a Sandbox, _: &'a Update) -> Future<'a, ()> {
        done(pod)
    }

    /// New resources of a pod were noted.
    fn updated_pod<'a>(&'a self, pod: &'a Sandbox) -> Future<'a, ()> {
        done(pod)
    }

    /// A pod is about to be stopped; its containers have ended.
    fn stop_pod<'a>(&'a self, pod: &'a Arc<Sandbox>) -> Future<'a, ()> {
        done(pod)
    }

    /// A pod is about to be removed; its containers are gone.
    fn remove_pod<'a>(&'a self, pod: &'a Arc<Sandbox>) -> Future<'a, ()> {
        done(pod)
    }

    /// A container is about to be made from `spec`, and is made from what is returned.
    fn create<'a>(&'a self, peer: Peer<'a>, spec: Spec) -> Future<'a, Adjusted>;

    /// A container was made, and is listed.
    fn created<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }

    /// A container that was about to be made was not, and nothing is left of it.
    fn undone<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }

    /// A container is about to be started.
    fn start<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }

    /// A container was started.
    fn started<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }

    /// Limits of a container are about to change to what is returned.
    fn update<'a>(
        &'a self,
        peer: Peer<'a>,
        resources: LinuxContainerResources,
    ) -> Future<'a, LinuxContainerResources>;

    /// Limits of a container were changed.
    fn updated<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }

    /// A container has ended. May come more than once, and after its removal has begun.
    fn stopped<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }

    /// A container is about to be removed; it does not run.
    fn remove<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
        done(peer)
    }
}

fn done<'a, T: Send + 'a>(_: T) -> Future<'a, ()> {
    Box::pin(async { Ok(()) })
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn create<'a>(&'a self, _: Peer<'a>, spec: Spec) -> Future<'a, Adjusted> {
        Box::pin(async { Ok(Adjusted { spec, resources: None }) })
    }

    fn update<'a>(
        &'a self,
        _: Peer<'a>,
        resources: LinuxContainerResources,
    ) -> Future<'a, LinuxContainerResources> {
        Box::pin(async { Ok(resources) })
    }
}
