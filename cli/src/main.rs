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
    let Area::Net(net) = cli.area;
    let form = net.place.output;
    let outcome = net::run(net);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            print::fault(&fault, form);
            fault.exit_code()
        }
    }
}
