//! What streams move: the output of exec, and ports of a pod in both directions.

use super::pods::{Running, Wanted};
use super::server::Server;
use super::spdy::Session;
use crate::error::{Error, Result};
use crate::pull::timed;
use crate::race::{Board, Turns};
use cri_api::v1;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Megabytes (of 2^20 bytes) that are moved.
pub(crate) const SIZE: u64 = 1024;
/// How often by each.
const ROUNDS: usize = 5;
/// The pod's ports: one that sends, one that takes.
const SOURCE: i32 = 8080;
const SINK: i32 = 8081;
/// The numbers of the two streams of a connection.
const ERROR: u32 = 1;
const DATA: u32 = 3;

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Output by the operator's command, over WebSocket.
    Command,
    /// Output over SPDY.
    Exec,
    FromPod,
    ToPod,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Command, "exec over WebSocket: output"),
    (Way::Exec, "exec over SPDY: output"),
    (Way::FromPod, "port-forward: from the pod"),
    (Way::ToPod, "port-forward: to the pod"),
];

/// A server with the pod whose streams are measured.
struct Lane<'a> {
    server: &'a Server,
    pod: Running,
}

pub(crate) fn race(
    servers: &[Server],
    (podloom, errors): (&Path, &Path),
    runtime: &Runtime,
) -> Result<Board> {
    let mut board = Board::default();
    let mut turns = Turns::of(servers.len());
    let mut lanes = Vec::new();
    for server in servers {
        let made = runtime.block_on(async { wanted(server).make(&mut server.client()).await });
        let pod = made.map_err(|status| Error::new(server.team.label(), status))?;
        lanes.push(Lane { server, pod });
    }
    for round in 0..=ROUNDS {
        board.counts = round > 0;
        for (way, name) in WAYS {
            for at in turns.shuffled() {
                let lane = &lanes[at];
                let label = lane.server.team.label();
                if !board.may_run(label) {
                    continue;
                }
                let outcome = match way {
                    Way::Command => lane.command(podloom, errors)?,
                    other => lane.move_all(other, runtime).map_err(|error| error.to_string()),
                };
                board.note(label, name, outcome);
            }
        }
    }
    for Lane { server, pod } in &lanes {
        let ended = runtime.block_on(async { pod.end(&mut server.client()).await });
        ended.map_err(|status| Error::new(server.team.label(), status))?;
    }
    Ok(board)
}

/// A pod that serves its two ports. Its work is not what is measured: nothing limits its CPU.
fn wanted(server: &Server) -> Wanted {
    let mut wanted = Wanted::new(server, "stream");
    let numbers = [SIZE.to_string(), SOURCE.to_string(), SINK.to_string()];
    wanted.container.command = std::iter::once("/traffic".to_owned()).chain(numbers).collect();
    let resources = wanted.container.linux.as_mut().and_then(|linux| linux.resources.as_mut());
    if let Some(resources) = resources {
        resources.cpu_quota = 0;
        resources.cpu_period = 0;
    }
    wanted
}

impl Lane<'_> {
    fn command(
        &self,
        podloom: &Path,
        errors: &Path,
    ) -> Result<std::result::Result<Duration, String>> {
        let mut command = Command::new(podloom);
        command.arg("exec").arg("--socket").arg(self.server.place.socket());
        command.arg(&self.pod.container).args(["--", "/flood", &SIZE.to_string()]);
        self.server.node.inside(|| timed(&mut command, errors))?
    }

    /// How long everything took, from before the URL was asked for.
    fn move_all(&self, way: Way, runtime: &Runtime) -> Result<Duration> {
        let label = self.server.team.label();
        let mut client = runtime.block_on(async { self.server.client() });
        let begun = Instant::now();
        let url = match way {
            Way::Command | Way::Exec => {
                let request = v1::ExecRequest {
                    container_id: self.pod.container.clone(),
                    cmd: vec!["/flood".to_owned(), SIZE.to_string()],
                    stdout: true,
                    ..Default::default()
                };
                let answer = runtime.block_on(client.runtime.exec(request));
                answer.map(|answer| answer.into_inner().url)
            }
            Way::FromPod | Way::ToPod => {
                let request = v1::PortForwardRequest {
                    pod_sandbox_id: self.pod.pod.clone(),
                    port: Vec::new(),
                };
                let answer = runtime.block_on(client.runtime.port_forward(request));
                answer.map(|answer| answer.into_inner().url)
            }
        };
        let url = url.map_err(|status| Error::new(label, status))?;
        self.server.node.inside(|| carry(way, &url))??;
        Ok(begun.elapsed())
    }
}

fn carry(way: Way, url: &str) -> Result<()> {
    let bytes = SIZE << 20;
    let port = match way {
        Way::Command | Way::Exec => {
            let streams: [&[_]; 2] = [&[("streamtype", "error")], &[("streamtype", "stdout")]];
            return Session::open(url, "v4.channel.k8s.io", &streams)?.receive(DATA, bytes);
        }
        Way::FromPod => SOURCE.to_string(),
        Way::ToPod => SINK.to_string(),
    };
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
    let streams: [&[_]; 2] = [&headers("error"), &headers("data")];
    let mut session = Session::open(url, "portforward.k8s.io", &streams)?;
    // The error stream is the server's alone.
    session.finish(ERROR)?;
    match way {
        Way::ToPod => {
            session.send(DATA, bytes)?;
            session.receive(DATA, 1)
        }
        _ => session.receive(DATA, bytes),
    }
}
