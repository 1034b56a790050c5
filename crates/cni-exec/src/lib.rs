//! Find a CNI plugin's executable, run it, and understand what it answers.
//!
//! The blocking half, [`Delegate`], is what a plugin needs to run its IPAM plugin. A runtime,
//! which needs deadlines and kills, spawns by itself and shares [`find`], [`Verb`] and
//! [`interpret`].

mod delegate;
mod find;
mod output;
mod verb;

pub use delegate::{DELEGATE_PARENT, Delegate};
pub use find::find;
pub use output::{Output, interpret};
pub use verb::Verb;
