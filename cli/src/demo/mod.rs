//! `podloom net demo`: pods on real networks, and the proof that nothing is left of them.

use crate::args::Place;
use crate::fault::Result;
use clap::Args;

/// `podloom net demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {}

/// A step inside a namespace.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProbeArgs {}

pub(crate) fn run(_demo: &DemoArgs, _place: &Place) -> Result<()> {
    Ok(())
}

pub(crate) fn probe(_probe: &ProbeArgs) -> Result<()> {
    Ok(())
}
