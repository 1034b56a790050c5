//! Fifty pods at once, as after the restart of a node.

use super::player::{Player, Prepared, Subject};
use super::{OURS, PEER, Stage, config};
use crate::error::{About, Error, Result};
use crate::invoke::{Outcome, Verb, invoke};
use crate::race::{Compare, Row, Scenario, Turns};
use serde_json::Value;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Pods in one burst.
pub(crate) const PODS: usize = 50;
/// What the time from the first start to the last end is called.
pub(crate) const ALL_ADDS: &str = "50 ADDs";
/// The same of the deletions.
const ALL_DELS: &str = "50 DELs";

/// The rows of one team.
struct Lane {
    player: Player,
    rows: [Row; 4],
}

/// Bridge with host-local, 50 calls started together, on one node.
pub(crate) fn burst(stage: &Stage<'_>) -> Result<Scenario> {
    let mut lanes = Vec::new();
    for team in stage.teams() {
        let mut player = stage.player(&team, team.name, PODS, config::bridge)?;
        // The bridge is there before the burst.
        let first = Subject::fresh(0);
        let config = player.config().clone();
        player.settle(&first, &config)?;
        player.perform(player.prepare(Verb::Del, &first, player.config()))?;
        let row = |verb| Row::new(team.name, verb);
        lanes.push(Lane { player, rows: [row("ADD"), row(ALL_ADDS), row("DEL"), row(ALL_DELS)] });
    }
    let mut turns = Turns::of(lanes.len());
    for _ in 0..stage.options.rounds(3) {
        for lane in turns.shuffled() {
            lanes[lane].round()?;
        }
    }
    Ok(Scenario {
        name: "burst",
        title: format!("{PODS} at once: bridge with host-local"),
        rows: lanes.into_iter().flat_map(|lane| lane.rows).collect(),
        compare: vec![Compare::speed(OURS, PEER)],
        notes: Vec::new(),
    })
}

impl Lane {
    /// All pods in, then all pods out.
    fn round(&mut self) -> Result<()> {
        let subjects: Vec<Subject> = (0..PODS).map(Subject::fresh).collect();
        let config = self.player.config();
        let adds =
            subjects.iter().map(|s| self.player.prepare(Verb::Add, s, config)).collect::<Vec<_>>();
        let (added, all) = together(&self.player, adds)?;
        let mut dels = Vec::new();
        for (subject, outcome) in subjects.iter().zip(&added) {
            let mut config = config.clone();
            if outcome.failure.is_none() {
                let result: Value =
                    serde_json::from_str(&outcome.stdout).about(self.player.name())?;
                config["prevResult"] = result;
            }
            dels.push(self.player.prepare(Verb::Del, subject, &config));
        }
        let (deleted, all_deleted) = together(&self.player, dels)?;
        let [add, adds, del, dels] = &mut self.rows;
        record(add, added);
        adds.push(all);
        record(del, deleted);
        dels.push(all_deleted);
        Ok(())
    }
}

fn record(row: &mut Row, outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        match outcome.failure {
            Some(cause) => row.fail(cause),
            None => row.push(outcome.wall),
        }
    }
}

/// Starts all calls at one moment; their outcomes in order, and the time until the last ended.
fn together(player: &Player, calls: Vec<Prepared>) -> Result<(Vec<Outcome>, Duration)> {
    let gate = Barrier::new(calls.len() + 1);
    let gate = &gate;
    let run = || {
        thread::scope(|scope| {
            let running: Vec<_> = calls
                .into_iter()
                .map(|mut call| {
                    scope.spawn(move || {
                        gate.wait();
                        invoke(&mut call.command, &call.input)
                    })
                })
                .collect();
            gate.wait();
            let start = Instant::now();
            let outcomes: Vec<_> = running
                .into_iter()
                .map(|one| one.join().unwrap_or_else(|_| Err(Error::new("call", "panicked"))))
                .collect();
            (outcomes, start.elapsed())
        })
    };
    let (outcomes, wall) = player.node().inside(run)?;
    Ok((outcomes.into_iter().collect::<Result<_>>()?, wall))
}
