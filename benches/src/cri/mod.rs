//! podloomd beside other servers of the CRI, each on a node of its own.
#![allow(clippy::print_stdout, reason = "this program's output is its use")]

mod answers;
mod calls;
mod crowd;
mod kind;
mod options;
mod pods;
mod server;
mod spdy;
mod streams;

pub(crate) use options::{Options, USAGE};

use crate::error::{About, Result};
use crate::floor::Floor;
use crate::node::Site;
use crate::oci::Tree;
use crate::race::{Board, Compare, Scenario};
use crate::report;
use crowd::Memory;
use images::{Image, Layer, Packing};
use server::Server;
use tokio::runtime::Runtime;

/// Runs the wanted scenarios and reports.
pub(crate) fn run(options: &Options) -> Result<()> {
    let site = Site::open(&options.data)?;
    // Where peers note the results of plugins, whatever their configuration.
    site.cover("/var/lib/cni")?;
    let tree = Tree::take()?;
    let floor = Floor::compile(&site)?;
    let image = image(&floor)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .about("runtime")?;
    let mut servers = Vec::new();
    for team in &options.teams {
        servers.push(Server::start(&site, team, (tree.path(), &image), &runtime)?);
    }
    let done = measure(options, &mut servers, &site, &runtime)?;
    match &options.output {
        Some(path) => report::write_scenarios(path, &done),
        None => Ok(()),
    }
}

fn measure(
    options: &Options,
    servers: &mut [Server],
    site: &Site,
    runtime: &Runtime,
) -> Result<Vec<Scenario>> {
    let mut done = Vec::new();
    let mut finish = |name, title: &str, servers: &[Server], board: Board| {
        let scenario = scenario(name, title, servers, board);
        report::print_scenario(&scenario);
        done.push(scenario);
    };
    if options.wants("calls") {
        let board = calls::race(servers, options.rounds, runtime);
        finish("calls", "the life of a pod", servers, board);
    }
    if options.wants("streams") {
        let errors = site.dir().join("stderr");
        let board = streams::race(servers, (&options.podloom, &errors), runtime)?;
        finish("streams", "streams", servers, board);
    }
    if options.wants("crowd") {
        let (board, memory) = crowd::measure(servers, options.pods, runtime)?;
        finish("crowd", &format!("{} pods", options.pods), servers, board);
        print_memory(&memory, options.pods);
    }
    Ok(done)
}

/// What pods run, and what containerd's and CRI-O's pods have for a pause container.
fn image(floor: &Floor) -> Result<Image> {
    let read = |path: &std::path::Path| std::fs::read(path).about(path.display());
    let payload = read(&floor.payload)?;
    let layer = Layer::new()
        .file_of_mode("pause", 0o755, &payload)
        .file_of_mode("true", 0o755, &payload)
        .file_of_mode("stay", 0o755, &read(&floor.stay)?)
        .file_of_mode("flood", 0o755, &read(&floor.flood)?)
        .file_of_mode("traffic", 0o755, &read(&floor.traffic)?);
    let config = serde_json::json!({"config": {"Entrypoint": ["/pause"]}});
    Ok(Image::with(vec![(layer, Packing::Gzip)], images::Style::Oci, &config))
}

fn scenario(name: &'static str, title: &str, servers: &[Server], board: Board) -> Scenario {
    let mut labels = servers.iter().map(|server| server.team.label());
    let ours = labels.next().unwrap_or_default();
    let compare = labels.map(|peer| Compare::speed(ours, peer)).collect();
    let rows = board.into_rows();
    Scenario { name, title: title.to_owned(), rows, compare, notes: Vec::new() }
}

fn print_memory(all: &[Memory], pods: usize) {
    println!("\n## memory with {pods} pods, KiB\n");
    println!(
        "| server | daemon, resident | processes a pod | resident a pod | proportional a pod |"
    );
    println!("|---|---|---|---|---|");
    for Memory { label, daemon, kept } in all {
        let count = pods.max(1);
        let processes = kept.processes as f64 / count as f64;
        let (rss, pss) = (kept.rss / count as u64, kept.pss / count as u64);
        println!("| {label} | {daemon} | {processes:.1} | {rss} | {pss} |");
    }
}
