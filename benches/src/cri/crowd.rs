//! Many pods: made at once, listed, measured, found again after a start, ended.

use super::answers;
use super::pods::{Running, Wanted};
use super::server::{Kept, Server};
use crate::error::{Error, Result};
use crate::race::{Board, Turns};
use cri_api::v1;
use cri_tests::Client;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How many are made or ended at a time.
const AT_ONCE: usize = 5;
/// Lists of each kind.
const LISTS: usize = 20;

/// What a server holds in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) label: &'static str,
    /// The daemon's resident set, KiB.
    pub(crate) daemon: u64,
    pub(crate) kept: Kept,
}

/// A server and its pods.
struct Lane<'a> {
    server: &'a mut Server,
    pods: Vec<Running>,
}

/// All of it; `pods` is how many there are for the lists, twice as many at the start again.
pub(crate) fn measure(
    servers: &mut [Server],
    pods: usize,
    runtime: &Runtime,
) -> Result<(Board, Vec<Memory>)> {
    let mut board = Board::default();
    board.counts = true;
    let mut lanes: Vec<Lane<'_>> =
        servers.iter_mut().map(|server| Lane { server, pods: Vec::new() }).collect();
    for lane in &mut lanes {
        let wall = lane.fill(pods, runtime)?;
        board.note(
            lane.server.team.label(),
            &format!("{pods} pods made, {AT_ONCE} at a time"),
            Ok(wall),
        );
    }
    list(&lanes, runtime, &mut board);
    let mut memory = Vec::new();
    for lane in &lanes {
        let label = lane.server.team.label();
        memory.push(Memory { label, daemon: lane.server.resident()?, kept: lane.server.kept() });
    }
    for lane in &mut lanes {
        lane.fill(2 * pods, runtime)?;
        let wall = lane.again(runtime)?;
        let label = lane.server.team.label();
        board.note(label, &format!("start again with {} pods", 2 * pods), Ok(wall));
        let wall = lane.end(runtime)?;
        board.note(label, &format!("{} pods ended, {AT_ONCE} at a time", 2 * pods), Ok(wall));
    }
    Ok((board, memory))
}

impl Lane<'_> {
    fn failed(&self, status: &tonic::Status) -> Error {
        Error::new(self.server.team.label(), format!("{status}; its log: {}", self.server.log()))
    }

    /// Makes pods until there are so many. How long that took.
    fn fill(&mut self, until: usize, runtime: &Runtime) -> Result<Duration> {
        let names: Vec<String> = (self.pods.len()..until).map(|n| format!("crowd{n}")).collect();
        let begun = Instant::now();
        let made = runtime.block_on(async {
            let mut shares = JoinSet::new();
            for share in shares_of(&names) {
                let wanted: Vec<_> =
                    share.iter().map(|name| Wanted::new(self.server, name)).collect();
                let mut client = self.server.client();
                shares.spawn(async move {
                    let mut made = Vec::new();
                    for wanted in wanted {
                        made.push(wanted.make(&mut client).await?);
                    }
                    Ok::<_, tonic::Status>(made)
                });
            }
            all(shares).await
        });
        let wall = begun.elapsed();
        self.pods.extend(made.map_err(|status| self.failed(&status))?.into_iter().flatten());
        Ok(wall)
    }

    /// Kills the daemon and starts it: until it says that all pods are ready.
    fn again(&mut self, runtime: &Runtime) -> Result<Duration> {
        self.server.kill()?;
        let begun = Instant::now();
        self.server.serve(runtime)?;
        let ready = runtime.block_on(async {
            let filter = v1::PodSandboxFilter {
                state: Some(v1::PodSandboxStateValue {
                    state: v1::PodSandboxState::SandboxReady as i32,
                }),
                ..Default::default()
            };
            let request = v1::ListPodSandboxRequest { filter: Some(filter) };
            let answer = self.server.client().runtime.list_pod_sandbox(request).await?;
            Ok(answer.into_inner().items.len())
        });
        let ready = ready.map_err(|status| self.failed(&status))?;
        if ready != self.pods.len() {
            let label = self.server.team.label();
            let cause = format!("{ready} of {} pods are ready after a start", self.pods.len());
            return Err(Error::new(label, cause));
        }
        Ok(begun.elapsed())
    }

    /// Ends all of them. How long that took.
    fn end(&mut self, runtime: &Runtime) -> Result<Duration> {
        let pods = std::mem::take(&mut self.pods);
        let begun = Instant::now();
        let ended = runtime.block_on(async {
            let mut shares = JoinSet::new();
            for share in shares_of(&pods) {
                let mut client = self.server.client();
                shares.spawn(async move {
                    for pod in share {
                        pod.end(&mut client).await?;
                    }
                    Ok::<_, tonic::Status>(())
                });
            }
            all(shares).await
        });
        ended.map_err(|status| self.failed(&status))?;
        Ok(begun.elapsed())
    }
}

/// What each of those who work at once has to do.
fn shares_of<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    all.chunks(all.len().div_ceil(AT_ONCE).max(1)).map(<[T]>::to_vec).collect()
}

async fn all<T: 'static>(
    mut shares: JoinSet<std::result::Result<T, tonic::Status>>,
) -> std::result::Result<Vec<T>, tonic::Status> {
    let mut done = Vec::new();
    while let Some(share) = shares.join_next().await {
        done.push(share.map_err(|e| tonic::Status::internal(e.to_string()))??);
    }
    Ok(done)
}

/// The calls that tell of everything there is.
const LISTED: [(&str, &str); 7] = [
    ("ListPodSandbox", "/runtime.v1.RuntimeService/ListPodSandbox"),
    ("ListContainers", "/runtime.v1.RuntimeService/ListContainers"),
    ("ListImages", "/runtime.v1.ImageService/ListImages"),
    ("ListPodSandboxStats", "/runtime.v1.RuntimeService/ListPodSandboxStats"),
    ("ListContainerStats", "/runtime.v1.RuntimeService/ListContainerStats"),
    ("ListPodSandboxMetrics", "/runtime.v1.RuntimeService/ListPodSandboxMetrics"),
    ("Status", "/runtime.v1.RuntimeService/Status"),
];

fn list(lanes: &[Lane<'_>], runtime: &Runtime, board: &mut Board) {
    let mut turns = Turns::of(lanes.len());
    let clients: Vec<Client> =
        runtime.block_on(async { lanes.iter().map(|lane| lane.server.client()).collect() });
    for round in 0..LISTS + 2 {
        board.counts = round >= 2;
        for (verb, method) in LISTED {
            for at in turns.shuffled() {
                let label = lanes[at].server.team.label();
                if board.may_run(label) {
                    let asked = runtime.block_on(answers::time(&clients[at].channel, method));
                    board.note(label, verb, asked.map_err(|status| status.to_string()));
                }
            }
        }
    }
    board.counts = true;
}
