//! Groups made by systemd.
use crate::error::{Error, Kind, Result};
use crate::group::Request;
use crate::path::{RelPath, Unit};
use crate::paths::Paths;
use runtime_spec::Resources;
use std::time::Duration;

/// A property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property;

pub(crate) fn start(unit: &Unit, _r: &Request<'_>) -> Result<RelPath> {
    Err(Error::new(Kind::Unsupported, &unit.name, "systemd"))
}
pub(crate) fn stop(unit: &str, _user: bool, _limit: Duration) -> Result<()> {
    Err(Error::new(Kind::Unsupported, unit, "systemd"))
}
pub(crate) fn update(_paths: &Paths, unit: &str, _r: &Resources) -> Result<()> {
    Err(Error::new(Kind::Unsupported, unit, "systemd"))
}
