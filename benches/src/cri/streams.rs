//! What the output of exec moves, by the operator's command as the client of each server.

use super::pods::Wanted;
use super::server::Server;
use crate::error::{Error, Result};
use crate::pull::timed;
use crate::race::{Board, Turns};
use std::path::Path;
use std::process::Command;
use tokio::runtime::Runtime;

/// Megabytes that are written.
pub(crate) const SIZE: usize = 1024;
/// How often by each.
const ROUNDS: usize = 5;

pub(crate) fn race(
    servers: &[Server],
    (podloom, errors): (&Path, &Path),
    runtime: &Runtime,
) -> Result<Board> {
    let mut board = Board::default();
    let mut turns = Turns::of(servers.len());
    let mut pods = Vec::new();
    for server in servers {
        let wanted = Wanted::new(server, "stream");
        let made = runtime.block_on(async { wanted.make(&mut server.client()).await });
        pods.push(made.map_err(|status| Error::new(server.team.label(), status))?);
    }
    for round in 0..=ROUNDS {
        board.counts = round > 0;
        for at in turns.shuffled() {
            let (server, pod) = (&servers[at], &pods[at]);
            let mut command = Command::new(podloom);
            command.arg("exec").arg("--socket").arg(server.place.socket()).arg(&pod.container);
            command.args(["--", "/flood", &SIZE.to_string()]);
            let outcome = server.node.inside(|| timed(&mut command, errors))??;
            board.note(server.team.label(), &format!("exec, {SIZE} MB of output"), outcome);
        }
    }
    for (server, pod) in servers.iter().zip(&pods) {
        let ended = runtime.block_on(async { pod.end(&mut server.client()).await });
        ended.map_err(|status| Error::new(server.team.label(), status))?;
    }
    Ok(board)
}
