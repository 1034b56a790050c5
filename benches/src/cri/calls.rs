//! The calls of a pod's life, one at a time.

use super::pods::Wanted;
use super::server::Server;
use crate::race::{Board, Turns};
use cri_tests::Client;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Lives that are not counted: the first finds no bridge and no caches.
const WARM_UP: usize = 3;

/// The calls in their order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Run,
    Create,
    Start,
    Exec,
    Stop,
    Remove,
    StopPod,
    RemovePod,
}

const STEPS: [(Step, &str); 8] = [
    (Step::Run, "RunPodSandbox"),
    (Step::Create, "CreateContainer"),
    (Step::Start, "StartContainer"),
    (Step::Exec, "ExecSync"),
    (Step::Stop, "StopContainer"),
    (Step::Remove, "RemoveContainer"),
    (Step::StopPod, "StopPodSandbox"),
    (Step::RemovePod, "RemovePodSandbox"),
];

/// The whole life, without exec.
pub(crate) const SUMS: [(&str, &[&str]); 1] = [(
    "whole pod",
    &[
        "RunPodSandbox",
        "CreateContainer",
        "StartContainer",
        "StopContainer",
        "RemoveContainer",
        "StopPodSandbox",
        "RemovePodSandbox",
    ],
)];

struct Lane<'a> {
    server: &'a Server,
    client: Client,
    wanted: Wanted,
    pod: String,
    container: String,
}

/// All lives, each call by every server before the next one.
pub(crate) fn race(servers: &[Server], rounds: usize, runtime: &Runtime) -> Board {
    let mut board = Board::default();
    let mut turns = Turns::of(servers.len());
    let mut lanes: Vec<Lane<'_>> = servers
        .iter()
        .map(|server| Lane {
            server,
            client: runtime.block_on(async { server.client() }),
            wanted: Wanted::new(server, "life"),
            pod: String::new(),
            container: String::new(),
        })
        .collect();
    for round in 0..rounds + WARM_UP {
        board.counts = round >= WARM_UP;
        for lane in &mut lanes {
            lane.wanted = Wanted::new(lane.server, &format!("life{round}"));
        }
        for (step, verb) in STEPS {
            for at in turns.shuffled() {
                let lane = &mut lanes[at];
                let name = lane.server.team.label();
                if board.may_run(name) {
                    board.note(name, verb, runtime.block_on(lane.run(step)));
                }
            }
        }
        if board.counts {
            board.add_up(servers.iter().map(|server| server.team.label()), &SUMS);
        }
    }
    board
}

impl Lane<'_> {
    async fn run(&mut self, step: Step) -> Result<Duration, String> {
        let client = &mut self.client;
        let begun = Instant::now();
        let outcome = match step {
            Step::Run => client.run_pod(&self.wanted.pod).await.map(|id| self.pod = id),
            Step::Create => client
                .create(&self.pod, &self.wanted.container, &self.wanted.pod)
                .await
                .map(|id| self.container = id),
            Step::Start => client.start(&self.container).await,
            Step::Exec => {
                let answer = client.exec(&self.container, &["/true"]).await;
                match answer {
                    Ok(answer) if answer.exit_code != 0 => {
                        return Err(format!("exit code {}", answer.exit_code));
                    }
                    other => other.map(drop),
                }
            }
            Step::Stop => client.stop(&self.container, 10).await,
            Step::Remove => client.remove(&self.container).await,
            Step::StopPod => client.stop_pod(&self.pod).await,
            Step::RemovePod => client.remove_pod(&self.pod).await,
        };
        let wall = begun.elapsed();
        outcome.map(|()| wall).map_err(|status| status.to_string())
    }
}
