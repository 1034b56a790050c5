//! The scenarios of the CNI plugins.

pub(crate) mod burst;
mod config;
mod contest;
pub(crate) mod cost;
mod flat;
mod floored;
mod leases;
mod plain;
mod player;

use crate::error::{About, Error, Result};
use crate::floor::Floor;
use crate::node::{Node, Site};
use crate::options::Options;
use crate::race::{Racer, Scenario};
use crate::report;
use cost::Costs;
pub(crate) use player::container_id;

use player::Player;
use serde_json::Value;
use std::path::PathBuf;

/// The label of the plugins under measurement.
pub(crate) const OURS: &str = "podloom";
/// The label of the plugins beside them.
pub(crate) const PEER: &str = "reference";
/// The label of the bare programs.
pub(crate) const FLOOR: &str = "floor";

/// What every scenario needs.
pub(crate) struct Stage<'a> {
    pub(crate) options: &'a Options,
    pub(crate) site: &'a Site,
    pub(crate) floor: &'a Floor,
}

/// One set of plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Team {
    pub(crate) name: &'static str,
    pub(crate) dir: PathBuf,
}

/// How rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Nftables,
    Iptables,
}

impl Backend {
    pub(crate) const BOTH: [Backend; 2] = [Backend::Nftables, Backend::Iptables];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Backend::Nftables => "nftables",
            Backend::Iptables => "iptables",
        }
    }
}

impl Team {
    /// Whether the team's plugin can write rules by `backend`. The key of the configuration is in
    /// the text of any plugin that reads it; an older one would ignore it silently.
    pub(crate) fn knows(&self, plugin: &str, backend: Backend) -> bool {
        let mark: &[u8] = match (backend, plugin) {
            (Backend::Iptables, _) => return true,
            (Backend::Nftables, "portmap") => b"cni_hostport",
            (Backend::Nftables, _) => b"ipMasqBackend",
        };
        std::fs::read(self.dir.join(plugin))
            .is_ok_and(|text| text.windows(mark.len()).any(|window| window == mark))
    }
}

impl Stage<'_> {
    /// The teams in the race; ours first.
    pub(crate) fn teams(&self) -> Vec<Team> {
        let ours = self.options.cni_dir.iter().map(|dir| Team { name: OURS, dir: dir.clone() });
        ours.chain([Team { name: PEER, dir: self.options.peer.clone() }]).collect()
    }

    /// A player on a node of its own.
    pub(crate) fn player(
        &self,
        team: &Team,
        label: &str,
        pods: usize,
        config: impl FnOnce(&Node) -> Value,
    ) -> Result<Player> {
        let node = Node::new(self.site, pods)?;
        let config = config(&node);
        Player::new(self.site, team, label, node, config)
    }
}

/// Racers of one kind as racers of any kind.
pub(crate) fn boxed<R: Racer + 'static>(
    racers: impl IntoIterator<Item = R>,
) -> Vec<Box<dyn Racer>> {
    racers.into_iter().map(|racer| Box::new(racer) as Box<dyn Racer>).collect()
}

type Single = fn(&Stage<'_>) -> Result<Scenario>;
type Play = Box<dyn Fn(&Stage<'_>) -> Result<Scenario>>;

/// All scenarios, in the order in which they run.
fn plays() -> Vec<(&'static str, Play)> {
    let single: [(&'static str, Single); 13] = [
        ("start", plain::start),
        ("bridge", plain::bridge),
        ("masquerade", plain::masquerade),
        ("ptp", plain::ptp),
        ("host-local", plain::host_local),
        ("portmap-1", plain::portmap_1),
        ("portmap-10", plain::portmap_10),
        ("burst", burst::burst),
        ("flat-bridge", flat::bridge),
        ("flat-masquerade", flat::masquerade),
        ("flat-host-local", flat::host_local),
        ("flat-portmap", flat::portmap),
        ("flat-upkeep", flat::upkeep),
    ];
    let boxed = |(name, play): (_, Single)| -> (&'static str, Play) { (name, Box::new(play)) };
    let contest = |contest: &'static contest::Contest| -> (&'static str, Play) {
        (contest.name, Box::new(|stage| contest.play(stage)))
    };
    // Nodes that are full come last: what they leave to the kernel takes it long.
    let (empty, full): (Vec<_>, Vec<_>) =
        single.into_iter().partition(|(name, _)| !name.starts_with("flat-"));
    let contests = contest::CONTESTS.iter().map(contest);
    empty.into_iter().map(boxed).chain(contests).chain(full.into_iter().map(boxed)).collect()
}

/// Runs the wanted scenarios and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let site = Site::open(&options.data)?;
    site.prefer_nft_tools()?;
    let floor = Floor::compile(&site)?;
    let stage = Stage { options, site: &site, floor: &floor };
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (name, play) in plays().into_iter().filter(|(name, _)| options.wants(name)) {
        match play(&stage).about(name) {
            Ok(scenario) => {
                report::print_scenario(&scenario);
                done.push(scenario);
            }
            // One that cannot run does not cost the figures of the others.
            Err(error) => {
                report::print_failure(&error);
                failed.push(name);
            }
        }
    }
    let costs = if options.wants("cost") { cost::measure(&stage)? } else { Costs::default() };
    report::print_costs(&costs);
    let verdicts = crate::targets::judge(&done, &costs);
    report::print_verdicts(&verdicts);
    if let Some(path) = &options.output {
        report::write_json(path, options, &report::All { done, costs, verdicts })?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::new("did not run", failed.join(", "))) }
}
