//! Where others may look at containers and adjust them: the points of the node resource interface.

use crate::{Container, Result};
use cri_api::v1::LinuxContainerResources;
use runtime_spec::Spec;
use sandbox::Sandbox;
use std::fmt::Debug;
use std::pin::Pin;

/// What a hook returns: boxed, because who is called is only known at run time.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = Result<T>> + Send + 'a>>;

/// A container and its pod.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The pod.
    pub pod: &'a Sandbox,
    /// The container.
    pub container: &'a Container,
}

/// What was adjusted at the creation of a container.
#[derive(Clone, Debug)]
pub struct Adjusted {
    /// The container's configuration, for the runtime.
    pub spec: Spec,
    /// New limits of other containers, by id.
    pub updates: Vec<(String, LinuxContainerResources)>,
}

/// Points in the life of pods and containers. A hook that fails stops what was about to happen,
/// but for those of an end, whose failures are only told.
pub trait Hooks: Debug + Send + Sync {
    /// A pod was made; a failure undoes it.
    fn run_pod<'a>(&'a self, pod: &'a Sandbox) -> Future<'a, ()> {
        done(pod)
    }

    /// A pod is about to be stopped.
    fn stop_pod<'a>(&'a self, pod: &'a Sandbox) -> Future<'a, ()> {
        done(pod)
    }

    /// A pod is about to be removed.
    fn remove_pod<'a>(&'a self, pod: &'a Sandbox) -> Future<'a, ()> {
        done(pod)
    }

    /// A container is about to be made from `spec`, and is made from what is returned.
    fn create<'a>(&'a self, peer: Peer<'a>, spec: Spec) -> Future<'a, Adjusted>;

    /// A container was made.
    fn created<'a>(&'a self, peer: Peer<'a>) -> Future<'a, ()> {
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

    /// A container has ended; new limits of other containers are returned, by id.
    fn stopped<'a>(&'a self, peer: Peer<'a>) -> Future<'a, Vec<(String, LinuxContainerResources)>>;

    /// A container is about to be removed.
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
        Box::pin(async { Ok(Adjusted { spec, updates: Vec::new() }) })
    }

    fn update<'a>(
        &'a self,
        _: Peer<'a>,
        resources: LinuxContainerResources,
    ) -> Future<'a, LinuxContainerResources> {
        Box::pin(async { Ok(resources) })
    }

    fn stopped<'a>(&'a self, _: Peer<'a>) -> Future<'a, Vec<(String, LinuxContainerResources)>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
