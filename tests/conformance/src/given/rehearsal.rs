//! One ADD and DEL, to see what a plugin does when all is well.

use crate::error::{Error, Result};
use crate::subject::Subject;
use crate::trial::Trial;
use crate::verdict::text_of;
use lab::Drift;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What ADD and DEL showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rehearsal {
    /// Whether the result has addresses.
    pub(crate) addresses: bool,
    /// Lines of the node's state after ADD that were not there before.
    pub(crate) added: Vec<String>,
    /// Those of them that are there after DEL.
    pub(crate) left: Vec<String>,
    /// Whether ADD made a link on the node.
    pub(crate) link: bool,
    /// Whether the pod changed.
    pod: bool,
    /// Whether the result has a default route.
    routes: bool,
}

impl Rehearsal {
    pub(crate) fn changed_nothing(&self) -> bool {
        self.added.is_empty() && !self.pod
    }

    /// Changes that CHECK must see in what the result tells: interface, addresses and routes.
    pub(crate) fn drifts(&self, ifname: &str) -> Vec<Drift> {
        if ifname == "lo" || !self.pod {
            return Vec::new();
        }
        let mut drifts = vec![Drift::LinkDeleted];
        drifts.extend(self.addresses.then_some(Drift::AddressDeleted));
        drifts.extend(self.routes.then_some(Drift::RoutesDeleted));
        drifts
    }
}

/// Runs ADD and DEL on a fresh node.
///
/// # Errors
/// When one of them fails, or the node cannot be made ready.
pub(crate) fn rehearse(subject: &Subject) -> Result<Rehearsal> {
    let played = catch_unwind(AssertUnwindSafe(|| play(subject)));
    let what = "ADD and DEL with this configuration";
    played.map_err(|panic| Error::new(what, text_of(panic.as_ref())))
}

fn play(subject: &Subject) -> Rehearsal {
    let trial = Trial::cold(subject, "rehearsal");
    let result = trial.add(&trial.a).ok();
    let state = trial.state();
    trial.del(&trial.a).ok();
    let list = |key: &str| result[key].as_array().cloned().unwrap_or_default();
    let is_default = |route: &Value| route["dst"] == "0.0.0.0/0" || route["dst"] == "::/0";
    let changes = trial.before().node().diff(state.node());
    let name = |line: &String| line.strip_prefix("link: ")?.split(' ').next().map(str::to_owned);
    // One that was there before, and changed, is in both.
    let before: Vec<_> = changes.removed.iter().filter_map(name).collect();
    let link = changes.added.iter().filter_map(name).any(|link| !before.contains(&link));
    Rehearsal {
        addresses: !list("ips").is_empty(),
        added: changes.added,
        link,
        left: trial.before().node().diff(&trial.snapshot()).added,
        pod: !trial.before().same_pods(&state),
        routes: list("routes").iter().any(is_default),
    }
}
