//! Where others may look at pods that are being made: points of the node resource interface.

use crate::{Network, Result, Sandbox};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

/// What a hook returns: boxed, because who is called is only known at run time.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = Result<T>> + Send + 'a>>;

/// Points in the making of pods.
pub trait Hooks: Debug + Send + Sync {
    /// A pod is made, with this network, and not listed yet. A failure undoes it.
    fn run<'a>(&'a self, _pod: &'a Arc<Sandbox>, _network: &'a Network) -> Future<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// It is listed from now on.
    fn made(&self, _pod: &Sandbox) {}

    /// It was undone, for whatever reason. A failure is told, no more.
    fn undone<'a>(&'a self, _pod: &'a Arc<Sandbox>) -> Future<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct NoHooks;

impl Hooks for NoHooks {}
