//! flannel on two nodes: attaching pods, and what passes between them.

mod cluster;
mod options;
mod transfer;

pub(crate) use options::{Options, USAGE};

use crate::cni::{OURS, PEER, container_id};
use crate::error::{About, Error, Result};
use crate::invoke::Verb;
use crate::node::Site;
use crate::race::{Board, Compare, Scenario, Turns};
use crate::report;
use cluster::{Cluster, Pod};
use std::path::PathBuf;
use transfer::{SIZE, transfer};

/// Pods that are not counted: the first finds no bridge.
const WARM_UP: usize = 2;

/// A team's nodes, with all its pods.
struct Lane {
    name: &'static str,
    cluster: Cluster,
    pods: Vec<Pod>,
}

/// Attaches all pods, sends between two of them, detaches all, and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let site = Site::open(&options.data)?;
    let mut lanes = Vec::new();
    for (name, dir) in teams(options) {
        let program = dir.join("flannel");
        if !program.is_file() {
            return Err(Error::new(program.display(), "there is no such plugin"));
        }
        let cluster = Cluster::new(&site, dir, options.pods)?;
        lanes.push(Lane { name, cluster, pods: Vec::new() });
    }
    let mut board = Board::default();
    let mut turns = Turns::of(lanes.len());
    for number in 0..options.pods {
        board.counts = number >= WARM_UP;
        for lane in turns.shuffled() {
            lanes[lane].attach(number, &mut board)?;
        }
    }
    board.counts = true;
    let mebibytes = SIZE >> 20;
    for _ in 0..options.rounds {
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            for lane in turns.shuffled() {
                let lane = &lanes[lane];
                let outcome = lane.send(index)?;
                board.note(lane.name, &format!("{mebibytes} MiB by TCP, {family}"), outcome);
            }
        }
    }
    for number in 0..options.pods {
        for lane in turns.shuffled() {
            lanes[lane].detach(number, &mut board)?;
        }
    }
    let scenario = Scenario {
        name: "flannel",
        title: format!("two dual-stack nodes, {} pods each, joined by vxlan", options.pods),
        rows: board.into_rows(),
        compare: vec![Compare::speed(OURS, PEER)],
        notes: Vec::new(),
    };
    report::print_scenario(&scenario);
    match &options.output {
        Some(path) => report::write_scenarios(path, &[scenario]),
        None => Ok(()),
    }
}

fn teams(options: &Options) -> Vec<(&'static str, PathBuf)> {
    let peer = options.peer.iter().map(|dir| (PEER, dir.clone()));
    [(OURS, options.cni_dir.clone())].into_iter().chain(peer).collect()
}

impl Lane {
    /// Attaches the pods of this number on both nodes.
    fn attach(&mut self, number: usize, board: &mut Board) -> Result<()> {
        for node in 0..2 {
            let mut pod = Pod { node, number, container: container_id(), result: None };
            let outcome = self.cluster.call(Verb::Add, &pod)?;
            match outcome.failure {
                Some(cause) => board.note(self.name, "ADD", Err(cause)),
                None => {
                    board.note(self.name, "ADD", Ok(outcome.wall));
                    let result = serde_json::from_str(&outcome.stdout).about(self.name)?;
                    pod.result = Some(result);
                }
            }
            self.pods.push(pod);
        }
        Ok(())
    }

    /// Sends from the last pod of the first node to the last one of the second.
    fn send(&self, index: usize) -> Result<std::result::Result<std::time::Duration, String>> {
        let last = |node| self.pods.iter().rev().find(|pod| pod.node == node);
        match (last(0), last(1)) {
            (Some(from), Some(to)) => transfer(&self.cluster, from, to, index),
            _ => Err(Error::new(self.name, "has no pods")),
        }
    }

    fn detach(&self, number: usize, board: &mut Board) -> Result<()> {
        for pod in self.pods.iter().filter(|pod| pod.number == number) {
            let outcome = self.cluster.call(Verb::Del, pod)?;
            board.note(self.name, "DEL", outcome.failure.map_or(Ok(outcome.wall), Err));
        }
        Ok(())
    }
}
