//! `podloom pods`, `ps`, `run`, `exec` and so on: pods and containers, by way of the daemon.

mod about;
pub(crate) mod args;
mod daemon;
mod doc;
mod ending;
mod list;
mod logs;
mod port_forward;
mod run;
mod secure;
mod session;
mod stats;
mod streams;
mod terminal;

use crate::fault::{Fault, Result};
use args::{Form, Place, Runtime};
use daemon::Daemon;
use std::future::Future;
use std::process::ExitCode;

/// The form that faults are told in.
pub(crate) fn fault_form(runtime: &Runtime) -> Option<crate::args::Form> {
    (place(runtime).output == Form::Json).then_some(crate::args::Form::Json)
}

fn place(runtime: &Runtime) -> &Place {
    match runtime {
        Runtime::Pods(asked) => &asked.place,
        Runtime::Ps(asked) => &asked.place,
        Runtime::Run(asked) => &asked.place,
        Runtime::Exec(asked) => &asked.place,
        Runtime::Attach(asked) => &asked.place,
        Runtime::Logs(asked) => &asked.place,
        Runtime::PortForward(asked) => &asked.place,
        Runtime::Stats(asked) => &asked.place,
        Runtime::Events(asked) => &asked.place,
        Runtime::Inspect(asked) => &asked.place,
        Runtime::Stop(asked) => &asked.place,
        Runtime::Rm(asked) => &asked.place,
        Runtime::Version(asked) | Runtime::Info(asked) => &asked.place,
    }
}

/// Runs one command to its end; the exit code is that of a command in a container, if there was one.
pub(crate) fn run(wanted: Runtime) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fault::new(5, "runtime", e.to_string()))?;
    let outcome = runtime.block_on(ask(wanted));
    // A thread may still wait for input that nobody wants any more.
    runtime.shutdown_background();
    outcome
}

async fn ask(wanted: Runtime) -> Result<ExitCode> {
    let daemon = Daemon::connect(place(&wanted)).await?;
    match wanted {
        Runtime::Run(asked) => return run::run(&daemon, &asked.what).await,
        Runtime::Exec(asked) => return streams::exec(&daemon, asked.what).await,
        Runtime::Attach(asked) => return streams::attach(&daemon, &asked.what).await,
        Runtime::Pods(asked) => list::pods(&daemon, &asked.what).await,
        Runtime::Ps(asked) => list::containers(&daemon, &asked.what).await,
        Runtime::Logs(asked) => until_interrupted(logs::show(&daemon, &asked.what)).await,
        Runtime::PortForward(asked) => {
            until_interrupted(port_forward::forward(&daemon, &asked.what)).await
        }
        Runtime::Stats(asked) => stats::show(&daemon, &asked.what).await,
        Runtime::Events(asked) => until_interrupted(about::events(&daemon, &asked.what)).await,
        Runtime::Inspect(asked) => about::inspect(&daemon, &asked.what).await,
        Runtime::Stop(asked) => ending::stop(&daemon, &asked.what).await,
        Runtime::Rm(asked) => ending::remove(&daemon, &asked.what).await,
        Runtime::Version(_) => about::version(&daemon).await,
        Runtime::Info(_) => about::info(&daemon).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

/// What goes on for as long as it is let ends well when it is interrupted.
async fn until_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        outcome = work => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|e| Fault::new(5, "signals", e.to_string()))
        }
    }
}
