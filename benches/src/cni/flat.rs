//! The cost of a verb on a full node beside that on an empty one.

use super::config::{self, NETWORK, PREFIX};
use super::floored::{Bare, ready_bridge};
use super::player::{Player, Subject, container_id};
use super::{Backend, FLOOR, OURS, Stage, Team};
use crate::error::{About, Result};
use crate::invoke::Verb;
use crate::node::Node;
use crate::options::Mode;
use crate::race::{Compare, Racer, Scenario, race};
use serde_json::{Value, json};

const VERBS: [Verb; 3] = [Verb::Add, Verb::Check, Verb::Del];
/// Containers on the bridge of a full node.
const CONTAINERS: usize = 500;
/// Leases of a full node.
const LEASES: usize = 20_000;
/// Port mappings of a full node, and how many each container has.
const MAPPINGS: usize = 2_000;
const MAPPINGS_EACH: usize = 10;

/// Plugins, each on an empty node and on a full one. Each pair has a race of its own: beside one
/// that reads 20,000 files, all caches would be cold.
struct Pairs {
    racers: Vec<[Box<dyn Racer>; 2]>,
    compare: Vec<Compare>,
    notes: Vec<String>,
}

impl Pairs {
    fn new() -> Pairs {
        Pairs { racers: Vec::new(), compare: Vec::new(), notes: Vec::new() }
    }

    /// Adds a contestant twice; `fill` makes its second node a full one.
    fn enter(
        &mut self,
        stage: &Stage<'_>,
        (team, label): (&Team, &str),
        config: impl Fn(&Node) -> Value,
        fill: impl Fn(&mut Player) -> Result<()>,
    ) -> Result<()> {
        let (empty, full) = (format!("{label}, empty"), format!("{label}, full"));
        let on_empty = stage.player(team, &empty, 2, &config)?;
        ready_bridge(on_empty.node())?;
        let mut on_full = stage.player(team, &full, 2, &config)?;
        ready_bridge(on_full.node())?;
        fill(&mut on_full)?;
        self.racers.push([Box::new(on_empty), Box::new(on_full)]);
        self.compare.push(Compare::cost(&full, &empty));
        Ok(())
    }

    fn race(self, name: &'static str, title: String, rounds: usize) -> Result<Scenario> {
        self.race_in(&VERBS, name, title, rounds)
    }

    fn race_in(
        mut self,
        verbs: &[Verb],
        name: &'static str,
        title: String,
        rounds: usize,
    ) -> Result<Scenario> {
        let mut rows = Vec::new();
        for pair in &mut self.racers {
            rows.extend(race(pair, verbs, rounds)?);
        }
        Ok(Scenario { name, title, rows, compare: self.compare, notes: self.notes })
    }
}

/// Bridge with host-local among 500 containers and 20,000 leases.
pub(crate) fn bridge(stage: &Stage<'_>) -> Result<Scenario> {
    let mut pairs = Pairs::new();
    // What the kernel itself takes longer for: a new pod's first words go to 500 ports.
    let (empty, full) = (format!("{FLOOR}, empty"), format!("{FLOOR}, full"));
    let mut crowded = Bare::new(stage, &full)?;
    crowded.settle(CONTAINERS)?;
    pairs.racers.push([Box::new(Bare::new(stage, &empty)?), Box::new(crowded)]);
    pairs.compare.push(Compare::cost(&full, &empty));
    pairs.compare.push(Compare::cost(&format!("{OURS}, full"), &full));
    for team in stage.teams() {
        pairs.enter(stage, (&team, team.name), config::bridge, |player| {
            crowd(player)?;
            leases(player.node(), LEASES - CONTAINERS)
        })?;
    }
    let title = format!("flat: bridge, {CONTAINERS} containers and {LEASES} leases");
    pairs.race("flat-bridge", title, stage.options.rounds(20))
}

/// With ipMasq; the reference only in full mode, where filling its node takes long.
pub(crate) fn masquerade(stage: &Stage<'_>) -> Result<Scenario> {
    let mut pairs = Pairs::new();
    for team in stage.teams() {
        if skipped(stage, &team, &mut pairs.notes) {
            continue;
        }
        for backend in Backend::BOTH {
            if team.knows("bridge", backend) {
                let label = format!("{} {}", team.name, backend.as_str());
                let config = |node: &Node| config::masquerade(node, backend);
                pairs.enter(stage, (&team, &label), config, crowd)?;
            }
        }
    }
    let title = format!("flat: bridge with ipMasq, {CONTAINERS} containers");
    pairs.race("flat-masquerade", title, stage.options.rounds(12))
}

/// Host-local alone among 20,000 leases.
pub(crate) fn host_local(stage: &Stage<'_>) -> Result<Scenario> {
    let mut pairs = Pairs::new();
    for team in stage.teams() {
        let fill = |player: &mut Player| leases(player.node(), LEASES);
        pairs.enter(stage, (&team, team.name), config::host_local, fill)?;
    }
    let title = format!("flat: host-local, {LEASES} leases");
    pairs.race("flat-host-local", title, stage.options.rounds(20))
}

/// Ten mappings among 2,000; the reference only in full mode.
pub(crate) fn portmap(stage: &Stage<'_>) -> Result<Scenario> {
    let mut pairs = Pairs::new();
    for team in stage.teams() {
        if skipped(stage, &team, &mut pairs.notes) {
            continue;
        }
        for backend in Backend::BOTH {
            if team.knows("portmap", backend) {
                let label = format!("{} {}", team.name, backend.as_str());
                let config = |node: &Node| config::portmap(node, backend, 20_000, MAPPINGS_EACH);
                pairs.enter(stage, (&team, &label), config, |player| mappings(player, backend))?;
            }
        }
    }
    let title = format!("flat: portmap with {MAPPINGS_EACH} mappings among {MAPPINGS}");
    pairs.race("flat-portmap", title, stage.options.rounds(10))
}

/// The verbs that the reference answers without doing anything: ours alone, with every container
/// of the node to be kept.
pub(crate) fn upkeep(stage: &Stage<'_>) -> Result<Scenario> {
    let mut pairs = Pairs::new();
    for team in stage.teams().iter().filter(|team| team.name == OURS) {
        for backend in Backend::BOTH {
            if backend == Backend::Iptables && stage.options.mode == Mode::Quick {
                continue;
            }
            let label = format!("{OURS} {}", backend.as_str());
            let config = |node: &Node| config::masquerade(node, backend);
            pairs.enter(stage, (team, &label), config, crowd)?;
        }
    }
    let title = format!("upkeep: bridge with ipMasq, {CONTAINERS} containers to keep");
    pairs.race_in(&[Verb::Status, Verb::Gc], "flat-upkeep", title, stage.options.rounds(6))
}

fn skipped(stage: &Stage<'_>, team: &Team, notes: &mut Vec<String>) -> bool {
    let skip = team.name != OURS && stage.options.mode == Mode::Quick;
    if skip {
        notes.push(format!("{}: in full mode only, its node takes long to fill", team.name));
    }
    skip
}

/// Attaches 500 containers by the plugin itself. All are interfaces of one pod: the node sees no
/// difference, and 500 namespaces less are torn down while the next scenario is measured.
fn crowd(player: &mut Player) -> Result<()> {
    player.node().silence(1)?;
    let mut config = player.config().clone();
    config["isDefaultGateway"] = json!(false);
    for number in 0..CONTAINERS {
        let subject =
            Subject { container: container_id(), ifname: format!("crowd{number}"), pod: 1 };
        player.settle(&subject, &config)?;
    }
    Ok(())
}

/// Writes leases in the format on disk that all allocators share, as if handed out in order.
fn leases(node: &Node, count: usize) -> Result<()> {
    let dir = node.data().join(NETWORK);
    std::fs::create_dir_all(&dir).about(dir.display())?;
    let mut address = String::new();
    for number in 0..count {
        address = format!("10.64.{}.{}", 40 + number / 250, 1 + number % 250);
        let text = format!("{}\r\neth0", container_id());
        std::fs::write(dir.join(&address), text).about(&address)?;
    }
    let last = dir.join("last_reserved_ip.0");
    std::fs::write(&last, address).about(last.display())
}

/// Publishes 2,000 ports by the plugin itself.
fn mappings(player: &mut Player, backend: Backend) -> Result<()> {
    for number in 0..MAPPINGS / MAPPINGS_EACH {
        let first = 1_000 + number * MAPPINGS_EACH;
        let mut config = config::portmap(player.node(), backend, first, MAPPINGS_EACH);
        let address = format!("10.64.{}.{}/{PREFIX}", 1 + number / 250, 1 + number % 250);
        config["prevResult"]["ips"][0]["address"] = json!(address);
        player.settle(&Subject::fresh(0), &config)?;
    }
    Ok(())
}
