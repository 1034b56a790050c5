//! Each plugin on a node that is otherwise empty.

use super::floored::{Bare, Nothing, ready_bridge};
use super::{Backend, FLOOR, OURS, PEER, Stage, boxed, config};
use crate::error::Result;
use crate::invoke::Verb;
use crate::race::{Compare, Racer, Row, Scenario, race};
use serde_json::json;

const VERBS: [Verb; 3] = [Verb::Add, Verb::Check, Verb::Del];

/// Start-up alone: VERSION, which reads its input and changes nothing.
pub(crate) fn start(stage: &Stage<'_>) -> Result<Scenario> {
    let mut racers = boxed([Nothing(stage.floor.nothing.clone())]);
    let mut compare = Vec::new();
    for plugin in ["bridge", "host-local", "portmap"] {
        for team in stage.teams() {
            let label = format!("{} {plugin}", team.name);
            let config = |_: &_| json!({ "cniVersion": "1.0.0", "type": plugin });
            racers.extend(boxed([stage.player(&team, &label, 1, config)?]));
        }
        let (ours, peer) = (format!("{OURS} {plugin}"), format!("{PEER} {plugin}"));
        compare.push(Compare::speed(&ours, &peer));
        compare.push(Compare::cost(&ours, FLOOR));
    }
    let rows = race(&mut racers, &[Verb::Version], stage.options.rounds(40))?;
    let title = "start-up alone (VERSION)".to_owned();
    Ok(Scenario { name: "start", title, rows, compare, notes: Vec::new() })
}

/// Bridge with host-local, beside the bare programs.
pub(crate) fn bridge(stage: &Stage<'_>) -> Result<Scenario> {
    let mut racers = boxed([Bare::new(stage, FLOOR)?]);
    for team in stage.teams() {
        racers.extend(boxed([stage.player(&team, team.name, 1, config::bridge)?]));
    }
    let compare =
        vec![Compare::speed(OURS, PEER), Compare::cost(OURS, FLOOR), Compare::cost(PEER, FLOOR)];
    let rows = race(&mut racers, &VERBS, stage.options.rounds(40))?;
    let title = "bridge with host-local".to_owned();
    Ok(Scenario { name: "bridge", title, rows, compare, notes: Vec::new() })
}

/// With ipMasq, by both backends, and ours without it.
pub(crate) fn masquerade(stage: &Stage<'_>) -> Result<Scenario> {
    let mut racers: Vec<Box<dyn Racer>> = Vec::new();
    let mut notes = Vec::new();
    for team in stage.teams() {
        for backend in Backend::BOTH {
            if !team.knows("bridge", backend) {
                notes.push(format!("{}: has no {}", team.name, backend.as_str()));
                continue;
            }
            let label = format!("{} {}", team.name, backend.as_str());
            let config = |node: &_| config::masquerade(node, backend);
            racers.extend(boxed([stage.player(&team, &label, 1, config)?]));
        }
        let label = format!("{} without", team.name);
        racers.extend(boxed([stage.player(&team, &label, 1, config::bridge)?]));
    }
    let mut compare = backends();
    for name in ["nftables", "iptables"] {
        compare.push(Compare::cost(&format!("{OURS} {name}"), &format!("{OURS} without")));
    }
    let rows = race(&mut racers, &VERBS, stage.options.rounds(16))?;
    let title = "bridge with host-local and ipMasq".to_owned();
    Ok(Scenario { name: "masquerade", title, rows, compare, notes })
}

/// Ours against the same backend of the reference, and nftables against its default too.
pub(crate) fn backends() -> Vec<Compare> {
    let of = |team: &str, backend: &str| format!("{team} {backend}");
    [("nftables", "nftables"), ("nftables", "iptables"), ("iptables", "iptables")]
        .map(|(ours, peer)| Compare::speed(&of(OURS, ours), &of(PEER, peer)))
        .to_vec()
}

/// Point to point with host-local.
pub(crate) fn ptp(stage: &Stage<'_>) -> Result<Scenario> {
    pair(stage, ("ptp", "ptp with host-local"), config::ptp, 25)
}

/// Addresses alone.
pub(crate) fn host_local(stage: &Stage<'_>) -> Result<Scenario> {
    pair(stage, ("host-local", "host-local alone"), config::host_local, 40)
}

fn pair(
    stage: &Stage<'_>,
    (name, title): (&'static str, &str),
    config: fn(&crate::node::Node) -> serde_json::Value,
    rounds: usize,
) -> Result<Scenario> {
    let mut racers: Vec<Box<dyn Racer>> = Vec::new();
    for team in stage.teams() {
        racers.extend(boxed([stage.player(&team, team.name, 1, config)?]));
    }
    let rows = race(&mut racers, &VERBS, stage.options.rounds(rounds))?;
    let compare = vec![Compare::speed(OURS, PEER)];
    Ok(Scenario { name, title: title.to_owned(), rows, compare, notes: Vec::new() })
}

/// One port mapping.
pub(crate) fn portmap_1(stage: &Stage<'_>) -> Result<Scenario> {
    portmap(stage, "portmap-1", (1, 12))
}

/// Ten port mappings.
pub(crate) fn portmap_10(stage: &Stage<'_>) -> Result<Scenario> {
    portmap(stage, "portmap-10", (10, 10))
}

fn portmap(
    stage: &Stage<'_>,
    name: &'static str,
    (mappings, rounds): (usize, usize),
) -> Result<Scenario> {
    let mut racers: Vec<Box<dyn Racer>> = Vec::new();
    let mut notes = Vec::new();
    for team in stage.teams() {
        for backend in Backend::BOTH {
            if !team.knows("portmap", backend) {
                notes.push(format!("{}: has no {}", team.name, backend.as_str()));
                continue;
            }
            let label = format!("{} {}", team.name, backend.as_str());
            let config = |node: &_| config::portmap(node, backend, 20_000, mappings);
            let player = stage.player(&team, &label, 1, config)?;
            ready_bridge(player.node())?;
            racers.extend(boxed([player]));
        }
    }
    let rows: Vec<Row> = race(&mut racers, &VERBS, stage.options.rounds(rounds))?;
    let plural = if mappings == 1 { "" } else { "s" };
    let title = format!("portmap with {mappings} mapping{plural}");
    Ok(Scenario { name, title, rows, compare: backends(), notes })
}
