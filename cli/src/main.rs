//! podloom: the operator's command.

mod args;
mod demo;
mod fault;
mod net;
mod print;

use args::{Area, Cli};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (form, outcome) = match cli.area {
        Area::Net(net) => (net.place.output, net::run(*net)),
        Area::Probe(probe) => (None, demo::probe(&probe)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            print::fault(&fault, form);
            fault.exit_code()
        }
    }
}
