//! Benchmarks beside the reference plugins; see the README of this directory.

mod cni;
mod error;
mod floor;
mod invoke;
mod node;
mod options;
mod race;
mod report;
mod stats;
mod targets;

use options::{Options, Parsed};
use std::process::ExitCode;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its use")]
fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Help) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("benches: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match cni::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}
