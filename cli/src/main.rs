//! podloom: the operator's command.

mod args;
mod demo;
mod fault;
mod image;
mod net;
mod print;
mod runtime;

use args::{Area, Cli};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (form, outcome) = match cli.area {
        Area::Net(net) => (net.place.output, net::run(*net).map(|()| ExitCode::SUCCESS)),
        Area::Image(image) => {
            (image.place.output.fault_form(), image::run(*image).map(|()| ExitCode::SUCCESS))
        }
        Area::Runtime(wanted) => (runtime::fault_form(&wanted), runtime::run(*wanted)),
    };
    match outcome {
        Ok(code) => code,
        Err(fault) => {
            print::fault(&fault, form);
            fault.exit_code()
        }
    }
}
