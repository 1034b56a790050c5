//! Benchmarks beside the reference plugins; see the README of this directory.

mod cni;
mod cri;
mod error;
mod flannel;
mod floor;
mod invoke;
mod node;
mod oci;
mod options;
mod pull;
mod race;
mod report;
mod stats;
mod targets;

use error::{About, Error, Result};
use options::{Options, Parsed};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: benches cni|cri|flannel|oci|pull [options]; each has --help";

/// How a run can end.
enum End {
    Done,
    /// What was asked for, or what was wrong with the question.
    Help(String),
    Wrong(Error, &'static str),
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its use")]
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let what = args.next();
    let end = match what.as_deref() {
        Some("cni") => measure_cni(args),
        Some("cri") => measure_cri(args),
        Some("flannel") => measure_flannel(args),
        Some("oci") => measure_oci(args),
        Some("pull") => measure_pull(args),
        Some("oci-inside") => inside(args),
        Some("--help" | "-h" | "help") => Ok(End::Help(USAGE.to_owned())),
        Some(other) => Ok(End::Wrong(Error::new(other, "is not measured here"), USAGE)),
        None => Ok(End::Wrong(Error::new("arguments", "say what to measure"), USAGE)),
    };
    match end {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Help(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Ok(End::Wrong(error, usage)) => {
            eprintln!("benches: {error}\n\n{usage}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_cni(args: impl Iterator<Item = String>) -> Result<End> {
    match Options::parse(args) {
        Ok(Parsed::Run(options)) => cni::run(&options).map(|()| End::Done),
        Ok(Parsed::Help) => Ok(End::Help(options::USAGE.to_owned())),
        Err(error) => Ok(End::Wrong(error, options::USAGE)),
    }
}

fn measure_cri(args: impl Iterator<Item = String>) -> Result<End> {
    match cri::Options::parse(args) {
        Ok(Some(options)) => cri::run(&options).map(|()| End::Done),
        Ok(None) => Ok(End::Help(cri::USAGE.to_owned())),
        Err(error) => Ok(End::Wrong(error, cri::USAGE)),
    }
}

fn measure_flannel(args: impl Iterator<Item = String>) -> Result<End> {
    match flannel::Options::parse(args) {
        Ok(Some(options)) => flannel::run(&options).map(|()| End::Done),
        Ok(None) => Ok(End::Help(flannel::USAGE.to_owned())),
        Err(error) => Ok(End::Wrong(error, flannel::USAGE)),
    }
}

fn measure_oci(args: impl Iterator<Item = String>) -> Result<End> {
    match oci::Options::parse(args) {
        Ok(Some(options)) => oci::run(&options).map(|()| End::Done),
        Ok(None) => Ok(End::Help(oci::USAGE.to_owned())),
        Err(error) => Ok(End::Wrong(error, oci::USAGE)),
    }
}

fn measure_pull(args: impl Iterator<Item = String>) -> Result<End> {
    match pull::Options::parse(args) {
        Ok(Some(options)) => pull::run(&options).map(|()| End::Done),
        Ok(None) => Ok(End::Help(pull::USAGE.to_owned())),
        Err(error) => Ok(End::Wrong(error, pull::USAGE)),
    }
}

/// One life of a container by the library, for the parent that measures.
fn inside(mut args: impl Iterator<Item = String>) -> Result<End> {
    let mut next = || args.next().ok_or("ROOT and BUNDLE must follow").about("oci-inside");
    let (root, bundle) = (next()?, next()?);
    let nanos = oci::cycle(Path::new(&root), Path::new(&bundle))?;
    Ok(End::Help(nanos.map(|n| n.to_string()).join(" ")))
}
