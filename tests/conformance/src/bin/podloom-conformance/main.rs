//! Puts the conformance table to anybody's plugin; see `docs/conformance-program.md`.

mod options;
mod run;

use conformance::{CASES, Error};
use options::{Asked, Options, USAGE};
use std::process::ExitCode;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its use")]
fn main() -> ExitCode {
    let done = match Options::parse(std::env::args().skip(1)) {
        Ok(Asked::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Asked::List) => {
            print!("{}", list());
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Trial(options)) => {
            run::trial(&options).and_then(|report| deliver(&options, &report))
        }
        Err(error) => {
            eprintln!("podloom-conformance: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("podloom-conformance: {error}");
            ExitCode::from(2)
        }
    }
}

/// Writes the report where it is wanted; returns how many cases failed.
#[allow(clippy::print_stdout, reason = "this program's output is its use")]
fn deliver(options: &Options, report: &conformance::report::Report) -> Result<usize, Error> {
    let text = report.render(options.form);
    match &options.output {
        None => print!("{text}"),
        Some(path) => {
            std::fs::write(path, text).map_err(|e| Error::new(path.display(), e))?;
        }
    }
    Ok(report.failed())
}

/// All cases with what they demand.
fn list() -> String {
    let line = |case: &conformance::Case| {
        format!(
            "{:<10} {:<44} {:<13}  {}\n",
            case.group,
            case.name,
            case.origin.as_str(),
            case.demand
        )
    };
    CASES.iter().map(line).collect()
}
