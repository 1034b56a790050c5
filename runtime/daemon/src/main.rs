//! podloomd: the CRI server, for kubelet.

mod args;
mod configure;
mod fault;
mod log;
mod memory;
mod notify;
mod open;
mod scrape;
mod serve;
mod settings;
mod socket;
mod traces;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    memory::be_small();
    let cli = Cli::parse();
    let outcome = match &cli.command {
        None | Some(Command::Serve) => serve::run(&cli.config),
        Some(Command::Config { what }) => configure::run(*what, &cli.config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            fault.print();
            ExitCode::FAILURE
        }
    }
}
